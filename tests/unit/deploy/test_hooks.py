"""Hooks that fail or hang: every state that they lead into has a way out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deploy_harness import LATE, WORKLOAD, DeployHarness, verbs
from support.hooked_charts import MIGRATION, put_running, with_hook

from kubernaut.adapters.kube_resources import RESOURCES
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.hook_cleanup import is_running
from kubernaut.deploy.requests import OperationRequest, RestoreRequest, RollbackRequest, UninstallRequest, UnlockRequest
from kubernaut.errors import (
    ClusterDenied,
    DeadlineExceeded,
    DeployKept,
    DeployRolledBack,
    HelmFailed,
    KubernautError,
    LockLost,
    ReleaseNotFound,
)
from kubernaut.events import Notice
from kubernaut.history.records import Status

STUCK = with_hook("pre-delete", WORKLOAD)
JOBS, PODS, DEPLOYMENTS = RESOURCES["Job"], RESOURCES["Pod"], RESOURCES["Deployment"]


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def run(harness: DeployHarness, verb: str, **how: Any) -> Result:
    """Run a verb; a deploy is of the next version, without the hook."""
    requests: dict[str, Callable[[], OperationRequest]] = {
        "deploy": lambda: harness.request("1.1.0", template=WORKLOAD, **how),
        "restore": lambda: RestoreRequest("demo", "hello", **how),
        "rollback": lambda: RollbackRequest("demo", "hello", revision=1, **how),
        "delete": lambda: UninstallRequest("demo", "hello", **how),
        "unlock": lambda: UnlockRequest("demo", "hello", **how),
    }
    return execute(requests[verb](), context=harness.context)


def fails(harness: DeployHarness, verb: str, **how: Any) -> KubernautError:
    with pytest.raises(DeployKept) as caught:
        run(harness, verb, **how)
    return caught.value


def get_stuck(harness: DeployHarness, *, fenced: bool) -> None:
    """Deploy, and delete in vain; a deploy that tries to finish the delete fences the record."""
    harness.deploy(template=STUCK)
    fails(harness, "delete")
    if fenced:
        fails(harness, "deploy")
    (record,) = harness.history.records
    assert (record.status, record.immutable) == ("uninstalling", fenced)


def notices(harness: DeployHarness) -> str:
    return "\n".join(event.text for event in harness.events if isinstance(event, Notice))


# a pre-delete hook that fails


def test_delete_names_the_hook_and_offers_to_leave_it_out(harness: DeployHarness) -> None:
    harness.cluster.logs["demo", "pre-delete", "tool"] = ["cannot reach the queue"]
    harness.deploy(template=STUCK)
    error = fails(harness, "delete")
    assert (error.exit_status, error.members["cause"]) == (7, "hook_failed")
    assert facts_in(error.message, "demo.hello.v1", "pre-delete")
    assert "`--no-hooks`" in error.hint
    assert "`noHooks`" in error.http_hint
    assert "--no-hooks" not in error.http_hint
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.cause == "hook_failed"
    assert "`--no-hooks`" in harness.operation.failure.hint
    assert harness.cluster.get_object(DEPLOYMENTS, "demo", "web") is not None


def test_hook_that_fails_after_the_delete_is_named(harness: DeployHarness) -> None:
    harness.deploy(template=with_hook("post-delete", WORKLOAD))
    error = fails(harness, "delete")
    assert (error.exit_status, error.members["cause"]) == (7, "hook_failed")
    assert facts_in(error.message, "demo.hello.v1", "post-delete")
    assert "`kubernaut explain hello -n demo`" in error.hint
    assert "--no-hooks" not in error.hint, "the delete is done"
    assert "`" not in error.http_hint
    assert harness.statuses == ["uninstalled"]
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.cause == "hook_failed"
    assert not run(harness, "delete").changed


def test_deploy_goes_on_after_a_hook_that_fails_after_the_delete(harness: DeployHarness) -> None:
    harness.deploy(template=with_hook("post-delete", WORKLOAD))
    harness.helm.end_with(Status.UNINSTALLING, HelmFailed("failed to delete release: hello"))
    fails(harness, "delete")
    assert run(harness, "deploy").changed
    assert harness.statuses == ["superseded", "deployed"]


def test_hook_that_helm_has_removed_is_named(harness: DeployHarness) -> None:
    harness.deploy(template=with_hook("pre-delete", WORKLOAD, policy="hook-failed"))
    error = fails(harness, "delete")
    assert harness.cluster.get_object(PODS, "demo", "pre-delete") is None
    assert error.members["cause"] == "hook_failed"
    assert "`--no-hooks`" in error.hint


def facts_in(text: str, *words: str) -> bool:
    return all(word in text for word in words)


@pytest.mark.parametrize("fenced", [False, True])
@pytest.mark.parametrize("verb", ["deploy", "restore", "rollback", "delete"])
def test_each_verb_fails_with_the_hook_and_works_without(harness: DeployHarness, verb: str, *, fenced: bool) -> None:
    get_stuck(harness, fenced=fenced)
    for _ in range(2):  # and fences its record
        error = fails(harness, verb)
        assert facts_in(error.message, "demo.hello.v1", "pre-delete")
        assert "`--no-hooks`" in error.hint
    _, changed, release = run(harness, verb, no_hooks=True)
    assert changed
    assert release is not None
    assert (
        harness.statuses
        == {
            "deploy": ["superseded", "deployed"],
            "restore": ["uninstalled", "deployed"],
            "rollback": ["uninstalled", "deployed"],
            "delete": ["uninstalled"],
        }[verb]
    )
    assert harness.operation.state == "succeeded"
    assert harness.cluster._leases == {}


@pytest.mark.parametrize("fenced", [False, True])
def test_unlock_ends_the_delete_of_a_hook_that_fails(harness: DeployHarness, *, fenced: bool) -> None:
    get_stuck(harness, fenced=fenced)
    run(harness, "unlock")
    (record,) = harness.history.records
    assert (record.status, record.labelled_status, record.immutable) == ("failed", "failed", True)
    assert harness.history.aside == ()
    assert run(harness, "deploy").changed
    assert harness.statuses == ["failed", "deployed"]


def test_rollback_without_an_earlier_release_names_the_restore(harness: DeployHarness) -> None:
    get_stuck(harness, fenced=True)
    with pytest.raises(ReleaseNotFound) as caught:
        execute(RollbackRequest("demo", "hello"), context=harness.context)
    assert "`kubernaut restore hello -n demo`" in caught.value.hint


# a fenced record that Helm could not rewrite


@pytest.mark.parametrize("verb", ["deploy", "restore", "rollback", "delete", "unlock"])
def test_plain_uninstall_of_a_fenced_release_is_recorded_by_the_next_verb(harness: DeployHarness, verb: str) -> None:
    get_stuck(harness, fenced=True)
    harness.helm.uninstall("hello", namespace="demo", description="", timeout=9.0, no_hooks=True, log=print)
    assert harness.statuses == ["uninstalling"]
    assert harness.cluster.get_object(DEPLOYMENTS, "demo", "web") is None
    harness.helm.starts.clear()
    planned, changed, release = run(harness, verb)
    assert changed
    assert "mark-uninstalled" in {action.kind for action in planned.actions} or harness.statuses[0] != "uninstalling"
    assert "uninstall" not in verbs(harness), "the hook does not run again"
    assert harness.statuses == {
        "deploy": ["superseded", "deployed"],
        "restore": ["uninstalled", "deployed"],
        "rollback": ["uninstalled", "deployed"],
    }.get(verb, ["uninstalled"])
    assert release is not None
    assert harness.history.records[-1].immutable
    assert not run(harness, "delete", no_hooks=True).changed or verb in ("deploy", "restore", "rollback")


def test_objects_that_are_left_are_uninstalled(harness: DeployHarness) -> None:
    get_stuck(harness, fenced=True)
    planned, _, _ = run(harness, "delete", no_hooks=True)
    assert [action.kind for action in planned.actions] == ["helm-uninstall"]
    assert harness.cluster.get_object(DEPLOYMENTS, "demo", "web") is None


def test_objects_that_cannot_be_read_are_uninstalled(harness: DeployHarness) -> None:
    get_stuck(harness, fenced=True)
    harness.helm.uninstall("hello", namespace="demo", description="", timeout=9.0, no_hooks=True, log=print)
    harness.cluster.fail("get deployment demo/web", ClusterDenied("no"), times=None)
    run(harness, "delete", no_hooks=True)
    assert verbs(harness)[-1] == "uninstall"
    assert harness.statuses == ["uninstalled"]


# other hooks


def test_failing_hook_of_an_upgrade_offers_to_leave_it_out(harness: DeployHarness) -> None:
    harness.deploy()
    with pytest.raises(DeployRolledBack) as caught:
        harness.deploy("1.1.0", template=with_hook("pre-upgrade"))
    assert caught.value.members["cause"] == "hook_failed"
    assert "`--no-hooks`" in caught.value.hint
    assert "`noHooks`" in caught.value.http_hint
    assert harness.statuses == ["superseded", "failed", "deployed"]
    planned, _, _ = harness.deploy("1.1.0", template=with_hook("pre-upgrade"), no_hooks=True)
    assert "without hooks" in planned.actions[-1].reason
    assert harness.statuses[-1] == "deployed"


def test_failing_hook_of_the_rollback_names_the_rollback_without_it(harness: DeployHarness) -> None:
    harness.deploy(template=with_hook("pre-rollback"))
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as caught:
        harness.deploy("1.1.0")
    command = "kubernaut rollback hello -n demo --revision 1 --no-hooks"
    assert f"`{command}`" in caught.value.hint
    run(harness, "rollback", no_hooks=True)
    assert harness.statuses == ["superseded", "failed", "failed", "deployed"]


def test_failing_hook_of_a_rollback_offers_to_leave_it_out(harness: DeployHarness) -> None:
    harness.deploy(template=with_hook("pre-rollback"))
    harness.deploy("1.1.0")
    error = fails(harness, "rollback")
    assert error.members["cause"] == "hook_failed"
    assert "`--no-hooks`" in error.hint
    assert harness.statuses == ["superseded", "deployed", "failed"]
    run(harness, "rollback", no_hooks=True)
    assert harness.statuses == ["superseded", "superseded", "failed", "deployed"]


def test_hook_that_is_left_out_is_not_the_cause(harness: DeployHarness) -> None:
    """The failed Job of an earlier deploy is still there."""
    harness.deploy()
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.1.0", template=with_hook("pre-upgrade"))
    harness.helm.end_with(Status.FAILED, DeadlineExceeded("timed out waiting for the condition"))
    with pytest.raises(DeployRolledBack) as caught:
        harness.deploy("1.1.0", template=with_hook("pre-upgrade"), no_hooks=True)
    assert caught.value.members["cause"] == "deadline_exceeded"
    assert "--no-hooks" not in caught.value.hint


# a hook that hangs


def deploy_that_hangs(harness: DeployHarness, **how: Any) -> KubernautError:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE, during=lambda check: put_running(harness.cluster))
    with pytest.raises(KubernautError) as caught:
        harness.deploy("1.1.0", template=f"{WORKLOAD}{MIGRATION}", **how)
    return caught.value


def test_running_hook_of_a_failed_deploy_is_removed_before_the_rollback(harness: DeployHarness) -> None:
    error = deploy_that_hangs(harness)
    assert isinstance(error, DeployRolledBack)
    assert harness.cluster.get_object(JOBS, "demo", "migrate") is None
    assert harness.cluster.get_object(PODS, "demo", "migrate-x1") is None
    assert any("migrating 12 of 40" in line for line in error.details), (error.message, error.details)
    asked = harness.cluster.requests
    assert asked.index("get log demo/migrate-x1") < asked.index("delete job demo/migrate")
    assert asked.index("delete job demo/migrate") < asked.index("create secret demo/sh.helm.release.v1.hello.v3")
    assert facts_in(notices(harness), "pre-upgrade hook migrate", "deleted")


def test_running_hook_that_may_not_be_removed_is_named_with_the_command(harness: DeployHarness) -> None:
    harness.cluster.fail("delete job demo/migrate", ClusterDenied("no"))
    deploy_that_hangs(harness)
    assert harness.cluster.get_object(JOBS, "demo", "migrate") is not None
    assert "`kubectl delete job migrate -n demo`" in notices(harness)


def test_running_hook_of_an_earlier_operation_is_left_alone(harness: DeployHarness) -> None:
    harness.cluster.server_time = harness.cluster.server_time - timedelta(hours=1)
    put_running(harness.cluster)
    harness.cluster.server_time = None
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.1.0", template=f"{WORKLOAD}{MIGRATION.replace('pre-upgrade,', '')}")
    assert harness.cluster.get_object(JOBS, "demo", "migrate") is not None


def test_running_hook_is_left_to_the_holder_of_a_lost_lock(harness: DeployHarness) -> None:
    harness.deploy()

    def lose(check: Callable[[], None]) -> None:
        put_running(harness.cluster)
        harness.cluster.delete_lease("demo", "kubernaut.hello")
        raise LockLost("The lock was lost.")

    harness.helm.end_with(Status.FAILED, during=lose)
    with pytest.raises(LockLost):
        harness.deploy("1.1.0", template=f"{WORKLOAD}{MIGRATION}")
    assert not any(request.startswith("delete job") for request in harness.cluster.requests)


def test_running_hook_of_a_stopped_deploy_is_removed(harness: DeployHarness) -> None:
    harness.deploy()

    def stop(check: Callable[[], None]) -> None:
        put_running(harness.cluster)
        raise KeyboardInterrupt

    harness.helm.end_with(Status.FAILED, during=stop)
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0", template=f"{WORKLOAD}{MIGRATION}")
    assert harness.cluster.get_object(JOBS, "demo", "migrate") is None


def test_running_hook_of_a_failed_delete_is_removed(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.deploy(template=f"{WORKLOAD}{MIGRATION}")
    uninstall = harness.helm.uninstall

    def hangs(*arguments: Any, **named: Any) -> None:
        harness.helm.end_with(Status.UNINSTALLING, LATE)
        uninstall(*arguments, **named)

    monkeypatch.setattr(harness.helm, "_run_hooks", lambda *_, **__: put_running(harness.cluster))
    monkeypatch.setattr(harness.helm, "uninstall", hangs)
    error = fails(harness, "delete")
    assert error.members["cause"] == "hook_failed"
    assert any("migrating 12 of 40" in line for line in error.details), (error.message, error.details)
    assert harness.cluster.get_object(JOBS, "demo", "migrate") is None


@given(
    kind=st.sampled_from(["Job", "Pod"]),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    condition=st.sampled_from(["", "Complete", "Failed", "SuccessCriteriaMet", "FailureTarget", "Suspended"]),
    deleted=st.booleans(),
    old=st.booleans(),
)
def test_only_what_has_not_ended_is_running(kind: str, phase: str, condition: str, *, deleted: bool, old: bool) -> None:
    created = "2026-11-22T11:00:00Z" if old else "2026-11-22T12:00:01Z"
    metadata = {"name": "x", "creationTimestamp": created, **({"deletionTimestamp": created} if deleted else {})}
    conditions = [{"type": condition, "status": "True"}] if condition else []
    status = {"phase": phase} if kind == "Pod" else {"conditions": conditions}
    since = datetime(2026, 11, 22, 12, tzinfo=UTC)
    ended = phase in ("Succeeded", "Failed") if kind == "Pod" else condition not in ("", "Suspended")
    assert is_running({"kind": kind, "metadata": metadata, "status": status}, since) is not (ended or deleted or old)
