"""Acquiring the lock: refusals, waiting, takeovers. The clock advances only while a request waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.locking import ADA, BOB, EVE, HOUR, NAME, World

from kubernaut.adapters.process import process_identity
from kubernaut.deploy.lease import Holder, Lock, LockState, new_holder
from kubernaut.deploy.lock import hold, read_lock
from kubernaut.errors import ClusterUnreachable
from kubernaut.testing.cluster import FakeCluster


@pytest.fixture
def world() -> World:
    return World()


def test_free_lock_takes_two_requests(world: World) -> None:
    with world.hold() as held:
        assert held.found == Lock()
        held.check()
        assert world.lease is not None
        assert world.lease["spec"]["acquireTime"] == world.lease["spec"]["renewTime"] == "2026-03-01T12:00:00.000000Z"
    assert world.lease is None
    assert world.cluster.requests == [f"create lease demo/{NAME}", f"delete lease demo/{NAME}"]
    assert world.said == []


def test_lock_can_be_acquired_repeatedly(world: World) -> None:
    for _ in range(3):
        with world.hold() as held:
            assert held.found == Lock()


def test_each_release_has_its_own_lock(world: World) -> None:
    world.cluster.create_namespace("other")
    with ExitStack() as stack:
        for namespace, name in (("demo", "web"), ("demo", "web.two"), ("other", "web")):
            stack.enter_context(hold(world.cluster, namespace, name, BOB, timeout=0, notify=print, timing=world.timing))


# somebody else holds it


def test_locked_release_is_refused_at_once_with_its_holder(world: World) -> None:
    world.put(ADA)
    world.seconds += 20
    error = world.locked()
    assert error.message == "The release demo.web is locked by ada on ci-7 (deploy since 12:00:00 UTC, http://ci/7), for 20 s."
    assert "--lock-timeout 5m" in error.hint
    assert "lockTimeout" in error.http_hint
    assert world.passed == 20, "it has not waited"
    assert world.cluster.writes[1:] == [f"create lease demo/{NAME}"]


def test_waiting_is_reported_once_and_succeeds(world: World) -> None:
    world.renews(ADA, until=10)
    world.at(12.5, world.release)
    with world.hold(timeout=60) as held:
        assert held.found == Lock()
    assert 12.5 <= world.passed < 14
    (line,) = world.said
    assert "demo.web is locked by ada on ci-7 (deploy since 12:00:00 UTC, http://ci/7)" in line
    assert "60 s" in line
    assert len([request for request in world.cluster.requests if request.startswith("create")]) == 3  # ada's, in vain, and now


def test_waiting_ends_at_the_timeout(world: World) -> None:
    world.renews(ADA)
    error = world.locked(timeout=9.5)
    assert world.passed == 9.5
    assert "Waited for 10 s" in error.message


def test_timeout_spans_several_holders(world: World) -> None:
    world.renews(ADA, until=5)
    world.at(6, world.release)
    world.at(6, lambda: world.put(EVE))
    for passed in range(11, 100, 5):
        world.at(passed, lambda: world.put(EVE))
    error = world.locked(timeout=40)
    assert world.passed == 40
    assert "eve on ci-3 (rollback since" in error.message
    assert [line.split(" (")[0] for line in world.said] == [
        f"The release demo.web is locked by {who}" for who in ("ada on ci-7", "eve on ci-3")
    ]


def test_waiting_takes_over_from_a_holder_that_stops_renewing(world: World) -> None:
    world.renews(ADA, until=10)
    with world.hold(timeout=120) as held:
        assert held.found.state is LockState.EXPIRED
        assert held.found.holder is not None
        assert held.found.holder.operation == "01ada"
        assert world.lease is not None
        assert world.lease["spec"]["leaseTransitions"] == 1
    assert 40 <= world.passed <= 42
    (line,) = world.said[1:]
    assert "demo.web was taken over from ada on ci-7 (deploy since 12:00:10 UTC, http://ci/7)" in line


def test_recently_renewed_lease_is_live(world: World) -> None:
    world.put(ADA, ago=29)
    world.locked()
    assert world.passed == 0


@pytest.mark.parametrize("ago", [31.0, HOUR, 1000 * HOUR, -0.5, -HOUR], ids=str)
@pytest.mark.parametrize("timeout", [0.0, 10.0, 100.0])
def test_dead_holder_on_another_machine_with_any_clock(world: World, ago: float, timeout: float) -> None:
    world.put(ADA, ago=ago, transitions=6)
    with world.hold(timeout=timeout) as held:
        assert (held.found.state, held.found.holder and held.found.holder.actor) == (LockState.EXPIRED, "ada")
        assert world.lease is not None
        assert world.lease["spec"]["leaseTransitions"] == 7
    assert 30 <= world.passed <= 31, "unchanged for the length of the lease, and not a moment longer"
    assert len(world.said) == 2
    assert "ada" in world.said[0]
    assert "30 s" in world.said[0]
    assert "taken over from ada" in world.said[1]


@pytest.mark.parametrize("ago", [31.0, HOUR, -0.5, -HOUR], ids=str)
def test_live_holder_on_another_machine_with_any_clock(world: World, ago: float) -> None:
    world.renews(ADA, ago=ago)
    assert "ada on ci-7" in world.locked().message
    assert 5 <= world.passed <= 6, "one renewal was enough to see"


def test_slow_holder_is_alive(world: World) -> None:
    """Its renewals come late, but within the length of the lease."""
    world.put(ADA, ago=HOUR)
    world.at(29, lambda: world.put(ADA, ago=HOUR))
    world.locked()
    assert world.passed == 29


def test_future_renew_time_does_not_become_fresh_by_waiting(world: World) -> None:
    world.put(ADA, ago=-20)  # 20 s from now it would look renewed just now
    with world.hold() as held:
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
        world = World()
        world.put(alive)
        world.locked()  # as long as it runs
        child.kill()
    return alive


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
@pytest.mark.parametrize("ago", [0.0, -HOUR, HOUR], ids=str)
def test_killed_process_of_this_machine_holds_nothing(world: World, dead: Holder, ago: float) -> None:
    world.put(dead, ago=ago)
    assert read_lock(world.cluster, "demo", "web", timing=world.timing).state is LockState.EXPIRED  # type: ignore[arg-type]
    with world.hold() as held:
        assert held.found.state is LockState.EXPIRED
        assert (held.found.holder or ADA).process == dead.process
    assert world.passed == 0
    (line,) = world.said
    assert f"demo.web was taken over from {held.found.holder}" in line


def test_own_process_is_alive(world: World) -> None:
    world.put(replace(ADA, process=process_identity()))
    world.locked()


# what hands have written


@pytest.mark.parametrize("spec", [{}, {"holderIdentity": None}, {"holderIdentity": " ", "leaseTransitions": "x"}])
def test_lease_without_a_holder_is_free(world: World, spec: dict[str, Any]) -> None:
    world.cluster.create_lease("demo", {"metadata": {"name": NAME}, "spec": spec})
    with world.hold() as held:
        assert held.found == Lock()
    assert world.passed == 0
    assert world.said == []
    assert world.lease is None


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": "x"},
        {"holderIdentity": "x", "leaseDurationSeconds": 2**31 - 1, "renewTime": "2026-03-01T12:30:00.000000Z"},
        {"holderIdentity": "x", "leaseDurationSeconds": 2**31 - 1, "renewTime": "2026-03-01T11:50:00.000000Z"},
    ],
)
def test_lease_of_another_tool_is_observed(world: World, spec: dict[str, Any]) -> None:
    world.cluster.create_lease("demo", {"metadata": {"name": NAME, "annotations": {"kubernaut/process": "junk/1/2"}}, "spec": spec})
    with world.hold() as held:
        assert held.found == Lock(LockState.EXPIRED, Holder("x", process="junk/1/2"))
    assert 30 <= world.passed <= 31


# races


class Racing(FakeCluster):
    """Somebody is always faster: before a request, something happens."""

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
def racing(world: World) -> Racing:
    world.cluster = Racing()
    return world.cluster


def test_lock_released_between_create_and_get(world: World, racing: Racing) -> None:
    world.put(ADA)
    racing.before["get"] = [world.release]
    with world.hold() as held:
        assert held.found == Lock()
    assert world.passed == 0


def test_lost_takeover_race_is_refused(world: World, racing: Racing) -> None:
    world.put(ADA, ago=HOUR)
    racing.before["replace"] = [lambda: world.put(EVE)]
    assert "eve on ci-3" in world.locked().message


def test_late_renewal_wins_against_the_takeover(world: World, racing: Racing) -> None:
    world.put(ADA, ago=HOUR)
    racing.before["replace"] = [lambda: world.put(ADA, ago=HOUR - 100)]
    assert "ada on ci-7" in world.locked().message


def test_expired_lease_that_vanishes_is_free(world: World, racing: Racing) -> None:
    world.put(ADA, ago=HOUR)
    racing.before["replace"] = [world.release]
    with world.hold() as held:
        assert held.found == Lock(), "it was free in the end"


def test_takeover_with_a_lost_answer_holds_the_lock(world: World) -> None:
    world.put(ADA, ago=HOUR)
    world.cluster.fail("replace lease", ClusterUnreachable("gone"), after=True)
    with world.hold(timeout=60) as held:
        assert held.found.state is LockState.EXPIRED
        assert (held.found.holder or BOB).actor == "ada"


def test_create_with_a_lost_answer_after_a_failed_takeover(world: World, racing: Racing) -> None:
    world.put(ADA, ago=HOUR)
    racing.before["replace"] = [world.release]
    world.at(30, lambda: racing.fail("create lease", ClusterUnreachable("gone"), after=True))
    with world.hold(timeout=60) as held:
        assert held.found == Lock(), "it was free in the end"


# by force


def test_force_takes_over_from_a_live_holder(world: World) -> None:
    world.put(ADA)
    with world.hold(EVE, force=True) as held:
        assert (held.found.state, held.found.holder and held.found.holder.actor) == (LockState.LIVE, "ada")
    (line,) = world.said
    assert "demo.web was taken over from ada on ci-7 (deploy since 12:00:00 UTC, http://ci/7), by force" in line
    assert world.lease is None


def test_force_does_not_observe_the_holder(world: World) -> None:
    world.put(ADA, ago=HOUR)
    with world.hold(EVE, force=True) as held:
        assert held.found.holder is not None
    assert world.passed == 0


def test_force_wins_against_frequent_renewals(world: World, racing: Racing) -> None:
    world.put(ADA)
    again: list[Callable[[], Any]] = [lambda: world.put(ADA, ago=0.25), lambda: None, lambda: world.put(ADA, ago=0.5), lambda: None]
    racing.before["replace"] = again
    with world.hold(EVE, force=True) as held:
        assert held.found.state is LockState.LIVE


def test_force_of_a_free_lock(world: World) -> None:
    with world.hold(EVE, force=True) as held:
        assert held.found == Lock()
