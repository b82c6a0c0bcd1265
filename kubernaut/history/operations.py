"""Operations and the codec of their Secrets. Pure.

An operation is one attempt to change a release. Its Secret, ``kubernaut.ID``, lies beside Helm's records and holds what they lack:
actor, reason, CI build, chart digest, events and outcome, but never values or other secrets. :mod:`kubernaut.deploy` writes it.

A server writes an operation when it accepts it. With an Idempotency-Key the Secret is named by the key's hash, so that only one of
several servers can create it. ``unread`` says why an operation could not be read completely.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from kubernaut.ci import CiBuild, make_build
from kubernaut.errors import DeployFailed, KubernautError, error_classes, from_problem
from kubernaut.events import Journal, LogLine, Notice, OperationEvent, RecordedEvent, StepStarted, WorkloadProgress
from kubernaut.history.records import KUBERNAUT_OWNER, OPERATION_LABEL, Record, few, pack, parse_time, storable, truncate, unpack
from kubernaut.models import Model, Plan
from kubernaut.redact import redact

SCHEMA = 1
OPERATION_TYPE = f"kubernaut/operation.v{SCHEMA}"
VERB_LABEL = "kubernaut/verb"
KEY_LABEL = "kubernaut/key"  # the beginning of the Idempotency-Key's hash
OUTCOME_LABEL = "kubernaut/outcome"  # the outcome's reason; only on a finished operation
LARGEST = 256 << 10
"""The size limit of a gzipped operation in bytes; events and details above it are left out and counted."""

# Reasons of outcomes; that of a failure is the code of an error.
SUCCEEDED = "succeeded"
UNCHANGED = "unchanged"  # of an accepted operation that had nothing to do
UNREAD = "unread"  # of an operation that cannot be read completely; never written

Verb = Literal["deploy", "rollback", "restore", "delete"]
State = Literal["accepted", "running", "succeeded", "unchanged", "failed", "unread"]

_TYPE = re.compile(r"kubernaut/operation\.v(?P<schema>[0-9]{1,9})")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(rf"[{_ALPHABET}]{{26}}")
_LONGEST_LINE = 4000
_SHORTEST_TEXT = 256
# The only field of a build that older versions read; they reject unknown fields, so the rest is separate.
_LEGACY_BUILD = "buildUrl"
_BUILD_KEY = "build"


class Outcome(Model):
    """The outcome of an operation: ``reason`` is ``succeeded``, ``unchanged`` or an error's code; ``message`` is one line."""

    reason: str
    message: str
    details: tuple[str, ...] = ()
    left_out: int = 0


class OperationChart(Model):
    """The chart of a release."""

    version: str | None = None
    ref: str | None = None
    digest: str | None = None


class ReleaseReference(Model):
    """A release that an operation made or, for a delete, ended."""

    id: str
    uid: str
    revision: int
    secret: str
    chart: OperationChart | None = None


class OperationBase(Model):
    """The fields that an operation has in the cluster and in the REST API.

    Attributes:
        verb: One of :data:`Verb`; an unknown word if a newer version wrote it.
        actor: ``None`` only where it cannot be read.
        build: The CI build that requested it.
        timeout: In seconds.
        waits_until: On an accepted operation that has not begun: the latest time to begin, by the API server's clock.
        made: The releases that it created or ended, in order.
    """

    id: str
    verb: str
    namespace: str
    name: str
    actor: str | None = None
    build: CiBuild | None = None
    note: str | None = None
    environment: str | None = None
    commit: str | None = None
    chart: OperationChart | None = None
    plan: Plan = Plan()
    timeout: float | None = None
    started_at: datetime
    waits_until: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    made: tuple[ReleaseReference, ...] = ()


class Operation(OperationBase):
    """An attempt to change a release.

    Attributes:
        after: The current revision when it began; 0 for none.
        fingerprint: Identifies the accepted request among those with the same key.
        key: The hash of its Idempotency-Key, see :func:`key_hash`.
        events: In order; ``events_left_out`` events are missing after the first :data:`Journal.FIRST`.
        unread: Why it cannot be read, or not completely; never written.
        resource_version: That of its Secret; never written.
    """

    after: int | None = None
    fingerprint: str | None = None
    key: str | None = None
    events: tuple[OperationEvent, ...] = ()
    events_left_out: int = 0
    unread: str | None = Field(default=None, exclude=True)
    resource_version: str = Field(default="", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _read_legacy_build(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get(_LEGACY_BUILD), str):
            return content
        build = content.get("build") or make_build(url=content[_LEGACY_BUILD])
        return {**{key: value for key, value in content.items() if key != _LEGACY_BUILD}, "build": build}

    @property
    def secret(self) -> str:
        """The name of its Secret."""
        return key_secret_name(self.key) if self.key else f"kubernaut.{self.id}"

    @property
    def state(self) -> State:
        """The progress and, once it is finished, the result."""
        if self.unread is not None:
            return "unread"
        if self.finished_at is None:
            return "running" if self.waits_until is None else "accepted"
        reason = self.outcome.reason if self.outcome else ""
        return "succeeded" if reason == SUCCEEDED else "unchanged" if reason == UNCHANGED else "failed"

    @property
    def failure(self) -> KubernautError:
        """The error that it ended with; DeployFailed where the outcome's reason is not a known error code."""
        why = self.unread or "no outcome was recorded"
        outcome = self.outcome or Outcome(reason=UNREAD, message=f"The outcome of the {self.verb} is unknown: {why}.")
        code = outcome.reason if outcome.reason in {error.code for error in error_classes()} else DeployFailed.code
        named = {"operation": self.id, **({"release": self.made[0].id} if self.made else {})}
        return from_problem({"code": code, "detail": outcome.message, "details": list(outcome.details), **named})

    def may_begin(self, at: datetime | None) -> bool:
        """Return whether it is accepted and may still begin at the API server's time ``at``; ``None`` if that is unknown."""
        return self.finished_at is None and self.waits_until is not None and (at is None or at < self.waits_until)


def now() -> datetime:
    """Return the current time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def new_operation_id(at: float | None = None) -> str:
    """Return a new operation ID: 26 characters that sort by time (a ULID in lower case)."""
    number = (int((time.time() if at is None else at) * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def is_operation_id(text: str) -> bool:
    """Return whether a text is a valid operation ID."""
    return _ID.fullmatch(text) is not None


def key_hash(actor: str, key: str) -> str:
    """Return the hash of an actor's Idempotency-Key; the same key of another actor has another hash."""
    return hashlib.sha256(f"{actor}\0{key}".encode()).hexdigest()


def key_secret_name(key: str) -> str:
    """Return the name of the Secret of an operation that was accepted with an Idempotency-Key, by the key's hash."""
    return f"kubernaut.key-{key}"


def key_label(key: str) -> str:
    """Return the label value of an Idempotency-Key's hash."""
    return key[:63]


def numbered_events(operation: Operation) -> tuple[tuple[int, OperationEvent], ...]:
    """Return the events with their numbers, from 1; events that were left out are counted."""
    skipped = operation.events_left_out
    return tuple((index + (skipped if index > Journal.FIRST else 0), event) for index, event in enumerate(operation.events, 1))


def operation_events(recorded: Iterable[RecordedEvent], secrets: Iterable[str] = ()) -> tuple[OperationEvent, ...]:
    """Return recorded events as an operation stores them: as text, redacted, long lines cut."""
    known = tuple(secrets)

    def stored(one: RecordedEvent) -> OperationEvent:
        text = truncate(storable(redact(_text(one), known)), _LONGEST_LINE)
        return OperationEvent(at=one.at, step=one.event.step, kind=one.event.kind, text=text)

    return tuple(map(stored, recorded))


def with_recreated_record(operation: Operation, uid: str, record: Record) -> Operation:
    """Return an operation whose reference to the record with a UID points to the recreated record."""
    made = tuple(one.model_copy(update={"uid": record.uid}) if one.uid == uid else one for one in operation.made)
    return operation.model_copy(update={"made": made})


def operation_secret(operation: Operation) -> dict[str, Any]:
    """Return the Secret of an operation, as it is created."""
    labels = {"owner": KUBERNAUT_OWNER, "name": operation.name, OPERATION_LABEL: operation.id, VERB_LABEL: operation.verb}
    if operation.key:
        labels[KEY_LABEL] = key_label(operation.key)
    data = {"operation": encode_operation(operation)}
    if operation.build is not None:
        build = pack(operation.build.model_dump(mode="json", by_alias=True, exclude_none=True))
        data[_BUILD_KEY] = base64.b64encode(build).decode("ascii")
    return {
        "metadata": {"name": operation.secret, "namespace": operation.namespace, "labels": {**labels, **outcome_labels(operation)}},
        "type": OPERATION_TYPE,
        "data": data,
    }


def outcome_labels(operation: Operation) -> dict[str, str]:
    """Return the labels that mark a finished operation."""
    return {OUTCOME_LABEL: operation.outcome.reason} if operation.finished_at and operation.outcome else {}


def encode_operation(operation: Operation) -> str:
    """Return ``data.operation`` of the Secret, no larger than :data:`LARGEST`.

    A larger operation loses events, the first ones last; then details, the last ones last; then the ends of long texts.
    """
    packed = _pack(operation)
    for reduce in (_without_events, _without_details, _with_short_texts):
        if len(packed) <= LARGEST:
            break
        operation = reduce(operation)
        packed = _pack(operation)
    return base64.b64encode(packed).decode("ascii")


def decode_operation(secret: Mapping[str, Any]) -> Operation | None:
    """Return the operation of a Secret; ``None`` for another Secret.

    An operation that cannot be read completely has ``unread`` set; missing fields come from the Secret's labels and metadata.
    """
    labels = (secret.get("metadata") or {}).get("labels") or {}
    match = _TYPE.fullmatch(str(secret.get("type") or ""))
    if labels.get("owner") != KUBERNAUT_OWNER or match is None:
        return None
    known = operation_from_labels(secret)
    newer = f"it was written by a newer kubernaut (operation.v{match['schema']})" if int(match["schema"]) > SCHEMA else None
    data = secret.get("data") or {}
    try:
        content = unpack(str(data.get("operation") or ""))
    except (ValueError, zlib.error, RecursionError) as error:
        return known.model_copy(update={"unread": newer or f"it cannot be decoded: {error}"})
    content = {key: value for key, value in content.items() if key not in ("unread", "resourceVersion")}  # never written
    operation, why = _validate(content, known)
    build = _decode_build(data) or operation.build
    return operation.model_copy(update={"unread": newer or why, "resource_version": known.resource_version, "build": build})


def operation_from_labels(secret: Mapping[str, Any]) -> Operation:
    """Return an operation with what the labels and metadata of its Secret contain."""
    metadata = secret.get("metadata") or {}
    labels = metadata.get("labels") or {}
    return Operation(
        id=str(labels.get(OPERATION_LABEL) or str(metadata.get("name", "")).removeprefix("kubernaut.")),
        verb=str(labels.get(VERB_LABEL) or "unknown"),
        namespace=str(metadata.get("namespace", "")),
        name=str(labels.get("name", "")),
        started_at=parse_time(str(metadata.get("creationTimestamp") or "")) or datetime.fromtimestamp(0, UTC),
        resource_version=str(metadata.get("resourceVersion") or ""),
    )


def _decode_build(data: Mapping[str, Any]) -> CiBuild | None:
    """Return the build in a Secret's data, without fields of the wrong type."""
    try:
        content = unpack(str(data.get(_BUILD_KEY) or ""))
    except (ValueError, zlib.error, RecursionError):
        return None
    valid = {
        name: content[name] for name in CiBuild.model_fields if isinstance(content.get(name), int if name == "number" else str)
    }
    return make_build(**valid)


def _text(recorded: RecordedEvent) -> str:
    event = recorded.event
    if isinstance(event, StepStarted):
        return event.subject
    if isinstance(event, LogLine | Notice):
        return event.text
    if isinstance(event, WorkloadProgress):
        return f"{'ready' if event.ready else 'progressing'} {event.workload}: {event.text}"
    return f"{event.outcome.value} {event.detail}".rstrip()


def _pack(operation: Operation) -> bytes:
    content = operation.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"build"})
    if operation.build and operation.build.url:
        content[_LEGACY_BUILD] = operation.build.url
    return pack(content)


def _fits(operation: Operation) -> bool:
    return len(_pack(operation)) <= LARGEST


def _least_that_fits(without: Callable[[int], Operation], most: int) -> Operation:
    return without(bisect_left(range(most), True, key=lambda count: _fits(without(count))))


def _without_events(operation: Operation) -> Operation:
    def without(count: int) -> Operation:
        events, first = operation.events, Journal.FIRST
        kept = events[:first] + events[first + count :] if count <= len(events) - first else events[: len(events) - count]
        return operation.model_copy(update={"events": kept, "events_left_out": operation.events_left_out + count})

    return _least_that_fits(without, len(operation.events))


def _without_details(operation: Operation) -> Operation:
    outcome = operation.outcome
    if outcome is None:
        return operation

    def without(count: int) -> Operation:
        fewer = outcome.model_copy(update={"details": outcome.details[count:], "left_out": outcome.left_out + count})
        return operation.model_copy(update={"outcome": fewer})

    return _least_that_fits(without, len(outcome.details))


def _with_short_texts(operation: Operation) -> Operation:
    """Cut long texts, such as a note, until the operation fits; names and IDs are always short."""
    content = operation.model_dump(mode="python")
    shorter, longest = operation, LARGEST
    while not _fits(shorter) and longest > _SHORTEST_TEXT:
        longest //= 4
        shorter = Operation.model_validate(truncate(content, longest))
    return shorter


def _validate(content: dict[str, Any], known: Operation) -> tuple[Operation, str | None]:
    """Return the operation in a content, and why it is incomplete; ``known`` replaces invalid fields, unknown ones are ignored."""
    invalid: dict[str, None] = {}
    base = known.model_dump(mode="json", by_alias=True, exclude_none=True)
    for key in ("id", "verb", "namespace", "name", "startedAt"):
        if key not in content:
            invalid[key] = None
            content[key] = base[key]
    operation = None
    while operation is None:
        try:
            operation = Operation.model_validate(content)
        except ValidationError as failed:
            error = failed.errors()[0]
            invalid[".".join(map(str, error["loc"]))] = None
            _remove(content, error["loc"], base, only=error["type"] == "extra_forbidden")
    if operation.verb not in get_args(Verb):
        invalid[f"verb {operation.verb}"] = None
    return operation, f"it was written by a newer kubernaut ({few(invalid, 5)} is not known here)" if invalid else None


def _remove(content: dict[str, Any], path: tuple[int | str, ...], base: Mapping[str, Any], *, only: bool) -> None:
    """Remove the field at a path; without ``only``, replace the whole top-level field that contains it."""
    if not only or len(path) == 1:
        content.pop(str(path[0]), None)
        if path[0] in base:
            content[str(path[0])] = base[str(path[0])]
        return
    parent: Any = content
    for step in path[:-1]:
        parent = parent[step]
    parent.pop(path[-1], None)
