"""The lock with an API server that refuses or does not answer; reading the lock."""

from __future__ import annotations

import pytest
from support.locking import ADA, BOB, HOUR, NAME, World

from kubernaut.deploy.lease import Lock, LockState
from kubernaut.deploy.lock import hold, read_lock
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, NamespaceNotFound, ReleaseLocked


@pytest.fixture
def world() -> World:
    return World()


# what the API server refuses


def test_denied_lock_names_the_missing_rights(world: World) -> None:
    words = 'The cluster refuses: leases.coordination.k8s.io is forbidden: User "weak" cannot create resource "leases".'
    world.cluster.fail("create lease", ClusterDenied(words))
    with pytest.raises(ClusterDenied) as caught, world.hold():
        raise AssertionError
    assert caught.value.message == f"The lock of demo.web (the Lease kubernaut.web in demo) cannot be acquired: {words}"
    assert "get, create, update and delete on leases.coordination.k8s.io in the namespace demo" in caught.value.hint
    assert world.cluster.requests == [f"create lease demo/{NAME}"]


@pytest.mark.parametrize("request_", ["get lease", "replace lease"])
def test_partly_denied_lock_names_the_lock(world: World, request_: str) -> None:
    world.put(ADA, ago=HOUR)
    world.cluster.fail(request_, ClusterDenied("leases.coordination.k8s.io is forbidden"))
    with pytest.raises(ClusterDenied, match=r"The lock of demo\.web .* cannot be acquired"), world.hold():
        raise AssertionError


def test_expired_credentials_keep_their_own_hint(world: World) -> None:
    world.cluster.fail("create lease", ClusterDenied("They have expired.", hint="Log in again."))
    with pytest.raises(ClusterDenied) as caught, world.hold():
        raise AssertionError
    assert caught.value.hint == "Log in again."


def test_terminating_namespace_is_a_conflict(world: World) -> None:
    world.cluster.terminating.add("demo")
    with pytest.raises(Conflict, match=r"The lock of demo\.web .* cannot be acquired: .*being terminated") as caught, world.hold():
        raise AssertionError
    assert not isinstance(caught.value, ReleaseLocked)


def test_missing_namespace_is_reported(world: World) -> None:
    with (
        pytest.raises(NamespaceNotFound),
        hold(world.cluster, "none", "web", BOB, timeout=9, notify=print, timing=world.timing),  # type: ignore[arg-type]
    ):
        raise AssertionError


def test_unreachable_cluster_is_not_waited_for(world: World) -> None:
    world.cluster.fail("", ClusterUnreachable("gone"), times=None)
    with pytest.raises(ClusterUnreachable), world.hold(timeout=60):
        raise AssertionError
    assert world.passed == 0, "nobody knows whether there is anything to wait for"


# an API server that does not answer meanwhile


def outage(world: World, start: float, end: float) -> None:
    world.at(start, lambda: world.cluster.fail("", ClusterUnreachable("gone"), times=None))
    world.at(end, world.cluster.heal)


def test_waiting_survives_an_outage(world: World) -> None:
    world.renews(ADA, until=5)
    outage(world, 7, 20)
    world.at(21, world.release)
    with world.hold(timeout=60):
        assert 21 <= world.passed < 23


def test_waiting_ends_at_the_timeout_during_an_outage(world: World) -> None:
    world.renews(ADA, until=5)
    outage(world, 7, 200)
    with pytest.raises(ClusterUnreachable), world.hold(timeout=60):
        raise AssertionError
    assert 60 <= world.passed <= 61


def test_outage_does_not_count_against_the_holder(world: World) -> None:
    """The holder could not renew either, so it keeps the rest of its time."""
    world.renews(ADA, until=5)
    outage(world, 7, 60)
    for passed in range(63, 400, 5):
        world.at(passed, lambda: world.put(ADA))
    assert "ada" in world.locked(timeout=100).message
    assert world.passed == 100


def test_observers_pause_does_not_count_against_the_holder(world: World) -> None:
    world.renews(ADA, until=5)

    def stopped() -> None:
        world.seconds += 100

    world.at(7, stopped)
    world.at(110, lambda: world.put(ADA))
    for passed in range(115, 400, 5):
        world.at(passed, lambda: world.put(ADA))
    assert "ada" in world.locked(timeout=200).message


# one look


@pytest.mark.parametrize(
    ("ago", "state"),
    [(0.0, LockState.LIVE), (30.0, LockState.LIVE), (31.0, LockState.EXPIRED), (-HOUR, LockState.LIVE)],
)
def test_read_lock_sends_one_request(world: World, ago: float, state: LockState) -> None:
    world.put(ADA, ago=ago)
    world.cluster.requests.clear()
    found = read_lock(world.cluster, "demo", "web", timing=world.timing)  # type: ignore[arg-type]
    assert (found.state, found.holder and found.holder.actor) == (state, "ada")
    assert world.cluster.requests == [f"get lease demo/{NAME}"]


def test_read_lock_of_a_free_lock(world: World) -> None:
    assert read_lock(world.cluster, "demo", "web") == Lock()  # type: ignore[arg-type]
    world.cluster.create_lease("demo", {"metadata": {"name": NAME}, "spec": {}})
    assert read_lock(world.cluster, "demo", "web") == Lock()  # type: ignore[arg-type]


def test_read_lock_names_the_lock_when_denied(world: World) -> None:
    world.cluster.fail("get lease", ClusterDenied('cannot get resource "leases"'))
    with pytest.raises(ClusterDenied, match="cannot be read"):
        read_lock(world.cluster, "demo", "web")  # type: ignore[arg-type]
