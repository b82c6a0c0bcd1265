"""The resources that are read to judge a release: kinds to watch by namespace, and single objects of other groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kubernaut.adapters.kube_resources import EVENTS, RESOURCES, Resource
from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import Expected, ObjectKey, spec_of

_BELONGING = {
    "Deployment": ("ReplicaSet", "Pod"),
    "ReplicaSet": ("Pod",),
    "ReplicationController": ("Pod",),
    "StatefulSet": ("Pod",),
    "DaemonSet": ("Pod",),
    "Job": ("Pod",),
    "Pod": (),
    "PersistentVolumeClaim": (),
    "Service": (),
}


@dataclass(frozen=True, slots=True)
class KindNeed:
    """A kind to watch in a namespace."""

    resource: Resource
    namespace: str


@dataclass(frozen=True, slots=True)
class ObjectNeed:
    """An object to read by its name; ``key`` is its identity in the manifest, with a namespace also where the kind has none."""

    api_version: str
    key: ObjectKey


def kinds_to_watch(expected: Iterable[Expected]) -> tuple[KindNeed, ...]:
    """Return the kinds to watch: those of the release's objects, and of what belongs to them, with the events about them."""
    found: dict[KindNeed, None] = {}
    for one in expected:
        kind, namespace = one.key.kind, one.key.namespace
        if kind not in _BELONGING or not one.is_builtin:
            continue
        for name in (kind, *_BELONGING[kind], *_dependent(one)):
            found[KindNeed(RESOURCES[name], namespace)] = None
        found[KindNeed(EVENTS, namespace)] = None
    return tuple(found)


def objects_to_read(expected: Iterable[Expected]) -> tuple[ObjectNeed, ...]:
    """Return the objects of groups other than Kubernetes' own, and the definitions of such kinds."""
    return tuple(
        ObjectNeed(str(one.object.get("apiVersion")), one.key)
        for one in expected
        if one.key.name and (not one.is_builtin or one.key.kind == "CustomResourceDefinition")
    )


def _dependent(one: Expected) -> tuple[str, ...]:
    """Return the kinds that belong to an object because of its specification."""
    spec = spec_of(one.object)
    if one.key.kind == "StatefulSet" and spec.get("volumeClaimTemplates"):
        return ("PersistentVolumeClaim",)
    if one.key.kind == "Service" and as_mapping(spec.get("selector")) and spec.get("type") != "ExternalName":
        return ("EndpointSlice",)
    return ()
