"""The lock of a release, on the cluster in memory and on the platform's real one."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_calls import call_api
from support.messages import facts
from support.racing import ExclusiveSection, race
from support.waiting import until

from kubernaut.adapters.kube import Cluster
from kubernaut.ci import CiBuild
from kubernaut.deploy.lock.acquire import HeldLock, hold, read_lock
from kubernaut.deploy.lock.lease import Holder, Lock, LockState, LockTiming, decode_lease, lease_manifest, new_holder
from kubernaut.errors import ClusterDenied, Conflict, LockLost, NamespaceNotFound, ReleaseLocked
from kubernaut.testing.cluster import FakeCluster

QUICK = LockTiming(lease_seconds=5.0, renew_seconds=0.1, poll_seconds=0.05)
LONG_AGO = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADA = new_holder("01ada", "deploy", "Ada Łovelace\n", host="ci-7", process="p/1", build=CiBuild(url="http://ci/7?a=ü"))
BOB = new_holder("02bob", "deploy", "bob", host="ci-9", process="")


def is_lost(held: HeldLock) -> bool:
    try:
        held.check()
    except LockLost:
        return True
    return False


class LockContract:
    """The contract; a subclass provides ``cluster``."""

    @pytest.fixture
    def cluster(self) -> Cluster:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self, cluster: Cluster) -> str:
        name = f"l-{uuid.uuid4().hex[:8]}"
        cluster.create_namespace(name)
        return name

    def holding(
        self, cluster: Cluster, namespace: str, holder: Holder, *, timeout: float = 0.0, force: bool = False
    ) -> AbstractContextManager[HeldLock]:
        return hold(cluster, namespace, "web.app", holder, timeout=timeout, notify=print, timing=QUICK, force=force)

    def test_lock_is_taken_renewed_and_released(self, cluster: Cluster, namespace: str) -> None:
        with self.holding(cluster, namespace, ADA) as held:
            assert held.found == Lock()
            first = cluster.get_lease(namespace, "kubernaut.web.app")
            assert first is not None
            found = decode_lease(first).holder
            assert found is not None
            assert (found.identity, found.actor, found.build) == (ADA.identity, "Ada Łovelace?", ADA.build)
            assert read_lock(cluster, namespace, "web.app") == Lock(LockState.LIVE, found)

            def renewed() -> bool:
                now = cluster.get_lease(namespace, "kubernaut.web.app")
                return now is not None and now["spec"]["renewTime"] > first["spec"]["renewTime"]

            until(renewed)
            held.check()
        assert cluster.get_lease(namespace, "kubernaut.web.app") is None
        assert read_lock(cluster, namespace, "web.app") == Lock()

    def test_second_holder_is_refused_or_waits(self, cluster: Cluster, namespace: str) -> None:
        with self.holding(cluster, namespace, ADA) as held:
            for timeout in (0.0, 1.0):
                began = time.monotonic()
                with pytest.raises(ReleaseLocked) as caught, self.holding(cluster, namespace, BOB, timeout=timeout):
                    raise AssertionError
                assert time.monotonic() - began >= timeout
                assert all(fact in caught.value.message for fact in ("Ada Łovelace?", "ci-7", "deploy"))
            timer = threading.Timer(0.5, held.release)
            timer.start()
            with self.holding(cluster, namespace, BOB, timeout=30) as second:
                assert second.found == Lock()
            timer.join()

    def test_deleted_lease_is_a_lost_lock(self, cluster: Cluster, namespace: str) -> None:
        with self.holding(cluster, namespace, ADA) as held:
            cluster.delete_lease(namespace, "kubernaut.web.app")
            until(lambda: is_lost(held))
            with pytest.raises(LockLost, match=r"kubernaut\.web\.app"):
                held.check()
            assert cluster.get_lease(namespace, "kubernaut.web.app") is None, "nothing makes it anew"

    def test_forced_lock_is_lost_to_its_holder(self, cluster: Cluster, namespace: str) -> None:
        with self.holding(cluster, namespace, ADA) as held, self.holding(cluster, namespace, BOB, force=True) as taken:
            assert taken.found.state is LockState.LIVE
            until(lambda: is_lost(held))
            with pytest.raises(LockLost, match=facts("bob", "ci-9")):
                held.check()
            held.release()
            assert not is_lost(taken)
            assert cluster.get_lease(namespace, "kubernaut.web.app") is not None
        assert cluster.get_lease(namespace, "kubernaut.web.app") is None

    @pytest.mark.parametrize("emptied", [False, True])
    def test_expired_or_empty_lease_is_taken_over(self, cluster: Cluster, namespace: str, emptied: bool) -> None:
        left = lease_manifest(namespace, "web.app", ADA, seconds=1, acquired=LONG_AGO, renewed=LONG_AGO, transitions=4)
        cluster.create_lease(namespace, {**left, "spec": {}} if emptied else left)
        with self.holding(cluster, namespace, BOB) as held:
            assert held.found.state is (LockState.FREE if emptied else LockState.EXPIRED)
            now = cluster.get_lease(namespace, "kubernaut.web.app")
            assert now is not None
            assert now["spec"]["holderIdentity"] == BOB.identity
            assert now["spec"]["leaseTransitions"] == (1 if emptied else 5)
        assert cluster.get_lease(namespace, "kubernaut.web.app") is None

    @pytest.mark.parametrize("timeout", [0.0, 120.0])
    @pytest.mark.parametrize("expired", [False, True])
    def test_lock_is_exclusive_among_many(self, cluster: Cluster, namespace: str, timeout: float, expired: bool) -> None:
        if expired:
            cluster.create_lease(
                namespace, lease_manifest(namespace, "web.app", ADA, seconds=1, acquired=LONG_AGO, renewed=LONG_AGO, transitions=0)
            )

        def attempt(number: int, section: ExclusiveSection) -> None:
            me = new_holder(f"op{number}", "deploy", f"racer{number}", host="h", process="")
            with self.holding(cluster, namespace, me, timeout=timeout) as held, section.inside():
                end = time.monotonic() + 0.3  # some renewals long
                until(lambda: time.monotonic() > end)
                held.check()

        racers = 10
        section, refused = race(attempt, racers, seconds=180)
        assert section.entered + len(refused) == racers
        assert section.entered >= 1
        assert not (timeout and refused), "who waits in line gets it in the end"
        assert all(re.search(r"\bracer\d\b", message) for message in refused)
        assert cluster.get_lease(namespace, "kubernaut.web.app") is None

    def test_missing_namespace_has_no_lock(self, cluster: Cluster, namespace: str) -> None:
        assert read_lock(cluster, f"{namespace}-not", "web.app") == Lock()
        with pytest.raises(NamespaceNotFound), self.holding(cluster, f"{namespace}-not", BOB):
            raise AssertionError

    def test_terminating_namespace_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        self.terminate(cluster, namespace)
        with (
            pytest.raises(Conflict, match=facts("web.app", "being terminated")) as caught,
            self.holding(cluster, namespace, BOB),
        ):
            raise AssertionError
        assert not isinstance(caught.value, ReleaseLocked)

    def terminate(self, cluster: Cluster, namespace: str) -> None:
        """Begin to delete a namespace, which does not end."""
        raise NotImplementedError


class TestFakeCluster(LockContract):
    @pytest.fixture
    def cluster(self) -> FakeCluster:
        return FakeCluster()

    def terminate(self, cluster: Any, namespace: str) -> None:
        cluster.terminating.add(namespace)


@pytest.mark.platform
class TestRealCluster(LockContract):
    @pytest.fixture
    def cluster(self, platform: Mapping[str, str]) -> Cluster:
        return Cluster(platform["KUBECONFIG"])

    def terminate(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_secret(namespace, {"metadata": {"name": "stays", "finalizers": ["kubernaut.test/stays"]}})
        call_api(cluster, "DELETE", f"/api/v1/namespaces/{namespace}")

    def test_missing_rights_on_leases_are_named(
        self, cluster: Cluster, namespace: str, platform: Mapping[str, str], tmp_path: Path
    ) -> None:
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        call_api(cluster, "POST", accounts, body={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "weak"}})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = call_api(cluster, "POST", f"{accounts}/weak/token", body=request)["status"]["token"]
        config = yaml.safe_load(Path(platform["KUBECONFIG"]).read_text())
        config["users"][0]["user"] = {"token": token}
        (tmp_path / "weak").write_text(yaml.safe_dump(config))
        weak = Cluster(str(tmp_path / "weak"))
        with pytest.raises(ClusterDenied, match=facts("kubernaut.web.app", "leases")) as caught:
            self.holding(weak, namespace, BOB).__enter__()
        assert all(fact in caught.value.hint for fact in ("get", "create", "update", "delete", "leases.coordination.k8s.io"))
        with pytest.raises(ClusterDenied, match=r"kubernaut\.web\.app"):
            read_lock(weak, namespace, "web.app")
