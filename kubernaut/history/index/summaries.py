"""Summaries of Secrets, small enough that the index keeps one of every Secret. Pure.

A Secret's metadata becomes :class:`RecordMetadata`, a record's content :class:`ReleaseJSON`, and an operation's content
:class:`OperationSummary`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sys import intern
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError

from kubernaut.history.operation_codec import OUTCOME_LABEL
from kubernaut.history.operations import Operation
from kubernaut.history.records import ASIDE_LABEL, KUBERNAUT_OWNER, OPERATION_LABEL, REVISION_LABEL, Record, decode, storable
from kubernaut.history.releases import Release, describe, find_operation
from kubernaut.models import Plan

MAX_JSON_BYTES = 2048
"""The size limit of a release's JSON in lists; a larger one has texts cut and images left out, each marked by "…"."""

_MARGIN = 32  # for a serving revision that is set later
_CUTS = ((400, 8), (200, 6), (100, 4), (60, 2), (30, 1))  # bytes of a text, number of images
_NEVER_CUT = ("id", "uid", "namespace", "name", "operation")

Key = tuple[str, str]
"""UID and resource version: one state of one Secret."""


class NamespacedName(NamedTuple):
    """The namespace and the name that the revisions of a release share."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class RecordMetadata:
    """The metadata of a Secret that holds a Helm record, a set-aside copy of one, or an operation.

    Attributes:
        secret: The Secret's name.
        uid: The Secret's UID; ``record_uid`` is that of the record, also for a copy.
        revision: 0 for an operation.
        status: The status label of a record.
        operation: The ID in the operation label.
        own: Whether the record's operation label is its own, not copied from another revision.
        finished: Whether an operation has an outcome label.
    """

    name: NamespacedName
    secret: str
    uid: str
    version: str
    revision: int = 0
    status: str = ""
    operation: str | None = None
    own: bool = False
    copy: bool = False
    record_uid: str = ""
    finished: bool = False

    @property
    def key(self) -> Key:
        """The state of the Secret."""
        return self.uid, self.version

    @property
    def is_operation(self) -> bool:
        """Whether the Secret holds an operation."""
        return self.revision == 0 and not self.record_uid

    def record(self, status: str | None = None) -> Record:
        """Return a record without content; ``status`` overrides the label."""
        labels = {OPERATION_LABEL: self.operation, REVISION_LABEL: str(self.revision)} if self.own and self.operation else {}
        return Record(
            *self.name,
            self.revision,
            status or self.status,
            self.secret,
            self.record_uid,
            self.version,
            "",
            labels,
            aside=self.copy,
        )


@dataclass(frozen=True, slots=True)
class OperationSummary:
    """An operation without events, plan, details and evidence.

    Attributes:
        json: The operation's JSON.
        unread: Why it cannot be read, or not completely.
        made: Whether it made or ended a release.
        finished: Whether it has ended; true for one that cannot be read.
    """

    json: bytes
    unread: str | None
    made: bool
    finished: bool

    def operation(self) -> Operation:
        """Return the summary as an operation."""
        return Operation.model_validate_json(self.json).model_copy(update={"unread": self.unread})


@dataclass(frozen=True, slots=True)
class ReleaseJSON:
    """The JSON of a release.

    Attributes:
        status: The status in the record's content, else that of its label.
        chart_version: The chart's version.
        operation: The operation that made it, as known when the JSON was written.
        active: Whether it is the active release of its name.
        serving: The serving revision of its name.
        whole: Whether nothing is cut.
        chart_name: The chart's name.
    """

    json: bytes
    status: str
    chart_version: str | None
    operation: OperationSummary | None
    active: bool
    serving: int | None
    whole: bool = True
    chart_name: str | None = None

    def release(self, version: str) -> Release:
        """Return the release; ``version`` is the record's resource version, which the JSON does not contain."""
        return Release.model_validate_json(self.json).model_copy(update={"resource_version": version})

    def standing(self, *, active: bool, serving: int | None) -> ReleaseJSON:
        """Return it with the fields that depend on the other revisions."""
        if (self.active, self.serving) == (active, serving):
            return self
        release = Release.model_validate_json(self.json).model_copy(update={"active": active, "serving": serving})
        return replace(self, json=_dump(release), active=active, serving=serving)

    def shortened(self) -> ReleaseJSON:
        """Return it in at most :data:`MAX_JSON_BYTES`."""
        limit, text = MAX_JSON_BYTES - _MARGIN, self.json
        if len(text) <= limit:
            return self
        for longest, images in _CUTS:
            text = _dump(Release.model_validate(_cut(json.loads(self.json), longest, images)))
            if len(text) <= limit:
                break
        return replace(self, json=text, whole=False)


def parse_metadata(secret: Mapping[str, Any]) -> RecordMetadata | None:
    """Return the metadata of a Secret; ``None`` for one that is neither Helm's nor kubernaut's."""
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
        status=intern(record.labelled_status),
        operation=record.labels.get(OPERATION_LABEL),
        own=record.operation_id is not None,
        copy=record.aside,
        record_uid=record.uid if record.aside else own[1],
    )


def summarize_release(record: Record, operations: Iterable[OperationSummary]) -> ReleaseJSON:
    """Return the JSON of a record as if it were the only revision of its name; unusable content makes a damaged release.

    Args:
        record: The record.
        operations: The operations of its name.
    """
    known = [(summary, summary.operation()) for summary in operations]
    candidates = [operation for _, operation in known]
    try:
        release = describe(record, (record,), candidates)
    except (ValueError, TypeError, OverflowError) as error:
        empty = describe(replace(record, payload=""), (), candidates)
        why = type(error).__name__ if isinstance(error, TypeError) else str(error).splitlines()[0]
        release = empty.model_copy(update={"description": f"damaged: its content is not a release: {storable(why)}"})
    found = find_summary(record, known)
    chart = release.chart
    named = None if chart.name is None else intern(chart.name)
    return ReleaseJSON(_dump(release), release.status, chart.version, found, release.active, release.serving, chart_name=named)


def find_summary(record: Record, known: Sequence[tuple[OperationSummary, Operation]]) -> OperationSummary | None:
    """Return the summary of the operation that made a record."""
    found = find_operation(record, (operation for _, operation in known))
    return next((summary for summary, operation in known if found and operation is found[0]), None)


def summarize_operation(operation: Operation) -> OperationSummary:
    """Return the summary of an operation."""
    outcome = operation.outcome and operation.outcome.model_copy(update={"details": (), "left_out": 0, "evidence": ()})
    less = operation.model_copy(update={"events": (), "events_left_out": 0, "plan": Plan(), "outcome": outcome})
    finished = operation.finished_at is not None or operation.unread is not None
    text = less.model_dump_json(by_alias=True, exclude_none=True).encode()
    return OperationSummary(text, operation.unread, bool(operation.made), finished)


def _dump(release: Release) -> bytes:
    try:
        return release.model_dump_json(by_alias=True).encode()
    except PydanticSerializationError:  # half a surrogate pair, which JSON can hold and UTF-8 cannot
        text = json.dumps(release.model_dump(by_alias=True), default=datetime.isoformat, ensure_ascii=False)
        return _dump(Release.model_validate_json(storable(text)))


def _name(namespace: str, name: str) -> NamespacedName:
    return NamespacedName(intern(namespace), intern(name))


def _cut(content: dict[str, Any], longest: int, images: int) -> dict[str, Any]:
    """Return a release's JSON with its texts, except identifiers, cut, and only its first images."""
    cut = {key: value if key in _NEVER_CUT else _shorten(value, longest) for key, value in content.items()}
    if len(content["images"]) > images:
        cut["images"] = [*cut["images"][:images], {"ref": "…"}]
    return cut


def _shorten(value: Any, longest: int) -> Any:
    """Return a value whose texts have at most ``longest`` bytes as JSON."""
    if isinstance(value, dict):
        return {key: _shorten(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item, longest) for item in value]
    if not isinstance(value, str):
        return value
    size = 0
    for index, letter in enumerate(value):
        size += len(json.dumps(letter, ensure_ascii=False).encode()) - 2
        if size > longest:
            return value[:index] + "…"
    return value
