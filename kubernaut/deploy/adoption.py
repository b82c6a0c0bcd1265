"""Adopt a release that failed because it was not ready in time, and that is ready now. Nothing is rolled out again.

Only a release that is exactly what is requested is adopted: the same chart and values, every object as its manifest has it, ready
by the rules of health, its application answering, and no hook left out. In any other case an upgrade is the way out. Pure, except
:func:`adopted_health`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.leftovers import was_applied
from kubernaut.deploy.probe import probe
from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.revisions import chart_of
from kubernaut.deploy.values import canonical
from kubernaut.errors import KubernautError
from kubernaut.history.manifest import manifest_of
from kubernaut.history.records import Record, Status, as_mapping
from kubernaut.history.releases import HealthStatus, ReleaseHealth, find_operation
from kubernaut.history.store import ReleaseHistory
from kubernaut.rollout.objects import expected_objects, is_deleted

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

ADOPT = "adopt-record"
"""The action that marks a failed release deployed."""

_PROBE_SECONDS = 5.0
_INSTALLS = frozenset({"helm-install", "helm-install-replace"})


def failed_late(history: ReleaseHistory, request: DeployRequest) -> Record | None:
    """Return the current record if it is what is requested, was applied whole, and failed because it was not ready in time."""
    current = history.current
    if current is None or current.damaged or current.status not in (Status.FAILED, Status.DEPLOYED):
        return None
    found = find_operation(current, history.operations)
    if found is None or found[0].verb != "deploy" or not was_applied(current, history):
        return None
    same = chart_of(current, history).digest == request.chart_digest
    return current if same and canonical(current.config) == canonical(request.merged_values(history)) else None


def missing_hook(record: Record, history: ReleaseHistory) -> str | None:
    """Return a hook that should have run after the objects were ready and did not, as ``post-upgrade hook NAME``."""
    found = find_operation(record, history.operations)
    actions = found[0].plan.actions if found is not None else ()
    event = "post-install" if actions and actions[-1].kind in _INSTALLS else "post-upgrade"
    hooks = record.content.get("hooks")
    for hook in hooks if isinstance(hooks, list) else ():
        known = as_mapping(hook)
        if event in (known.get("events") or ()) and as_mapping(known.get("last_run")).get("phase") != "Succeeded":
            return f"{event} hook {known.get('name')}"
    return None


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


def covers(live: Any, wanted: Any) -> bool:
    """Return whether a live object has every field of a manifest's; where the API server writes a value otherwise, it has not."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            key == "stringData" or covers(live.get(key), value) for key, value in wanted.items() if not _is_empty(value)
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list) and len(live) >= len(wanted) and all(any(covers(item, one) for item in live) for one in wanted)
        )
    return bool(live == wanted)


def _is_empty(value: Any) -> bool:
    """Return whether a field means the same as none: null, or an empty map or list, also within maps."""
    return value is None or value == [] or (isinstance(value, Mapping) and all(map(_is_empty, value.values())))


def _ignore(_: str) -> None:
    """Ignore a line of progress."""
