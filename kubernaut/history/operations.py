"""An operation: one attempt to write, by whom, with what plan, and what came of it. Pure: the codec of the Secret that keeps it.

It lives beside Helm's records, as the Secret ``kubernaut.ID`` of the release's namespace, and knows what Helm has no place for:
who, why, from which build, the chart's digest, and what was said on the way. ``deploy/`` writes it; the history reads it. Values
and other secrets are never in it.

One that a server accepts is written before it is begun. Where its request had an Idempotency-Key, the Secret is named by the key's
hash instead: of two servers that accept the same request at once the API server lets one create it.

What a newer kubernaut wrote, or nobody can decode, is not passed over: as much as can be read of it is told, and ``unread`` says
why that is not all.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from kubernaut.ci import CiBuild, build_of
from kubernaut.errors import DeployFailed, KubernautError, error_classes, from_problem
from kubernaut.events import Journal, LogLine, Notice, RecordedEvent, StepStarted
from kubernaut.history.records import KUBERNAUT_OWNER, OPERATION_LABEL, Record, pack, smallest, storable, truncate, unpack
from kubernaut.models import Model, Plan
from kubernaut.redact import redact

SCHEMA = 1
OPERATION_TYPE = f"kubernaut/operation.v{SCHEMA}"
VERB_LABEL = "kubernaut/verb"
KEY_LABEL = "kubernaut/key"
"""The hash of the Idempotency-Key, as much of it as a label holds."""
OUTCOME_LABEL = "kubernaut/outcome"
"""The outcome's reason, once the operation is finished."""
LARGEST = 256 << 10
"""How many bytes of an operation are kept, gzipped; more events and details than that are left out, and counted."""

_TYPE = re.compile(r"kubernaut/operation\.v(?P<schema>[0-9]{1,9})")

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LONGEST_LINE = 4000
_SHORTEST = 256
_LONGEST_LABEL = 63
_ID = re.compile(rf"[{_ALPHABET}]{{26}}")

SUCCEEDED = "succeeded"
"""The outcome's reason when all went well; else it is the code of an error."""
UNCHANGED = "unchanged"
"""The outcome's reason of an operation that was accepted and had nothing to do."""
UNREAD = "unread"
"""What is told as the outcome's reason of an operation that cannot be read, or not all of it; never written."""

Verb = Literal["deploy", "rollback", "restore", "delete"]
State = Literal["accepted", "running", "succeeded", "unchanged", "failed", "unread"]


class Outcome(Model):
    """What came of an operation: ``reason`` is ``succeeded``, ``unchanged`` or an error's code, ``message`` a line for a person."""

    reason: str
    message: str
    details: tuple[str, ...] = ()
    left_out: int = 0


class OperationChart(Model):
    """The chart of a release: its version and, by digest, which one it is."""

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


class OperationEvent(Model):
    """Something that was said on the way: ``kind`` is the event's, ``text`` its subject, line or outcome, secrets taken out."""

    at: datetime
    step: str
    kind: str
    text: str


class Operation(Model):
    """One attempt to write.

    Attributes:
        verb: One of :data:`Verb`; of what a newer kubernaut wrote, perhaps another word.
        actor: Who; ``None`` only where it cannot be read.
        build: The CI build that asked for it.
        timeout: Seconds that it might take.
        after: The current revision when it began; 0 for none.
        fingerprint: Tells the request that was accepted from others with the same key.
        key: The hash of its Idempotency-Key, see :func:`key_hash`.
        waits_until: Accepted, and not begun yet: until when it may, by the API server's clock.
        events: What was said on the way, in order; ``events_left_out`` of it are missing after the beginning.
        unread: Why it cannot be read, or not all of it; never written.
        resource_version: Which state of its Secret this is; never written.
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
    after: int | None = None
    started_at: datetime
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    made: tuple[ReleaseReference, ...] = ()
    fingerprint: str | None = None
    key: str | None = None
    waits_until: datetime | None = None
    events: tuple[OperationEvent, ...] = ()
    events_left_out: int = 0
    unread: str | None = Field(default=None, exclude=True)
    resource_version: str = Field(default="", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _with_a_page_alone(cls, content: Any) -> Any:
        return with_legacy_build(content)

    @property
    def secret(self) -> str:
        """The name of the Secret that keeps it."""
        return key_secret_name(self.key) if self.key else f"kubernaut.{self.id}"

    @property
    def state(self) -> State:
        """How far it is, and what came of it; the outcome tells more."""
        if self.unread is not None:
            return "unread"
        if self.finished_at is None:
            return "running" if self.waits_until is None else "accepted"
        reason = self.outcome.reason if self.outcome else ""
        return "succeeded" if reason == SUCCEEDED else "unchanged" if reason == UNCHANGED else "failed"

    @property
    def failure(self) -> KubernautError:
        """The failure that it ended with, as far as it is written down and known here."""
        said = self.unread or "nobody wrote it down"
        outcome = self.outcome or Outcome(reason=UNREAD, message=f"What came of the {self.verb} is not known: {said}.")
        known = outcome.reason in {kind.code for kind in error_classes()}
        named = {"operation": self.id, **({"release": self.made[0].id} if self.made else {})}
        code = outcome.reason if known else DeployFailed.code
        return from_problem({"code": code, "detail": outcome.message, "details": list(outcome.details), **named})

    def may_begin(self, at: datetime | None) -> bool:
        """Say whether it was accepted and may still begin; ``at`` is the API server's time, ``None`` where nobody knows it."""
        return self.finished_at is None and self.waits_until is not None and (at is None or at < self.waits_until)


def is_operation_id(text: str) -> bool:
    """Say whether a text can be an operation's id."""
    return _ID.fullmatch(text) is not None


def key_hash(actor: str, key: str) -> str:
    """Return what is kept of an Idempotency-Key: each actor has keys of his own, and none can be read back."""
    return hashlib.sha256(f"{actor}\0{key}".encode()).hexdigest()


def key_secret_name(key: str) -> str:
    """Return the name of the Secret that keeps the operation which was accepted with a key, by the key's hash."""
    return f"kubernaut.key-{key}"


def key_label(key: str) -> str:
    """Return the label's value for the hash of a key."""
    return key[:_LONGEST_LABEL]


def numbered_events(operation: Operation) -> tuple[tuple[int, OperationEvent], ...]:
    """Return the events with their numbers, from 1; those that were left out have theirs too."""
    first = Journal.FIRST
    return tuple(
        (index + 1 + (operation.events_left_out if index >= first else 0), event) for index, event in enumerate(operation.events)
    )


def new_operation_id(now: float | None = None) -> str:
    """Return a new operation's id: 26 characters that sort by time (a ULID in lower case)."""
    number = (int((time.time() if now is None else now) * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def operation_events(heard: Iterable[RecordedEvent], secrets: Iterable[str] = ()) -> tuple[OperationEvent, ...]:
    """Return what was heard as an operation keeps it: in words, secrets taken out, endless lines cut."""
    known = tuple(secrets)
    return tuple(
        OperationEvent(
            at=one.at, step=one.event.step, kind=one.event.kind, text=truncate(storable(redact(_words(one), known)), _LONGEST_LINE)
        )
        for one in heard
    )


def with_recreated_record(operation: Operation, uid: str, record: Record) -> Operation:
    """Return an operation as it is once a record that it noted by its uid was recreated as another."""
    made = tuple(one.model_copy(update={"uid": record.uid}) if one.uid == uid else one for one in operation.made)
    return operation.model_copy(update={"made": made})


def encode_operation(operation: Operation) -> str:
    """Return an operation as its Secret's ``data.operation`` holds it, no larger than :data:`LARGEST`.

    What is too large loses events first, those after the beginning first; then details, the first ones first; then, where that is
    not enough, the ends of texts.
    """
    for smaller in (_fewer_events, _fewer_details, _shorter):
        packed = _pack(operation)
        if len(packed) <= LARGEST:
            break
        operation = smaller(operation)
    return base64.b64encode(_pack(operation)).decode("ascii")


def operation_secret(operation: Operation) -> dict[str, Any]:
    """Return the Secret that keeps an operation, as it is created."""
    labels = {"owner": KUBERNAUT_OWNER, "name": operation.name, OPERATION_LABEL: operation.id, VERB_LABEL: operation.verb}
    if operation.key:
        labels[KEY_LABEL] = key_label(operation.key)
    return {
        "metadata": {"name": operation.secret, "namespace": operation.namespace, "labels": {**labels, **outcome_labels(operation)}},
        "type": OPERATION_TYPE,
        "data": {"operation": encode_operation(operation), **build_data(operation.build)},
    }


def outcome_labels(operation: Operation) -> dict[str, str]:
    """Return the labels by which a finished operation is told from one that is not, without reading it."""
    return {OUTCOME_LABEL: operation.outcome.reason} if operation.finished_at and operation.outcome else {}


def decode_operation(secret: Mapping[str, Any]) -> Operation | None:
    """Return the operation that a Secret keeps; ``None`` for another Secret.

    Of one that cannot be read, or not all of it, as much as can be, with ``unread``; what is missing then is taken from the
    Secret's labels and metadata.
    """
    labels = (secret.get("metadata") or {}).get("labels") or {}
    match = _TYPE.fullmatch(str(secret.get("type") or ""))
    if labels.get("owner") != KUBERNAUT_OWNER or match is None:
        return None
    known = operation_from_labels(secret)
    newer = f"it was written by a newer kubernaut (operation.v{match['schema']})" if int(match["schema"]) > SCHEMA else None
    try:
        content = unpack(str((secret.get("data") or {}).get("operation") or ""))
        for told_by_others in ("unread", "resourceVersion"):
            content.pop(told_by_others, None)
    except (ValueError, zlib.error, RecursionError) as error:
        return known.model_copy(update={"unread": newer or f"it cannot be decoded: {error}"})
    operation, why = _as_much_as_possible(content, known)
    build = decode_build(secret) or operation.build
    return operation.model_copy(update={"unread": newer or why, "resource_version": known.resource_version, "build": build})


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _words(heard: RecordedEvent) -> str:
    event = heard.event
    if isinstance(event, StepStarted):
        return event.subject
    if isinstance(event, LogLine | Notice):
        return event.text
    return f"{event.outcome.value} {event.detail}".rstrip()


def _pack(operation: Operation) -> bytes:
    content = operation.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"build"})
    return pack({**content, **legacy_build_url(operation.build)})


def _fewer_events(operation: Operation) -> Operation:
    def without(count: int) -> Operation:
        events, first = operation.events, Journal.FIRST
        kept = events[:first] + events[first + count :] if count <= len(events) - first else events[: len(events) - count]
        return operation.model_copy(update={"events": kept, "events_left_out": operation.events_left_out + count})

    return without(smallest(lambda count: len(_pack(without(count))) <= LARGEST, len(operation.events)))


def _fewer_details(operation: Operation) -> Operation:
    outcome = operation.outcome
    if outcome is None:
        return operation

    def without(count: int) -> Operation:
        fewer = outcome.model_copy(update={"details": outcome.details[count:], "left_out": outcome.left_out + count})
        return operation.model_copy(update={"outcome": fewer})

    return without(smallest(lambda count: len(_pack(without(count))) <= LARGEST, len(outcome.details)))


def _shorter(operation: Operation) -> Operation:
    """Cut long texts, such as a note, until it is small enough; names and ids are short by themselves."""
    content = operation.model_dump(mode="python")
    shorter, longest = operation, LARGEST
    while len(_pack(shorter)) > LARGEST and longest > _SHORTEST:
        longest //= 4
        shorter = Operation.model_validate(truncate(content, longest))
    return shorter


def operation_from_labels(secret: Mapping[str, Any]) -> Operation:
    """Return what the labels and metadata of a Secret that keeps an operation tell of it."""
    metadata = secret.get("metadata") or {}
    labels = metadata.get("labels") or {}
    try:
        created = datetime.fromisoformat(str(metadata.get("creationTimestamp")))
    except ValueError:
        created = datetime.fromtimestamp(0, UTC)
    return Operation(
        id=str(labels.get(OPERATION_LABEL) or str(metadata.get("name", "")).removeprefix("kubernaut.")),
        verb=str(labels.get(VERB_LABEL) or "unknown"),
        namespace=str(metadata.get("namespace", "")),
        name=str(labels.get("name", "")),
        started_at=created,
        resource_version=str(metadata.get("resourceVersion") or ""),
    )


def _as_much_as_possible(content: dict[str, Any], known: Operation) -> tuple[Operation, str | None]:
    """Return the operation that the content is, and why that is not all of it.

    A field that this version does not know is passed over; one that is not as it should be is taken from what is known besides.
    """
    strange: dict[str, None] = {}
    base = known.model_dump(mode="json", by_alias=True, exclude_none=True)
    for key in ("id", "verb", "namespace", "name", "startedAt"):
        if key not in content:
            strange[key] = None
            content[key] = base[key]
    operation = None
    while operation is None:
        try:
            operation = Operation.model_validate(content)
        except ValidationError as invalid:
            error = invalid.errors()[0]
            strange[".".join(map(str, error["loc"]))] = None
            _take_out(content, error["loc"], base, only=error["type"] == "extra_forbidden")
    if operation.verb not in get_args(Verb):
        strange[f"verb {operation.verb}"] = None
    return operation, f"it was written by a newer kubernaut ({_few(strange)} is not known here)" if strange else None


def _take_out(content: dict[str, Any], where: tuple[int | str, ...], base: Mapping[str, Any], *, only: bool) -> None:
    """Remove the field at a place; unless it is ``only`` one too many, the whole of what it is in."""
    if not only or len(where) == 1:
        content.pop(str(where[0]), None)
        if where[0] in base:
            content[str(where[0])] = base[str(where[0])]
        return
    inside: Any = content
    for step in where[:-1]:
        inside = inside[step]
    inside.pop(where[-1], None)


def _few(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


LEGACY_BUILD_FIELD = "buildUrl"
"""The operation's own field, which older kubernauts read."""
_KEY = "build"


def legacy_build_url(build: CiBuild | None) -> dict[str, str]:
    """Return what an older kubernaut reads of a build in the operation itself."""
    return {LEGACY_BUILD_FIELD: build.url} if build and build.url else {}


def build_data(build: CiBuild | None) -> dict[str, str]:
    """Return the Secret's ``data.build``."""
    if build is None:
        return {}
    return {_KEY: base64.b64encode(pack(build.model_dump(mode="json", by_alias=True, exclude_none=True))).decode("ascii")}


def decode_build(secret: Mapping[str, Any]) -> CiBuild | None:
    """Return the build that a Secret tells of; what is not as it should be is left out."""
    try:
        content = unpack(str((secret.get("data") or {}).get(_KEY) or ""))
    except (ValueError, zlib.error, RecursionError):
        return None
    known = {
        name: content[name] for name in CiBuild.model_fields if isinstance(content.get(name), int if name == "number" else str)
    }
    return build_of(**known)


def with_legacy_build(content: Any) -> Any:
    """Return an operation's content with the build where an older kubernaut has told its page alone."""
    if not isinstance(content, dict) or not isinstance(content.get(LEGACY_BUILD_FIELD), str):
        return content
    build = content.get("build") or build_of(url=content[LEGACY_BUILD_FIELD])
    return {**{key: value for key, value in content.items() if key != LEGACY_BUILD_FIELD}, "build": build}
