"""The Helms that the contract is tried on: the one in memory, and Helm 3 and Helm 4 with the platform's real cluster."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.errors import NotFound
from kubernaut.history.records import Record, Status, encode
from kubernaut.history.store import HistoryStore
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm
from support.api_calls import call_api, merge_patch


class AnyHelm:
    """A subclass provides ``helm`` and the ``cluster`` that it writes to."""

    @pytest.fixture
    def cluster(self) -> Cluster:
        raise NotImplementedError

    @pytest.fixture
    def helm(self, cluster: Cluster) -> Helm:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self, cluster: Cluster) -> str:
        name = f"h-{uuid.uuid4().hex[:8]}"
        cluster.create_namespace(name)
        return name

    def deploy(self, helm: Helm, chart: Path, namespace: str, *, replace: bool = False, **options: Any) -> None:
        arguments: dict[str, Any] = {
            "values": {},
            "labels": {"kubernaut/operation": "one"},
            "description": "first",
            "history_max": 50,
            "install": True,
        }
        arguments |= options
        if replace:
            del arguments["history_max"], arguments["install"]
        start = helm.install_replace if replace else helm.upgrade
        start("r", str(chart), namespace=namespace, timeout=30, log=print, **arguments)

    def records(self, cluster: Cluster, namespace: str) -> tuple[Record, ...]:
        return HistoryStore(cluster).get(namespace, "r").records

    @pytest.fixture
    def image(self) -> str:
        """An image with a shell, which the cluster's nodes can run."""
        return "r/tools"

    def waits(self, cluster: Cluster, namespace: str) -> bool:
        """Return whether Helm has created the claim that it waits for; the fake creates none."""
        return True

    def let_go_on(self, cluster: Cluster, namespace: str) -> None:
        """Let a Helm go on that waits for its claim; the one in memory never waits."""


def mark(cluster: Cluster, record: Record, status: Status, *, immutable: bool | None = None) -> None:
    """Write a status into a record, as a Helm that was killed leaves it, or fence it."""
    content = {**record.content, "info": {**record.info, "status": status.value}}
    patch = {"metadata": {"labels": {"status": status.value}}, "data": {"release": encode(content)}, "immutable": immutable}
    cluster.patch_secret(record.namespace, record.secret, patch)


class InMemory(AnyHelm):
    """The Helm in memory."""

    @pytest.fixture
    def cluster(self) -> FakeCluster:
        return FakeCluster()

    @pytest.fixture
    def helm(self, cluster: FakeCluster) -> FakeHelm:
        return FakeHelm(cluster)


class OnPlatform(AnyHelm):
    """A real Helm; a subclass provides the program."""

    @pytest.fixture
    def program(self, helms: Mapping[str, str]) -> str:
        raise NotImplementedError

    @pytest.fixture
    def cluster(self, platform: Mapping[str, str]) -> Cluster:
        return Cluster(platform["KUBECONFIG"])

    @pytest.fixture
    def helm(self, platform: Mapping[str, str], program: str) -> Helm:
        environment = {**os.environ, **platform}
        return Helm(program, kubeconfig=platform["KUBECONFIG"], environment=environment, plain_http=lambda _: True)

    @pytest.fixture
    def image(self, platform: Mapping[str, str]) -> str:
        return f"{platform['KUBERNAUT_REGISTRY'].partition('/')[0]}/library/node:22"

    def waits(self, cluster: Cluster, namespace: str) -> bool:
        try:
            call_api(cluster, "GET", _claim(namespace))
        except NotFound:
            return False
        return True

    def let_go_on(self, cluster: Cluster, namespace: str) -> None:
        merge_patch(cluster, f"{_claim(namespace)}/status", {"status": {"phase": "Bound"}})


def _claim(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/r"


class Helm3(OnPlatform):
    """Helm 3."""

    @pytest.fixture
    def program(self, helms: Mapping[str, str]) -> str:
        return helms["helm3"]


class Helm4(OnPlatform):
    """Helm 4."""

    @pytest.fixture
    def program(self, helms: Mapping[str, str]) -> str:
        return helms["helm4"]
