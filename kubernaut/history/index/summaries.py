"""What the index keeps of a Secret: little, since it keeps it of all. Pure.

A Secret's metadata become a :class:`RecordMetadata`, a record's content becomes :class:`ReleaseJSON`, and an operation's content
becomes an :class:`OperationSummary`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sys import intern
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError

from kubernaut.history.operations import OUTCOME_LABEL, Operation
from kubernaut.history.records import ASIDE_LABEL, KUBERNAUT_OWNER, OPERATION_LABEL, REVISION_LABEL, Record, decode, storable
from kubernaut.history.releases import Release, describe, find_operation
from kubernaut.models import Plan

LARGEST = 2048
"""How many bytes of a release's JSON are kept for lists; of a longer one texts are cut and images left out, marked by "…"."""

_MARGIN = 32  # for a revision that serves later
_CUTS = ((400, 8), (200, 6), (100, 4), (60, 2), (30, 1))
_IDENTITY = ("id", "uid", "namespace", "name", "operation")


class Name(NamedTuple):
    """What releases have in common that follow one another."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class RecordMetadata:
    """What a Secret's metadata tell: of a revision of Helm's, of a copy of one that was set aside, or of an operation.

    Attributes:
        secret: The Secret's name.
        uid: The Secret's; ``record_uid`` is that of the record, if a copy was made of it.
        revision: Of a record, and of a copy; 0 for an operation.
        label: The status that a record's label says.
        operation: The id that a record's label says; the operation's own.
        own: Whether that label is the record's own, and not copied from another revision.
        finished: Whether an operation's label says that it has ended.
    """

    name: Name
    secret: str
    uid: str
    version: str
    revision: int = 0
    label: str = ""
    operation: str | None = None
    own: bool = False
    copy: bool = False
    record_uid: str = ""
    finished: bool = False

    @property
    def is_operation(self) -> bool:
        """Whether it is no record's."""
        return self.revision == 0 and not self.record_uid

    def record(self, status: str | None = None) -> Record:
        """Return a record without content, with another status if it is known better."""
        labels = {OPERATION_LABEL: self.operation, REVISION_LABEL: str(self.revision)} if self.own and self.operation else {}
        return Record(
            *self.name, self.revision, status or self.label, self.secret, self.record_uid, self.version, "", labels, aside=self.copy
        )


@dataclass(frozen=True, slots=True)
class OperationSummary:
    """What is kept of an operation.

    Attributes:
        text: Its JSON without what no release tells: events, plan, details.
        unread: Why it cannot be read, or not all of it.
        made: Whether it made a release, or ended one.
        finished: Whether it has ended, as far as can be read.
    """

    text: bytes
    unread: str | None
    made: bool
    finished: bool

    def operation(self) -> Operation:
        """Return the operation, as far as it is kept."""
        return Operation.model_validate_json(self.text).model_copy(update={"unread": self.unread})


@dataclass(frozen=True, slots=True)
class ReleaseJSON:
    """What is told of a record.

    Attributes:
        text: The release's JSON.
        status: The status that Helm believes.
        version: The chart's version.
        by: What was known of the operation that made it.
        active: Whether it is the active release of its name.
        serving: The revision that serves.
        whole: Whether nothing was cut.
    """

    text: bytes
    status: str
    version: str | None
    by: OperationSummary | None
    active: bool
    serving: int | None
    whole: bool = True

    def release(self, version: str) -> Release:
        """Return the release; ``version`` is the record's resource version, which is not in the JSON."""
        return Release.model_validate_json(self.text).model_copy(update={"resource_version": version})

    def standing(self, *, active: bool, serving: int | None) -> ReleaseJSON:
        """Return it for a release that stands otherwise among those of its name."""
        if (self.active, self.serving) == (active, serving):
            return self
        release = Release.model_validate_json(self.text).model_copy(update={"active": active, "serving": serving})
        return replace(self, text=_json(release), active=active, serving=serving)

    def shortened(self) -> ReleaseJSON:
        """Return it in at most :data:`LARGEST` bytes."""
        if len(self.text) <= LARGEST - _MARGIN:
            return self
        text = self.text
        for longest, images in _CUTS:
            text = _json(Release.model_validate(_cut(json.loads(self.text), longest, images)))
            if len(text) <= LARGEST - _MARGIN:
                break
        return replace(self, text=text, whole=False)


def sight(secret: Mapping[str, Any]) -> RecordMetadata | None:
    """Return what a Secret's metadata tell; ``None`` for one that is neither Helm's nor kubernaut's."""
    metadata = secret.get("metadata") or {}
    labels = metadata.get("labels") or {}
    own = str(metadata.get("name", "")), str(metadata.get("uid", "")), str(metadata.get("resourceVersion", ""))
    if labels.get("owner") == KUBERNAUT_OWNER and ASIDE_LABEL not in labels:
        if OPERATION_LABEL not in labels:
            return None
        name = _name(str(metadata.get("namespace", "")), str(labels.get("name", "")))
        return RecordMetadata(name, *own, operation=str(labels[OPERATION_LABEL]), finished=OUTCOME_LABEL in labels)
    record = decode(secret)
    if record is None:
        return None
    return RecordMetadata(
        _name(record.namespace, record.name),
        *own,
        revision=record.revision,
        label=intern(record.labelled_status),
        operation=record.labels.get(OPERATION_LABEL),
        own=record.operation_id is not None,
        copy=record.aside,
        record_uid=record.uid if record.aside else own[1],
    )


def tell(record: Record, briefs: Iterable[OperationSummary]) -> ReleaseJSON:
    """Return what is told of a record whose name has these operations, as if it were the only one of its name.

    What makes no release, though it can be decoded, is told as damaged.
    """
    known = [(brief, brief.operation()) for brief in briefs]
    operations = [operation for _, operation in known]
    made_by = maker(record, known)
    try:
        release = describe(record, (record,), operations)
    except (ValueError, TypeError, OverflowError) as error:
        empty = describe(replace(record, payload=""), (), operations)
        why = type(error).__name__ if isinstance(error, TypeError) else str(error).splitlines()[0]
        release = empty.model_copy(update={"description": f"damaged: its content is no release's: {storable(why)}"})
    return ReleaseJSON(_json(release), release.status, release.chart.version, made_by, release.active, release.serving)


def maker(record: Record, known: Sequence[tuple[OperationSummary, Operation]]) -> OperationSummary | None:
    """Return what is known of the operation that made a record."""
    found = find_operation(record, (operation for _, operation in known))
    return next((brief for brief, operation in known if found and operation is found[0]), None)


def brief(operation: Operation) -> OperationSummary:
    """Return what is kept of an operation."""
    outcome = operation.outcome and operation.outcome.model_copy(update={"details": (), "left_out": 0})
    less = operation.model_copy(update={"events": (), "events_left_out": 0, "plan": Plan(), "outcome": outcome})
    text = less.model_dump_json(by_alias=True, exclude_none=True).encode()
    finished = operation.finished_at is not None or operation.unread is not None
    return OperationSummary(text, operation.unread, bool(operation.made), finished)


def _json(release: Release) -> bytes:
    try:
        return release.model_dump_json(by_alias=True).encode()
    except PydanticSerializationError:  # half a surrogate pair, which Helm's JSON can hold and UTF-8 cannot
        text = json.dumps(release.model_dump(by_alias=True), default=datetime.isoformat, ensure_ascii=False)
        return _json(Release.model_validate_json(storable(text)))


def _name(namespace: str, name: str) -> Name:
    return Name(intern(namespace), intern(name))


def _cut(content: dict[str, Any], longest: int, images: int) -> dict[str, Any]:
    """Return a release's JSON with all texts but its names cut, and with only its first images."""
    cut = {key: value if key in _IDENTITY else _shorter(value, longest) for key, value in content.items()}
    if len(content["images"]) > images:
        cut["images"] = [*cut["images"][:images], {"ref": "…"}]
    return cut


def _shorter(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return _shorter_text(value, longest)
    if isinstance(value, dict):
        return {key: _shorter(item, longest) for key, item in value.items()}
    return [_shorter(item, longest) for item in value] if isinstance(value, list) else value


def _shorter_text(text: str, longest: int) -> str:
    """Return a text whose JSON has about so many bytes at most."""
    size = 0
    for index, letter in enumerate(text):
        size += len(json.dumps(letter, ensure_ascii=False).encode()) - 2
        if size > longest:
            return text[:index] + "…"
    return text
