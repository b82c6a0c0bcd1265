"""Repairs what an interrupted kubernaut left: infers outcomes of operations, and makes Secrets and patches for records. Pure.

A record's status is both in its Secret's label and in its content; one patch changes both, for one resource version. ``immutable``
is a fence: a Helm process that still runs cannot overwrite the Secret. Since the flag cannot be removed, a fenced record that Helm
or kubernaut must rewrite is deleted and recreated, and a set-aside copy exists in between.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubernaut.history.operations import INTERRUPTED, SUCCEEDED, Operation, Outcome, ReleaseReference
from kubernaut.history.records import (
    ASIDE_LABEL,
    ASIDE_TYPE,
    KUBERNAUT_OWNER,
    OPERATION_LABEL,
    PENDING,
    REVISION_LABEL,
    SECRET_TYPE,
    Record,
    Status,
    decode,
    encode,
    modification_time,
    original_metadata,
    parse_time,
)
from kubernaut.redact import redact

LARGEST_SECRET = 1 << 20
"""The size limit of a Secret's data in bytes, before the API's own base64."""

_SHORT_DESCRIPTION = 80
_UNRECORDED = "kubernaut ended before it recorded the outcome"
_REPLACED = "superseded by new release"  # written by ``helm install`` into a deleted or failed record that it replaces
_UNINSTALLS = ("helm-uninstall", "mark-uninstalled")
_OTHER_DESCRIPTIONS = ('Upgrade "', 'Release "', "Rollback to ")


def aside_secret(record_secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return the set-aside copy of a record's Secret, as it is created.

    It keeps the record's UID, so that operations still refer to it. The label only names the revision, since a label value cannot
    hold the name of every Secret.

    Raises:
        ValueError: The Secret is not a record.
    """
    record = decode(record_secret)
    if record is None or record.aside:
        raise ValueError("only a record can be set aside")
    metadata = record_secret["metadata"]
    original = {
        "name": record.secret,
        "uid": record.uid,
        "creationTimestamp": record.created,
        "managedFields": [{"time": modification_time(metadata)}],
        "labels": metadata.get("labels") or {},
        "annotations": metadata.get("annotations") or {},
    }
    return {
        "metadata": {
            "name": record.aside_secret,
            "namespace": record.namespace,
            "labels": {"owner": KUBERNAUT_OWNER, "name": record.name, ASIDE_LABEL: f"v{record.revision}"},
            "annotations": {ASIDE_LABEL: json.dumps(original, sort_keys=True)},
        },
        "type": ASIDE_TYPE,
        "data": dict(record_secret.get("data") or {}),
    }


def recreated_secret(source: Mapping[str, Any], patch: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a record's Secret as it is recreated, from itself or from its set-aside copy.

    Args:
        source: The Secret or its copy.
        patch: A patch of this module that changes the record at the same time.

    Raises:
        ValueError: The Secret is neither.
    """
    record = decode(source)
    if record is None:
        raise ValueError("only a record can be recreated")
    original = original_metadata(source) if record.aside else source["metadata"]
    annotations, change = dict(original.get("annotations") or {}), patch or {}
    labels = {**(original.get("labels") or {}), "status": record.labelled_status or record.status}
    return {
        "metadata": {
            "name": record.secret,
            "namespace": record.namespace,
            "labels": {**labels, **(change.get("metadata") or {}).get("labels", {})},
            **({"annotations": annotations} if annotations else {}),
        },
        "type": SECRET_TYPE,
        "data": {**(source.get("data") or {}), **change.get("data", {})},
        **({"immutable": True} if change.get("immutable") else {}),
    }


def failed_patch(record: Record, description: str) -> dict[str, Any]:
    """Return the merge patch that marks a record failed and fences it; the API server refuses it for a changed record.

    Args:
        record: The record as it was read.
        description: The new description, shortened if it does not fit. The description of a pending rollback is kept before it,
            since nothing else contains the target.
    """
    if record.status == Status.PENDING_ROLLBACK and record.description:
        description = f"{record.description}: {description}"
    return {**_patch(record, Status.FAILED, description), "immutable": True}


def explained_patch(record: Record, description: str) -> dict[str, Any]:
    """Return the merge patch that describes a record that failed; the API server refuses it for a changed record.

    Helm calls a release ``deployed`` that was never ready, such as one whose pods crash a moment later: it becomes ``failed``.
    """
    return _patch(record, Status.FAILED if record.status == Status.DEPLOYED else Status(record.status), description)


def status_patch(record: Record, status: Status, description: str) -> dict[str, Any]:
    """Return the merge patch that gives a record a status and a description; the API server refuses it for a changed record."""
    return _patch(record, status, description)


def adopted_patch(record: Record, operation: str, description: str) -> dict[str, Any]:
    """Return the merge patch that marks a record deployed that failed, by another operation; refused for a changed record."""
    patch = _patch(record, Status.DEPLOYED, description)
    patch["metadata"]["labels"] |= {OPERATION_LABEL: operation, REVISION_LABEL: str(record.revision)}
    return patch


def manifest_patch(record: Record, manifest: str) -> dict[str, Any]:
    """Return the merge patch that gives a record another manifest; the API server refuses it for a changed record."""
    metadata = {"resourceVersion": record.resource_version, "labels": {"modifiedAt": str(int(time.time()))}}
    return {"metadata": metadata, "data": {"release": encode({**record.content, "manifest": manifest})}}


def uninstalled_patch(record: Record, description: str) -> dict[str, Any]:
    """Return the merge patch that marks a record uninstalled; the API server refuses it for a changed record."""
    return _patch(record, Status.UNINSTALLED, description)


def superseded_patch(record: Record) -> dict[str, Any]:
    """Return the merge patch that marks a record superseded; the API server refuses it for a changed record."""
    return _patch(record, Status.SUPERSEDED, record.description)


def _patch(record: Record, status: Status, description: str) -> dict[str, Any]:
    labels = {"status": status.value, "modifiedAt": str(int(time.time()))}
    patch: dict[str, Any] = {"metadata": {"resourceVersion": record.resource_version, "labels": labels}}
    if record.damaged:  # leave what cannot be read
        return patch
    encoded = ""
    for info in _infos(record, status, description):
        encoded = encode({**record.content, "info": info})
        if len(base64.b64decode(encoded)) <= LARGEST_SECRET:
            break
    return {**patch, "data": {"release": encoded}}


def _infos(record: Record, status: Status, description: str) -> Iterator[dict[str, Any]]:
    """Yield the new ``info``, each time smaller."""
    info = {**record.info, "status": status.value, "description": description}
    yield info
    short = description if len(description) <= _SHORT_DESCRIPTION else description[: _SHORT_DESCRIPTION - 1] + "…"
    yield {**info, "description": short}
    info.pop("notes", None)
    yield {**info, "description": short}
    yield {**info, "description": ""}


@dataclass(frozen=True)
class InferredOutcome:
    """The outcome of an interrupted operation, as Helm's records show it.

    Attributes:
        made: The releases that it made or ended.
    """

    outcome: Outcome
    made: tuple[ReleaseReference, ...] = ()

    def apply(self, operation: Operation, finished_at: datetime) -> Operation:
        """Return the finished operation."""
        ended = {"outcome": self.outcome, "made": self.made, "finished_at": finished_at, "waits_until": None}
        return operation.model_copy(update=ended)


def infer_outcome(operation: Operation, records: Sequence[Record], others: Iterable[Operation] = ()) -> InferredOutcome | None:
    """Return the outcome of an interrupted operation; ``None`` for one that is finished or cannot be read.

    An outcome that the records do not show is unknown: an operation must never be credited with another's release.

    Args:
        operation: An operation that no process works on.
        records: All records of its name.
        others: The other operations of its name.
    """
    if operation.finished_at is not None or operation.unread is not None:
        return None
    if operation.waits_until is not None:
        return InferredOutcome(Outcome(reason=INTERRUPTED, message="It was not begun in time; nothing was changed."))
    if operation.verb == "delete":
        return _deleted(operation, records)
    record, doubt = _made_by(operation, records, [other for other in others if other.id != operation.id])
    if record is not None:
        return InferredOutcome(_outcome_of(operation, record), _with_reference(operation, record))
    message = doubt or ("Nothing was deployed" if _is_complete(operation, records) else "Whether it made a release is unknown")
    return InferredOutcome(_interrupted(operation, f"{message}: {_UNRECORDED}."), operation.made)


def _outcome_of(operation: Operation, record: Record) -> Outcome:
    """Return the outcome of an operation that made a record."""
    name = f"v{record.revision}"
    ran = record.status == Status.DEPLOYED or (record.status == Status.SUPERSEDED and record.description != _REPLACED)
    if record.status in PENDING:
        return _interrupted(operation, f"It left {name} {record.status}: {_UNRECORDED}.")
    if record.has_failed:
        return _interrupted(operation, f"{name} failed: {redact(record.description)} ({_UNRECORDED}.)")
    if not ran:
        return _interrupted(operation, f"{name} is {record.status}; whether it ran is unknown: {_UNRECORDED}.")
    if operation.outcome is not None:  # it had failed and was being rolled back
        return _interrupted(operation, f"{name} is {record.status}: {_UNRECORDED}.")
    return Outcome(reason=SUCCEEDED, message=f"{name} was deployed; {_UNRECORDED}.")


def _deleted(operation: Operation, records: Sequence[Record]) -> InferredOutcome:
    wanted = next((action.subject for action in operation.plan.actions if action.kind in _UNINSTALLS), None)
    record = next((one for one in records if one.id == wanted), None)
    if record is None:
        message = f"Whether it deleted {wanted or 'anything'} is unknown: the record no longer exists, and {_UNRECORDED}."
        return InferredOutcome(_interrupted(operation, message), operation.made)
    name, made = f"v{record.revision}", _with_reference(operation, record)
    if record.status == Status.UNINSTALLED:
        return InferredOutcome(Outcome(reason=SUCCEEDED, message=f"{name} was deleted; {_UNRECORDED}."), made)
    if record.status == Status.UNINSTALLING:
        message = f"It left {name} {record.status}: {_UNRECORDED}."
    elif record.status == Status.SUPERSEDED:  # perhaps deleted and then replaced
        message = f"{name} is superseded; whether it was deleted is unknown: {_UNRECORDED}."
    else:
        message = f"{name} was not deleted, it is {record.status}: {_UNRECORDED}."
    return InferredOutcome(_interrupted(operation, message), made)


def _made_by(operation: Operation, records: Sequence[Record], others: Sequence[Operation]) -> tuple[Record | None, str | None]:
    """Return the record that an operation made, or why it is unknown; neither if no record of it exists."""
    if operation.made:
        noted = (record for made in operation.made for record in records if record.uid == made.uid)
        return next(noted, None), f"The release {operation.made[0].id} that it made no longer exists"
    labelled = [record for record in records if record.labels.get(OPERATION_LABEL) == operation.id]
    for record in labelled:
        if record.operation_id:
            return record, None
    if labelled:  # copied from a deleted record, or Helm made another revision than requested
        return None, "Which release it made is unknown"
    return _rolled_back(operation, records, others) if operation.verb in ("rollback", "restore") else (None, None)


def _rolled_back(operation: Operation, records: Sequence[Record], others: Sequence[Operation]) -> tuple[Record | None, str | None]:
    """Return the record that a rollback made; its labels are no evidence, since Helm copies them from the target revision."""
    target = next((action.subject.rpartition(".v")[2] for action in operation.plan.actions if action.kind == "helm-rollback"), "")
    claimed = {made.uid for other in others for made in other.made}
    possible = [
        (record, sure)
        for record in records
        if record.operation_id is None and record.uid not in claimed and _may_be_first(operation, record)
        if (sure := _is_rollback(record, target)) is not False
    ]
    if not possible:
        return None, None
    running = any(other.verb != "delete" and other.state in ("running", "unread") for other in others)
    if len(possible) == 1 and possible[0][1] and not running:
        return possible[0][0], None
    return None, "Which release it made, if any, is unknown"


def _is_rollback(record: Record, target: str) -> bool | None:
    """Return whether a rollback to a revision made a record; ``None`` if the record does not show it."""
    text = record.description
    if record.damaged:
        return None
    failed = record.status == Status.FAILED  # marked by Helm or kubernaut
    if text == f"Rollback to {target}" or (failed and text.startswith(('Rollback "', f"Rollback to {target}: "))):
        return True
    if record.status in PENDING or record.status == Status.DEPLOYED or text.startswith(_OTHER_DESCRIPTIONS):
        return False
    return False if record.status == Status.SUPERSEDED and text != _REPLACED else None


def _may_be_first(operation: Operation, record: Record) -> bool:
    return record.revision == operation.after + 1 if operation.after is not None else _may_follow(operation, record)


def _may_follow(operation: Operation, record: Record) -> bool:
    """Return whether a record may be younger than an operation; Helm uses the clock of the same machine."""
    if operation.after is not None:
        return record.revision > operation.after
    made_at = parse_time(record.deployed_at)
    return made_at is None or made_at >= operation.started_at


def _is_complete(operation: Operation, records: Sequence[Record]) -> bool:
    """Return whether every record made since an operation began still exists."""
    newest_first = sorted(records, key=lambda record: -record.revision)
    for index, record in enumerate(newest_first):
        if index and record.revision != newest_first[index - 1].revision - 1:
            return False
        if record.revision == 1 or not _may_follow(operation, record):
            return True
    return not records


def _interrupted(operation: Operation, message: str) -> Outcome:
    """Return the outcome of an interrupted operation; what was recorded of a failure stays in it."""
    before = operation.outcome
    if before is None:
        return Outcome(reason=INTERRUPTED, message=message)
    return before.model_copy(update={"reason": INTERRUPTED, "message": f"{before.message} {message}".strip()})


def _with_reference(operation: Operation, record: Record) -> tuple[ReleaseReference, ...]:
    if any(made.uid == record.uid for made in operation.made):
        return operation.made
    chart = None if operation.verb == "delete" else operation.chart
    made = ReleaseReference(id=record.id, uid=record.uid, revision=record.revision, secret=record.secret, chart=chart)
    return (*operation.made, made)
