"""The contract of `Helm` for immutable records and for being stopped, in memory and with Helm 3 and Helm 4."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from support.charts import CONFIG_MAP, write_chart
from support.helms import AnyHelm, Helm3, Helm4, InMemory, mark

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.errors import KubernautError, ReleaseLocked
from kubernaut.history.records import PENDING, Status
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm

NEVER_BOUND = """---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .Release.Name }}
spec: {accessModes: [ReadWriteOnce], storageClassName: none, resources: {requests: {storage: 1Mi}}}
"""


class RecordsContract(AnyHelm):
    """The contract."""

    # records that are immutable

    @pytest.mark.parametrize("verb", ["install", "upgrade"])
    def test_fenced_record_is_not_overwritten(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, verb: str
    ) -> None:
        """Helm ends well after its record was fenced: an install reports success, an upgrade reports failure."""
        if verb == "upgrade":
            self.deploy(helm, write_chart(tmp_path), namespace)
        waiting = write_chart(tmp_path, "waiting", template=CONFIG_MAP + NEVER_BOUND)

        def fence() -> None:
            records = self.records(cluster, namespace)
            if records and records[0].status in PENDING and self.waits(cluster, namespace):
                mark(cluster, records[0], Status.FAILED, immutable=True)
                self.let_go_on(cluster, namespace)

        with pytest.raises(KubernautError, match="immutable") if verb == "upgrade" else nullcontext():
            self.deploy(helm, waiting, namespace, check=fence)
        fenced, *older = self.records(cluster, namespace)
        assert fenced.status == fenced.labelled_status == Status.FAILED
        assert [record.status for record in older] == [Status.SUPERSEDED] * len(older), "and nothing is deployed any more"

    def test_immutable_record_is_not_superseded(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace)
        mark(cluster, self.records(cluster, namespace)[0], Status.DEPLOYED, immutable=True)
        self.deploy(helm, chart, namespace, values={"text": "b"})
        assert [record.status for record in self.records(cluster, namespace)] == [Status.DEPLOYED] * 2
        self.deploy(helm, chart, namespace, values={"text": "c"})  # of two deployed records the last is superseded
        statuses = [record.status for record in self.records(cluster, namespace)]
        assert statuses == [Status.DEPLOYED, Status.SUPERSEDED, Status.DEPLOYED]

    @pytest.mark.parametrize("status", [Status.DEPLOYED, Status.FAILED, Status.UNINSTALLING])
    def test_uninstall_of_an_immutable_record_reports_success(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path, status: Status
    ) -> None:
        self.deploy(helm, write_chart(tmp_path), namespace)
        mark(cluster, self.records(cluster, namespace)[0], status, immutable=True)
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        assert [record.status for record in self.records(cluster, namespace)] == [status]

    def test_immutable_record_is_replaced_only_if_failed(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path
    ) -> None:
        chart = write_chart(tmp_path)
        self.deploy(helm, chart, namespace)
        mark(cluster, self.records(cluster, namespace)[0], Status.FAILED, immutable=True)
        self.deploy(helm, chart, namespace, replace=True)
        assert [record.status for record in self.records(cluster, namespace)] == [Status.DEPLOYED, Status.FAILED]
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        mark(cluster, self.records(cluster, namespace)[0], Status.UNINSTALLED, immutable=True)
        with pytest.raises(KubernautError, match="immutable"):
            self.deploy(helm, chart, namespace, replace=True)
        assert [record.status for record in self.records(cluster, namespace)] == [Status.UNINSTALLED, Status.FAILED]

    def test_uninstall_supersedes_an_older_deployed_record(
        self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path
    ) -> None:
        """Helm 3.17 leaves it deployed, below the one that is uninstalled."""
        chart = write_chart(tmp_path)
        for text in "ab":
            self.deploy(helm, chart, namespace, values={"text": text})
        mark(cluster, self.records(cluster, namespace)[1], Status.DEPLOYED)
        helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print)
        older = Status.DEPLOYED if helm.version().startswith("3.17") else Status.SUPERSEDED
        assert [record.status for record in self.records(cluster, namespace)] == [Status.UNINSTALLED, older]

    # a check that stops it

    def test_raising_check_stops_helm(self, helm: Helm, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        waiting = write_chart(tmp_path, "waiting", template=CONFIG_MAP + NEVER_BOUND)

        def check() -> None:
            if any(record.status in PENDING for record in self.records(cluster, namespace)):
                raise ReleaseLocked("the lock is lost")

        for verb in ("Release", "Upgrade"):
            with pytest.raises(ReleaseLocked, match="the lock is lost"):
                self.deploy(helm, waiting, namespace, values={"text": verb}, check=check)
            record = self.records(cluster, namespace)[0]
            assert (record.status, record.description) == (Status.FAILED, f'{verb} "r" failed: context canceled')
        with pytest.raises(ReleaseLocked):
            helm.rollback("r", 1, namespace=namespace, timeout=30, history_max=50, log=print, check=check)
        assert self.records(cluster, namespace)[0].status == Status.PENDING_ROLLBACK


class TestFakeHelm(InMemory, RecordsContract):
    def test_stopped_delete_stays_uninstalling(self, helm: FakeHelm, cluster: FakeCluster, namespace: str, tmp_path: Path) -> None:
        self.deploy(helm, write_chart(tmp_path), namespace)  # type: ignore[arg-type]

        def check() -> None:
            if self.records(cluster, namespace)[0].status == Status.UNINSTALLING:  # type: ignore[arg-type]
                raise ReleaseLocked("the lock is lost")

        with pytest.raises(ReleaseLocked):
            helm.uninstall("r", namespace=namespace, description="", timeout=30, log=print, check=check)
        assert self.records(cluster, namespace)[0].status == Status.UNINSTALLING  # type: ignore[arg-type]


class TestFakeHelm4(InMemory, RecordsContract):
    @pytest.fixture
    def helm(self, cluster: FakeCluster) -> FakeHelm:
        return FakeHelm(cluster, "4.2.4")


@pytest.mark.platform
class TestHelm3(Helm3, RecordsContract):
    pass


@pytest.mark.platform
class TestHelm4(Helm4, RecordsContract):
    pass
