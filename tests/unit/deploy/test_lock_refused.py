"""The lock with an API server that refuses or does not answer; reading the lock."""

from __future__ import annotations

import re

import pytest
from support.lock_harness import ADA, BOB, HOUR, NAME, LockHarness
from support.messages import facts

from kubernaut.deploy.lock.acquire import hold, read_lock
from kubernaut.deploy.lock.lease import Lock, LockState
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, NamespaceNotFound, ReleaseLocked


@pytest.fixture
def harness() -> LockHarness:
    return LockHarness()


# refusals by the API server


def test_denied_lock_names_the_missing_rights(harness: LockHarness) -> None:
    words = 'The cluster refuses: leases.coordination.k8s.io is forbidden: User "weak" cannot create resource "leases".'
    harness.cluster.fail("create lease", ClusterDenied(words))
    with pytest.raises(ClusterDenied) as caught, harness.hold():
        raise AssertionError
    assert re.search(facts("demo.web", "kubernaut.web", words), caught.value.message)
    assert re.search(facts("get", "create", "update", "delete", "leases.coordination.k8s.io", "demo"), caught.value.hint)
    assert harness.cluster.requests == [f"create lease demo/{NAME}"]


@pytest.mark.parametrize("request_", ["get lease", "replace lease"])
def test_partly_denied_lock_names_the_lock(harness: LockHarness, request_: str) -> None:
    harness.put(ADA, ago=HOUR)
    harness.cluster.fail(request_, ClusterDenied("leases.coordination.k8s.io is forbidden"))
    with pytest.raises(ClusterDenied, match=facts("demo.web", "leases.coordination.k8s.io")), harness.hold():
        raise AssertionError


def test_expired_credentials_keep_their_own_hint(harness: LockHarness) -> None:
    harness.cluster.fail("create lease", ClusterDenied("They have expired.", hint="Log in again."))
    with pytest.raises(ClusterDenied) as caught, harness.hold():
        raise AssertionError
    assert caught.value.hint == "Log in again."


def test_terminating_namespace_is_a_conflict(harness: LockHarness) -> None:
    harness.cluster.terminating.add("demo")
    with (
        pytest.raises(Conflict, match=facts("demo.web", "being terminated")) as caught,
        harness.hold(),
    ):
        raise AssertionError
    assert not isinstance(caught.value, ReleaseLocked)


def test_missing_namespace_is_reported(harness: LockHarness) -> None:
    with (
        pytest.raises(NamespaceNotFound),
        hold(harness.cluster, "none", "web", BOB, timeout=9, notify=print, timing=harness.timing),  # type: ignore[arg-type]
    ):
        raise AssertionError


def test_unreachable_cluster_is_not_waited_for(harness: LockHarness) -> None:
    harness.cluster.fail("", ClusterUnreachable("gone"), times=None)
    with pytest.raises(ClusterUnreachable), harness.hold(timeout=60):
        raise AssertionError
    assert harness.passed == 0, "whether a holder exists is unknown, so it does not wait"


# an API server that does not answer meanwhile


def outage(harness: LockHarness, start: float, end: float) -> None:
    harness.at(start, lambda: harness.cluster.fail("", ClusterUnreachable("gone"), times=None))
    harness.at(end, harness.cluster.heal)


def test_waiting_survives_an_outage(harness: LockHarness) -> None:
    harness.renews(ADA, until=5)
    outage(harness, 7, 20)
    harness.at(21, harness.release)
    with harness.hold(timeout=60):
        assert 21 <= harness.passed < 23


def test_waiting_ends_at_the_timeout_during_an_outage(harness: LockHarness) -> None:
    harness.renews(ADA, until=5)
    outage(harness, 7, 200)
    with pytest.raises(ClusterUnreachable), harness.hold(timeout=60):
        raise AssertionError
    assert 60 <= harness.passed <= 61


def test_outage_does_not_count_against_the_holder(harness: LockHarness) -> None:
    """The holder could not renew either, so it keeps the rest of its time."""
    harness.renews(ADA, until=5)
    outage(harness, 7, 60)
    for passed in range(63, 400, 5):
        harness.at(passed, lambda: harness.put(ADA))
    assert "ada" in harness.locked(timeout=100).message
    assert harness.passed == 100


def test_observers_pause_does_not_count_against_the_holder(harness: LockHarness) -> None:
    harness.renews(ADA, until=5)

    def stopped() -> None:
        harness.seconds += 100

    harness.at(7, stopped)
    harness.at(110, lambda: harness.put(ADA))
    for passed in range(115, 400, 5):
        harness.at(passed, lambda: harness.put(ADA))
    assert "ada" in harness.locked(timeout=200).message


# one look


@pytest.mark.parametrize(
    ("ago", "state"),
    [(0.0, LockState.LIVE), (30.0, LockState.LIVE), (31.0, LockState.EXPIRED), (-HOUR, LockState.LIVE)],
)
def test_read_lock_sends_one_request(harness: LockHarness, ago: float, state: LockState) -> None:
    harness.put(ADA, ago=ago)
    harness.cluster.requests.clear()
    found = read_lock(harness.cluster, "demo", "web", timing=harness.timing)  # type: ignore[arg-type]
    assert (found.state, found.holder and found.holder.actor) == (state, "ada")
    assert harness.cluster.requests == [f"get lease demo/{NAME}"]


def test_read_lock_of_a_free_lock(harness: LockHarness) -> None:
    assert read_lock(harness.cluster, "demo", "web") == Lock()  # type: ignore[arg-type]
    harness.cluster.create_lease("demo", {"metadata": {"name": NAME}, "spec": {}})
    assert read_lock(harness.cluster, "demo", "web") == Lock()  # type: ignore[arg-type]


def test_read_lock_names_the_lock_when_denied(harness: LockHarness) -> None:
    harness.cluster.fail("get lease", ClusterDenied('cannot get resource "leases"'))
    with pytest.raises(ClusterDenied, match=facts("demo.web", "leases")):
        read_lock(harness.cluster, "demo", "web")  # type: ignore[arg-type]
