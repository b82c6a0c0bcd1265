"""The verbs when something goes wrong: what is explained, rolled back, kept, and never left locked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploying import CRASHING, LATE, WORKLOAD, World, verbs

from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import UninstallRequest
from kubernaut.errors import ClusterUnreachable, Conflict, DeadlineExceeded, DeployKept, DeployRolledBack, HelmFailed, ReleaseLocked
from kubernaut.events import StepFinished, StepOutcome
from kubernaut.history.records import Status
from kubernaut.history.store import HistoryStore


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_failed_deploy_is_explained_then_rolled_back(world: World) -> None:
    world.deploy(template=WORKLOAD)
    world.cluster.pods["demo"] = [CRASHING]
    world.cluster.logs["demo", "web-1", "web"] = ["no database"]
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        world.deploy("1.1.0", template=WORKLOAD)
    failure = caught.value
    assert failure.message.startswith("hello 1.1.0 to demo failed: the container web keeps crashing. v1 (1.0.0) ")
    assert failure.message.endswith(" v3.")
    assert "`kubernaut history hello -n demo`" in failure.hint
    assert "`kubernaut show demo.hello.v2`" in failure.hint
    assert "/api/releases/demo.hello.v2/report" in failure.http_hint
    assert "  no database" in failure.details
    assert "Helm: timed out waiting for the condition" in failure.details
    assert failure.exit_status == 6
    assert (failure.release, failure.operation) == ("demo.hello.v2", world.operation.id)
    assert failure.problem()["release"] == "demo.hello.v2"
    assert world.statuses == ["superseded", "failed", "deployed"]
    assert verbs(world) == ["upgrade", "rollback"]
    asked = world.cluster.requests
    rolled_back = next(
        index for index, request in enumerate(asked) if request.startswith("create secret demo/sh.helm") and request.endswith("v3")
    )
    assert asked.index("list pods demo") < asked.index("get log demo/web-1") < rolled_back
    steps = [(event.step, event.outcome) for event in world.events if isinstance(event, StepFinished)]
    assert steps[-2:] == [("deploy", StepOutcome.FAILED), ("rollback", StepOutcome.DONE)]
    back = HistoryStore(world.cluster).releases("demo", "hello").items[0]  # type: ignore[arg-type]
    assert (back.created_by, back.chart.version) == ("ada", "1.0.0")
    plan, changed, _ = world.deploy(template=WORKLOAD)  # what runs again is known: nothing to do
    assert not changed, plan


def test_a_failed_deploy_is_kept_when_told(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as caught:
        world.deploy("1.1.0", on_failure="keep")
    assert caught.value.exit_status == 7
    assert world.statuses == ["deployed", "failed"]
    world.deploy("1.1.0")  # and the next try is no no-op
    assert world.statuses == ["superseded", "failed", "deployed"]


def test_the_version_may_say_what_a_failure_does(world: World) -> None:
    world.deploy()
    for choice, error in ((None, DeployKept), ("rollback", DeployRolledBack)):
        world.helm.end_with(Status.FAILED, LATE)
        with pytest.raises(error):
            world.deploy("1.1.0", annotations="{kubernaut/on-failure: keep}", on_failure=choice)


def test_a_first_deploy_that_fails_is_kept(world: World) -> None:
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept, match="no earlier release"):
        world.deploy()
    assert world.statuses == ["failed"]


def test_a_deploy_after_a_delete_that_fails_keeps_the_history(world: World) -> None:
    world.deploy()
    execute(UninstallRequest("demo", "hello"), context=world.context)
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        world.deploy("1.1.0")
    assert world.statuses == ["superseded", "failed"]


def test_a_rollback_that_fails_too(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept, match=r"rollback to v1 \(1\.0\.0\) failed"):
        world.deploy("1.1.0")


def test_an_exit_status_is_not_the_truth(world: World) -> None:
    """Helm failed, and its record is deployed; Helm succeeded, and its record is pending."""
    world.helm.end_with(Status.DEPLOYED, HelmFailed("the connection was lost at the end"))
    _, changed, release = world.deploy()
    assert changed
    assert release is not None
    assert release.status == "deployed"
    world.helm.end_with(Status.PENDING_UPGRADE)
    with pytest.raises(DeployRolledBack, match="pending-upgrade"):
        world.deploy("1.1.0")
    assert world.statuses == ["superseded", "failed", "deployed"]


def test_a_helm_that_says_all_is_well_and_leaves_nothing(world: World) -> None:
    world.helm.end_with(None)
    with pytest.raises(HelmFailed, match="no record of hello"):
        world.deploy()


@pytest.mark.parametrize("pending", [Status.PENDING_INSTALL, Status.PENDING_UPGRADE])
def test_a_helm_that_was_killed_by_us_locks_nobody_out(world: World, pending: Status) -> None:
    if pending is Status.PENDING_UPGRADE:
        world.deploy()
    world.helm.end_with(pending, DeadlineExceeded("took longer, and Helm was stopped"))
    with pytest.raises(DeployKept):
        world.deploy("1.1.0", on_failure="keep")
    assert world.statuses[-1] == "failed"
    assert "pending" in world.past.records[0].description
    assert world.past.records[0].labelled_status == world.past.records[0].status
    world.deploy("1.1.0")
    assert world.statuses[-1] == "deployed"


@pytest.mark.parametrize("left", [None, Status.PENDING_UPGRADE, Status.FAILED, Status.DEPLOYED])
def test_ctrl_c_leaves_things_in_order_and_the_next_run_works(world: World, left: Status | None) -> None:
    world.deploy()
    world.helm.end_with(left, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        world.deploy("1.1.0")
    assert verbs(world) == ["upgrade"]  # nothing is rolled back behind an impatient person's back
    assert world.operation.outcome is not None
    assert world.operation.outcome.reason == "interrupted"
    assert not any(status.startswith("pending") for status in world.statuses)
    world.deploy("1.1.0")
    assert world.statuses[-1] == "deployed"


def test_ctrl_c_while_it_rolls_back(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    world.helm.end_with(Status.PENDING_ROLLBACK, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        world.deploy("1.1.0")
    assert world.statuses == ["deployed", "failed", "failed"]
    world.deploy("1.1.0")
    assert world.statuses[-1] == "deployed"


def test_a_cluster_that_goes_away_meanwhile(world: World) -> None:
    wanted = world.wanted()
    original = world.helm.upgrade

    def lost(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        world.cluster.fail("list secrets", ClusterUnreachable("refused"), times=1)
        raise ClusterUnreachable("connection refused")

    world.helm.upgrade = lost  # type: ignore[method-assign]
    with pytest.raises(ClusterUnreachable, match=r"deploy of demo\.hello is unknown: refused Helm: connection refused"):
        execute(wanted, context=world.context)
    assert world.operation.outcome is None
    world.helm.upgrade = original  # type: ignore[method-assign]
    assert world.deploy("1.1.0")[1]
    settled = world.past.operations[1].outcome
    assert settled is not None
    assert (settled.reason, settled.message[:16]) == ("succeeded", "v1 was deployed;")  # the truth was in the record


def test_the_end_cannot_be_written_down(world: World) -> None:
    world.cluster.fail("patch secret demo/kubernaut.", ClusterUnreachable("gone"))
    _, changed, release = world.deploy()
    assert changed
    assert release is not None
    assert release.created_by == "ada"
    assert any("could not be written" in str(event) for event in world.events)
    assert "v1 (1.0.0) has no outcome" in world.deploy()[0].actions[-1].reason
    assert [operation.outcome.reason for operation in world.past.operations if operation.outcome] == ["succeeded", "succeeded"]


def test_somebody_else_settles_it_first(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.PENDING_UPGRADE, DeadlineExceeded("stopped"))
    original = world.cluster.patch_secret

    def changed_meanwhile(namespace: str, name: str, patch: Any) -> Any:
        if "resourceVersion" in patch.get("metadata", {}):
            raise Conflict("the object has been modified")
        return original(namespace, name, patch)

    world.cluster.patch_secret = changed_meanwhile  # type: ignore[method-assign]
    with pytest.raises(DeployKept, match="stopped"):
        world.deploy("1.1.0", on_failure="keep")


def test_losing_a_race(world: World) -> None:
    world.deploy()
    world.helm.end_with(None, ReleaseLocked("release: already exists"))
    with pytest.raises(ReleaseLocked):
        world.deploy("1.1.0")
    assert world.statuses == ["deployed"]


def test_the_operation_cannot_be_written(world: World) -> None:
    wanted = world.wanted()
    world.cluster.fail("create secret", ClusterUnreachable("refused"))
    with pytest.raises(ClusterUnreachable):
        execute(wanted, context=world.context)
    assert "upgrade" not in verbs(world)


# the probe
