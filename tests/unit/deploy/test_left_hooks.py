"""Hooks that a killed kubernaut has left running, and the log of those that are removed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import LATE, WORKLOAD, DeployHarness
from support.hooked_charts import MIGRATION, put_running
from support.mortal import Killed, MortalCluster, MortalHarness, leave_lock
from support.records import history, operation, own, record

from kubernaut.adapters.kube_resources import RESOURCES
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.planning.unfinished import left_hooks
from kubernaut.deploy.requests import OperationRequest, RestoreRequest, RollbackRequest, UninstallRequest, UnlockRequest
from kubernaut.errors import ClusterDenied, DeployRolledBack
from kubernaut.events import LogLine, Notice
from kubernaut.history.records import Status
from kubernaut.history.repair import failed_patch
from kubernaut.models import Action, Plan

HOOKED = f"{WORKLOAD}{MIGRATION}"
GOING_BACK = HOOKED.replace("pre-upgrade,", "pre-rollback,")
PODS = RESOURCES["Pod"]
LINE = "migrating 12 of 40"


@pytest.fixture
def harness(tmp_path: Path) -> MortalHarness:
    return MortalHarness(tmp_path, MortalCluster("demo"))


def die_in_hook(harness: MortalHarness) -> None:
    """Be killed while a hook runs."""
    put_running(harness.cluster)
    harness.mortal.dead = True
    raise Killed


def kill(harness: MortalHarness, request: OperationRequest) -> None:
    """Execute a request until it is killed in its hook."""
    with pytest.raises(Killed):
        execute(request, context=harness.context)
    harness.mortal.revive()
    harness.helm._ends.clear()
    leave_lock(harness.cluster, "demo", "hello")
    assert is_migrating(harness)


def kill_a_deploy(harness: MortalHarness, *, helm_ends: bool = False) -> None:
    harness.deploy(template=WORKLOAD)
    harness.helm.end_with(Status.FAILED, LATE, during=lambda _: die_in_hook(harness))
    kill(harness, harness.request("1.1.0", template=HOOKED))
    assert harness.statuses == ["deployed", "pending-upgrade"]
    if helm_ends:
        current = harness.history.records[0]
        patch = failed_patch(current, "context canceled")
        harness.cluster.patch_secret("demo", current.secret, {key: patch[key] for key in ("metadata", "data")})


def is_migrating(harness: DeployHarness) -> bool:
    return harness.cluster.get_object(PODS, "demo", "migrate-x1") is not None


def lines(harness: DeployHarness) -> str:
    return "\n".join(event.text for event in harness.events if isinstance(event, LogLine | Notice))


def run(harness: DeployHarness, verb: str, **how: Any) -> Result:
    requests: dict[str, Callable[[], OperationRequest]] = {
        "deploy": lambda: harness.request("1.2.0", template=WORKLOAD, **how),
        "restore": lambda: RestoreRequest("demo", "hello", **how),
        "rollback": lambda: RollbackRequest("demo", "hello", revision=1, **how),
        "delete": lambda: UninstallRequest("demo", "hello", **how),
        "unlock": lambda: UnlockRequest("demo", "hello", **how),
    }
    return execute(requests[verb](), context=harness.context)


# a kubernaut that was killed


@pytest.mark.parametrize("helm_ends", [False, True])
@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete", "unlock"])
def test_hook_of_a_killed_deploy_is_removed_by_the_next_verb(harness: MortalHarness, verb: str, *, helm_ends: bool) -> None:
    kill_a_deploy(harness, helm_ends=helm_ends)
    harness.cluster.requests.clear()
    assert run(harness, verb).changed
    assert not is_migrating(harness)
    found = lines(harness)
    assert all(word in found for word in ("pre-upgrade hook migrate", "pod migrate-x1", LINE))
    asked = harness.cluster.requests
    assert asked.index("get log demo/migrate-x1") < asked.index("delete job demo/migrate")
    first = next(request for request in asked if request.startswith(("patch secret", "create secret demo/sh.helm")))
    assert asked.index("delete job demo/migrate") < asked.index(first), "before anything is recorded or done"


def test_hook_of_a_killed_rollback_is_removed_by_the_next(harness: MortalHarness) -> None:
    harness.deploy(template=GOING_BACK)
    harness.deploy("1.1.0", template=WORKLOAD)
    harness.helm.end_with(Status.FAILED, LATE, during=lambda _: die_in_hook(harness))
    kill(harness, RollbackRequest("demo", "hello"))
    assert harness.statuses[-1] == "pending-rollback"
    assert run(harness, "rollback").changed
    assert not is_migrating(harness)


@pytest.mark.parametrize("verb", ["deploy", "restore", "rollback", "delete", "unlock"])
def test_hook_of_a_killed_delete_is_removed_by_the_next_verb(
    harness: MortalHarness, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    harness.deploy(template=HOOKED)
    with monkeypatch.context() as patched:
        patched.setattr(harness.helm, "_run_hooks", lambda *_, **__: die_in_hook(harness))
        kill(harness, UninstallRequest("demo", "hello"))
    assert harness.statuses == ["uninstalling"]
    assert run(harness, verb, **({} if verb == "unlock" else {"no_hooks": True})).changed
    assert not is_migrating(harness)
    assert LINE in lines(harness)


def test_hook_of_a_killed_deploy_that_may_not_be_removed_is_named(harness: MortalHarness) -> None:
    kill_a_deploy(harness)
    harness.cluster.fail("delete job demo/migrate", ClusterDenied("no"))
    assert run(harness, "deploy").changed
    assert "`kubectl delete job migrate -n demo`" in lines(harness)


def test_next_verb_that_is_killed_too_leaves_the_hook_to_the_one_after(harness: MortalHarness) -> None:
    kill_a_deploy(harness)
    for write in range(3):
        harness.mortal.left = write
        with pytest.raises(Killed):
            run(harness, "deploy")
        harness.mortal.revive()
        leave_lock(harness.cluster, "demo", "hello")
        if not is_migrating(harness):
            break
    assert write == 2, "the Lease, the hook, and then the rest"
    assert run(harness, "deploy").changed


def test_hook_that_is_older_than_the_killed_deploy_is_left_alone(harness: MortalHarness) -> None:
    harness.cluster.server_time = harness.cluster.server_time - timedelta(hours=1)
    put_running(harness.cluster)
    harness.cluster.server_time = None
    harness.deploy(template=WORKLOAD)
    harness.leave_a_deploy()
    assert run(harness, "deploy").changed
    assert is_migrating(harness)


def test_only_records_of_the_interrupted_operation_count() -> None:
    deleted, failed = own(1, "uninstalling", "old"), own(3, "failed", "dead")
    deletes = Plan(actions=(Action(kind="helm-uninstall", subject=deleted.id, reason="because"),))
    known = history(deleted, own(2, "failed", "before"), failed, own(4, "failed", "other"), record(5, "deployed"))
    dead = operation("dead", reason=None, after=2, plan=deletes)
    assert [left.record.revision for left in left_hooks(dead, known)] == [3, 1]
    assert [left.record.revision for left in left_hooks(operation("dead", reason=None, after=5), known)] == []


# the last lines of a hook that is removed


def test_last_lines_of_the_hook_of_a_stopped_deploy_are_kept(harness: MortalHarness) -> None:
    harness.deploy(template=WORKLOAD)

    def stop(check: Callable[[], None]) -> None:
        put_running(harness.cluster)
        raise KeyboardInterrupt

    harness.helm.end_with(Status.FAILED, during=stop)
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0", template=HOOKED)
    assert LINE in lines(harness)
    assert any(LINE in event.text for event in harness.operation.events)


def test_last_lines_of_the_hook_of_a_failed_deploy_are_evidence_only(harness: MortalHarness) -> None:
    harness.deploy(template=WORKLOAD)
    harness.helm.end_with(Status.FAILED, LATE, during=lambda _: put_running(harness.cluster) and None)
    with pytest.raises(DeployRolledBack) as caught:
        harness.deploy("1.1.0", template=HOOKED)
    assert any(LINE in line for line in caught.value.details)
    assert LINE not in lines(harness)
