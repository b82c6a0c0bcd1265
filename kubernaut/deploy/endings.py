"""Objects whose deletion has begun and not ended, because a finalizer holds them.

Helm's uninstall waits for them, without a word, until its time is over; then the release counts as uninstalled. Its install applies
an object that is being deleted like any other and calls the release deployed; a moment later the object is gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from kubernaut.deploy.cluster_facts import read_removed
from kubernaut.deploy.planning.revisions import objects_to_remove
from kubernaut.errors import Conflict
from kubernaut.history.records import Record, Status, few
from kubernaut.rollout.objects import Object, ObjectKey, is_deleted, metadata_of, time_in

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.deploy.execution import Execution

_POLL_SECONDS = 0.5
_MOST_NAMED = 10


@dataclass(frozen=True)
class Ending:
    """An object whose deletion has not ended.

    Attributes:
        finalizers: What has to be removed from it first; empty for a pod that still stops.
        since: When its deletion began, by the cluster's clock.
    """

    key: ObjectKey
    finalizers: tuple[str, ...]
    since: datetime | None

    def __str__(self) -> str:
        """``ConfigMap web since 12:00:05 UTC (finalizer example.org/kept)``."""
        since = f" since {self.since:%H:%M:%S} UTC" if self.since is not None else ""
        word = "finalizer" if len(self.finalizers) == 1 else "finalizers"
        return f"{self.key}{since}" + (f" ({word} {', '.join(self.finalizers)})" if self.finalizers else "")


def endings_of(record: Record, cluster: Cluster) -> Sequence[Ending]:
    """Return the objects of a deleted release whose deletion has not ended; what cannot be read is left out."""
    found = read_removed(record, cluster).own_objects
    live = [(one.key, found[one.key]) for one in objects_to_remove(record) if one.key in found]
    return [_ending(key, metadata_of(item)) for key, item in live if is_deleted(item)]


def name_endings(execution: Execution, record: Record) -> None:
    """Show a notice for the objects of a deleted release that a finalizer holds."""
    held = [one for one in endings_of(record, execution.cluster) if one.finalizers]
    if held:
        execution.notice_once(f"The cluster is still deleting {_named(held)}; a deploy of the same name waits for that.")


def wait_for_endings(execution: Execution) -> None:
    """Wait until the objects of a deleted release are gone, before its name is deployed again.

    Raises:
        Conflict: They are not within the operation's time. Nothing was changed.
        LockLost: The lock was lost meanwhile.
        Interrupted: The work is to be stopped.
    """
    current = execution.history.current
    if current is None or current.status != Status.UNINSTALLED:
        return
    while found := endings_of(current, execution.cluster):
        if execution.context.clock() >= execution.deadline:
            raise _held(current, found)
        execution.notice_once(f"Waiting, because the cluster is still deleting {_named(found)}.")
        time.sleep(_POLL_SECONDS)
        execution.lock.check()


def _ending(key: ObjectKey, metadata: Object) -> Ending:
    finalizers = tuple(str(name) for name in metadata.get("finalizers") or ())
    return Ending(key, finalizers, time_in(metadata, "deletionTimestamp"))


def _named(found: Sequence[Ending]) -> str:
    return few([str(one) for one in found], _MOST_NAMED)


def _held(record: Record, found: Sequence[Ending]) -> Conflict:
    first = found[0].key
    where = f"{first.kind.lower()} {first.name} -n {first.namespace}"
    patch = """--type merge -p '{"metadata":{"finalizers":null}}'"""
    ends = "What has set the finalizer has to remove it; find out why it does not"
    return Conflict(
        f"The cluster is still deleting {_named(found)} of {record.id}. What is deployed under the same name would be deleted too;"
        " nothing was changed.",
        hint=f"{ends}: `kubectl get {where} -o yaml`. If it is gone for good, `kubectl patch {where} {patch}` ends the deletion.",
        http_hint=f"{ends}, then send the request again.",
    )
