"""Putting in order what earlier attempts left; only for whoever holds the release's lock.

Every write is refused by the API server when somebody else has changed the record since it was read; then it is read and decided
again. Nothing here starts Helm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from kubernaut.deploy import operation as operations
from kubernaut.errors import Conflict, KubernautError, NotFound
from kubernaut.history.operations import now, with_recreated_record
from kubernaut.history.records import Record, Status, decode
from kubernaut.history.repair import aside_secret, failed_patch, infer_outcome, recreated_secret, superseded_patch
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

Say = Callable[[str], None]


def put_in_order(cluster: Cluster, action: Action, past: ReleaseHistory, *, by: str, note: str | None = None, say: Say) -> None:
    """Carry out one of the plan's ordering actions.

    Args:
        cluster: Where the records are.
        action: ``mark-failed``, ``mark-superseded`` or ``recreate-record``, of a record by its id.
        past: What the action was decided on.
        by: Who does it.
        note: And why, in his words.
        say: Is told what is done.

    Raises:
        Conflict: Somebody has changed the record meanwhile: read and decide again.
    """
    record = next(record for record in (*past.aside, *past.records) if record.id == action.subject)
    say(f"{action.kind} {action.subject}: {action.reason}")
    if action.kind == "mark-failed":
        why = f'{action.reason}: "{note}"' if note else action.reason
        mark_failed(cluster, record, f"Marked failed by {by}: {why}")
    elif action.kind == "mark-superseded":
        _patch(cluster, record, superseded_patch(record))
    else:
        _recreate(cluster, record, past)


def mark_failed(cluster: Cluster, record: Record, description: str) -> None:
    """Mark a record failed that its Helm left unfinished, and fence it: its last write may still be on its way.

    Args:
        cluster: Where it is.
        record: As it was read.
        description: What ``helm history`` says of it.

    Raises:
        Conflict: Somebody has changed the record meanwhile.
    """
    _patch(cluster, record, failed_patch(record, description))


def fence(cluster: Cluster, past: ReleaseHistory, ids: Collection[str], *, say: Say) -> None:
    """Make records immutable again that Helm had to rewrite for us: the Helm that left them may have outlived its kubernaut.

    It may even have been faster: of two that are deployed the older one is superseded.

    Args:
        cluster: Where the records are.
        past: As they are once the work is done.
        ids: The records that were found unfinished, or fenced.
        say: Is told what cannot be fenced.
    """
    newest = next((record for record in past.records if record.status == Status.DEPLOYED), None)
    for record in past.records:
        if record.id not in ids or record.immutable or record.damaged:
            continue
        stray = record.status == Status.DEPLOYED and record is not newest
        patch = superseded_patch(record) if stray else {"metadata": {"resourceVersion": record.resource_version}}
        try:
            _patch(cluster, record, {**patch, "immutable": True})
        except KubernautError as failure:  # what was to be done is done all the same
            say(f"{record.id} could not be fenced: {failure}")


def settle(cluster: Cluster, past: ReleaseHistory, *, apart_from: str = "", say: Say) -> None:
    """Write down what came of the attempts that nobody finished: who made them was killed. What cannot be written is told.

    Args:
        cluster: Where the operations are.
        past: What is known, once the history is in order.
        apart_from: The operation that is under way.
        say: Is told what came of each.
    """
    others = [operation for operation in past.operations if operation.id != apart_from]
    for operation in past.unfinished:
        came = infer_outcome(operation, past.records, others) if operation.id != apart_from else None
        if came is None:
            continue
        who = f"The {operation.verb} by {operation.actor or 'somebody'} since {operation.started_at.isoformat()}"
        say(f"{who}: {came.outcome.message}")
        try:
            operations.update(cluster, came.apply(operation, now()), version=operation.resource_version or None)
        except KubernautError as failure:
            say(f"That could not be written down: {failure}")


def _patch(cluster: Cluster, record: Record, patch: dict[str, object]) -> None:
    try:
        cluster.patch_secret(record.namespace, record.secret, patch)
    except NotFound as gone:
        raise Conflict(f"The record of {record.id} is gone: somebody deleted it at the same time.") from gone


def _recreate(cluster: Cluster, record: Record, past: ReleaseHistory) -> None:
    """Make a record anew, without the flag that lets nobody write to it.

    A copy is set aside first: whatever breaks off, the record is there once at least. Its operations are its dependents in the
    cluster's eyes and would be collected with it, so they are let go first.
    """
    namespace = record.namespace
    theirs = [one for one in past.operations if not one.unread and any(made.uid == record.uid for made in one.made)]
    source = cluster.get_secret(namespace, record.secret)
    copy = cluster.get_secret(namespace, record.aside_secret)
    if source is not None and source.get("immutable"):
        for operation in theirs:
            cluster.patch_secret(namespace, operation.secret, {"metadata": {"ownerReferences": None}})
        if copy is not None:  # of an earlier try; the record may have changed since
            cluster.delete_secret(namespace, record.aside_secret)
        copy = cluster.create_secret(namespace, aside_secret(source))
        cluster.delete_secret(namespace, record.secret, resource_version=str(source["metadata"]["resourceVersion"]))
        source = None
    if source is None and copy is not None:
        source = cluster.create_secret(namespace, recreated_secret(copy))
    anew = decode(source) if source else None
    if anew is None:
        raise Conflict(f"The record of {record.id} is gone: somebody deleted it at the same time.")
    for operation in theirs:
        operations.update(cluster, with_recreated_record(operation, record.uid, anew))
    if copy is not None:
        cluster.delete_secret(namespace, record.aside_secret)
