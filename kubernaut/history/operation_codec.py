"""The codec of the operations' Secrets. Pure.

The Secret of an operation has its content in ``data.operation``, gzipped. Older versions of kubernaut reject fields that they do
not know, so what was added later has its own key in ``data``. An operation that cannot be read completely says why in ``unread``.
"""

from __future__ import annotations

import base64
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, get_args

from pydantic import ValidationError

from kubernaut.ci import CiBuild, make_build
from kubernaut.events import Journal
from kubernaut.history.explanation import Evidence
from kubernaut.history.operations import LEGACY_BUILD, Operation, Outcome, Verb
from kubernaut.history.records import KUBERNAUT_OWNER, OPERATION_LABEL, few, pack, parse_time, truncate, unpack
from kubernaut.models import Model

SCHEMA = 1
OPERATION_TYPE = f"kubernaut/operation.v{SCHEMA}"
VERB_LABEL = "kubernaut/verb"
KEY_LABEL = "kubernaut/key"  # the beginning of the Idempotency-Key's hash
OUTCOME_LABEL = "kubernaut/outcome"  # the outcome's reason; only on a finished operation
LARGEST = 256 << 10
"""The size limit of a gzipped operation in bytes; events and details above it are left out and counted."""

_TYPE = re.compile(r"kubernaut/operation\.v(?P<schema>[0-9]{1,9})")
_SHORTEST_TEXT = 256
_BUILD_KEY = "build"
_CAUSE_KEY = "cause"
_CAUSE_FIELDS = ("cause", "evidence")


def key_label(key: str) -> str:
    """Return the label value of an Idempotency-Key's hash."""
    return key[:63]


def operation_secret(operation: Operation) -> dict[str, Any]:
    """Return the Secret of an operation, as it is created."""
    labels = {"owner": KUBERNAUT_OWNER, "name": operation.name, OPERATION_LABEL: operation.id, VERB_LABEL: operation.verb}
    if operation.key:
        labels[KEY_LABEL] = key_label(operation.key)
    return {
        "metadata": {"name": operation.secret, "namespace": operation.namespace, "labels": {**labels, **outcome_labels(operation)}},
        "type": OPERATION_TYPE,
        "data": operation_data(operation),
    }


def operation_data(operation: Operation) -> dict[str, str]:
    """Return the ``data`` of an operation's Secret."""
    data = {"operation": encode_operation(operation)}
    if operation.build is not None:
        data[_BUILD_KEY] = _packed(operation.build)
    if operation.outcome is not None and operation.outcome.cause is not None:
        data[_CAUSE_KEY] = _packed(operation.outcome, include=set(_CAUSE_FIELDS))
    return data


def _packed(content: Model, include: set[str] | None = None) -> str:
    json = content.model_dump(mode="json", by_alias=True, exclude_none=True, include=include)
    return base64.b64encode(pack(json)).decode("ascii")


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
    added = {"build": _decode_build(data) or operation.build, "outcome": _with_cause(operation.outcome, data)}
    return operation.model_copy(update={"unread": newer or why, "resource_version": known.resource_version, **added})


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
    content = _unpacked(data, _BUILD_KEY)
    valid = {
        name: content[name] for name in CiBuild.model_fields if isinstance(content.get(name), int if name == "number" else str)
    }
    return make_build(**valid)


def _with_cause(outcome: Outcome | None, data: Mapping[str, Any]) -> Outcome | None:
    """Return an outcome with the cause and the evidence in a Secret's data; evidence that cannot be read is left out."""
    if outcome is None:
        return None
    content = _unpacked(data, _CAUSE_KEY)
    cause, evidence = content.get("cause"), content.get("evidence")
    found = []
    for one in evidence if isinstance(evidence, list) else ():
        with suppress(ValidationError):
            found.append(Evidence.model_validate(one))
    return outcome.model_copy(update={"cause": cause if isinstance(cause, str) else None, "evidence": tuple(found)})


def _unpacked(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    try:
        return unpack(str(data.get(key) or ""))
    except (ValueError, zlib.error, RecursionError):
        return {}


def _pack(operation: Operation) -> bytes:
    content = operation.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"build": True, "outcome": set(_CAUSE_FIELDS)}
    )
    if operation.build and operation.build.url:
        content[LEGACY_BUILD] = operation.build.url
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
