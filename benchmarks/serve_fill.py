"""Creating releases in Helm's format for serve.py, and deleting them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernaut.adapters.kube import Cluster
from kubernaut.history.records import HELM_OWNER, SECRET_TYPE, Status, encode

_WRITERS = 12
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Dataset:
    """The releases to create.

    Attributes:
        releases: The number of releases.
        revisions: The number of revisions of each release.
        namespaces: The number of namespaces over which the releases are spread.
        size: The size of each record in bytes.
    """

    releases: int
    revisions: int
    namespaces: int
    size: int = 20_000

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield each release's namespace and name."""
        for number in range(self.releases):
            yield f"bench-{number % self.namespaces}", f"app-{number:04d}"


@contextmanager
def populated(cluster: Cluster, dataset: Dataset) -> Iterator[None]:
    """Create the releases; delete their namespaces at the end."""
    names = [f"bench-{number}" for number in range(dataset.namespaces)]
    for name in names:
        cluster.create_namespace(name)
    try:
        with ThreadPoolExecutor(_WRITERS) as pool:
            for created in pool.map(lambda name: _create(cluster, *name, dataset), dataset.names()):
                assert created == dataset.revisions
        yield
    finally:
        _remove(cluster, names)


def record(namespace: str, name: str, revision: int, status: Status, size: int) -> dict[str, Any]:
    """Return the Secret of a release record of about ``size`` bytes."""
    made = (_BEGIN + timedelta(minutes=revision)).isoformat()
    # Random bytes, since the record is compressed; real records are large because of their templates.
    filler = base64.b64encode(os.urandom(size * 9 // 16)).decode()
    content = {
        "name": name,
        "namespace": namespace,
        "version": revision,
        "info": {"first_deployed": made, "last_deployed": made, "deleted": "", "status": status, "description": "Upgrade complete"},
        "chart": {
            "metadata": {"name": name, "version": f"1.0.{revision}", "appVersion": f"1.0.{revision}", "apiVersion": "v2"},
            "templates": [{"name": "templates/all.yaml", "data": filler}],
            "values": {"replicaCount": 1},
        },
        "config": {"greeting": f"release {revision}"},
        "manifest": _MANIFEST.format(name=name, revision=revision),
    }
    labels = {"name": name, "owner": HELM_OWNER, "status": status.value, "version": str(revision)}
    metadata = {"name": f"sh.helm.release.v1.{name}.v{revision}", "namespace": namespace, "labels": labels}
    return {"metadata": metadata, "type": SECRET_TYPE, "data": {"release": encode(content)}}


def _create(cluster: Cluster, namespace: str, name: str, dataset: Dataset) -> int:
    for revision in range(1, dataset.revisions + 1):
        status = Status.DEPLOYED if revision == dataset.revisions else Status.SUPERSEDED
        cluster.create_secret(namespace, record(namespace, name, revision, status, dataset.size))
    return dataset.revisions


def _remove(cluster: Cluster, namespaces: Sequence[str]) -> None:
    for namespace in namespaces:
        cluster._api.json("DELETE", f"/api/v1/namespaces/{namespace}")


_MANIFEST = """---
# Source: app/templates/all.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  template:
    spec:
      containers:
        - name: app
          image: registry.example.com/{name}@sha256:{revision:064x}
"""
