"""What Helm and the controllers of a cluster do with a manifest, at once: its objects, their pods, all of them ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from kubernaut.adapters.kube_resources import CHART_RESOURCES, known_resource
from kubernaut.history.manifest import read_manifest
from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import is_kept
from kubernaut.testing.cluster import FakeCluster

Object = dict[str, Any]

_STARTED = "2020-01-01T00:00:00Z"
_PLAIN = frozenset({*CHART_RESOURCES, "Secret"})
_APPLIED = _PLAIN | {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Pod", "Service", "PersistentVolumeClaim"}
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "controller-revision-hash"


def apply_manifest(cluster: FakeCluster, manifest: str, namespace: str, revision: int, release: str = "") -> None:
    """Put the objects of a manifest into a cluster, with their pods, as ready as they get.

    Args:
        cluster: The cluster.
        manifest: The manifest.
        namespace: The release's namespace.
        revision: The release's revision, which becomes that of its workloads.
        release: The name of the release that the objects belong to for Helm, if any.
    """
    for item in _known(manifest, namespace):
        owned = {**item, "metadata": _with_owner(item["metadata"], release, namespace)} if release else item
        for one in _made(owned, str(revision)):
            cluster.put(one, item["metadata"]["namespace"])


def remove_manifest(cluster: FakeCluster, manifest: str, namespace: str) -> None:
    """Remove what :func:`apply_manifest` put into a cluster, without what the manifest says is to be kept."""
    for item in _known(manifest, namespace):
        for one in () if is_kept(item) else _made(item, ""):
            with suppress(KeyError):  # a test may have removed it
                cluster.remove({**one, "metadata": {**one["metadata"], "namespace": item["metadata"]["namespace"]}})


def prune_manifest(cluster: FakeCluster, compared: str, manifest: str, namespace: str) -> None:
    """Remove the objects of the manifest that a new one is compared with and that the new one lacks, as Helm does."""
    kept = {_place(item) for item in _known(manifest, namespace)}
    for item in _known(compared, namespace):
        live = _live(cluster, item) if _place(item) not in kept else None
        if live is not None and not is_kept(live):
            for one in _made(item, ""):
                with suppress(KeyError):
                    cluster.remove({**one, "metadata": {**one["metadata"], "namespace": item["metadata"]["namespace"]}})


def unknown_object(cluster: FakeCluster, compared: str, manifest: str, namespace: str) -> tuple[str, str] | None:
    """Return the kind and name of an object of a manifest that exists and that the compared manifest lacks, if there is one."""
    known = {_place(item) for item in _known(compared, namespace)}
    missing = (item for item in _known(manifest, namespace) if _place(item) not in known)
    return next(((item["kind"], item["metadata"]["name"]) for item in missing if _live(cluster, item) is not None), None)


def _place(item: Object) -> tuple[str, str, str]:
    return item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]


def _live(cluster: FakeCluster, item: Object) -> Object | None:
    resource = known_resource(str(item["apiVersion"]), item["kind"])
    return cluster.get_object(resource, item["metadata"]["namespace"], item["metadata"]["name"]) if resource else None


def _with_owner(metadata: Mapping[str, Any], release: str, namespace: str) -> Object:
    """Return metadata with what Helm adds to it."""
    annotations = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace}
    return {
        **metadata,
        "labels": {**as_mapping(metadata.get("labels")), "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {**as_mapping(metadata.get("annotations")), **annotations},
    }


def _known(manifest: str, namespace: str) -> Iterator[Object]:
    """Yield the objects of the kinds that the fake keeps: those of Kubernetes that charts have."""
    for found in read_manifest(manifest).objects:
        metadata, kind = as_mapping(found.get("metadata")), str(found.get("kind"))
        if kind in _APPLIED and metadata.get("name") and known_resource(str(found.get("apiVersion")), kind):
            yield {**found, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}


def _made(item: Object, revision: str) -> Iterator[Object]:
    """Yield an object with its status, and what its controller makes of it."""
    kind, spec = item["kind"], as_mapping(item.get("spec"))
    wanted = spec.get("replicas", 1) if kind != "DaemonSet" else 1
    pods = wanted if isinstance(wanted, int) else 1
    owner = _identified(item, kind)
    if kind in _PLAIN:
        yield owner
        return
    if kind == "Pod":
        yield {**owner, "status": _pod_status(spec)}
        return
    yield {**owner, "status": _status(kind, pods, revision)} | (
        {"metadata": _revised(owner, revision)} if kind == "Deployment" else {}
    )
    if kind == "Service":
        if spec.get("selector"):
            yield _endpoints(owner)
        return
    template = as_mapping(spec.get("template"))
    if kind == "Deployment":
        owner = _owned(owner, "ReplicaSet", "apps/v1", f"{item['metadata']['name']}-{_SUFFIX}", {})
        owner = {**owner, "metadata": _revised(owner, revision), "spec": {"replicas": pods}, "status": {"readyReplicas": pods}}
        yield owner
    for ordinal in range(pods if template else 0):
        pod = _owned(owner, "Pod", "v1", f"{owner['metadata']['name']}-{ordinal}", as_mapping(template.get("metadata")))
        pod["metadata"]["labels"] = {**as_mapping(pod["metadata"].get("labels")), _HASH: revision}
        pod_spec = as_mapping(template.get("spec"))
        yield {**pod, "spec": pod_spec, "status": _pod_status(pod_spec)}


_SUFFIX = "7f9c4d"


def _identified(item: Object, kind: str) -> Object:
    """Return an object with the UID and the generation that it would have."""
    metadata = item["metadata"]
    return {**item, "metadata": {**metadata, "uid": f"{kind}/{metadata['namespace']}/{metadata['name']}", "generation": 1}}


def _owned(owner: Object, kind: str, api_version: str, name: str, metadata: Mapping[str, Any]) -> Object:
    of = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    place = {"name": name, "namespace": owner["metadata"]["namespace"], "ownerReferences": [{**of, "controller": True}]}
    return _identified({"apiVersion": api_version, "kind": kind, "metadata": {**metadata, **place}}, kind)


def _revised(item: Object, revision: str) -> Object:
    annotations = {**as_mapping(item["metadata"].get("annotations")), _REVISION: revision}
    return {**item["metadata"], "annotations": annotations}


def _status(kind: str, pods: int, revision: str) -> Object:
    if kind == "PersistentVolumeClaim":
        return {"phase": "Bound"}
    if kind == "Job":
        return {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    if kind == "Service":
        return {}
    numbers = {"replicas": pods, "readyReplicas": pods, "updatedReplicas": pods, "availableReplicas": pods}
    nodes = {"desiredNumberScheduled": pods, "updatedNumberScheduled": pods, "numberReady": pods}
    return {"observedGeneration": 1, **(nodes if kind == "DaemonSet" else numbers), "updateRevision": revision}


def _pod_status(spec: Mapping[str, Any]) -> Object:
    containers = [
        {
            "name": one.get("name"),
            "image": one.get("image"),
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": _STARTED}},
        }
        for one in spec.get("containers") or []
    ]
    conditions = [{"type": name, "status": "True", "lastTransitionTime": _STARTED} for name in ("PodScheduled", "Ready")]
    return {"phase": "Running", "conditions": conditions, "containerStatuses": containers}


def _endpoints(service: Object) -> Object:
    name = service["metadata"]["name"]
    found = _owned(
        service, "EndpointSlice", "discovery.k8s.io/v1", f"{name}-{_SUFFIX}", {"labels": {"kubernetes.io/service-name": name}}
    )
    endpoints = [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}}]
    wanted = as_mapping(service.get("spec")).get("ports") or []
    ports = [{"name": one.get("name", ""), "port": one.get("port"), "protocol": one.get("protocol", "TCP")} for one in wanted]
    return {**found, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}
