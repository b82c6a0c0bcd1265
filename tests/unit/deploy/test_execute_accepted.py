"""Accepted operations are executed once and always get an outcome."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import LATE, DeployHarness, verbs
from support.lock_harness import BOB, lease_manifest
from support.messages import facts

from kubernaut.deploy.accepting import BEGINS_WITHIN
from kubernaut.deploy.execute import execute
from kubernaut.deploy.reconcile import settle
from kubernaut.deploy.requests import RecoveryRequest, RollbackRequest, UninstallRequest
from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import (
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    DeployRolledBack,
    ReleaseLocked,
    ReleaseNotFound,
    ValuesInvalid,
)
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.records import Status


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def take_lock_as_bob(harness: DeployHarness) -> None:
    time = datetime.now(UTC)
    harness.cluster.create_lease(
        "demo", lease_manifest("demo", "hello", BOB, seconds=30, acquired=time, renewed=time, transitions=0)
    )


def helm_ran(harness: DeployHarness) -> bool:
    return bool({"upgrade", "install", "rollback", "uninstall"}.intersection(verbs(harness)))


@pytest.mark.parametrize("key", [None, "k"])
def test_accepted_deploy_is_executed_as_its_operation(harness: DeployHarness, key: str | None) -> None:
    operation, _ = harness.accept(key=key, fingerprint="f")
    _, changed, release = harness.serve(operation)
    assert changed
    assert release is not None
    assert (release.operation, release.created_by, release.note) == (operation.id, "ada", "please")
    done = harness.find(operation)
    assert (done.state, done.waits_until, done.fingerprint, done.key) == ("succeeded", None, "f", operation.key)
    assert done.chart is not None
    assert [made.id for made in done.made] == ["demo.hello.v1"]
    assert [event.kind for event in done.events] == ["stepStarted", "stepFinished"]
    secret = harness.cluster.get_secret("demo", operation.secret)
    assert secret is not None
    assert secret["metadata"]["labels"]["kubernaut/outcome"] == "succeeded"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == release.uid
    assert len(harness.history.operations) == 1


def test_accepted_deploy_sends_one_request_more(harness: DeployHarness) -> None:
    harness.deploy()
    operation, _ = harness.accept()
    request = harness.request("1.1.0")
    harness.cluster.requests.clear()
    harness.serve(operation, request)
    ours = [sent for sent in harness.cluster.requests if "sh.helm" not in sent]
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


def test_unchanged_accepted_deploy_is_not_an_attempt(harness: DeployHarness) -> None:
    harness.deploy()
    operation, _ = harness.accept()
    plan, changed, _ = harness.serve(operation)
    done = harness.find(operation)
    assert (changed, done.state, done.plan, done.after) == (False, "unchanged", plan, 1)
    assert done.outcome is not None
    assert re.search(facts("v1", "1.0.0"), done.outcome.message)
    assert [event.kind for event in done.events] == ["stepStarted", "stepFinished"]
    assert harness.history.attempts == ()
    assert [one.id for one in harness.history.without_release] == [operation.id]


def test_accepted_deploy_that_became_unnecessary_is_unchanged(harness: DeployHarness) -> None:
    """Another process deploys the same before the lock is acquired."""
    request = harness.request()
    operation, _ = harness.accept()
    taken = harness.cluster.create_lease

    def create_lease(namespace: str, made: Any) -> Any:
        harness.cluster.create_lease = taken  # type: ignore[method-assign]
        harness.deploy()
        return taken(namespace, made)

    harness.cluster.create_lease = create_lease  # type: ignore[method-assign]
    _, changed, release = harness.serve(operation, request)
    assert not changed
    assert release is not None
    assert release.operation != operation.id
    assert harness.find(operation).state == "unchanged"


def test_refused_plan_is_an_outcome(harness: DeployHarness) -> None:
    operation, _ = harness.accept("rollback")
    with pytest.raises(ReleaseNotFound):
        harness.serve(operation, RollbackRequest("demo", "hello"))
    done = harness.find(operation)
    assert done.state == "failed"
    assert done.outcome is not None
    assert done.outcome.reason == "release_not_found"
    assert [event.kind for event in done.events] == ["stepStarted", "stepFinished"]
    assert [one.id for one in harness.history.attempts] == [operation.id]


def test_refused_lock_is_an_outcome(harness: DeployHarness) -> None:
    take_lock_as_bob(harness)
    operation, _ = harness.accept()
    with pytest.raises(ReleaseLocked) as caught:
        harness.serve(operation)
    holder = caught.value.problem()["holder"]
    assert (holder["actor"], holder["verb"], holder["operation"], holder["host"]) == ("bob", "deploy", "02bob", "ci-9")
    done = harness.find(operation)
    assert done.outcome is not None
    assert (done.state, done.outcome.reason) == ("failed", "release_locked")


def test_invalid_request_is_an_outcome(harness: DeployHarness) -> None:
    operation, _ = harness.accept()
    with pytest.raises(ValuesInvalid):
        harness.serve(operation, lambda: harness.request(values=read_values(sets=["a[x]=1"])))
    done = harness.find(operation)
    assert done.outcome is not None
    assert done.outcome.reason == "values_invalid"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit("stopped"), RuntimeError("a defect")])
def test_stop_before_the_begin_is_an_outcome(harness: DeployHarness, stop: BaseException) -> None:
    operation, _ = harness.accept()
    harness.cluster.fail("create lease", stop)
    with pytest.raises(type(stop)):
        harness.serve(operation)
    done = harness.find(operation)
    assert done.outcome is not None
    assert (done.state, done.outcome.reason) == ("failed", "interrupted")
    assert (str(stop) or "KeyboardInterrupt") in done.outcome.message


def test_failed_accepted_deploy_is_rolled_back(harness: DeployHarness) -> None:
    harness.deploy()
    operation, _ = harness.accept()
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        harness.serve(operation, harness.request("1.1.0"))
    assert caught.value.problem()["operation"] == operation.id
    assert [made.id for made in harness.find(operation).made] == ["demo.hello.v2", "demo.hello.v3"]


def test_request_must_match_the_accepted_operation(harness: DeployHarness) -> None:
    operation, _ = harness.accept("rollback")
    with pytest.raises(ValueError, match="rollback"):
        harness.serve(operation, UninstallRequest("demo", "hello"))
    assert harness.find(operation).state == "failed"


# given up meanwhile


def test_settled_accepted_operation_is_not_begun(harness: DeployHarness) -> None:
    operation, _ = harness.accept()
    harness.cluster.server_time += timedelta(hours=1)
    harness.deploy()  # the next operation ends it
    before = harness.find(operation)
    harness.helm.starts.clear()
    with pytest.raises(Conflict, match=facts(operation.id, "interrupted")):
        harness.serve(operation, harness.request("1.1.0"))
    assert harness.find(operation) == before
    assert harness.statuses == ["deployed"]
    assert not helm_ran(harness)


def test_deleted_accepted_operation_is_not_recreated(harness: DeployHarness) -> None:
    operation, _ = harness.accept()
    harness.cluster.delete_secret("demo", operation.secret)
    with pytest.raises(Conflict, match=facts(operation.id)):
        harness.serve(operation)
    assert harness.history.operations == ()


def test_accepted_operation_that_cannot_begin_runs_no_helm(harness: DeployHarness) -> None:
    """Unlike a plain deploy: an accepted operation that is not written would be shown wrongly for ever."""
    operation, _ = harness.accept()
    harness.cluster.fail(f"patch secret demo/{operation.secret}", ClusterDenied("expired"))
    with pytest.raises(ClusterDenied):
        harness.serve(operation)
    assert not helm_ran(harness)
    done = harness.find(operation)
    assert done.outcome is not None
    assert done.outcome.reason == "cluster_denied"


def test_begin_with_a_lost_answer_is_settled_by_the_next_operation(harness: DeployHarness) -> None:
    operation, _ = harness.accept()
    harness.cluster.fail(f"patch secret demo/{operation.secret}", ClusterUnreachable("lost"), after=True)
    with pytest.raises(ClusterUnreachable):
        harness.serve(operation)
    assert harness.find(operation).state == "running"
    harness.deploy()
    done = harness.find(operation)
    assert done.outcome is not None
    assert done.outcome.reason == "interrupted"
    assert done.made == ()
    assert "unknown" not in done.outcome.message


# others


def test_accepted_operation_that_may_begin_is_left_alone(harness: DeployHarness) -> None:
    operation, _ = harness.accept()
    before = harness.find(operation)
    harness.deploy()
    assert harness.find(operation) == before
    _, changed, _ = harness.serve(operation, harness.request("1.1.0"))
    assert changed


def test_overdue_operation_is_settled_by_the_next_one(harness: DeployHarness) -> None:
    operation, _ = harness.accept()
    harness.cluster.server_time += timedelta(seconds=BEGINS_WITHIN + 1)
    assert [one.id for one in harness.history.unfinished] == [operation.id]
    harness.deploy()
    done = harness.find(operation)
    assert done.outcome is not None
    assert (done.state, done.outcome.reason, done.made) == ("failed", "interrupted", ())
    secret = harness.cluster.get_secret("demo", operation.secret)
    assert secret is not None
    assert secret["metadata"]["labels"]["kubernaut/outcome"] == "interrupted"


def test_settle_leaves_an_operation_that_has_begun(harness: DeployHarness) -> None:
    """The settling operation read it before it was begun."""
    operation, _ = harness.accept()
    harness.cluster.server_time += timedelta(hours=1)
    read = harness.history
    harness.serve(operation)
    notices: list[str] = []
    settle(harness.cluster, read, notify=notices.append)  # type: ignore[arg-type]
    assert harness.find(operation).state == "succeeded"
    assert re.search(facts(operation.id), notices[-1])


def test_unchanged_operations_expire(harness: DeployHarness) -> None:
    harness.deploy()
    unchanged, _ = harness.accept()
    harness.serve(unchanged)
    old = harness.find(unchanged)
    old = old.model_copy(update={"started_at": old.started_at - timedelta(days=8)})
    harness.cluster.delete_secret("demo", old.secret)
    harness.cluster.create_secret("demo", operation_secret(old))
    harness.deploy("1.1.0")
    assert old.id not in [one.id for one in harness.history.operations]


def test_recovery_settles_overdue_but_not_waiting_operations(harness: DeployHarness) -> None:
    waiting, _ = harness.accept(patience=900)
    overdue, _ = harness.accept()
    harness.cluster.server_time += timedelta(minutes=10)
    _, changed, _ = execute(RecoveryRequest("demo", "hello"), context=harness.context)
    assert changed
    assert (harness.find(waiting).state, harness.find(overdue).state) == ("accepted", "failed")
