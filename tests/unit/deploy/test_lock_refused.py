"""The lock, where the API server refuses it, or does not answer; and what one look at it tells."""

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


def test_a_user_who_may_not(world: World) -> None:
    words = 'The cluster refuses: leases.coordination.k8s.io is forbidden: User "weak" cannot create resource "leases".'
    world.cluster.fail("create lease", ClusterDenied(words))
    with pytest.raises(ClusterDenied) as caught, world.hold():
        raise AssertionError
    assert caught.value.message == f"The lock of demo.web (the Lease kubernaut.web in demo) cannot be acquired: {words}"
    assert "get, create, update and delete on leases.coordination.k8s.io in the namespace demo" in caught.value.hint
    assert world.cluster.requests == [f"create lease demo/{NAME}"]


@pytest.mark.parametrize("request_", ["get lease", "replace lease"])
def test_a_user_who_may_only_do_some_of_it(world: World, request_: str) -> None:
    world.put(ADA, ago=HOUR)
    world.cluster.fail(request_, ClusterDenied("leases.coordination.k8s.io is forbidden"))
    with pytest.raises(ClusterDenied, match=r"The lock of demo\.web .* cannot be acquired"), world.hold():
        raise AssertionError


def test_credentials_that_have_expired_are_not_a_matter_of_verbs(world: World) -> None:
    world.cluster.fail("create lease", ClusterDenied("They have expired.", hint="Log in again."))
    with pytest.raises(ClusterDenied) as caught, world.hold():
        raise AssertionError
    assert caught.value.hint == "Log in again."


def test_a_namespace_that_is_being_deleted(world: World) -> None:
    world.cluster.terminating.add("demo")
    with pytest.raises(Conflict, match=r"The lock of demo\.web .* cannot be acquired: .*being terminated") as caught, world.hold():
        raise AssertionError
    assert not isinstance(caught.value, ReleaseLocked)


def test_no_namespace(world: World) -> None:
    with (
        pytest.raises(NamespaceNotFound),
        hold(world.cluster, "none", "web", BOB, timeout=9, notify=print, timing=world.timing),  # type: ignore[arg-type]
    ):
        raise AssertionError


def test_no_api_server(world: World) -> None:
    world.cluster.fail("", ClusterUnreachable("gone"), times=None)
    with pytest.raises(ClusterUnreachable), world.hold(timeout=60):
        raise AssertionError
    assert world.passed == 0, "nobody knows whether there is anything to wait for"


# an API server that does not answer meanwhile


def outage(world: World, start: float, end: float) -> None:
    world.at(start, lambda: world.cluster.fail("", ClusterUnreachable("gone"), times=None))
    world.at(end, world.cluster.heal)


def test_who_waits_in_line_outlasts_an_outage(world: World) -> None:
    world.renews(ADA, until=5)
    outage(world, 7, 20)
    world.at(21, world.release)
    with world.hold(timeout=60):
        assert 21 <= world.passed < 23


def test_but_not_longer_than_his_time(world: World) -> None:
    world.renews(ADA, until=5)
    outage(world, 7, 200)
    with pytest.raises(ClusterUnreachable), world.hold(timeout=60):
        raise AssertionError
    assert 60 <= world.passed <= 61


def test_an_outage_is_not_held_against_the_holder(world: World) -> None:
    """He could not renew it either: he is given what is left of his time after it."""
    world.renews(ADA, until=5)
    outage(world, 7, 60)
    for passed in range(63, 400, 5):
        world.at(passed, lambda: world.put(ADA))
    assert "ada" in world.locked(timeout=100).message
    assert world.passed == 100


def test_nor_is_the_time_for_which_the_observer_himself_was_stopped(world: World) -> None:
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
def test_a_look_is_one_request_and_a_guess(world: World, ago: float, state: LockState) -> None:
    world.put(ADA, ago=ago)
    world.cluster.requests.clear()
    found = read_lock(world.cluster, "demo", "web", timing=world.timing)  # type: ignore[arg-type]
    assert (found.state, found.holder and found.holder.actor) == (state, "ada")
    assert world.cluster.requests == [f"get lease demo/{NAME}"]


def test_a_look_at_what_is_free(world: World) -> None:
    assert read_lock(world.cluster, "demo", "web") == Lock()  # type: ignore[arg-type]
    world.cluster.create_lease("demo", {"metadata": {"name": NAME}, "spec": {}})
    assert read_lock(world.cluster, "demo", "web") == Lock()  # type: ignore[arg-type]


def test_a_look_that_is_refused(world: World) -> None:
    world.cluster.fail("get lease", ClusterDenied('cannot get resource "leases"'))
    with pytest.raises(ClusterDenied, match="cannot be read"):
        read_lock(world.cluster, "demo", "web")  # type: ignore[arg-type]
