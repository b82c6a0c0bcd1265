"""Races and interruptions: the record and the report stay true."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import CRASHING, LATE, WORKLOAD, DeployHarness, after_helm, crash, put_crashing
from support.kube_objects import deployment, event, replica_set
from support.messages import facts
from support.records import operation

from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import RollbackRequest, UninstallRequest
from kubernaut.errors import (
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    DeployKept,
    DeployRolledBack,
    HelmFailed,
    ReleaseLocked,
    ReleaseNotFound,
)
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.records import Status
from kubernaut.history.store import HistoryStore
from kubernaut.rollout.watch import RolloutWatch

PROBED = {"template": WORKLOAD, "annotations": '{kubernaut/probe: \'{"path":"/","port":"http"}\'}'}


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def crossed(harness: DeployHarness, method: str, other: Callable[[], object]) -> None:
    """Let ``other`` happen just before Helm does anything."""
    original = getattr(harness.helm, method)

    def slower(*arguments: Any, **named: Any) -> None:
        setattr(harness.helm, method, original)
        other()
        original(*arguments, **named)

    setattr(harness.helm, method, slower)


def test_ctrl_c_is_named_in_the_outcome(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.PENDING_UPGRADE, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0")
    assert harness.operation.outcome is not None
    assert re.search(facts("deploy", "KeyboardInterrupt"), harness.operation.outcome.message)


def test_ctrl_c_leaves_another_operations_record(harness: DeployHarness) -> None:
    """Another deployer's Helm has made its record, and works on; ours is stopped before it made one."""
    harness.deploy()
    late = harness.request("1.1.0")

    def another() -> None:
        harness.helm.end_with(Status.PENDING_UPGRADE)
        harness.helm.upgrade(
            "hello",
            late.chart_ref,
            namespace="demo",
            values={},
            labels={"kubernaut/operation": "another", "kubernaut/revision": "2"},
            description="",
            timeout=1,
            history_max=5,
            install=True,
            log=print,
        )
        raise KeyboardInterrupt

    crossed(harness, "upgrade", another)
    with pytest.raises(KeyboardInterrupt):
        execute(late, context=harness.context)
    assert harness.statuses == ["deployed", "pending-upgrade"]
    assert harness.operation.made == ()


def test_rollback_that_lost_a_race_claims_no_record(harness: DeployHarness) -> None:
    harness.deploy()
    harness.deploy("1.1.0")
    crossed(
        harness,
        "rollback",
        lambda: (harness.deploy("1.2.0"), harness.helm.end_with(None, ReleaseLocked("release: already exists"))),
    )
    with pytest.raises(ReleaseLocked):
        execute(RollbackRequest("demo", "hello"), context=harness.context)
    mine = next(one for one in harness.history.operations if one.verb == "rollback")
    assert mine.made == ()
    assert mine.outcome is not None
    assert mine.outcome.reason == "release_locked"


def test_ctrl_c_in_a_rollback_leaves_plain_helms_record(harness: DeployHarness) -> None:
    harness.deploy()
    harness.deploy("1.1.0")
    chart = harness.operation.chart
    assert chart is not None

    def plain() -> None:
        known: dict[str, Any] = {"namespace": "demo", "values": {}, "labels": {}, "description": "", "timeout": 1, "log": print}
        harness.helm.end_with(Status.PENDING_UPGRADE)
        harness.helm.upgrade("hello", str(chart.ref), history_max=5, install=True, **known)
        raise KeyboardInterrupt

    crossed(harness, "rollback", plain)
    with pytest.raises(KeyboardInterrupt):
        execute(RollbackRequest("demo", "hello"), context=harness.context)
    assert harness.statuses == ["superseded", "deployed", "pending-upgrade"]
    assert harness.operation.made == ()


@pytest.mark.parametrize("phase", ["probe", "wait", "diagnosis"])
def test_ctrl_c_after_helm(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    harness.cluster.answers["demo", "web", "http"] = (200, "ok")
    harness.deploy(**PROBED)
    request = harness.request("1.1.0", **PROBED)
    if phase == "probe":
        harness.cluster.fail("get service", KeyboardInterrupt())
    else:
        monkeypatch.setattr(RolloutWatch, "wait" if phase == "wait" else "logs", interrupted)
    if phase == "diagnosis":
        crash(harness)
    elif phase == "wait":
        after_helm(harness, "upgrade", lambda: put_crashing(harness.cluster, restarts=1))
    with pytest.raises(KeyboardInterrupt):
        execute(request, context=harness.context)
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "interrupted"
    assert [made.id for made in harness.operation.made] == ["demo.hello.v2"]
    monkeypatch.undo()
    assert harness.deploy("1.1.0", **PROBED)[1]  # whether it answers is still unknown


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_explanation_survives_ctrl_c_in_the_rollback(harness: DeployHarness) -> None:
    harness.deploy(template=WORKLOAD)
    first = harness.operation.chart
    crash(harness)
    harness.helm.end_with(Status.PENDING_ROLLBACK, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0", template=WORKLOAD)
    outcome = harness.operation.outcome
    assert outcome is not None
    assert outcome.reason == "interrupted"
    assert re.search(facts("container", "Deployment web"), outcome.message)
    assert outcome.cause == "container_crashed"
    assert any(CRASHING in one.about for one in outcome.evidence)
    assert [made.chart for made in harness.operation.made] == [harness.operation.chart, first]


def test_explanation_is_written_before_the_rollback(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    seen: list[str] = []
    crossed(harness, "rollback", lambda: seen.append(harness.operation.outcome.reason if harness.operation.outcome else "nothing"))
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.1.0")
    assert seen == ["deploy_failed"]


def test_rollback_with_an_unknown_result_is_reported(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    crossed(harness, "rollback", lambda: harness.cluster.fail("list secrets", ClusterUnreachable("gone"), times=2))
    with pytest.raises(DeployKept, match=r"1\.1\.0.*v1 \(1\.0\.0\).*unknown") as caught:
        harness.deploy("1.1.0")
    assert caught.value.members["cause"] == "deadline_exceeded"


def test_failed_automatic_rollback_records_its_actor(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        harness.deploy("1.1.0")
    newest = HistoryStore(harness.cluster).releases("demo", "hello").items[0]  # type: ignore[arg-type]
    assert (newest.id, newest.status, newest.created_by) == ("demo.hello.v3", "failed", "ada")


def test_failed_deploy_after_a_delete_is_not_rolled_back(harness: DeployHarness) -> None:
    """Helm before 3.19.5 leaves a revision ``deployed`` below the deleted one."""
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        harness.deploy("1.1.0", on_failure="keep")
    execute(UninstallRequest("demo", "hello"), context=harness.context)
    assert harness.statuses == ["deployed", "uninstalled"]
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        harness.deploy("1.2.0")
    assert len(harness.statuses) == 3


def test_expired_credentials_make_the_result_unknown(harness: DeployHarness) -> None:
    request = harness.request()
    crossed(harness, "upgrade", lambda: harness.helm.end_with(Status.DEPLOYED, LATE))
    original = harness.helm.upgrade

    def expired(*arguments: Any, **named: Any) -> None:
        try:
            original(*arguments, **named)
        finally:
            harness.cluster.fail("list secrets", ClusterDenied("the credentials have expired"))

    harness.helm.upgrade = expired  # type: ignore[method-assign]
    with pytest.raises(ClusterDenied, match=facts("deploy", "demo.hello", "unknown", "the credentials have expired")):
        execute(request, context=harness.context)


def test_operation_without_an_outcome_stays_with_its_record(harness: DeployHarness) -> None:
    """Killed after Helm had made the record: the operation records its actor and must not expire."""
    harness.deploy()
    killed = harness.operation.model_copy(
        update={"made": (), "outcome": None, "finished_at": None, "started_at": datetime.now(UTC) - timedelta(days=9)}
    )
    harness.cluster.delete_secret("demo", killed.secret)
    harness.cluster.create_secret("demo", operation_secret(killed))
    harness.deploy("1.1.0")
    assert killed.id in {one.id for one in harness.history.operations}


def test_denied_expiry_does_not_affect_the_outcome(harness: DeployHarness) -> None:
    old = operation("old", reason="chart_invalid").model_copy(update={"started_at": datetime.now(UTC) - timedelta(days=9)})
    harness.cluster.create_secret("demo", operation_secret(old))
    request = harness.request()
    harness.cluster.fail("delete secret", ClusterDenied("secrets is forbidden"))
    execute(request, context=harness.context)
    assert not any("secrets is forbidden" in str(event) for event in harness.events)


def test_delete_reports_helms_warning(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.UNINSTALLED, HelmFailed("uninstallation completed with 1 error(s): timed out"))
    assert execute(UninstallRequest("demo", "hello"), context=harness.context)[1]
    assert any("uninstallation completed with 1 error" in str(event) for event in harness.events)


def test_delete_of_a_purged_release_has_an_outcome(harness: DeployHarness) -> None:
    harness.deploy()
    secret = harness.history.records[0].secret
    crossed(harness, "uninstall", lambda: harness.cluster.delete_secret("demo", secret))
    with pytest.raises(ReleaseNotFound, match=facts("demo.hello.v1")):
        execute(UninstallRequest("demo", "hello"), context=harness.context)
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "release_not_found"


def test_delete_reports_a_concurrent_deploy(harness: DeployHarness) -> None:
    harness.deploy()
    another = harness.request("1.1.0")
    plain: dict[str, Any] = {"namespace": "demo", "values": {}, "labels": {}, "description": "", "timeout": 1.0, "history_max": 9}
    crossed(harness, "uninstall", lambda: harness.helm.upgrade("hello", another.chart_ref, install=True, **plain, log=print))
    with pytest.raises(Conflict, match=r"demo\.hello\.v2 .* uninstalled"):
        execute(UninstallRequest("demo", "hello"), context=harness.context)


def test_denied_probe_is_not_repeated(harness: DeployHarness) -> None:
    request = harness.request(**PROBED)
    harness.cluster.requests.clear()
    harness.cluster.fail("get service", ClusterDenied('cannot get resource "services/proxy"'), times=99)
    with pytest.raises(DeployKept, match="services/proxy"):
        execute(request, context=harness.context)
    assert sum(sent.startswith("get service") for sent in harness.cluster.requests) == 1


def test_probe_failure_is_not_attributed_to_helm(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.deploy.probe._MIN_PROBE_SECONDS", 0.05)
    with pytest.raises(DeployKept, match=facts("GET", "503")) as caught:
        harness.deploy(timeout=0.01, **PROBED)
    assert caught.value.members["cause"] == "application_probe_failed"
    assert not any(line.startswith("Helm: ") for line in caught.value.details)


def test_events_are_selected_by_the_clusters_clock(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock is an hour ahead: new events still count, older ones do not."""
    ahead = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr("kubernaut.deploy.operations.now", lambda: ahead)

    def put(check: Callable[[], None]) -> None:
        web = deployment("web", ready=0, updated=0, total=0)
        replicas = replica_set(web)
        for item in (web, replicas):
            harness.cluster.put(item)
        for reason, seconds in (("Old", -60), ("FailedCreate", 60)):
            at = (harness.cluster.server_time + timedelta(seconds=seconds)).isoformat()
            harness.cluster.put(event(replicas, reason, "exceeded quota: pods") | {"firstTimestamp": at, "lastTimestamp": at})

    harness.helm.end_with(Status.FAILED, LATE, during=put)
    with pytest.raises(DeployKept) as caught:
        harness.deploy(template=WORKLOAD)
    assert caught.value.members["cause"] == "quota_exceeded"
    shown = "".join(caught.value.details)
    assert "FailedCreate" in shown
    assert "Old" not in shown
