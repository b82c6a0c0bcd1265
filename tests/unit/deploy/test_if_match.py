"""A wish that is meant for one state of a release, and what is said when there is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploying import World
from support.past import own, past, set_aside
from support.planning import EXPIRED, LIVE, UNCHANGED, outcome, plan

from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import RollbackRequest, UninstallRequest
from kubernaut.errors import ReleaseChanged, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.testing.cluster import FakeCluster

OLD = own(1, "superseded", "one", config={"was": "other"})
CURRENT = own(2, "deployed", "two", config={"is": "another"})
DELETED = own(2, "uninstalled", "two")
KNOWN = past(OLD, CURRENT)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("verb", "more", "etag"),
    [
        ("deploy", {}, CURRENT.etag),
        ("delete", {}, CURRENT.etag),
        ("delete", {"revision": 2}, CURRENT.etag),
        ("rollback", {}, CURRENT.etag),
        ("rollback", {"revision": 1}, OLD.etag),
        ("restore", {}, CURRENT.etag),
    ],
)
def test_what_is_named_must_be_as_it_was_read(verb: str, more: dict[str, Any], etag: str) -> None:
    assert outcome(verb, KNOWN, if_match=etag, **more) == outcome(verb, KNOWN, **more)
    with pytest.raises(ReleaseChanged, match=r"has changed since its ETag was read; .* is demo\.hello\.v2") as caught:
        plan(verb, KNOWN, if_match="another-1", **more)
    problem = caught.value.problem()
    assert (problem["status"], problem["current"], problem["etag"]) == (412, "demo.hello.v2", CURRENT.etag)


def test_the_target_of_a_rollback_is_named_not_what_it_replaces() -> None:
    assert outcome("rollback", KNOWN, revision=1, if_match=CURRENT.etag) is ReleaseChanged


def test_a_stale_wish_is_refused_before_a_lock_is_waited_for_and_although_nothing_is_to_do() -> None:
    assert outcome("delete", KNOWN, LIVE, if_match="x") is ReleaseChanged
    assert outcome("delete", past(OLD, DELETED), if_match="x") is ReleaseChanged
    assert outcome("delete", past(OLD, DELETED), if_match=DELETED.etag) == UNCHANGED
    assert outcome("restore", KNOWN, EXPIRED, if_match="x") is ReleaseChanged


def test_what_is_not_there_is_said_so_first() -> None:
    assert outcome("delete", past(), if_match="x") is ReleaseNotFound
    assert outcome("rollback", KNOWN, revision=7, if_match="x") is ReleaseNotFound
    assert outcome("delete", KNOWN, revision=1, if_match="x") is ReleaseNotCurrent
    with pytest.raises(ReleaseChanged, match=r"demo\.hello does not exist") as caught:
        plan("deploy", past(), if_match="x")
    assert "current" not in caught.value.problem()


def test_who_names_another_than_the_current_release_is_told_the_current_one() -> None:
    with pytest.raises(ReleaseNotCurrent) as caught:
        plan("delete", KNOWN, revision=1)
    assert caught.value.problem()["current"] == "demo.hello.v2"


def test_a_copy_that_was_set_aside_is_matched_as_it_was_read() -> None:
    copy = set_aside(2, "deployed")
    assert outcome("delete", past(OLD, copy, aside=(copy,)), if_match=copy.etag) == "recreate-record, helm-uninstall"


def etag(world: World, revision: int | None = None) -> str:
    found = world.past.find(revision) if revision else world.past.current
    assert found is not None
    return found.etag


def test_the_etag_that_was_shown_is_the_one_that_is_taken(world: World) -> None:
    _, _, release = world.deploy()
    assert release is not None
    assert release.etag == etag(world)
    _, _, second = world.deploy("1.1.0", if_match=release.etag)
    assert second is not None
    with pytest.raises(ReleaseChanged):
        world.deploy("1.2.0", if_match=release.etag)
    execute(RollbackRequest("demo", "hello", revision=1, if_match=etag(world, 1)), context=world.context)
    execute(UninstallRequest("demo", "hello", if_match=etag(world)), context=world.context)
    assert world.statuses[-1] == "uninstalled"


def test_a_change_before_the_lock_was_had_is_noticed(world: World) -> None:
    world.deploy()
    known, taken = etag(world), world.cluster.create_lease

    def create_lease(namespace: str, made: Any) -> Any:
        world.cluster.create_lease = taken  # type: ignore[method-assign]
        world.deploy("1.1.0")
        return taken(namespace, made)

    world.cluster.create_lease = create_lease  # type: ignore[method-assign]
    with pytest.raises(ReleaseChanged):
        execute(UninstallRequest("demo", "hello", if_match=known), context=world.context)
    assert world.statuses[-1] == "deployed"
    assert isinstance(world.cluster, FakeCluster)
    assert world.cluster._leases == {}


def test_what_we_put_in_order_ourselves_is_no_change(world: World) -> None:
    world.deploy()
    world.leave_a_deploy()
    assert world.statuses[-1] == "pending-upgrade"
    _, changed, _ = world.deploy("1.2.0", if_match=etag(world))
    assert changed
