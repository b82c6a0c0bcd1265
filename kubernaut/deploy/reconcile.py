"""Finish what interrupted operations left; only for the holder of the release's lock.

The API server refuses each write if the record has changed since it was read; then it is read and decided again. Nothing here
starts Helm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.cleanup import remove_leftovers
from kubernaut.deploy.cluster_facts import missing_in
from kubernaut.deploy.operations import update_operation
from kubernaut.deploy.planning.leftovers import MARK_DEPLOYED, leftovers, was_applied
from kubernaut.deploy.planning.removed_kinds import MAP_RECORD, mapped_manifest
from kubernaut.errors import Conflict, KubernautError, NotFound
from kubernaut.history.operations import SUCCEEDED, now, with_recreated_record
from kubernaut.history.records import Record, Status, decode
from kubernaut.history.repair import (
    InferredOutcome,
    aside_secret,
    failed_patch,
    infer_outcome,
    manifest_patch,
    recreated_secret,
    status_patch,
    superseded_patch,
    uninstalled_patch,
)
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

Notify = Callable[[str], None]


def reconcile(
    cluster: Cluster, action: Action, history: ReleaseHistory, *, by: str, note: str | None = None, notify: Notify
) -> None:
    """Carry out one of a plan's reconciling actions.

    Args:
        cluster: The release's cluster.
        action: One of :data:`kubernaut.deploy.planning.plan.RECONCILING`; its subject is the record's ID.
        history: The history that the plan was made from.
        by: The actor, for the record's description.
        note: The actor's note, for the record's description.
        notify: Receives a line about the action.

    Raises:
        Conflict: The record has changed meanwhile: read and decide again.
    """
    record = next(record for record in (*history.aside, *history.records) if record.id == action.subject)
    notify(f"{action.kind} {action.subject}: {action.reason}")
    why = f'{action.reason}: "{note}"' if note else action.reason
    if action.kind == "mark-failed":
        mark_failed(cluster, record, f"Marked failed by {by}: {why}", history)
    elif action.kind == "mark-uninstalled":
        rewrite(cluster, record, uninstalled_patch(record, f"Marked uninstalled by {by}: {why}"), history)
    elif action.kind == "mark-superseded":
        rewrite(cluster, record, superseded_patch(record), history)
    elif action.kind == MARK_DEPLOYED:
        rewrite(cluster, record, status_patch(record, Status.DEPLOYED, record.description), history)
    elif action.kind == MAP_RECORD:
        manifest = mapped_manifest(record.manifest, missing_in(cluster, [record]))
        rewrite(cluster, record, manifest_patch(record, manifest), history)
    else:
        _recreate(cluster, record, history)


def mark_failed(cluster: Cluster, record: Record, description: str, history: ReleaseHistory) -> None:
    """Mark an unfinished record failed, and fence it: a last write of its Helm may still be on its way.

    Args:
        cluster: The release's cluster.
        record: The record as it was read.
        description: The line that ``helm history`` shows for it.
        history: The history that has the record.

    Raises:
        Conflict: The record has changed meanwhile.
    """
    rewrite(cluster, record, failed_patch(record, description), history)


def rewrite(cluster: Cluster, record: Record, patch: Mapping[str, Any], history: ReleaseHistory) -> None:
    """Change a record; a fenced one, which the API server refuses to change, is recreated with the change.

    Args:
        cluster: The release's cluster.
        record: The record as it was read.
        patch: A patch of :mod:`kubernaut.history.repair`. A recreated record is fenced again only if the patch fences it.
        history: The history that has the record.

    Raises:
        Conflict: The record has changed meanwhile.
    """
    if record.immutable:
        _recreate(cluster, record, history, patch)
    else:
        _patch(cluster, record, patch)


def _recreate(cluster: Cluster, record: Record, history: ReleaseHistory, patch: Mapping[str, Any] | None = None) -> None:
    """Recreate a record without the ``immutable`` flag, which cannot be removed; ``patch`` changes it at the same time.

    A copy is set aside first, so that the record exists at least once wherever this is interrupted. The record owns its operations'
    Secrets, which the cluster would collect with it, so they are released first.
    """
    namespace = record.namespace
    owned = [one for one in history.operations if not one.unread and any(made.uid == record.uid for made in one.made)]
    source = cluster.get_secret(namespace, record.secret)
    if patch is not None and (source is None or source["metadata"]["resourceVersion"] != record.resource_version):
        raise Conflict(f"The record of {record.id} was changed at the same time.")
    copy = cluster.get_secret(namespace, record.aside_secret)
    if source is not None and source.get("immutable"):
        for operation in owned:
            cluster.patch_secret(namespace, operation.secret, {"metadata": {"ownerReferences": None}})
        if copy is not None:  # from an earlier try; the record may have changed since
            cluster.delete_secret(namespace, record.aside_secret)
        copy = cluster.create_secret(namespace, aside_secret(source))
        cluster.delete_secret(namespace, record.secret, resource_version=str(source["metadata"]["resourceVersion"]))
        source = None
    if source is None and copy is not None:
        source = cluster.create_secret(namespace, recreated_secret(copy, patch))
    recreated = decode(source) if source else None
    if recreated is None:
        raise _gone(record)
    for operation in owned:
        update_operation(cluster, with_recreated_record(operation, record.uid, recreated))
    if copy is not None:
        cluster.delete_secret(namespace, record.aside_secret)


def settle(cluster: Cluster, history: ReleaseHistory, *, except_for: str = "", notify: Notify) -> None:
    """Write the outcome of operations whose process ended before it could; a failure to do so is reported only.

    Args:
        cluster: The release's cluster.
        history: The history once it is in order.
        except_for: The ID of the operation that is being executed.
        notify: Receives a line about each operation.
    """
    others = [operation for operation in history.operations if operation.id != except_for]
    for operation in history.unfinished:
        found = infer_outcome(operation, history.records, others) if operation.id != except_for else None
        if found is None:
            continue
        _remove_leftovers(cluster, found, history, notify)
        by = operation.actor or "an unknown actor"
        notify(f"The {operation.verb} by {by} since {operation.started_at.isoformat()}: {found.outcome.message}")
        try:
            update_operation(cluster, found.apply(operation, now()), version=operation.resource_version or None)
        except KubernautError as failure:
            notify(f"The outcome of the operation {operation.id} could not be written: {failure}")


def _remove_leftovers(cluster: Cluster, found: InferredOutcome, history: ReleaseHistory, notify: Notify) -> None:
    """Delete what failed revisions brought, where an operation was interrupted after Helm had made the current release."""
    current = history.current
    if current is None or current.status != Status.DEPLOYED or found.outcome.reason != SUCCEEDED:
        return
    if any(made.uid == current.uid for made in found.made):
        remove_leftovers(cluster, leftovers(history, current), notify=notify)


def restore_statuses(cluster: Cluster, before: ReleaseHistory, after: ReleaseHistory, base: Record | None) -> bool:
    """Undo what was written into older records for Helm and by it: a revision that failed is ``failed``, also when replaced.

    Return whether a record was changed.

    Args:
        cluster: The release's cluster.
        before: The history before Helm ran.
        after: The history after Helm ran.
        base: The record that was marked superseded before Helm ran, and that is deployed as long as no later one is.
    """
    changed = False
    for record in after.records:
        old = before.find(record.revision)
        if old is None or old.uid != record.uid or record.damaged or record.immutable:
            continue
        superseded, compared = record.status == Status.SUPERSEDED, old.status == Status.DEPLOYED and was_applied(old, before)
        if (superseded and old.status == Status.FAILED) or (compared and record.status in (Status.SUPERSEDED, Status.DEPLOYED)):
            _patch(cluster, record, status_patch(record, Status.FAILED, old.description))
        elif superseded and base is not None and record.uid == base.uid:
            _patch(cluster, record, status_patch(record, Status.DEPLOYED, base.description))
        else:
            continue
        changed = True
    return changed


def fence(cluster: Cluster, history: ReleaseHistory, ids: Collection[str], *, notify: Notify) -> None:
    """Make reconciled records immutable, because the Helm that left them unfinished may have outlived its kubernaut.

    Such a Helm may even have finished already: of two deployed records the older one is marked superseded.

    Args:
        cluster: The release's cluster.
        history: The history once the work is done.
        ids: The IDs of the records that were found unfinished or fenced.
        notify: Receives a line about each record that cannot be fenced.
    """
    newest = next((record for record in history.records if record.status == Status.DEPLOYED), None)
    for record in history.records:
        if record.id not in ids or record.immutable or record.damaged:
            continue
        stray = record.status == Status.DEPLOYED and record is not newest
        patch = superseded_patch(record) if stray else {"metadata": {"resourceVersion": record.resource_version}}
        try:
            _patch(cluster, record, {**patch, "immutable": True})
        except KubernautError as failure:  # the operation's own work is done all the same
            notify(f"{record.id} could not be fenced: {failure}")


def _patch(cluster: Cluster, record: Record, patch: Mapping[str, Any]) -> None:
    try:
        cluster.patch_secret(record.namespace, record.secret, patch)
    except NotFound as gone:
        raise _gone(record) from gone


def _gone(record: Record) -> Conflict:
    return Conflict(f"The record of {record.id} was deleted at the same time.")
