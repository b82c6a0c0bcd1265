"""Whether anything of a release is left in the cluster, which its record may not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernaut.deploy.revisions import removed_documents
from kubernaut.history.manifest import manifest_of
from kubernaut.history.records import Status
from kubernaut.models import Action
from kubernaut.rollout.objects import expected_objects
from kubernaut.rollout.reading import Reading

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.history.records import Record

_SECONDS = 10.0


def is_fenced_uninstall(current: Record | None) -> bool:
    """Return whether the current record is fenced and ``uninstalling``.

    Helm cannot write the end of an uninstall into it: whether the objects still exist decides.
    """
    return current is not None and current.immutable and current.status == Status.UNINSTALLING


def mark_uninstalled(record: Record) -> Action:
    """Return the action that records the end of an uninstall in a fenced record."""
    reason = "its objects are gone, and Helm could not write that into the fenced record"
    return Action(kind="mark-uninstalled", subject=record.id, reason=reason)


def is_gone(record: Record, cluster: Cluster, *, seconds: float = _SECONDS) -> bool:
    """Return whether it is certain that no object of a release exists that an uninstall removes.

    Args:
        record: The release's record.
        cluster: The cluster.
        seconds: How long to wait for its answers; an object that is not known by then may exist.
    """
    if record.damaged or manifest_of(record).problem:
        return False
    expected = expected_objects(removed_documents(record), record.namespace)
    reading = Reading(cluster, seconds)
    reading.run(reading.own(expected))
    return not reading.own_objects and not reading.unreadable
