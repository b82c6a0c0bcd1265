"""Kubernetes objects as the API of Kubernetes 1.35 returns them, for tests of what reads them.

Times are seconds after ``START``; objects are plain dictionaries, which a test may change.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "demo"
IMAGE = "registry.example/web@sha256:" + "a" * 64
PROBE: Json = {"httpGet": {"path": "/", "port": "http", "scheme": "HTTP"}, "periodSeconds": 1, "failureThreshold": 3}


def moment(seconds: float) -> datetime:
    """Return a time of the test."""
    return START + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    """Return a time of the test as the API writes it: in whole seconds."""
    return moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def changed(item: Json, **parts: Any) -> Json:
    """Return a copy of an object with some of its parts updated: ``changed(web, spec={"paused": True})``."""
    result = copy.deepcopy(item)
    for name, part in parts.items():
        result[name] = {**result.get(name, {}), **part} if isinstance(part, Mapping) else part
    return result


def manifest(item: Json) -> Json:
    """Return an object as a chart's manifest has it: without what the cluster adds."""
    result = {name: copy.deepcopy(part) for name, part in item.items() if name != "status"}
    kept = ("name", "namespace", "labels")
    result["metadata"] = {name: part for name, part in item["metadata"].items() if name in kept}
    return result


def metadata(name: str, *, owner: Json | None = None, created: float = 0, uid: str = "", **fields: Any) -> Json:
    """Return an object's metadata."""
    found: Json = {"name": name, "namespace": NAMESPACE, "uid": uid or f"uid-{name}", "creationTimestamp": stamp(created), **fields}
    if owner is not None:
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
        found["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}]
    return found


# containers


def container(name: str = "web", *, probed: bool = True, **fields: Any) -> Json:
    """Return a container's spec."""
    probe = {"readinessProbe": PROBE} if probed else {}
    ports = [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    return {"name": name, "image": IMAGE, "ports": ports, "resources": {}, **probe, **fields}


def template(*containers: Json, labels: Mapping[str, str] | None = None, **spec: Any) -> Json:
    """Return a pod template."""
    return {
        "metadata": {"labels": dict(labels or {"app": "web"})},
        "spec": {"containers": list(containers or (container(),)), "restartPolicy": "Always", **spec},
    }


def running(since: float = 1, *, ready: bool = True, restarts: int = 0, last: Json | None = None) -> Json:
    """Return the status of a container that runs."""
    state = {"running": {"startedAt": stamp(since)}}
    return {"state": state, "lastState": last or {}, "ready": ready, "started": True, "restartCount": restarts, "image": IMAGE}


def waiting(reason: str, message: str = "", *, restarts: int = 0, last: Json | None = None) -> Json:
    """Return the status of a container that waits."""
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return {"state": state, "lastState": last or {}, "ready": False, "started": False, "restartCount": restarts, "image": IMAGE}


def ended(code: int = 1, *, start: float = 1, end: float = 2, reason: str = "", message: str = "") -> Json:
    """Return the state of a run that has ended."""
    found = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "startedAt": stamp(start)}
    return {"terminated": {**found, "finishedAt": stamp(end), **({"message": message} if message else {})}}


def terminated(state: Json, *, restarts: int = 0) -> Json:
    """Return the status of a container whose run has ended."""
    return {"state": state, "lastState": {}, "ready": False, "started": False, "restartCount": restarts, "image": IMAGE}


def crashed(restarts: int, *, code: int = 1, start: float = 1, end: float = 2, **fields: Any) -> Json:
    """Return the status of a container that crashes again and again."""
    message = "back-off 10s restarting failed container=web pod=web-1_demo(uid)"
    return waiting("CrashLoopBackOff", message, restarts=restarts, last=ended(code, start=start, end=end, **fields))


# pods


def pod(
    name: str,
    *statuses: Json,
    owner: Json | None = None,
    containers: Sequence[Json] | None = None,
    labels: Mapping[str, str] | None = None,
    created: float = 0,
    phase: str = "",
    init: Sequence[tuple[Json, Json]] = (),
    uid: str = "",
    **spec: Any,
) -> Json:
    """Return a pod with the statuses of its containers; it is ready if all are."""
    found = list(statuses or (running(created + 1),))
    specs = list(containers or [container(name) for name, _ in zip(("web", "helper", "third"), found, strict=False)])
    ready = all(status["ready"] for status in found)
    runs = any("running" in status["state"] for status in found)
    reason = {} if ready else {"reason": "ContainersNotReady", "message": "containers with unready status: [web]"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(name, owner=owner, created=created, labels=dict(labels or {"app": "web"}), uid=uid),
        "spec": {
            "containers": specs,
            **({"initContainers": [one for one, _ in init]} if init else {}),
            "nodeName": "node-1",
            "restartPolicy": "Always",
            **spec,
        },
        "status": {
            "phase": phase or ("Running" if runs else "Pending"),
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(created)},
                {"type": "Ready", "status": str(ready), "lastTransitionTime": stamp(created + 1), **reason},
            ],
            "containerStatuses": [{"name": one["name"], **status} for one, status in zip(specs, found, strict=True)],
            **({"initContainerStatuses": [{"name": one["name"], **status} for one, status in init]} if init else {}),
        },
    }


def unschedulable(
    name: str, message: str = "0/1 nodes are available: 1 Insufficient cpu.", *, since: float = 0, **fields: Any
) -> Json:
    """Return a pod that fits no node."""
    found = pod(name, waiting(""), created=since, **fields)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    found["status"] = {"phase": "Pending", "conditions": [{**condition, "lastTransitionTime": stamp(since)}]}
    del found["spec"]["nodeName"]
    return found


# controllers


def deployment(
    name: str = "web",
    replicas: int = 1,
    *containers: Json,
    revision: int = 1,
    generation: int = 1,
    observed: int | None = None,
    ready: int | None = None,
    updated: int | None = None,
    total: int | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Json:
    """Return a Deployment; as its controller sees it, all pods are updated and ready."""
    labels = dict(labels or {"app": name})
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    annotations = {"deployment.kubernetes.io/revision": str(revision)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, generation=generation, labels=labels, annotations=annotations),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template(*containers, labels=labels),
            "strategy": rolling,
            "progressDeadlineSeconds": 600,
            **spec,
        },
        "status": {
            "observedGeneration": generation if observed is None else observed,
            "replicas": replicas if total is None else total,
            "updatedReplicas": replicas if updated is None else updated,
            "readyReplicas": replicas if ready is None else ready,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
        },
    }


def replica_set(owner: Json, revision: int = 1, *, hash: str = "", replicas: int | None = None) -> Json:
    """Return a ReplicaSet of a Deployment."""
    hash = hash or f"7f{revision}"
    name, spec = f"{owner['metadata']['name']}-{hash}", owner["spec"]
    count = spec["replicas"] if replicas is None else replicas
    annotations = {"deployment.kubernetes.io/revision": str(revision)}
    labels = {**spec["template"]["metadata"]["labels"], "pod-template-hash": hash}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata(name, owner=owner, generation=1, labels=labels, annotations=annotations),
        "spec": {"replicas": count, "selector": {"matchLabels": labels}, "template": copy.deepcopy(spec["template"])},
        "status": {"observedGeneration": 1, "replicas": count, "readyReplicas": count},
    }


def owned_pod(owner: Json, suffix: str, *statuses: Json, **fields: Any) -> Json:
    """Return a pod of a ReplicaSet, with the containers and labels of its template."""
    labels, made = owner["metadata"]["labels"], owner["spec"]["template"]["spec"]["containers"]
    found = statuses or tuple(running(fields.get("created", 0) + 1) for _ in made)
    fields.setdefault("containers", made)
    return pod(f"{owner['metadata']['name']}-{suffix}", *found, owner=owner, labels=labels, **fields)


def stateful_set(
    name: str = "db",
    replicas: int = 3,
    *,
    partition: int = 0,
    start: int = 0,
    revision: str = "db-2",
    updated: int | None = None,
    **spec: Any,
) -> Json:
    """Return a StatefulSet."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, generation=1),
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "ordinals": {"start": start},
            "selector": {"matchLabels": {"app": name}},
            "template": template(labels={"app": name}),
            "updateStrategy": strategy,
            **spec,
        },
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "readyReplicas": replicas,
            "updatedReplicas": replicas - max(0, partition - start) if updated is None else updated,
            "currentRevision": "db-1",
            "updateRevision": revision,
        },
    }


def ordinal_pod(owner: Json, ordinal: int, *statuses: Json, revision: str = "db-2", **fields: Any) -> Json:
    """Return a pod of a StatefulSet."""
    name = owner["metadata"]["name"]
    labels = {"app": name, "controller-revision-hash": revision, "apps.kubernetes.io/pod-index": str(ordinal)}
    return pod(f"{name}-{ordinal}", *statuses, owner=owner, labels=labels, **fields)


def daemon_set(name: str = "agent", nodes: int = 2, *, generation: int = 1, updated: int | None = None, **spec: Any) -> Json:
    """Return a DaemonSet, whose template has changed with each generation."""
    annotations = {"deprecated.daemonset.template.generation": str(generation)}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(name, generation=generation, annotations=annotations),
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": template(labels={"app": name}),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            **spec,
        },
        "status": {
            "observedGeneration": generation,
            "desiredNumberScheduled": nodes,
            "currentNumberScheduled": nodes,
            "numberReady": nodes,
            "updatedNumberScheduled": nodes if updated is None else updated,
        },
    }


def node_pod(owner: Json, node: int, *statuses: Json, generation: int = 1, **fields: Any) -> Json:
    """Return a pod of a DaemonSet."""
    name = owner["metadata"]["name"]
    labels = {"app": name, "controller-revision-hash": f"h{generation}", "pod-template-generation": str(generation)}
    return pod(f"{name}-g{generation}n{node}", *statuses, owner=owner, labels=labels, **fields)


def job(name: str = "migrate", *, conditions: Sequence[Json] = (), created: float = 0, uid: str = "", **status: Any) -> Json:
    """Return a Job with the default of six more tries."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(name, generation=1, created=created, uid=uid),
        "spec": {
            "backoffLimit": 6,
            "completions": 1,
            "parallelism": 1,
            "suspend": False,
            "template": template(container(probed=False), labels={"job-name": name}, restartPolicy="Never"),
        },
        "status": {"conditions": list(conditions), **status},
    }


def job_pod(owner: Json, suffix: str, status: Json, **fields: Any) -> Json:
    """Return a pod of a Job, which is not started again."""
    fields = {"restartPolicy": "Never", "containers": [container(probed=False)], **fields}
    return pod(f"{owner['metadata']['name']}-{suffix}", status, owner=owner, labels={"job-name": "migrate"}, **fields)


def condition(type: str, status: str = "True", reason: str = "", message: str = "", since: float = 0) -> Json:
    """Return a condition."""
    return {"type": type, "status": status, "reason": reason, "message": message, "lastTransitionTime": stamp(since)}


# what pods need and what serves them


def claim(name: str = "data", phase: str = "Bound", storage_class: str | None = "standard") -> Json:
    """Return a PersistentVolumeClaim."""
    spec: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": "Filesystem"}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(name),
        "spec": spec,
        "status": {"phase": phase},
    }


def service(name: str = "web", selector: Mapping[str, str] | None = None, **spec: Any) -> Json:
    """Return a Service."""
    port = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}
    selector = {"app": "web"} if selector is None else dict(selector)
    body = {"type": "ClusterIP", "clusterIP": "10.0.0.7", "selector": selector, "ports": [port], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name), "spec": body, "status": {"loadBalancer": {}}}


def endpoint_slice(owner: Json, *ready: bool, ports: bool = True) -> Json:
    """Return an EndpointSlice of a Service, with an endpoint for each argument."""
    name = owner["metadata"]["name"]
    endpoints = [
        {"addresses": [f"10.1.0.{number}"], "conditions": {"ready": one, "serving": one, "terminating": False}}
        for number, one in enumerate(ready, 1)
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(f"{name}-x7k2p", owner=owner, labels={"kubernetes.io/service-name": name}),
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}] if ports else None,
    }


def event(
    about: Json, reason: str, message: str = "", *, at: float = 0, first: float | None = None, count: int = 1, container: str = ""
) -> Json:
    """Return an event about an object, or about a container of a pod."""
    target, name = about["metadata"], f"{about['metadata']['name']}.{reason.lower()}.{at}"
    involved = {"kind": about["kind"], "namespace": NAMESPACE, "name": target["name"], "uid": target["uid"]}
    if container:
        involved["fieldPath"] = f"spec.containers{{{container}}}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata(name, created=at if first is None else first),
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": "Warning",
        "count": count,
        "firstTimestamp": stamp(at if first is None else first),
        "lastTimestamp": stamp(at),
        "source": {"component": "kubelet", "host": "node-1"},
    }
