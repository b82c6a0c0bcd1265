"""The verbs on a cluster and a Helm in memory: requests, order of writes, results."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import CANARY, CRASHING, LATE, WORKLOAD, DeployHarness, put_crashing, verbs
from support.messages import facts
from support.records import operation

from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import OperationRequest, RestoreRequest, RollbackRequest, UninstallRequest
from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import (
    ChartInvalid,
    ClusterUnreachable,
    DeadlineExceeded,
    DeployKept,
    HelmFailed,
    KubernautError,
    NamespaceNotFound,
)
from kubernaut.events import StepFinished, StepOutcome
from kubernaut.history.operation_codec import decode_operation, operation_secret
from kubernaut.history.operations import new_operation_id, now
from kubernaut.history.records import Status, encode
from kubernaut.history.store import HistoryStore


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def test_first_deploy(harness: DeployHarness) -> None:
    plan, changed, release = harness.deploy(
        commit="31fba06c", note="new\ngreeting", environment="production", values=read_values({"a": 1})
    )
    assert changed
    assert [action.kind for action in plan.actions] == ["helm-install"]
    assert release is not None
    assert (release.id, release.status, release.serving, release.created_by) == ("demo.hello.v1", "deployed", 1, "ada")
    assert release.description == '1.0.0 (31fba06) by ada: "new greeting"'
    assert release.chart.ref == f"oci://r/charts/hello@{release.chart.digest}"
    assert release.build.url == "http://ci/7"
    wrote = harness.operation
    assert (wrote.verb, wrote.actor, wrote.note, wrote.environment, wrote.commit) == (
        "deploy",
        "ada",
        "new\ngreeting",
        "production",
        "31fba06c",
    )
    assert wrote.plan == plan
    assert wrote.outcome is not None
    assert wrote.outcome.reason == "succeeded"
    assert wrote.finished_at is not None
    assert [made.id for made in wrote.made] == ["demo.hello.v1"]
    assert release.operation == wrote.id


def test_description_is_one_line(harness: DeployHarness) -> None:
    _, _, release = harness.deploy(note="a\x1b[31m\r\n\tb " + "long " * 100)
    assert release is not None
    assert release.description.startswith('1.0.0 by ada: "a?[31m b long')
    assert len(release.description) == 256


def test_requests_of_a_deploy(harness: DeployHarness) -> None:
    """The operation is written before Helm runs, and once after; Helm starts once."""
    harness.deploy()
    harness.deploy("1.1.0")
    operation = harness.operation.secret
    ours = [request for request in harness.cluster.requests[:-1] if "sh.helm" not in request]
    assert ours == [
        "list secrets demo",
        "create lease demo/kubernaut.hello",
        "list secrets demo",
        f"create secret demo/{operation}",
        "list secrets demo",  # Helm's own look
        "list secrets demo",
        f"patch secret demo/{operation}",
        "delete lease demo/kubernaut.hello",
    ]
    assert verbs(harness) == ["upgrade"]


def test_unchanged_deploy_starts_and_writes_nothing(harness: DeployHarness) -> None:
    harness.deploy(values=read_values({"a": 1}))
    plan, changed, release = harness.deploy(values=read_values({"a": 1.0}))
    assert not changed
    assert not plan.changes
    assert release is not None
    assert release.id == "demo.hello.v1"
    assert verbs(harness) == []
    assert harness.cluster.requests == ["list secrets demo", "get configmap demo/hello"]
    finished = harness.events[-1]
    assert isinstance(finished, StepFinished)
    assert (finished.outcome, finished.detail) == (StepOutcome.UNCHANGED, "v1 already runs 1.0.0 with these values")


def test_dry_run_writes_nothing(harness: DeployHarness) -> None:
    plan, changed, release = harness.deploy(dry_run=True)
    assert (plan.changes, changed, release) == (True, False, None)
    finished = harness.events[-1]
    assert isinstance(finished, StepFinished)
    assert finished.outcome is StepOutcome.PLANNED
    assert all(action.kind in finished.detail for action in plan.actions)
    assert harness.cluster.writes == []
    assert verbs(harness) == []


def test_labels_and_history_max_reach_helm(harness: DeployHarness) -> None:
    for number in range(4):
        harness.deploy(f"1.0.{number}", history_max=2)
    assert [record.revision for record in harness.history.records] == [4, 3]
    current = harness.history.records[0]
    assert current.labels["kubernaut/revision"] == "4"
    assert current.labels["kubernaut/operation"] == harness.operation.id


def test_operation_is_collected_with_its_record(harness: DeployHarness) -> None:
    for number in range(4):
        harness.deploy(f"1.0.{number}", history_max=2)
    assert len(harness.history.operations) == 2


def test_operations_without_a_release_expire(harness: DeployHarness) -> None:
    for days in (6, 8):
        old = operation(new_operation_id(), reason="chart_invalid").model_copy(update={"started_at": now() - timedelta(days=days)})
        harness.cluster.create_secret("demo", operation_secret(old))
        newer = operation_secret(old.model_copy(update={"id": new_operation_id()}))
        harness.cluster.create_secret("demo", {**newer, "type": "kubernaut/operation.v2"})
    harness.deploy()
    # unreadable operations are not deleted
    assert sorted(bool(one.unread) for one in harness.history.operations) == [False, False, True, True]


def test_deploy_after_ten_deploys_and_a_delete(harness: DeployHarness) -> None:
    for number in range(10):
        harness.deploy(f"1.0.{number}")
    execute(UninstallRequest("demo", "hello"), context=harness.context)
    plan, _, release = harness.deploy("2.0.0")
    assert [action.kind for action in plan.actions] == ["helm-install-replace"]
    assert verbs(harness) == ["install"]
    assert release is not None
    assert (release.id, release.status, release.created_by) == ("demo.hello.v11", "deployed", "ada")
    assert len(harness.history.records) == 11
    history = HistoryStore(harness.cluster).releases("demo", "hello").items  # type: ignore[arg-type]
    assert history[1].deleted_at is not None
    assert all(release.created_by == "ada" for release in history)


def test_values_replace_the_previous_ones(harness: DeployHarness) -> None:
    harness.deploy(values=read_values(sets=["a=1", "b=2"]))
    plan, _, _ = harness.deploy(values=read_values(sets=["a=1"]))
    assert re.search(facts("b"), plan.actions[0].reason.partition(";")[2])
    harness.deploy(values=read_values())
    assert harness.history.records[0].config == {}
    harness.deploy(values=read_values(sets=["a=1"]))
    harness.deploy(values=read_values(sets=["c=3"], reuse=True))
    assert harness.history.records[0].config == {"a": 1, "c": 3}


def test_deploy_creates_the_namespace_on_request_only(harness: DeployHarness) -> None:
    harness.cluster._namespaces.discard("demo")
    with pytest.raises(NamespaceNotFound):
        harness.deploy()
    assert harness.cluster.writes == []
    plan, _, _ = harness.deploy(create_namespace=True)
    assert [action.kind for action in plan.actions] == ["create-namespace", "helm-install"]


# failures


def test_chart_refused_by_helm_leaves_no_release(harness: DeployHarness) -> None:
    with pytest.raises(ChartInvalid):
        harness.deploy(template="{{ nonsense }}")
    assert harness.history.records == ()
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "chart_invalid"


# rollback, restore, delete


def test_rollback_records_its_actor(harness: DeployHarness) -> None:
    harness.deploy()
    harness.deploy("1.1.0")
    harness.environment["KUBERNAUT_ACTOR"] = "grace"
    plan, changed, release = execute(RollbackRequest("demo", "hello", note="bad"), context=harness.context)
    assert changed
    assert plan.actions[0].subject == "demo.hello.v1"
    assert release is not None
    assert (release.id, release.created_by, release.managed_by) == ("demo.hello.v3", "grace", "kubernaut")
    assert release.chart.digest == harness.history.operations[-1].chart.digest  # type: ignore[union-attr]
    assert harness.operation.verb == "rollback"
    assert not harness.deploy()[1]


def test_failed_rollback_is_kept(harness: DeployHarness) -> None:
    harness.deploy()
    harness.deploy("1.1.0")
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as caught:
        execute(RollbackRequest("demo", "hello"), context=harness.context)
    assert caught.value.release == "demo.hello.v3"


@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_pending_record_is_finished_by_the_next_operation(harness: DeployHarness, verb: str) -> None:
    harness.deploy()
    harness.helm.end_with(Status.PENDING_UPGRADE, KeyboardInterrupt())
    harness.cluster.fail("patch secret", ClusterUnreachable("gone"), times=2)
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0")
    left = harness.operation
    assert (harness.statuses[-1], left.outcome) == ("pending-upgrade", None)
    harness.environment["KUBERNAUT_ACTOR"] = "grace"
    if verb == "deploy":
        harness.deploy("1.1.0")
        assert harness.statuses == ["superseded", "failed", "deployed"]
    elif verb == "rollback":
        execute(RollbackRequest("demo", "hello"), context=harness.context)
        assert harness.statuses == ["superseded", "failed", "deployed"]
    else:
        execute(UninstallRequest("demo", "hello"), context=harness.context)
        assert harness.statuses == ["deployed", "uninstalled"]
    fenced = harness.history.find(2)
    assert fenced is not None
    assert fenced.immutable
    assert fenced.labelled_status == fenced.status
    assert verb == "delete" or fenced.description.startswith("Marked failed by grace: it was left pending-upgrade by ada (deploy)")
    (settled,) = (one for one in harness.history.operations if one.id == left.id)
    assert settled.outcome is not None
    assert (settled.outcome.reason, settled.made[0].id, settled.made[0].uid) == ("interrupted", "demo.hello.v2", fenced.uid)
    assert harness.history.aside == ()
    harness.deploy("1.2.0")  # a tombstone is rewritten once more, and stays fenced
    again = harness.history.find(2)
    assert again is not None
    assert (again.immutable, harness.statuses.count("deployed")) == (True, 1)


def test_orphaned_helm_that_finishes_before_the_fence_is_superseded(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.PENDING_UPGRADE, KeyboardInterrupt())
    harness.cluster.fail("patch secret", ClusterUnreachable("gone"), times=2)
    with pytest.raises(KeyboardInterrupt):
        harness.deploy("1.1.0")
    execute(UninstallRequest("demo", "hello"), context=harness.context)
    original = harness.helm.install_replace

    def overtaken(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        orphans = harness.history.find(2)
        assert orphans is not None
        content = {**orphans.content, "info": {**orphans.info, "status": "deployed"}}
        patch = {"metadata": {"labels": {"status": "deployed"}}, "data": {"release": encode(content)}}
        harness.cluster.patch_secret("demo", orphans.secret, patch)

    harness.helm.install_replace = overtaken  # type: ignore[method-assign]
    harness.deploy("1.2.0")
    assert harness.statuses == ["superseded", "superseded", "deployed"]
    fenced = harness.history.find(2)
    assert fenced is not None
    assert fenced.immutable


def test_delete_then_restore(harness: DeployHarness) -> None:
    harness.deploy(values=read_values({"a": 1}))
    harness.environment["KUBERNAUT_ACTOR"] = "grace"
    _, changed, release = execute(UninstallRequest("demo", "hello", note="bye"), context=harness.context)
    assert changed
    assert release is not None
    assert (release.status, release.active, release.serving, release.created_by) == ("uninstalled", False, None, "ada")
    assert release.description == 'Deleted by grace: "bye"'
    assert release.deleted_at is not None
    assert execute(UninstallRequest("demo", "hello"), context=harness.context)[1] is False
    _, changed, release = execute(RestoreRequest("demo", "hello"), context=harness.context)
    assert changed
    assert release is not None
    assert (release.id, release.active, release.created_by) == ("demo.hello.v2", True, "grace")
    assert harness.history.records[0].config == {"a": 1}
    assert execute(RestoreRequest("demo", "hello"), context=harness.context)[1] is False


def test_objects_of_a_delete_are_planned_and_not_stored(harness: DeployHarness) -> None:
    """An older kubernaut reads operations strictly."""
    harness.deploy()
    plan, *_ = execute(UninstallRequest("demo", "hello"), context=harness.context, dry_run=True)
    assert plan.actions[0].objects == ("ConfigMap/hello",)
    execute(UninstallRequest("demo", "hello"), context=harness.context)
    assert harness.operation.verb == "delete"
    assert harness.operation.unread is None
    assert harness.operation.plan.actions[0].objects == ()
    assert re.search(facts("1"), harness.operation.plan.actions[0].reason)


def test_unfinished_delete_is_reported_and_finished_by_the_next_one(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.UNINSTALLING, DeadlineExceeded("too long"))
    with pytest.raises(DeployKept, match=facts("demo.hello.v1", "uninstalling", "too long")):
        execute(UninstallRequest("demo", "hello"), context=harness.context)
    _, changed, release = execute(UninstallRequest("demo", "hello"), context=harness.context)
    assert changed
    assert release is not None
    assert release.status == "uninstalled"


@pytest.mark.parametrize("verb", [RollbackRequest, RestoreRequest, UninstallRequest])
def test_dry_run_of_the_other_verbs(harness: DeployHarness, verb: type[OperationRequest]) -> None:
    harness.deploy()
    harness.deploy("1.1.0")
    if verb is RestoreRequest:
        execute(UninstallRequest("demo", "hello"), context=harness.context)
    harness.helm.starts.clear()
    harness.cluster.requests.clear()
    plan, changed, release = execute(verb("demo", "hello"), context=harness.context, dry_run=True)
    assert plan.changes
    assert not changed
    assert release is not None
    assert (harness.helm.starts, harness.cluster.requests) == ([], ["list secrets demo", "get lease demo/kubernaut.hello"])
    finished = harness.events[-1]
    assert isinstance(finished, StepFinished)
    assert finished.outcome is StepOutcome.PLANNED
    assert all(action.kind in finished.detail for action in plan.actions)


# secrets


def test_secrets_are_neither_written_nor_reported(harness: DeployHarness) -> None:
    """A canary in the values: in Helm's record, where it belongs, and nowhere else."""
    values = read_values({"db": {"password": CANARY}, "plain": CANARY}, sets=[f"token={CANARY}"])
    harness.deploy(values=values)
    failure = HelmFailed(f"the server answered password={CANARY}")
    harness.helm.end_with(Status.FAILED, failure, during=lambda check: put_crashing(harness.cluster))
    harness.cluster.logs["demo", CRASHING, "web"] = [f"token: {CANARY}"]
    with pytest.raises(KubernautError) as caught:
        harness.deploy("1.1.0", template=WORKLOAD, values=read_values({"db": {"password": CANARY + "2"}}))
    shown = json.dumps([caught.value.problem(), [str(event) for event in harness.events if "StepFinished" not in str(event)]])
    secrets = harness.cluster.list_secrets("demo", {"owner": "kubernaut"})
    operations = [decode_operation(secret) for secret in secrets]
    assert len(operations) == 2
    assert CANARY not in "".join(operation.model_dump_json() for operation in operations if operation)
    assert CANARY not in json.dumps([secret["metadata"] for secret in harness.cluster.list_secrets("demo", {})])
    assert CANARY not in "".join(caught.value.details)
    assert "  token: " in "".join(caught.value.details), "the log was read"
    assert CANARY not in "".join(record.description for record in harness.history.records)
    assert CANARY in json.dumps(harness.history.records[-1].config)
    assert shown
