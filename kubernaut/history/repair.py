"""A record of Helm's, mended: marked failed or superseded, fenced, set aside and recreated. Pure: Secrets and patches, unsent.

A status lives in two places, the Secret's label and its content, and both are changed by one patch that names the version that was
read. ``immutable`` on the Secret is the fence: a Helm that still lives somewhere cannot overwrite it. Since nothing takes that flag
off again, a record that Helm must rewrite is deleted and created anew, and a copy set aside bridges the moment between.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kubernaut.history.operations import SUCCEEDED, Operation, Outcome, ReleaseReference
from kubernaut.history.records import (
    ASIDE_LABEL,
    ASIDE_TYPE,
    KUBERNAUT_OWNER,
    OPERATION_LABEL,
    PENDING,
    SECRET_TYPE,
    Record,
    Status,
    decode,
    encode,
    modification_time,
    original_metadata,
)
from kubernaut.history.releases import parse_time
from kubernaut.redact import redact

LARGEST_SECRET = 1 << 20
"""How many bytes the API server takes as a Secret's data, its own base64 taken off."""

_SHORT_DESCRIPTION = 80


def aside_secret(record_secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return the copy of a record's Secret, as it is created.

    The record's own uid is in it, so that operations that noted that uid are still known as its own. A label is too short for the
    name of a record's Secret (63 characters), so the label says only the revision.

    Raises:
        ValueError: It is no record.
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


def recreated_secret(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's Secret as it is created anew, from itself or from the copy set aside.

    Raises:
        ValueError: It is neither.
    """
    record = decode(source)
    if record is None:
        raise ValueError("only a record can be recreated")
    original = original_metadata(source) if record.aside else source["metadata"]
    annotations = dict(original.get("annotations") or {})
    return {
        "metadata": {
            "name": record.secret,
            "namespace": record.namespace,
            "labels": {**(original.get("labels") or {}), "status": record.labelled_status or record.status},
            **({"annotations": annotations} if annotations else {}),
        },
        "type": SECRET_TYPE,
        "data": dict(source.get("data") or {}),
    }


def failed_patch(record: Record, description: str) -> dict[str, Any]:
    """Return the merge patch that marks a record failed, and fences it: nobody can overwrite it any more.

    Args:
        record: The record as it was read; the patch is refused when it has changed since.
        description: What Helm's history shall say of it; shortened where the record has no room for it. That it was a rollback, and
            to where, stays before it: nothing else tells.
    """
    if record.status == Status.PENDING_ROLLBACK and record.description:
        description = f"{record.description}: {description}"
    return {**_patch(record, Status.FAILED, description), "immutable": True}


def superseded_patch(record: Record) -> dict[str, Any]:
    """Return the merge patch that marks a record superseded; it is refused when the record has changed since."""
    return _patch(record, Status.SUPERSEDED, record.description)


def _patch(record: Record, status: Status, description: str) -> dict[str, Any]:
    labels = {"status": status.value, "modifiedAt": str(int(time.time()))}
    patch: dict[str, Any] = {"metadata": {"resourceVersion": record.resource_version, "labels": labels}}
    if record.damaged:  # what cannot be read is not made worse
        return patch
    encoded = ""
    for info in _infos(record, status, description):
        encoded = encode({**record.content, "info": info})
        if len(base64.b64decode(encoded)) <= LARGEST_SECRET:
            break
    return {**patch, "data": {"release": encoded}}


def _infos(record: Record, status: Status, description: str) -> Iterator[dict[str, Any]]:
    """Yield what the record's ``info`` becomes, ever smaller."""
    info = {**record.info, "status": status.value, "description": description}
    yield info
    short = description if len(description) <= _SHORT_DESCRIPTION else description[: _SHORT_DESCRIPTION - 1] + "…"
    yield {**info, "description": short}
    info.pop("notes", None)
    yield {**info, "description": short}
    yield {**info, "description": ""}


INTERRUPTED = "interrupted"

_UNWRITTEN = "kubernaut ended before it could write down what came of it"
_REPLACED = "superseded by new release"
"""What Helm's install writes over the description of a deleted or failed record that it replaces."""
_OF_OTHERS = ('Upgrade "', 'Release "', "Rollback to ")


@dataclass(frozen=True)
class InferredOutcome:
    """What came of an operation.

    Attributes:
        outcome: What is to be written down.
        made: What it made or ended, as far as it is still kept; an operation is collected together with it.
    """

    outcome: Outcome
    made: tuple[ReleaseReference, ...] = ()

    def apply(self, operation: Operation, finished_at: datetime) -> Operation:
        """Return the operation as it is to be written."""
        ended = {"outcome": self.outcome, "made": self.made, "finished_at": finished_at, "waits_until": None}
        return operation.model_copy(update=ended)


def infer_outcome(operation: Operation, records: Sequence[Record], others: Iterable[Operation] = ()) -> InferredOutcome | None:
    """Return what came of an operation that nobody finished; ``None`` for one that is finished or cannot be read.

    Args:
        operation: The operation; nobody works on it any more.
        records: All records of its name.
        others: The other operations of its name: what they made, it did not.
    """
    if operation.finished_at is not None or operation.unread is not None:
        return None
    if operation.waits_until is not None:
        return InferredOutcome(Outcome(reason=INTERRUPTED, message="Nobody began it in time; nothing was changed."))
    if operation.verb == "delete":
        return _deleted(operation, records)
    record, doubt = _made_by(operation, records, [other for other in others if other.id != operation.id])
    if record is not None:
        return InferredOutcome(_told(operation, record), _noted(operation, record))
    said = doubt or ("Nothing was deployed" if _complete(operation, records) else "Whether it made a release is not known")
    return InferredOutcome(_outcome(operation, INTERRUPTED, f"{said}: {_UNWRITTEN}."), operation.made)


def _told(operation: Operation, record: Record) -> Outcome:
    """Return what came of an operation that made a record."""
    name = f"v{record.revision}"
    ran = record.status == Status.DEPLOYED or (record.status == Status.SUPERSEDED and record.description != _REPLACED)
    if record.status in PENDING:
        return _outcome(operation, INTERRUPTED, f"It left {name} {record.status}: {_UNWRITTEN}.")
    if record.status == Status.FAILED:
        return _outcome(operation, INTERRUPTED, f"{name} failed: {redact(record.description)} ({_UNWRITTEN}.)")
    if not ran:
        return _outcome(operation, INTERRUPTED, f"{name} is {record.status}, and whether it ran is not known: {_UNWRITTEN}.")
    if operation.outcome is not None:  # it had failed, and was being rolled back
        return _outcome(operation, INTERRUPTED, f"{name} is {record.status}: {_UNWRITTEN}.")
    return Outcome(reason=SUCCEEDED, message=f"{name} was deployed; {_UNWRITTEN}.")


def _deleted(operation: Operation, records: Sequence[Record]) -> InferredOutcome:
    wanted = next((action.subject for action in operation.plan.actions if action.kind == "helm-uninstall"), None)
    record = next((one for one in records if one.id == wanted), None)
    if record is None:
        said = f"Whether it deleted {wanted or 'anything'} is not known: the record is not kept, and {_UNWRITTEN}."
        return InferredOutcome(_outcome(operation, INTERRUPTED, said), operation.made)
    name, made = f"v{record.revision}", _noted(operation, record)
    if record.status == Status.UNINSTALLED:
        return InferredOutcome(Outcome(reason=SUCCEEDED, message=f"{name} was deleted; {_UNWRITTEN}."), made)
    if record.status == Status.UNINSTALLING:
        said = f"It left {name} {record.status}: {_UNWRITTEN}."
    elif record.status == Status.SUPERSEDED:  # deleted and then replaced, perhaps
        said = f"{name} is superseded, and whether it was deleted is not known: {_UNWRITTEN}."
    else:
        said = f"{name} was not deleted, it is {record.status}: {_UNWRITTEN}."
    return InferredOutcome(_outcome(operation, INTERRUPTED, said), made)


def _made_by(operation: Operation, records: Sequence[Record], others: Sequence[Operation]) -> tuple[Record | None, str | None]:
    """Return the record that an operation made, or why that is not known; neither, where it made none that is kept."""
    if operation.made:
        noted = (record for made in operation.made for record in records if record.uid == made.uid)
        return next(noted, None), "What it made is not kept any more"
    labelled = [record for record in records if record.labels.get(OPERATION_LABEL) == operation.id]
    for record in labelled:
        if record.operation_id:
            return record, None
    if labelled:  # copied from a record that is not kept, or Helm made another revision than it was told
        return None, "Which release it made is not known"
    return _rolled_back(operation, records, others) if operation.verb in ("rollback", "restore") else (None, None)


def _rolled_back(operation: Operation, records: Sequence[Record], others: Sequence[Operation]) -> tuple[Record | None, str | None]:
    """Return the record that a rollback made: Helm gave it the labels of the one that it goes back to, so they tell nothing."""
    target = next((action.subject.rpartition(".v")[2] for action in operation.plan.actions if action.kind == "helm-rollback"), "")
    claimed = {made.uid for other in others for made in other.made}
    possible = [
        (record, sure)
        for record in records
        if record.operation_id is None and record.uid not in claimed and _may_be_its_first(operation, record)
        if (sure := _is_rollback(record, target)) is not False
    ]
    if not possible:
        return None, None
    at_work = any(other.verb != "delete" and other.state in ("running", "unread") for other in others)
    if len(possible) == 1 and possible[0][1] and not at_work:
        return possible[0][0], None
    return None, "Which release it made, if any, is not known"


def _is_rollback(record: Record, target: str) -> bool | None:
    """Say whether a record was made by going back to a revision; ``None`` when it does not tell."""
    said = record.description
    if record.damaged:
        return None
    failed = record.status == Status.FAILED  # by Helm, or marked so by kubernaut
    if said == f"Rollback to {target}" or (failed and said.startswith(('Rollback "', f"Rollback to {target}: "))):
        return True
    if record.status in PENDING or record.status == Status.DEPLOYED or said.startswith(_OF_OTHERS):
        return False
    return False if record.status == Status.SUPERSEDED and said != _REPLACED else None


def _may_be_its_first(operation: Operation, record: Record) -> bool:
    return record.revision == operation.after + 1 if operation.after is not None else _may_follow(operation, record)


def _may_follow(operation: Operation, record: Record) -> bool:
    """Say whether a record may have been made after an operation began; Helm ran on the same machine, with the same clock."""
    if operation.after is not None:
        return record.revision > operation.after
    made_at = parse_time(record.deployed_at)
    return made_at is None or made_at >= operation.started_at


def _complete(operation: Operation, records: Sequence[Record]) -> bool:
    """Say whether every record that was made since an operation began is still kept."""
    newest_first = sorted(records, key=lambda record: -record.revision)
    for index, record in enumerate(newest_first):
        if index and record.revision != newest_first[index - 1].revision - 1:
            return False
        if record.revision == 1 or not _may_follow(operation, record):
            return True
    return not records


def _outcome(operation: Operation, reason: str, message: str) -> Outcome:
    """Return an outcome; what was known already of a failure stays in it."""
    before = operation.outcome
    if before is None:
        return Outcome(reason=reason, message=message)
    return before.model_copy(update={"reason": reason, "message": f"{before.message} {message}".strip()})


def _noted(operation: Operation, record: Record) -> tuple[ReleaseReference, ...]:
    if any(made.uid == record.uid for made in operation.made):
        return operation.made
    chart = None if operation.verb == "delete" else operation.chart
    made = ReleaseReference(id=record.id, uid=record.uid, revision=record.revision, secret=record.secret, chart=chart)
    return (*operation.made, made)
