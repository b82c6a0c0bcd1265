"""What a case needs in the cluster before a deploy, or changes during it: quotas, images, nodes, volumes, other owners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import requests

from kubernaut.errors import NotFound
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness

Change = Callable[[ClusterHarness], None]
"""Changes the cluster before or during a deploy."""

DEVICE = "example.com/{namespace}"
"""An extended resource of the node, of one namespace's pods."""
_MERGE = {"Content-Type": "application/merge-patch+json"}
_APPLY = {"Content-Type": "application/apply-patch+yaml"}


def namespace(labels: Mapping[str, str] | None = None) -> Change:
    """Create the namespace, with labels."""

    def change(harness: ClusterHarness) -> None:
        _create(harness, "/api/v1/namespaces", {"metadata": {"name": harness.namespace, "labels": labels or {}}})

    return change


def config_map_of_another_owner(harness: ClusterHarness) -> None:
    """Create the namespace, and a ConfigMap ``web`` in it that no release owns."""
    namespace()(harness)
    _create(harness, f"{_home(harness)}/configmaps", {"metadata": {"name": "web"}})


def replicas_of_another_manager(harness: ClusterHarness) -> None:
    """Let another manager own the number of replicas of the Deployment ``web``."""
    path = f"/apis/apps/v1/namespaces/{harness.namespace}/deployments/web?fieldManager=autoscaler&force=true"
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}}
    call_api(harness.cluster, "PATCH", path, body=scaled, headers=_APPLY)


def no_pods(harness: ClusterHarness) -> None:
    """Create the namespace, and a quota of no pods in it."""
    namespace()(harness)
    _create(harness, f"{_home(harness)}/resourcequotas", {"metadata": {"name": "pods"}, "spec": {"hard": {"pods": "0"}}})


def free_quota(harness: ClusterHarness) -> None:
    """Delete the quota."""
    call_api(harness.cluster, "DELETE", f"{_home(harness)}/resourcequotas/pods")


def add_device(harness: ClusterHarness) -> None:
    """Add the device to the node that the pods of the namespace wait for."""
    node = call_api(harness.cluster, "GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    capacity = {"status": {"capacity": {DEVICE.format(namespace=harness.namespace): "1"}}}
    call_api(harness.cluster, "PATCH", f"/api/v1/nodes/{node}/status", body=capacity, headers=_MERGE)


def add_volume(harness: ClusterHarness) -> None:
    """Create the volume that the namespace's claim waits for."""
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/tmp"},
        "claimRef": {"namespace": harness.namespace, "name": "data"},
    }
    _create(harness, "/api/v1/persistentvolumes", {"metadata": {"name": harness.namespace}, "spec": spec})


def add_image(harness: ClusterHarness) -> None:
    """Give the image the tag that is named like the namespace."""
    registry, _, rest = harness.image.partition("/")
    repository, _, tag = rest.rpartition(":")
    manifests = f"http://{registry}/v2/{repository}/manifests"
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    found = requests.get(f"{manifests}/{tag}", headers={"Accept": accept}, timeout=10)
    headers = {"Content-Type": found.headers["Content-Type"]}
    requests.put(f"{manifests}/{harness.namespace}", data=found.content, headers=headers, timeout=10).raise_for_status()


def remove(harness: ClusterHarness) -> None:
    """Delete what the harness and its case have left."""
    places = (f"/api/v1/namespaces/{harness.namespace}", f"/api/v1/namespaces/{harness.namespace}-other")
    for path in (*places, f"/api/v1/persistentvolumes/{harness.namespace}"):
        with suppress(NotFound):
            call_api(harness.cluster, "DELETE", path)
    harness.cluster.close()


def _home(harness: ClusterHarness) -> str:
    return f"/api/v1/namespaces/{harness.namespace}"


def _create(harness: ClusterHarness, path: str, body: Mapping[str, Any]) -> None:
    call_api(harness.cluster, "POST", path, body=body)
