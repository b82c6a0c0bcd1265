"""An operation: one attempt to write, by whom, with what plan, and what came of it. Pure: the codec of the Secret that keeps it.

It lives beside Helm's records, as the Secret ``kubernaut.ID`` of the release's namespace, and knows what Helm has no place for:
who, why, from which build, the chart's digest, and what was said on the way. ``deploy/`` writes it; the history reads it. Values
and other secrets are never in it.

What a newer kubernaut wrote, or nobody can decode, is not passed over: as much as can be read of it is told, and ``unread`` says
why that is not all.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from kubernaut.events import Heard, Journal, LogLine, Notice, StepStarted
from kubernaut.history.record import KUBERNAUT_OWNER, OPERATION_LABEL, Record
from kubernaut.model import Model, Plan
from kubernaut.redact import redact

SCHEMA = 1
OPERATION_TYPE = f"kubernaut/operation.v{SCHEMA}"
VERB_LABEL = "kubernaut/verb"
LARGEST = 256 << 10
"""How many bytes of an operation are kept, gzipped; more events and details than that are left out, and counted."""

_TYPE = re.compile(r"kubernaut/operation\.v(?P<schema>[0-9]{1,9})")

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LARGEST_CONTENT = 16 << 20
_LONGEST_LINE = 4000
_SHORTEST = 256

SUCCEEDED = "succeeded"
"""The outcome's reason when all went well; else it is the code of an error."""
UNREAD = "unread"
"""What is told as the outcome's reason of an operation that cannot be read, or not all of it; never written."""

Verb = Literal["deploy", "rollback", "restore", "delete"]


class Outcome(Model):
    """What came of an operation: ``reason`` is ``succeeded`` or an error's code, ``message`` a line for a person."""

    reason: str
    message: str
    details: tuple[str, ...] = ()
    left_out: int = 0


class OperationChart(Model):
    """The chart of a release: its version and, by digest, which one it is."""

    version: str | None = None
    ref: str | None = None
    digest: str | None = None


class Made(Model):
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
        timeout: Seconds that it might take.
        after: The current revision when it began; 0 for none.
        events: What was said on the way, in order; ``events_left_out`` of it are missing after the beginning.
        unread: Why it cannot be read, or not all of it; never written.
    """

    id: str
    verb: str
    namespace: str
    name: str
    actor: str | None = None
    build_url: str | None = None
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
    made: tuple[Made, ...] = ()
    events: tuple[OperationEvent, ...] = ()
    events_left_out: int = 0
    unread: str | None = Field(default=None, exclude=True)

    @property
    def secret(self) -> str:
        """The name of the Secret that keeps it."""
        return f"kubernaut.{self.id}"


def new_id(now: float | None = None) -> str:
    """Return a new operation's id: 26 characters that sort by time (a ULID in lower case)."""
    number = (int((time.time() if now is None else now) * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def told(heard: Iterable[Heard], secrets: Iterable[str] = ()) -> tuple[OperationEvent, ...]:
    """Return what was heard as an operation keeps it: in words, secrets taken out, endless lines cut."""
    known = tuple(secrets)
    return tuple(
        OperationEvent(
            at=one.at, step=one.event.step, kind=one.event.kind, text=_cut(_storable(redact(_words(one), known)), _LONGEST_LINE)
        )
        for one in heard
    )


def with_record(operation: Operation, uid: str, record: Record) -> Operation:
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
    return {
        "metadata": {"name": operation.secret, "namespace": operation.namespace, "labels": labels},
        "type": OPERATION_TYPE,
        "data": {"operation": encode_operation(operation)},
    }


def decode_operation(secret: Mapping[str, Any]) -> Operation | None:
    """Return the operation that a Secret keeps; ``None`` for another Secret.

    Of one that cannot be read, or not all of it, as much as can be, with ``unread``; what is missing then is taken from the
    Secret's labels and metadata.
    """
    labels = (secret.get("metadata") or {}).get("labels") or {}
    match = _TYPE.fullmatch(str(secret.get("type") or ""))
    if labels.get("owner") != KUBERNAUT_OWNER or match is None:
        return None
    known = _from_labels(secret)
    newer = f"it was written by a newer kubernaut (operation.v{match['schema']})" if int(match["schema"]) > SCHEMA else None
    try:
        content = _unpack(str((secret.get("data") or {}).get("operation") or ""))
        content.pop("unread", None)
    except (ValueError, zlib.error, RecursionError) as error:
        return known.model_copy(update={"unread": newer or f"it cannot be decoded: {error}"})
    operation, why = _as_much_as_possible(content, known)
    return operation.model_copy(update={"unread": newer or why})


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _words(heard: Heard) -> str:
    event = heard.event
    if isinstance(event, StepStarted):
        return event.subject
    if isinstance(event, LogLine | Notice):
        return event.text
    return f"{event.outcome.value} {event.detail}".rstrip()


def _storable(text: str) -> str:
    """Return the text without halves of surrogate pairs, which come from bytes that are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _pack(operation: Operation) -> bytes:
    content = operation.model_dump(mode="json", by_alias=True, exclude_none=True)
    text = json.dumps(_clean(content), separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), mtime=0)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


def _least(enough: Callable[[int], bool], most: int) -> int:
    """Return about the least number up to ``most`` that is enough; ``most`` when none is."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _fewer_events(operation: Operation) -> Operation:
    def without(count: int) -> Operation:
        events, first = operation.events, Journal.FIRST
        kept = events[:first] + events[first + count :] if count <= len(events) - first else events[: len(events) - count]
        return operation.model_copy(update={"events": kept, "events_left_out": operation.events_left_out + count})

    return without(_least(lambda count: len(_pack(without(count))) <= LARGEST, len(operation.events)))


def _fewer_details(operation: Operation) -> Operation:
    outcome = operation.outcome
    if outcome is None:
        return operation

    def without(count: int) -> Operation:
        fewer = outcome.model_copy(update={"details": outcome.details[count:], "left_out": outcome.left_out + count})
        return operation.model_copy(update={"outcome": fewer})

    return without(_least(lambda count: len(_pack(without(count))) <= LARGEST, len(outcome.details)))


def _shorter(operation: Operation) -> Operation:
    """Cut long texts, such as a note, until it is small enough; names and ids are short by themselves."""
    content = operation.model_dump(mode="python")
    shorter, longest = operation, LARGEST
    while len(_pack(shorter)) > LARGEST and longest > _SHORTEST:
        longest //= 4
        shorter = Operation.model_validate(_cut(content, longest))
    return shorter


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, Mapping):
        return {key: _cut(item, longest) for key, item in value.items()}
    return tuple(_cut(item, longest) for item in value[: longest // 16]) if isinstance(value, list | tuple) else value


def _unpack(encoded: str) -> dict[str, Any]:
    stream = zlib.decompressobj(wbits=31)
    packed = stream.decompress(base64.b64decode(encoded, validate=True), _LARGEST_CONTENT)
    if not stream.eof:
        raise ValueError("it is cut off" if not stream.unconsumed_tail else f"it holds more than {_LARGEST_CONTENT >> 20} MiB")
    content = json.loads(packed)
    if not isinstance(content, dict):
        raise ValueError("it is no operation")
    return content


def _from_labels(secret: Mapping[str, Any]) -> Operation:
    """Return what a Secret's labels and metadata tell of the operation that it keeps."""
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
