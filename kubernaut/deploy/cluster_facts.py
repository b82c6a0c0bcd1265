"""What a plan depends on and only the cluster knows: each is read only where a plan depends on it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from kubernaut.deploy.planning.adoption import covers
from kubernaut.deploy.planning.removed_kinds import Kind, Removed, kinds_of
from kubernaut.deploy.planning.revisions import objects_to_remove
from kubernaut.deploy.probe import probe
from kubernaut.errors import KubernautError, NotFound
from kubernaut.history.manifest import manifest_of
from kubernaut.history.records import Record
from kubernaut.history.releases import HealthStatus, ReleaseHealth
from kubernaut.rollout.drift import compare
from kubernaut.rollout.helm_failures import SUCCESSORS
from kubernaut.rollout.objects import expected_objects, is_deleted
from kubernaut.rollout.reading import Reading

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_READ_SECONDS = 10.0
_PROBE_SECONDS = 5.0
_ALWAYS_SERVED = frozenset(
    {
        "v1",
        "apps/v1",
        "batch/v1",
        "autoscaling/v1",
        "autoscaling/v2",
        "policy/v1",
        "networking.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
        "storage.k8s.io/v1",
        "scheduling.k8s.io/v1",
        "coordination.k8s.io/v1",
        "discovery.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "admissionregistration.k8s.io/v1",
    }
)


def missing_in(cluster: Cluster, records: Iterable[Record]) -> Removed:
    """Return the kinds of records that the cluster does not serve; what cannot be asked counts as served."""
    found: dict[Kind, str] = {}
    for api_version, kind in sorted({kind for record in records for kind in kinds_of(record)}):
        if api_version in _ALWAYS_SERVED or _serves(cluster, api_version, kind):
            continue
        successor = SUCCESSORS.get((kind, api_version), "")
        found[api_version, kind] = successor if successor and _serves(cluster, successor, kind) else ""
    return found


def _serves(cluster: Cluster, api_version: str, kind: str) -> bool:
    try:
        cluster.find_resource(api_version, kind)
    except NotFound:
        return False
    except KubernautError:  # then Helm finds out
        return True
    return True


def is_gone(record: Record, cluster: Cluster, *, seconds: float = _READ_SECONDS) -> bool:
    """Return whether it is certain that no object of a release exists that an uninstall removes.

    Args:
        record: The release's record.
        cluster: The cluster.
        seconds: How long to wait for its answers; an object that is not known by then may exist.
    """
    if record.damaged or manifest_of(record).problem:
        return False
    reading = read_removed(record, cluster, seconds=seconds)
    return not reading.own_objects and not reading.unreadable


def read_removed(record: Record, cluster: Cluster, *, seconds: float = _READ_SECONDS) -> Reading:
    """Read the objects of a release that an uninstall removes. The arguments are those of :func:`is_gone`."""
    reading = Reading(cluster, seconds)
    reading.run(reading.own(objects_to_remove(record)))
    return reading


def changed_fields(record: Record, kind: str, name: str, cluster: Cluster) -> tuple[str, ...]:
    """Return the fields of one object of a release that others changed; none if the object cannot be read.

    Args:
        record: The release's record.
        kind: The object's kind.
        name: Its name.
        cluster: The cluster.
    """
    objects = expected_objects(manifest_of(record).objects, record.namespace) if not record.damaged else ()
    expected = [one for one in objects if (one.key.kind, one.key.name) == (kind, name)]
    reading = Reading(cluster, _READ_SECONDS)
    reading.run(reading.named(expected))
    return tuple(change.field for change in compare(expected, reading.own_objects).changed if change.field)


def adopted_health(record: Record, health: ReleaseHealth, cluster: Cluster) -> ReleaseHealth | None:
    """Return the health by which a record may be adopted; ``None`` if it is not healthy, differs, or does not answer.

    Args:
        record: A record that :func:`failed_late` returned.
        health: Its health.
        cluster: Its cluster.
    """
    if health.status is not HealthStatus.HEALTHY or health.reason:
        return None
    try:
        if not _is_applied(record, cluster):
            return None
        failed = probe(record, cluster=cluster, seconds=_PROBE_SECONDS, log=_ignore, notify=_ignore, check=lambda: None)
    except KubernautError:  # what cannot be read is not adopted
        return None
    return health if failed is None else None


def _is_applied(record: Record, cluster: Cluster) -> bool:
    """Return whether every object of a record's manifest exists and has what the manifest says."""
    manifest = manifest_of(record)
    if manifest.problem:
        return False
    find = cache(cluster.find_resource)
    for one in expected_objects(manifest.objects, record.namespace):
        resource = find(str(one.object.get("apiVersion")), one.key.kind)
        live = cluster.get_object(resource, one.key.namespace if resource.namespaced else None, one.key.name)
        if live is None or is_deleted(live) or not covers(live, one.object):
            return False
    return True


def _ignore(_: str) -> None:
    """Ignore a line of progress."""
