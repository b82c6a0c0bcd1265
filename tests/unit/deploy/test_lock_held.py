"""The held lock: renewed by a thread, lost, released. The threads are real and renew a hundred times a second."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from support.messages import facts
from support.racing import ExclusiveSection, race
from support.waiting import until

from kubernaut.deploy.lock.acquire import HeldLock, hold
from kubernaut.deploy.lock.lease import LockState, LockTiming, decode_lease, new_holder
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, KubernautError, LockLost, ReleaseLocked
from kubernaut.testing.cluster import FakeCluster

NAME = "kubernaut.web"
QUICK = LockTiming(lease_seconds=1.0, renew_seconds=0.01, poll_seconds=0.01)
STILL = LockTiming(renew_seconds=1000.0)
ADA = new_holder("01ada", "deploy", "ada", host="ci-7", process="")
BOB = new_holder("02bob", "unlock", "bob", host="ci-9", process="")


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster("demo")


def holding(cluster: FakeCluster, timing: LockTiming = QUICK, **options: Any) -> Any:
    known = {"timeout": 0, "notify": print, "timing": timing, **options}
    return hold(cluster, "demo", "web", known.pop("holder", ADA), **known)  # type: ignore[arg-type]


def kept(cluster: FakeCluster) -> dict[str, Any]:
    return cluster._leases["demo", NAME]


def asked(cluster: FakeCluster, request: str) -> int:
    return sum(other.startswith(request) for other in list(cluster.requests))


def more(cluster: FakeCluster, request: str, times: int = 3) -> None:
    """Wait for further requests."""
    before = asked(cluster, request)
    until(lambda: asked(cluster, request) >= before + times)


def renewed(cluster: FakeCluster, times: int = 2) -> None:
    """Wait until it is renewed, and well."""
    for _ in range(times):
        before = kept(cluster)["metadata"]["resourceVersion"]
        until(lambda before=before: kept(cluster)["metadata"]["resourceVersion"] != before)  # type: ignore[misc]


def lost(held: HeldLock) -> str:
    """Wait until the lock is lost; return the message."""
    messages: list[str] = []

    def checked() -> bool:
        try:
            held.check()
        except LockLost as error:
            messages.append(error.message)
        return bool(messages)

    until(checked)
    with pytest.raises(LockLost):
        held.check()  # and it stays so
    return messages[0]


def test_renewal_replaces_the_lease(cluster: FakeCluster) -> None:
    with holding(cluster) as held:
        first = kept(cluster)
        renewed(cluster, 5)
        held.check()
        now = kept(cluster)
    assert now["metadata"]["uid"] == first["metadata"]["uid"]
    assert now["spec"]["acquireTime"] == first["spec"]["acquireTime"]
    assert now["spec"]["renewTime"] > first["spec"]["renewTime"]
    assert now["spec"]["leaseTransitions"] == 0
    assert not [request for request in cluster.requests if request.startswith("get ")]


def test_release_ends_the_renewal_thread(cluster: FakeCluster) -> None:
    before = threading.active_count()
    with holding(cluster):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_renewed_lock_is_not_taken_over(cluster: FakeCluster) -> None:
    with holding(cluster) as held:
        with pytest.raises(ReleaseLocked, match=facts("ada", "ci-7")), holding(cluster, holder=BOB, timeout=1.5):
            raise AssertionError  # longer than the lease of 1 s
        held.check()


# lost


def test_deleted_lease_is_a_lost_lock(cluster: FakeCluster) -> None:
    with holding(cluster) as held:
        cluster.delete_lease("demo", NAME)
        assert re.search(facts("demo.web", "kubernaut.web"), lost(held))
        until(lambda: "lock demo.web" not in [thread.name for thread in threading.enumerate()])  # and the thread has ended
    assert ("demo", NAME) not in cluster._leases, "nothing has made it anew"
    assert asked(cluster, "delete lease") == 1, "a lost lock is not released"


def test_forced_takeover_is_a_lost_lock(cluster: FakeCluster) -> None:
    with holding(cluster) as held, holding(cluster, holder=BOB, force=True) as taken:
        assert taken.found.state is LockState.LIVE
        assert re.search(facts("demo.web", "bob", "ci-9", "unlock"), lost(held))
        held.release()
        assert (decode_lease(kept(cluster)).holder or ADA).identity == BOB.identity, "the loser does not delete the Lease"
        taken.check()


def test_deleted_and_taken_lease_is_a_lost_lock(cluster: FakeCluster) -> None:
    with holding(cluster) as held:
        with cluster._lock:
            cluster.delete_lease("demo", NAME)
            other = holding(cluster, STILL, holder=BOB)
            other.__enter__()
        assert "bob on ci-9" in lost(held)
        other.__exit__(None, None, None)


def test_emptied_lease_is_a_lost_lock(cluster: FakeCluster) -> None:
    with holding(cluster) as held:
        with cluster._lock:
            now = kept(cluster)
            cluster.replace_lease("demo", {**now, "spec": {}})
        lost(held)


def test_lock_survives_an_added_annotation(cluster: FakeCluster) -> None:
    with holding(cluster) as held:
        with cluster._lock:
            now = kept(cluster)
            cluster.replace_lease("demo", {**now, "metadata": {**now["metadata"], "annotations": {"note": "hands off"}}})
        renewed(cluster, 3)
        held.check()


# not lost


@pytest.mark.parametrize(
    "error",
    [ClusterUnreachable("it answers 503"), ClusterDenied("the token has expired"), RuntimeError("the client was closed")],
    ids=repr,
)
def test_failing_renewals_do_not_lose_the_lock(cluster: FakeCluster, error: BaseException) -> None:
    notices: list[str] = []
    with holding(cluster, notify=notices.append) as held:
        cluster.fail("", error, times=None)
        end = time.monotonic() + 1.2  # longer than the lease holds
        until(lambda: time.monotonic() > end)
        more(cluster, "replace lease")
        held.check()
        held.check()
        (line,) = notices
        assert re.search(facts("demo.web", str(error)), line)
        cluster.heal()
        renewed(cluster)
        held.check()
        cluster.fail("replace lease", error, times=None)
        until(lambda: (held.check(), len(notices) == 2)[1])  # a second outage is reported again
        cluster.heal()
    assert ("demo", NAME) not in cluster._leases


class Divided(FakeCluster):
    """A cluster that one holder cannot reach for a while."""

    def __init__(self) -> None:
        super().__init__("demo")
        self.away: str | None = None

    def replace_lease(self, namespace: str, lease: Any) -> dict[str, Any]:
        if lease["spec"]["holderIdentity"] == self.away:
            raise ClusterUnreachable("gone")
        return super().replace_lease(namespace, lease)


def test_takeover_during_an_outage_is_a_lost_lock() -> None:
    cluster = Divided()
    with holding(cluster) as held:
        cluster.away = ADA.identity
        with holding(cluster, STILL, holder=BOB, timeout=10) as taken:  # no renewal for 1 s by its own clock
            assert taken.found.state is LockState.EXPIRED
            held.check()
            cluster.away = None
            assert "bob on ci-9" in lost(held)


@pytest.mark.parametrize("times", [1, 4])
def test_renewal_with_a_lost_answer_keeps_the_lock(cluster: FakeCluster, times: int) -> None:
    """The next one meets a conflict, which is our own."""
    with holding(cluster) as held:
        cluster.fail("replace lease", ClusterUnreachable("gone"), times=times, after=True)
        until(lambda: asked(cluster, "get lease"))
        renewed(cluster, 3)
        held.check()


# released


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_lock_is_released_after_any_error(cluster: FakeCluster, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, holding(cluster):
        raise error
    assert caught.value is error
    assert ("demo", NAME) not in cluster._leases


@pytest.mark.parametrize("failure", [ClusterUnreachable("gone"), ClusterDenied("no delete"), Conflict("no")], ids=repr)
def test_failed_release_is_reported_and_hides_no_error(cluster: FakeCluster, failure: KubernautError) -> None:
    notices: list[str] = []
    cluster.fail("delete lease", failure, times=None)
    with pytest.raises(ValueError, match="the work failed"), holding(cluster, notify=notices.append):
        raise ValueError("the work failed")
    (line,) = notices
    assert re.search(facts("demo.web", "1 s", str(failure)), line)


def test_release_after_an_own_late_renewal(cluster: FakeCluster) -> None:
    with holding(cluster, STILL):
        now = kept(cluster)
        cluster.replace_lease("demo", {**now, "spec": {**now["spec"], "renewTime": "2026-03-01T12:00:00.000000Z"}})
    assert ("demo", NAME) not in cluster._leases


def test_release_leaves_another_holders_lease(cluster: FakeCluster) -> None:
    """Taken so lately that no renewal has seen it."""
    with holding(cluster, STILL):
        other = holding(cluster, STILL, holder=BOB, force=True)
        other.__enter__()
    assert (decode_lease(kept(cluster)).holder or ADA).identity == BOB.identity
    other.__exit__(None, None, None)
    assert ("demo", NAME) not in cluster._leases


def test_release_of_a_deleted_lease_is_silent(cluster: FakeCluster) -> None:
    notices: list[str] = []
    with holding(cluster, STILL, notify=notices.append):
        cluster.delete_lease("demo", NAME)
    assert notices == []


def test_ctrl_c_while_acquiring_releases_the_lock(cluster: FakeCluster) -> None:
    """The API server has created the Lease, and its answer was lost."""
    cluster.fail("create lease", KeyboardInterrupt(), after=True)
    with pytest.raises(KeyboardInterrupt), holding(cluster):
        raise AssertionError
    assert ("demo", NAME) not in cluster._leases


def test_ctrl_c_before_acquiring_leaves_the_other_lock(cluster: FakeCluster) -> None:
    with holding(cluster, STILL, holder=BOB) as held:
        cluster.fail("create lease", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt), holding(cluster):
            raise AssertionError
        assert (decode_lease(kept(cluster)).holder or ADA).identity == BOB.identity
        held.check()


class Hanging(FakeCluster):
    """A cluster whose next renewal hangs."""

    def __init__(self) -> None:
        super().__init__("demo")
        self.hangs = threading.Event()
        self.goes_on = threading.Event()

    def replace_lease(self, namespace: str, lease: Any) -> dict[str, Any]:
        self.hangs.set()
        assert self.goes_on.wait(20)
        return super().replace_lease(namespace, lease)


def test_hanging_renewal_does_not_delay_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.deploy.lock.acquire._JOIN_SECONDS", 0.1)
    cluster = Hanging()
    with holding(cluster):
        assert cluster.hangs.wait(10)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert ("demo", NAME) not in cluster._leases
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "lock demo.web"]
    cluster.goes_on.set()
    thread.join(10)
    assert not thread.is_alive()
    assert ("demo", NAME) not in cluster._leases, "a late renewal makes nothing anew"


# races


@pytest.mark.parametrize("timeout", [0.0, 60.0])
@pytest.mark.parametrize("found", ["free", "expired", "emptied"])
def test_many_acquire_at_once(cluster: FakeCluster, timeout: float, found: str) -> None:
    if found == "emptied":
        cluster.create_lease("demo", {"metadata": {"name": NAME}, "spec": {}})
    if found == "expired":
        left = {"holderIdentity": "gone", "leaseDurationSeconds": 1, "renewTime": "2026-03-01T12:00:00.000000Z"}
        cluster.create_lease("demo", {"metadata": {"name": NAME}, "spec": left})

    def attempt(number: int, section: ExclusiveSection) -> None:
        me = new_holder(f"op{number}", "deploy", f"racer{number}", host="h", process="")
        with holding(cluster, holder=me, timeout=timeout) as held, section.inside():
            more(cluster, "replace lease", 2)
            held.check()

    racers = 12
    section, refused = race(attempt, racers, seconds=100)
    assert section.entered + len(refused) == racers
    assert section.entered >= 1
    if timeout:
        assert section.entered == racers, "each waiting holder gets the lock in the end"
    for message in refused:
        assert re.search(r"\bracer|'gone'", message)
    assert ("demo", NAME) not in cluster._leases


def test_room_detects_two_inside() -> None:
    section = ExclusiveSection()
    with section.inside(), pytest.raises(AssertionError, match="two are inside"), section.inside():
        pass
    with suppress(AssertionError), section.inside():
        assert section.entered == 2
