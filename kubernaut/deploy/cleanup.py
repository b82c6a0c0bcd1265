"""Deletes what no record owns any more: the objects that only revisions brought that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kubernaut.deploy.planning.leftovers import Leftover
from kubernaut.deploy.planning.revisions import title
from kubernaut.errors import KubernautError, NotFound
from kubernaut.rollout.objects import is_deleted, is_kept, owner_release, uid_of

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster


def remove_leftovers(cluster: Cluster, found: Iterable[Leftover], *, notify: Callable[[str], None]) -> None:
    """Delete the objects that exist and belong to the release, and report each; a failure is reported only.

    Args:
        cluster: The release's cluster.
        found: The objects.
        notify: Receives a line about each object.
    """
    for one in found:
        try:
            if _remove_leftover(cluster, one):
                notify(f"Removed {one.object.key}, which {title(one.record)} brought and the current revision does not have.")
        except NotFound:  # its kind is gone, and so is the object
            continue
        except KubernautError as failure:
            notify(f"{one.object.key}, which {title(one.record)} brought, could not be removed: {failure.message}")


def _remove_leftover(cluster: Cluster, one: Leftover) -> bool:
    key = one.object.key
    resource = cluster.find_resource(str(one.object.object.get("apiVersion")), key.kind)
    namespace = key.namespace if resource.namespaced else None
    live = cluster.get_object(resource, namespace, key.name)
    if live is None or is_deleted(live):
        return False
    if owner_release(live) != (one.record.name, one.record.namespace) or is_kept(live):
        return False
    cluster.delete_object(resource, namespace, key.name, uid=uid_of(live))
    return True
