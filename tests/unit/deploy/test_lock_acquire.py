"""Acquiring the lock: refusals, waiting, takeovers. The clock advances only while a request waits."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.lock_harness import ADA, BOB, EVE, HOUR, NAME, LockHarness
from support.messages import facts

from kubernaut.adapters.process import process_identity
from kubernaut.deploy.lock.acquire import hold, read_lock
from kubernaut.deploy.lock.lease import Holder, Lock, LockState, new_holder
from kubernaut.errors import ClusterUnreachable
from kubernaut.testing.cluster import FakeCluster


@pytest.fixture
def harness() -> LockHarness:
    return LockHarness()


def test_free_lock_takes_two_requests(harness: LockHarness) -> None:
    with harness.hold() as held:
        assert held.found == Lock()
        held.check()
        assert harness.lease is not None
        assert harness.lease["spec"]["acquireTime"] == harness.lease["spec"]["renewTime"] == "2026-03-01T12:00:00.000000Z"
    assert harness.lease is None
    assert harness.cluster.requests == [f"create lease demo/{NAME}", f"delete lease demo/{NAME}"]
    assert harness.notices == []


def test_lock_can_be_acquired_repeatedly(harness: LockHarness) -> None:
    for _ in range(3):
        with harness.hold() as held:
            assert held.found == Lock()


def test_each_release_has_its_own_lock(harness: LockHarness) -> None:
    harness.cluster.create_namespace("other")
    with ExitStack() as stack:
        for namespace, name in (("demo", "web"), ("demo", "web.two"), ("other", "web")):
            stack.enter_context(hold(harness.cluster, namespace, name, BOB, timeout=0, notify=print, timing=harness.timing))


# held by another operation


def test_locked_release_is_refused_at_once_with_its_holder(harness: LockHarness) -> None:
    harness.put(ADA)
    harness.seconds += 20
    error = harness.locked()
    assert re.search(facts("demo.web", "ada", "ci-7", "deploy", "12:00:00 UTC", "http://ci/7", "20 s"), error.message)
    assert "--lock-timeout 5m" in error.hint
    assert "lockTimeout" in error.http_hint
    assert harness.passed == 20, "it has not waited"
    assert harness.cluster.writes[1:] == [f"create lease demo/{NAME}"]


def test_waiting_is_reported_once_and_succeeds(harness: LockHarness) -> None:
    harness.renews(ADA, until=10)
    harness.at(12.5, harness.release)
    with harness.hold(timeout=60) as held:
        assert held.found == Lock()
    assert 12.5 <= harness.passed < 14
    (line,) = harness.notices
    assert re.search(facts("demo.web", "ada", "ci-7", "deploy", "12:00:00 UTC", "http://ci/7", "60 s"), line)
    assert len([request for request in harness.cluster.requests if request.startswith("create")]) == 3  # ada's, in vain, and now


def test_waiting_ends_at_the_timeout(harness: LockHarness) -> None:
    harness.renews(ADA)
    error = harness.locked(timeout=9.5)
    assert harness.passed == 9.5
    assert re.search(facts("10 s"), error.message)


def test_timeout_spans_several_holders(harness: LockHarness) -> None:
    harness.renews(ADA, until=5)
    harness.at(6, harness.release)
    harness.at(6, lambda: harness.put(EVE))
    for passed in range(11, 100, 5):
        harness.at(passed, lambda: harness.put(EVE))
    error = harness.locked(timeout=40)
    assert harness.passed == 40
    assert re.search(facts("eve", "ci-3", "rollback"), error.message)
    first, second = harness.notices
    assert re.search(facts("demo.web", "ada", "ci-7"), first)
    assert re.search(facts("demo.web", "eve", "ci-3"), second)


def test_waiting_takes_over_from_a_holder_that_stops_renewing(harness: LockHarness) -> None:
    harness.renews(ADA, until=10)
    with harness.hold(timeout=120) as held:
        assert held.found.state is LockState.EXPIRED
        assert held.found.holder is not None
        assert held.found.holder.operation == "01ada"
        assert harness.lease is not None
        assert harness.lease["spec"]["leaseTransitions"] == 1
    assert 40 <= harness.passed <= 42
    (line,) = harness.notices[1:]
    assert re.search(facts("demo.web", "ada", "ci-7", "deploy", "12:00:10 UTC", "http://ci/7"), line)


def test_recently_renewed_lease_is_live(harness: LockHarness) -> None:
    harness.put(ADA, ago=29)
    harness.locked()
    assert harness.passed == 0


@pytest.mark.parametrize("ago", [31.0, HOUR, 1000 * HOUR, -0.5, -HOUR], ids=str)
@pytest.mark.parametrize("timeout", [0.0, 10.0, 100.0])
def test_dead_holder_on_another_machine_with_any_clock(harness: LockHarness, ago: float, timeout: float) -> None:
    harness.put(ADA, ago=ago, transitions=6)
    with harness.hold(timeout=timeout) as held:
        assert (held.found.state, held.found.holder and held.found.holder.actor) == (LockState.EXPIRED, "ada")
        assert harness.lease is not None
        assert harness.lease["spec"]["leaseTransitions"] == 7
    assert 30 <= harness.passed <= 31, "unchanged for the length of the lease, and not a moment longer"
    assert len(harness.notices) == 2
    assert re.search(facts("ada", "30 s"), harness.notices[0])
    assert re.search(facts("demo.web", "ada"), harness.notices[1])


@pytest.mark.parametrize("ago", [31.0, HOUR, -0.5, -HOUR], ids=str)
def test_live_holder_on_another_machine_with_any_clock(harness: LockHarness, ago: float) -> None:
    harness.renews(ADA, ago=ago)
    assert re.search(facts("ada", "ci-7"), harness.locked().message)
    assert 5 <= harness.passed <= 6, "one renewal was enough to see"


def test_slow_holder_is_alive(harness: LockHarness) -> None:
    """Its renewals come late, but within the length of the lease."""
    harness.put(ADA, ago=HOUR)
    harness.at(29, lambda: harness.put(ADA, ago=HOUR))
    harness.locked()
    assert harness.passed == 29


def test_future_renew_time_does_not_become_fresh_by_waiting(harness: LockHarness) -> None:
    harness.put(ADA, ago=-20)  # 20 s from now it would look renewed just now
    with harness.hold() as held:
        assert held.found.state is LockState.EXPIRED


# the same machine


@pytest.fixture
def dead() -> Holder:
    """A process of this machine that was killed."""
    code = "from kubernaut.adapters.process import process_identity; print(process_identity(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        identity = child.stdout.readline().strip()
        alive = new_holder("04", "deploy", "ada", host="here", process=identity)
        harness = LockHarness()
        harness.put(alive)
        harness.locked()  # as long as it runs
        child.kill()
    return alive


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
@pytest.mark.parametrize("ago", [0.0, -HOUR, HOUR], ids=str)
def test_killed_process_of_this_machine_holds_nothing(harness: LockHarness, dead: Holder, ago: float) -> None:
    harness.put(dead, ago=ago)
    assert read_lock(harness.cluster, "demo", "web", timing=harness.timing).state is LockState.EXPIRED  # type: ignore[arg-type]
    with harness.hold() as held:
        assert held.found.state is LockState.EXPIRED
        assert (held.found.holder or ADA).process == dead.process
    assert harness.passed == 0
    (line,) = harness.notices
    assert re.search(facts("demo.web", str(held.found.holder)), line)


def test_own_process_is_alive(harness: LockHarness) -> None:
    harness.put(replace(ADA, process=process_identity()))
    harness.locked()


# Leases edited by hand


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": None}, {"holderIdentity": " ", "leaseTransitions": "x"}])
def test_lease_without_a_holder_is_free(harness: LockHarness, spec: dict[str, Any]) -> None:
    harness.cluster.create_lease("demo", {"metadata": {"name": NAME}, "spec": spec})
    with harness.hold() as held:
        assert held.found == Lock()
    assert harness.passed == 0
    assert harness.notices == []
    assert harness.lease is None


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": "x"},
        {"holderIdentity": "x", "leaseDurationSeconds": 2**31 - 1, "renewTime": "2026-03-01T12:30:00.000000Z"},
        {"holderIdentity": "x", "leaseDurationSeconds": 2**31 - 1, "renewTime": "2026-03-01T11:50:00.000000Z"},
    ],
)
def test_lease_of_another_tool_is_observed(harness: LockHarness, spec: dict[str, Any]) -> None:
    harness.cluster.create_lease(
        "demo", {"metadata": {"name": NAME, "annotations": {"kubernaut/process": "junk/1/2"}}, "spec": spec}
    )
    with harness.hold() as held:
        assert held.found == Lock(LockState.EXPIRED, Holder("x", process="junk/1/2"))
    assert 30 <= harness.passed <= 31


# races


class Racing(FakeCluster):
    """Another process is always faster: something happens before a request."""

    def __init__(self) -> None:
        super().__init__("demo")
        self.before: dict[str, list[Callable[[], Any]]] = {}

    @contextmanager
    def _asked(self, request: str) -> Iterator[None]:
        actions = self.before.get(request.split(" ")[0], [])
        if actions:
            actions.pop(0)()
        with super()._asked(request):
            yield


@pytest.fixture
def racing(harness: LockHarness) -> Racing:
    harness.cluster = Racing()
    return harness.cluster


def test_lock_released_between_create_and_get(harness: LockHarness, racing: Racing) -> None:
    harness.put(ADA)
    racing.before["get"] = [harness.release]
    with harness.hold() as held:
        assert held.found == Lock()
    assert harness.passed == 0


def test_lost_takeover_race_is_refused(harness: LockHarness, racing: Racing) -> None:
    harness.put(ADA, ago=HOUR)
    racing.before["replace"] = [lambda: harness.put(EVE)]
    assert re.search(facts("eve", "ci-3"), harness.locked().message)


def test_late_renewal_wins_against_the_takeover(harness: LockHarness, racing: Racing) -> None:
    harness.put(ADA, ago=HOUR)
    racing.before["replace"] = [lambda: harness.put(ADA, ago=HOUR - 100)]
    assert re.search(facts("ada", "ci-7"), harness.locked().message)


def test_expired_lease_that_vanishes_is_free(harness: LockHarness, racing: Racing) -> None:
    harness.put(ADA, ago=HOUR)
    racing.before["replace"] = [harness.release]
    with harness.hold() as held:
        assert held.found == Lock(), "it was free in the end"


def test_takeover_with_a_lost_answer_holds_the_lock(harness: LockHarness) -> None:
    harness.put(ADA, ago=HOUR)
    harness.cluster.fail("replace lease", ClusterUnreachable("gone"), after=True)
    with harness.hold(timeout=60) as held:
        assert held.found.state is LockState.EXPIRED
        assert (held.found.holder or BOB).actor == "ada"


def test_create_with_a_lost_answer_after_a_failed_takeover(harness: LockHarness, racing: Racing) -> None:
    harness.put(ADA, ago=HOUR)
    racing.before["replace"] = [harness.release]
    harness.at(30, lambda: racing.fail("create lease", ClusterUnreachable("gone"), after=True))
    with harness.hold(timeout=60) as held:
        assert held.found == Lock(), "it was free in the end"


# by force


def test_force_takes_over_from_a_live_holder(harness: LockHarness) -> None:
    harness.put(ADA)
    with harness.hold(EVE, force=True) as held:
        assert (held.found.state, held.found.holder and held.found.holder.actor) == (LockState.LIVE, "ada")
    (line,) = harness.notices
    assert re.search(facts("demo.web", "ada", "ci-7", "deploy", "12:00:00 UTC", "http://ci/7", "force"), line)
    assert harness.lease is None


def test_force_does_not_observe_the_holder(harness: LockHarness) -> None:
    harness.put(ADA, ago=HOUR)
    with harness.hold(EVE, force=True) as held:
        assert held.found.holder is not None
    assert harness.passed == 0


def test_force_wins_against_frequent_renewals(harness: LockHarness, racing: Racing) -> None:
    harness.put(ADA)
    again: list[Callable[[], Any]] = [
        lambda: harness.put(ADA, ago=0.25),
        lambda: None,
        lambda: harness.put(ADA, ago=0.5),
        lambda: None,
    ]
    racing.before["replace"] = again
    with harness.hold(EVE, force=True) as held:
        assert held.found.state is LockState.LIVE


def test_force_of_a_free_lock(harness: LockHarness) -> None:
    with harness.hold(EVE, force=True) as held:
        assert held.found == Lock()
