"""Calls of the Kubernetes API that kubernaut itself does not make: namespaces, service accounts, roles, foreign Leases."""

from __future__ import annotations

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
