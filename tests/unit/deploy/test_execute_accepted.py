"""Accepted operations are executed once and always get an outcome."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploying import LATE, World, verbs
from support.locking import BOB, lease_manifest

from kubernaut.deploy.execute import execute
from kubernaut.deploy.operations import BEGINS_WITHIN
from kubernaut.deploy.reconcile import settle
from kubernaut.deploy.requests import RecoveryRequest, RollbackRequest, UninstallRequest
from kubernaut.deploy.values import read_values
from kubernaut.errors import (
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    DeployRolledBack,
    ReleaseLocked,
    ReleaseNotFound,
    ValuesInvalid,
)
from kubernaut.history.operations import operation_secret
from kubernaut.history.records import Status


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def somebody_holds(world: World) -> None:
    time = datetime.now(UTC)
    world.cluster.create_lease("demo", lease_manifest("demo", "hello", BOB, seconds=30, acquired=time, renewed=time, transitions=0))


def helm_ran(world: World) -> bool:
    return bool({"upgrade", "install", "rollback", "uninstall"}.intersection(verbs(world)))


@pytest.mark.parametrize("key", [None, "k"])
def test_accepted_deploy_is_executed_as_its_operation(world: World, key: str | None) -> None:
    operation, _ = world.accept(key=key, fingerprint="f")
    _, changed, release = world.serve(operation)
    assert changed
    assert release is not None
    assert (release.operation, release.created_by, release.note) == (operation.id, "ada", "please")
    done = world.find(operation)
    assert (done.state, done.waits_until, done.fingerprint, done.key) == ("succeeded", None, "f", operation.key)
    assert done.chart is not None
    assert [made.id for made in done.made] == ["demo.hello.v1"]
    assert [event.kind for event in done.events] == ["stepStarted", "stepFinished"]
    secret = world.cluster.get_secret("demo", operation.secret)
    assert secret is not None
    assert secret["metadata"]["labels"]["kubernaut/outcome"] == "succeeded"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == release.uid
    assert len(world.past.operations) == 1


def test_accepted_deploy_sends_one_request_more(world: World) -> None:
    world.deploy()
    operation, _ = world.accept()
    wanted = world.wanted("1.1.0")
    world.cluster.requests.clear()
    world.serve(operation, wanted)
    ours = [request for request in world.cluster.requests if "sh.helm" not in request]
    assert ours == [
        "list secrets demo",
        "create lease demo/kubernaut.hello",
        "list secrets demo",
        f"patch secret demo/{operation.secret}",
        "list secrets demo",  # Helm's own look
        "list secrets demo",
        f"patch secret demo/{operation.secret}",
        "delete lease demo/kubernaut.hello",
        f"patch secret demo/{operation.secret}",
    ]


def test_unchanged_accepted_deploy_is_no_attempt(world: World) -> None:
    world.deploy()
    operation, _ = world.accept()
    plan, changed, _ = world.serve(operation)
    done = world.find(operation)
    assert (changed, done.state, done.plan, done.after) == (False, "unchanged", plan, 1)
    assert done.outcome is not None
    assert done.outcome.message == "v1 already runs 1.0.0 with these values"
    assert [event.kind for event in done.events] == ["stepStarted", "stepFinished"]
    assert world.past.attempts == ()
    assert [one.id for one in world.past.without_release] == [operation.id]


def test_accepted_deploy_that_became_unnecessary_is_unchanged(world: World) -> None:
    """Another process deploys the same before the lock is acquired."""
    wanted = world.wanted()
    operation, _ = world.accept()
    taken = world.cluster.create_lease

    def create_lease(namespace: str, made: Any) -> Any:
        world.cluster.create_lease = taken  # type: ignore[method-assign]
        world.deploy()
        return taken(namespace, made)

    world.cluster.create_lease = create_lease  # type: ignore[method-assign]
    _, changed, release = world.serve(operation, wanted)
    assert not changed
    assert release is not None
    assert release.operation != operation.id
    assert world.find(operation).state == "unchanged"


def test_refused_plan_is_an_outcome(world: World) -> None:
    operation, _ = world.accept("rollback")
    with pytest.raises(ReleaseNotFound):
        world.serve(operation, RollbackRequest("demo", "hello"))
    done = world.find(operation)
    assert done.state == "failed"
    assert done.outcome is not None
    assert done.outcome.reason == "release_not_found"
    assert [event.kind for event in done.events] == ["stepStarted", "stepFinished"]
    assert [one.id for one in world.past.attempts] == [operation.id]


def test_refused_lock_is_an_outcome(world: World) -> None:
    somebody_holds(world)
    operation, _ = world.accept()
    with pytest.raises(ReleaseLocked) as caught:
        world.serve(operation)
    holder = caught.value.problem()["holder"]
    assert (holder["actor"], holder["verb"], holder["operation"], holder["host"]) == ("bob", "deploy", "02bob", "ci-9")
    done = world.find(operation)
    assert done.outcome is not None
    assert (done.state, done.outcome.reason) == ("failed", "release_locked")


def test_invalid_request_is_an_outcome(world: World) -> None:
    operation, _ = world.accept()
    with pytest.raises(ValuesInvalid):
        world.serve(operation, lambda: world.wanted(values=read_values(sets=["a[x]=1"])))
    done = world.find(operation)
    assert done.outcome is not None
    assert done.outcome.reason == "values_invalid"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit("told to end"), RuntimeError("a defect")])
def test_stop_before_the_begin_is_an_outcome(world: World, stop: BaseException) -> None:
    operation, _ = world.accept()
    world.cluster.fail("create lease", stop)
    with pytest.raises(type(stop)):
        world.serve(operation)
    done = world.find(operation)
    assert done.outcome is not None
    assert (done.state, done.outcome.reason) == ("failed", "interrupted")
    assert "before it began" in done.outcome.message


def test_failed_accepted_deploy_is_rolled_back(world: World) -> None:
    world.deploy()
    operation, _ = world.accept()
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        world.serve(operation, world.wanted("1.1.0"))
    assert caught.value.problem()["operation"] == operation.id
    assert [made.id for made in world.find(operation).made] == ["demo.hello.v2", "demo.hello.v3"]


def test_request_must_match_the_accepted_operation(world: World) -> None:
    operation, _ = world.accept("rollback")
    with pytest.raises(ValueError, match="accepted was the rollback"):
        world.serve(operation, UninstallRequest("demo", "hello"))
    assert world.find(operation).state == "failed"


# given up meanwhile


def test_settled_accepted_operation_is_not_begun(world: World) -> None:
    operation, _ = world.accept()
    world.cluster.server_time += timedelta(hours=1)
    world.deploy()  # whoever comes next ends it
    before = world.find(operation)
    world.helm.starts.clear()
    with pytest.raises(Conflict, match=r"already ended \(interrupted\)"):
        world.serve(operation, world.wanted("1.1.0"))
    assert world.find(operation) == before
    assert world.statuses == ["deployed"]
    assert not helm_ran(world)


def test_deleted_accepted_operation_is_not_recreated(world: World) -> None:
    operation, _ = world.accept()
    world.cluster.delete_secret("demo", operation.secret)
    with pytest.raises(Conflict, match="was deleted before it began"):
        world.serve(operation)
    assert world.past.operations == ()


def test_accepted_operation_that_cannot_begin_runs_no_helm(world: World) -> None:
    """Unlike a plain deploy: an accepted operation that is not written would be shown wrongly for ever."""
    operation, _ = world.accept()
    world.cluster.fail(f"patch secret demo/{operation.secret}", ClusterDenied("expired"))
    with pytest.raises(ClusterDenied):
        world.serve(operation)
    assert not helm_ran(world)
    done = world.find(operation)
    assert done.outcome is not None
    assert done.outcome.reason == "cluster_denied"


def test_begin_with_a_lost_answer_is_settled_by_the_next_operation(world: World) -> None:
    operation, _ = world.accept()
    world.cluster.fail(f"patch secret demo/{operation.secret}", ClusterUnreachable("lost"), after=True)
    with pytest.raises(ClusterUnreachable):
        world.serve(operation)
    assert world.find(operation).state == "running"
    world.deploy()
    done = world.find(operation)
    assert done.outcome is not None
    assert (done.outcome.reason, "Nothing was deployed" in done.outcome.message) == ("interrupted", True)


# others


def test_accepted_operation_that_may_begin_is_left_alone(world: World) -> None:
    operation, _ = world.accept()
    before = world.find(operation)
    world.deploy()
    assert world.find(operation) == before
    _, changed, _ = world.serve(operation, world.wanted("1.1.0"))
    assert changed


def test_overdue_operation_is_settled_by_the_next_one(world: World) -> None:
    operation, _ = world.accept()
    world.cluster.server_time += BEGINS_WITHIN + timedelta(seconds=1)
    assert [one.id for one in world.past.unfinished] == [operation.id]
    world.deploy()
    done = world.find(operation)
    assert done.outcome is not None
    assert (done.state, done.outcome.reason, done.outcome.message) == (
        "failed",
        "interrupted",
        "It was not begun in time; nothing was changed.",
    )
    secret = world.cluster.get_secret("demo", operation.secret)
    assert secret is not None
    assert secret["metadata"]["labels"]["kubernaut/outcome"] == "interrupted"


def test_settle_leaves_an_operation_that_has_begun(world: World) -> None:
    """Whoever settles it has read it before it was begun."""
    operation, _ = world.accept()
    world.cluster.server_time += timedelta(hours=1)
    read = world.past
    world.serve(operation)
    said: list[str] = []
    settle(world.cluster, read, notify=said.append)  # type: ignore[arg-type]
    assert world.find(operation).state == "succeeded"
    assert "could not be written" in said[-1]


def test_unchanged_operations_expire(world: World) -> None:
    world.deploy()
    unchanged, _ = world.accept()
    world.serve(unchanged)
    old = world.find(unchanged)
    old = old.model_copy(update={"started_at": old.started_at - timedelta(days=8)})
    world.cluster.delete_secret("demo", old.secret)
    world.cluster.create_secret("demo", operation_secret(old))
    world.deploy("1.1.0")
    assert old.id not in [one.id for one in world.past.operations]


def test_recovery_settles_overdue_but_not_waiting_operations(world: World) -> None:
    waiting, _ = world.accept(patience=900)
    overdue, _ = world.accept()
    world.cluster.server_time += timedelta(minutes=10)
    _, changed, _ = execute(RecoveryRequest("demo", "hello"), context=world.context)
    assert changed
    assert (world.find(waiting).state, world.find(overdue).state) == ("accepted", "failed")
