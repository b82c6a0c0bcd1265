"""What Helm does with objects in the cluster, for the fake in memory and for Helm 3 and Helm 4 on the real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.charts import CONFIG_MAP, write_chart
from support.helms import AnyHelm, Helm3, Helm4, InMemory

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_resources import known_resource
from kubernaut.deploy.planning.owners import owner_of
from kubernaut.errors import HelmFailed
from kubernaut.history.records import Status
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm

GONE = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n"
KEPT = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, annotations: {helm.sh/resource-policy: keep}}\n"
OVERWRITES = (4, 2)
"""The first version that rolls back over an object that the newest record lacks."""


def find(cluster: Cluster, namespace: str, name: str) -> dict[str, Any] | None:
    resource = known_resource("v1", "ConfigMap")
    assert resource is not None
    return cluster.get_object(resource, namespace, name)


class HelmObjectsContract(AnyHelm):
    """The contract."""

    def test_objects_belong_to_their_release(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        self.deploy(helm, write_chart(tmp_path), namespace)
        found = find(cluster, namespace, "r")
        assert found is not None
        assert owner_of(found, "r", namespace) == ""
        assert owner_of(found, "other", namespace)

    def test_object_that_is_to_be_kept_outlives_its_release(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path
    ) -> None:
        self.deploy(helm, write_chart(tmp_path, template=CONFIG_MAP + GONE + KEPT), namespace)
        assert find(cluster, namespace, "gone") is not None
        self.deploy(helm, write_chart(tmp_path, template=CONFIG_MAP), namespace)
        assert find(cluster, namespace, "gone") is None
        assert find(cluster, namespace, "kept") is not None
        self.deploy(helm, write_chart(tmp_path, template=CONFIG_MAP + KEPT), namespace)
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        assert find(cluster, namespace, "r") is None
        assert find(cluster, namespace, "kept") is not None

    def test_rollback_over_an_object_that_the_newest_record_lacks(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path
    ) -> None:
        self.deploy(helm, write_chart(tmp_path, template=CONFIG_MAP + KEPT), namespace)
        self.deploy(helm, write_chart(tmp_path, template=CONFIG_MAP), namespace)
        how: dict[str, Any] = {"namespace": namespace, "timeout": 30, "history_max": 50, "log": print}
        if tuple(int(part) for part in helm.version().split(".")[:2]) >= OVERWRITES:
            helm.rollback("r", 1, **how)
            assert self.records(cluster, namespace)[0].status == Status.DEPLOYED
            return
        with pytest.raises(HelmFailed, match='no ConfigMap with the name "kept" found'):
            helm.rollback("r", 1, **how)
        failed, newest, _ = self.records(cluster, namespace)
        assert (failed.status, newest.status) == (Status.FAILED, Status.SUPERSEDED)
        assert 'no ConfigMap with the name "kept" found' in failed.description


class TestFakeHelm3(InMemory, HelmObjectsContract):
    pass


class TestFakeHelm4(InMemory, HelmObjectsContract):
    @pytest.fixture
    def helm(self, cluster: FakeCluster) -> FakeHelm:  # type: ignore[override]
        return FakeHelm(cluster, "4.2.4")


@pytest.mark.platform
class TestHelm3(Helm3, HelmObjectsContract):
    pass


@pytest.mark.platform
class TestHelm4(Helm4, HelmObjectsContract):
    pass
