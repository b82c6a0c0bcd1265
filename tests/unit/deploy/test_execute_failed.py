"""Failing verbs: explained, rolled back or kept, and nothing left locked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.charts import CONFIG_MAP
from support.deploy_harness import CRASHING, LATE, WORKLOAD, DeployHarness, crash, verbs
from support.lock_harness import BOB
from support.messages import facts

from kubernaut.deploy.execute import execute
from kubernaut.deploy.lock.lease import lease_manifest
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
from kubernaut.events import Notice, StepFinished, StepOutcome
from kubernaut.history.records import Status
from kubernaut.history.store import HistoryStore

CHANGED = CONFIG_MAP.replace("  text:", "  more: more\n  text:")


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def test_failed_deploy_is_explained_then_rolled_back(harness: DeployHarness) -> None:
    harness.deploy(template=WORKLOAD)
    harness.cluster.logs["demo", CRASHING, "web"] = ["no database"]
    crash(harness)
    with pytest.raises(DeployRolledBack) as caught:
        harness.deploy("1.1.0", template=WORKLOAD)
    failure = caught.value
    assert re.search(r"hello 1\.1\.0 .*\bdemo\b.*\bcontainer of Deployment web\b.*v1 \(1\.0\.0\) .*\bv3\b", failure.message)
    assert failure.members["cause"] == "container_crashed"
    assert "`kubernaut explain hello -n demo`" in failure.hint
    assert "`kubernaut logs" not in failure.hint, "the pods are gone"
    assert "/api/releases/demo.hello.v2/explanation" in failure.http_hint
    assert "  no database" in failure.details
    assert failure.exit_status == 6
    assert (failure.release, failure.operation) == ("demo.hello.v2", harness.operation.id)
    assert failure.problem()["release"] == "demo.hello.v2"
    assert harness.statuses == ["superseded", "failed", "deployed"]
    assert verbs(harness) == ["upgrade", "rollback"]
    asked = harness.cluster.requests
    rolled_back = next(
        index for index, request in enumerate(asked) if request.startswith("create secret demo/sh.helm") and request.endswith("v3")
    )
    assert asked.index("list pods demo") < asked.index(f"get log demo/{CRASHING}") < rolled_back
    steps = [(event.step, event.outcome) for event in harness.events if isinstance(event, StepFinished)]
    assert steps[-2:] == [("deploy", StepOutcome.FAILED), ("rollback", StepOutcome.DONE)]
    back = HistoryStore(harness.cluster).releases("demo", "hello").items[0]  # type: ignore[arg-type]
    assert (back.created_by, back.chart.version) == ("ada", "1.0.0")
    plan, changed, _ = harness.deploy(template=WORKLOAD)  # the release that runs again is known: nothing to do
    assert not changed, plan


def test_failed_deploy_is_kept_on_request(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as caught:
        harness.deploy("1.1.0", template=CHANGED, on_failure="keep")
    assert caught.value.exit_status == 7
    assert harness.statuses == ["deployed", "failed"]
    harness.deploy("1.1.0", template=CHANGED)  # and the next deploy is not a no-op
    assert harness.statuses == ["superseded", "failed", "deployed"]


def test_chart_annotation_decides_on_failure(harness: DeployHarness) -> None:
    harness.deploy()
    for choice, error in ((None, DeployKept), ("rollback", DeployRolledBack)):
        harness.helm.end_with(Status.FAILED, LATE)
        with pytest.raises(error):
            harness.deploy("1.1.0", template=CHANGED, annotations="{kubernaut/on-failure: keep}", on_failure=choice)


def test_failed_first_deploy_is_kept(harness: DeployHarness) -> None:
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        harness.deploy()
    assert harness.statuses == ["failed"]


def test_failed_deploy_after_a_delete_keeps_the_history(harness: DeployHarness) -> None:
    harness.deploy()
    execute(UninstallRequest("demo", "hello"), context=harness.context)
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        harness.deploy("1.1.0")
    assert harness.statuses == ["superseded", "failed"]


def test_failed_automatic_rollback_is_reported(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept, match=r"v1 \(1\.0\.0\)"):
        harness.deploy("1.1.0")
    steps = [(event.step, event.outcome) for event in harness.events if isinstance(event, StepFinished)]
    assert steps[-2:] == [("deploy", StepOutcome.FAILED), ("rollback", StepOutcome.FAILED)]


def test_hints_name_the_release(harness: DeployHarness) -> None:
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as kept:
        harness.deploy()
    assert "`kubernaut explain hello -n demo`" in kept.value.hint
    assert "--timeout" in kept.value.hint
    assert "timeout" in kept.value.http_hint
    now = datetime.now(UTC)
    harness.cluster.create_lease("demo", lease_manifest("demo", "hello", BOB, seconds=30, acquired=now, renewed=now, transitions=0))
    with pytest.raises(ReleaseLocked) as locked:
        harness.deploy("1.1.0")
    assert "`kubernaut unlock hello -n demo`" in locked.value.hint
    with pytest.raises(ReleaseNotFound) as missing:
        execute(RollbackRequest("demo", "hello"), context=harness.context)
    assert "`kubernaut history hello -n demo`" in missing.value.hint


def test_record_decides_not_the_exit_status(harness: DeployHarness) -> None:
    """Helm failed, and its record is deployed; Helm succeeded, and its record is pending."""
    harness.helm.end_with(Status.DEPLOYED, HelmFailed("the connection was lost at the end"))
    _, changed, release = harness.deploy()
    assert changed
    assert release is not None
    assert release.status == "deployed"
    harness.helm.end_with(Status.PENDING_UPGRADE)
    with pytest.raises(DeployRolledBack, match="pending-upgrade"):
        harness.deploy("1.1.0")
    assert harness.statuses == ["superseded", "failed", "deployed"]


def test_helm_success_without_a_record_is_a_failure(harness: DeployHarness) -> None:
    harness.helm.end_with(None)
    with pytest.raises(HelmFailed, match=facts("hello")):
        harness.deploy()


@pytest.mark.parametrize("pending", [Status.PENDING_INSTALL, Status.PENDING_UPGRADE])
def test_pending_record_of_a_stopped_helm_is_marked_failed(harness: DeployHarness, pending: Status) -> None:
    if pending is Status.PENDING_UPGRADE:
        harness.deploy()
    harness.helm.end_with(pending, DeadlineExceeded("took longer, and Helm was stopped"))
    with pytest.raises(DeployKept):
        harness.deploy("1.1.0", on_failure="keep")
    assert harness.statuses[-1] == "failed"
    assert "pending" in harness.history.records[0].description
    assert harness.history.records[0].labelled_status == harness.history.records[0].status
    harness.deploy("1.1.0")
    assert harness.statuses[-1] == "deployed"


@pytest.mark.parametrize("left", [None, Status.PENDING_UPGRADE, Status.FAILED, Status.DEPLOYED])
def test_ctrl_c_leaves_nothing_pending(harness: DeployHarness, left: Status | None) -> None:
    harness.deploy()
    harness.helm.end_with(left, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0")
    assert verbs(harness) == ["upgrade"]  # an interrupted deploy rolls nothing back
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "interrupted"
    assert not any(status.startswith("pending") for status in harness.statuses)
    harness.deploy("1.1.0")
    assert harness.statuses[-1] == "deployed"


def test_ctrl_c_during_the_rollback(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    harness.helm.end_with(Status.PENDING_ROLLBACK, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0")
    assert harness.statuses == ["deployed", "failed", "failed"]
    harness.deploy("1.1.0")
    assert harness.statuses[-1] == "deployed"


def test_unreachable_cluster_leaves_the_outcome_to_the_next_operation(harness: DeployHarness) -> None:
    request = harness.request()
    original = harness.helm.upgrade

    def lost(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        harness.cluster.fail("list secrets", ClusterUnreachable("refused"), times=1)
        raise ClusterUnreachable("connection refused")

    harness.helm.upgrade = lost  # type: ignore[method-assign]
    with pytest.raises(ClusterUnreachable, match=facts("deploy", "demo.hello", "unknown", "refused", "connection refused")):
        execute(request, context=harness.context)
    assert harness.operation.outcome is None
    harness.helm.upgrade = original  # type: ignore[method-assign]
    assert harness.deploy("1.1.0")[1]
    settled = harness.history.operations[1].outcome
    assert settled is not None
    assert settled.reason == "succeeded"  # as the record shows
    assert re.search(facts("v1"), settled.message)


def test_unwritable_outcome_is_reported_and_settled_later(harness: DeployHarness) -> None:
    harness.cluster.fail("patch secret demo/kubernaut.", ClusterUnreachable("gone"))
    _, changed, release = harness.deploy()
    assert changed
    assert release is not None
    assert release.created_by == "ada"
    assert any(isinstance(event, Notice) and event.text.endswith("gone") for event in harness.events)
    assert "v1 (1.0.0)" in harness.deploy()[0].actions[-1].reason
    assert [operation.outcome.reason for operation in harness.history.operations if operation.outcome] == ["succeeded", "succeeded"]


def test_record_marked_failed_elsewhere_is_reported(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.PENDING_UPGRADE, DeadlineExceeded("stopped"))
    original = harness.cluster.patch_secret

    def changed_meanwhile(namespace: str, name: str, patch: Any) -> Any:
        if "resourceVersion" in patch.get("metadata", {}):
            raise Conflict("the object has been modified")
        return original(namespace, name, patch)

    harness.cluster.patch_secret = changed_meanwhile  # type: ignore[method-assign]
    with pytest.raises(DeployKept, match="stopped"):
        harness.deploy("1.1.0", on_failure="keep")


def test_helm_that_lost_a_race_is_a_locked_release(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(None, ReleaseLocked("release: already exists"))
    with pytest.raises(ReleaseLocked):
        harness.deploy("1.1.0")
    assert harness.statuses == ["deployed"]


def test_unwritable_operation_runs_no_helm(harness: DeployHarness) -> None:
    request = harness.request()
    harness.cluster.fail("create secret", ClusterUnreachable("refused"))
    with pytest.raises(ClusterUnreachable):
        execute(request, context=harness.context)
    assert "upgrade" not in verbs(harness)


# the probe
