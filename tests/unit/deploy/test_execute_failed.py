"""Failing verbs: explained, rolled back or kept, and nothing left locked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.deploying import CRASHING, LATE, WORKLOAD, World, verbs
from support.locking import BOB

from kubernaut.deploy.execute import execute
from kubernaut.deploy.lease import lease_manifest
from kubernaut.deploy.requests import RollbackRequest, UninstallRequest
from kubernaut.errors import (
    ClusterUnreachable,
    Conflict,
    DeadlineExceeded,
    DeployKept,
    DeployRolledBack,
    HelmFailed,
    ReleaseLocked,
    ReleaseNotFound,
)
from kubernaut.events import StepFinished, StepOutcome
from kubernaut.history.records import Status
from kubernaut.history.store import HistoryStore


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_failed_deploy_is_explained_then_rolled_back(world: World) -> None:
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


def test_failed_deploy_is_kept_on_request(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as caught:
        world.deploy("1.1.0", on_failure="keep")
    assert caught.value.exit_status == 7
    assert world.statuses == ["deployed", "failed"]
    world.deploy("1.1.0")  # and the next try is no no-op
    assert world.statuses == ["superseded", "failed", "deployed"]


def test_chart_annotation_decides_on_failure(world: World) -> None:
    world.deploy()
    for choice, error in ((None, DeployKept), ("rollback", DeployRolledBack)):
        world.helm.end_with(Status.FAILED, LATE)
        with pytest.raises(error):
            world.deploy("1.1.0", annotations="{kubernaut/on-failure: keep}", on_failure=choice)


def test_failed_first_deploy_is_kept(world: World) -> None:
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept, match="no earlier release"):
        world.deploy()
    assert world.statuses == ["failed"]


def test_failed_deploy_after_a_delete_keeps_the_history(world: World) -> None:
    world.deploy()
    execute(UninstallRequest("demo", "hello"), context=world.context)
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        world.deploy("1.1.0")
    assert world.statuses == ["superseded", "failed"]


def test_failed_automatic_rollback_is_reported(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept, match=r"rollback to v1 \(1\.0\.0\) failed"):
        world.deploy("1.1.0")
    steps = [(event.step, event.outcome) for event in world.events if isinstance(event, StepFinished)]
    assert steps[-2:] == [("deploy", StepOutcome.FAILED), ("rollback", StepOutcome.FAILED)]


def test_hints_name_the_release(world: World) -> None:
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as kept:
        world.deploy()
    assert "`kubernaut show hello -n demo`" in kept.value.hint
    assert "`kubernaut logs hello -n demo`" in kept.value.hint
    assert "/api/releases/demo.hello.v1/report" in kept.value.http_hint
    now = datetime.now(UTC)
    world.cluster.create_lease("demo", lease_manifest("demo", "hello", BOB, seconds=30, acquired=now, renewed=now, transitions=0))
    with pytest.raises(ReleaseLocked) as locked:
        world.deploy("1.1.0")
    assert "`kubernaut unlock hello -n demo`" in locked.value.hint
    with pytest.raises(ReleaseNotFound) as missing:
        execute(RollbackRequest("demo", "hello"), context=world.context)
    assert "`kubernaut history hello -n demo`" in missing.value.hint


def test_record_decides_not_the_exit_status(world: World) -> None:
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


def test_helm_success_without_a_record_is_a_failure(world: World) -> None:
    world.helm.end_with(None)
    with pytest.raises(HelmFailed, match="no record of hello"):
        world.deploy()


@pytest.mark.parametrize("pending", [Status.PENDING_INSTALL, Status.PENDING_UPGRADE])
def test_pending_record_of_a_stopped_helm_is_marked_failed(world: World, pending: Status) -> None:
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
def test_ctrl_c_leaves_nothing_pending(world: World, left: Status | None) -> None:
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


def test_ctrl_c_during_the_rollback(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    world.helm.end_with(Status.PENDING_ROLLBACK, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        world.deploy("1.1.0")
    assert world.statuses == ["deployed", "failed", "failed"]
    world.deploy("1.1.0")
    assert world.statuses[-1] == "deployed"


def test_unreachable_cluster_leaves_the_outcome_to_the_next_operation(world: World) -> None:
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


def test_unwritable_outcome_is_reported_and_settled_later(world: World) -> None:
    world.cluster.fail("patch secret demo/kubernaut.", ClusterUnreachable("gone"))
    _, changed, release = world.deploy()
    assert changed
    assert release is not None
    assert release.created_by == "ada"
    assert any("could not be written" in str(event) for event in world.events)
    assert "v1 (1.0.0) has no outcome" in world.deploy()[0].actions[-1].reason
    assert [operation.outcome.reason for operation in world.past.operations if operation.outcome] == ["succeeded", "succeeded"]


def test_record_marked_failed_elsewhere_is_reported(world: World) -> None:
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


def test_helm_that_lost_a_race_is_a_locked_release(world: World) -> None:
    world.deploy()
    world.helm.end_with(None, ReleaseLocked("release: already exists"))
    with pytest.raises(ReleaseLocked):
        world.deploy("1.1.0")
    assert world.statuses == ["deployed"]


def test_unwritable_operation_runs_no_helm(world: World) -> None:
    wanted = world.wanted()
    world.cluster.fail("create secret", ClusterUnreachable("refused"))
    with pytest.raises(ClusterUnreachable):
        execute(wanted, context=world.context)
    assert "upgrade" not in verbs(world)


# the probe
