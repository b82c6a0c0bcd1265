"""Calls of the Kubernetes API that kubernaut itself does not make: namespaces, service accounts, roles, foreign Leases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.adapters.kube import Cluster


def call_api(cluster: Cluster, method: str, path: str, **options: Any) -> dict[str, Any]:
    """Send a request with the cluster's credentials; return the response's object.

    Args:
        cluster: The cluster.
        method: The HTTP method.
        path: The path.
        options: ``body`` and ``headers``.
    """
    answer: dict[str, Any] = cluster._api.json(method, path, **options)
    return answer


def merge_patch(cluster: Cluster, path: str, body: Mapping[str, Any], *, manager: str = "") -> dict[str, Any]:
    """Merge-patch an object, as this field manager if one is named; return it."""
    address = f"{path}?fieldManager={manager}" if manager else path
    return call_api(cluster, "PATCH", address, body=body, headers={"Content-Type": "application/merge-patch+json"})
