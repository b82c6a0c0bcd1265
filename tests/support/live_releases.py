"""Releases with their objects in the cluster in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from kubernaut.testing.cluster import FakeCluster
from support.kube_objects import Json, deployment, endpoint_slice, owned_pod, replica_set, running, service
from support.records import record_secret


def web(name: str = "web", namespace: str = "demo") -> str:
    labels = f"{{app: {name}}}"
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{selector: {{matchLabels: {labels}}}, template: {{metadata: {{labels: {labels}}}}}}}\n---\n"
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{selector: {labels}}}\n"
    )


def put(cluster: FakeCluster, items: Iterable[Json], namespace: str = "demo") -> None:
    for item in copy.deepcopy([*items]):
        metadata = {**item["metadata"], "namespace": namespace, "uid": f"{namespace}-{item['metadata']['uid']}"}
        for owner in metadata.get("ownerReferences", ()):
            owner["uid"] = f"{namespace}-{owner['uid']}"
        cluster.put({**item, "metadata": metadata})


def running_release(cluster: FakeCluster, name: str = "web", namespace: str = "demo", status: Json | None = None) -> None:
    """Put a release of one Deployment and its Service; ``status`` is that of its pod's container."""
    live = deployment(name, ready=0 if status else 1)
    made, serves = replica_set(live), service(name, {"app": name})
    put(cluster, [live, made, owned_pod(made, "a", status or running()), serves, endpoint_slice(serves, not status)], namespace)
    secret = record_secret(1, "deployed", name=name, namespace=namespace, manifest=web(name, namespace))
    cluster.create_secret(namespace, secret)
