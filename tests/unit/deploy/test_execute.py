"""The verbs on a cluster and a Helm in memory: requests, order of writes, results."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploying import CANARY, CRASHING, LATE, WORKLOAD, World, verbs
from support.past import operation

from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import OperationRequest, RestoreRequest, RollbackRequest, UninstallRequest
from kubernaut.deploy.values import read_values
from kubernaut.errors import (
    ChartInvalid,
    ClusterUnreachable,
    DeadlineExceeded,
    DeployKept,
    DeployRolledBack,
    HelmFailed,
    KubernautError,
    NamespaceNotFound,
)
from kubernaut.events import StepFinished, StepOutcome
from kubernaut.history.operations import decode_operation, new_operation_id, now, operation_secret
from kubernaut.history.records import Status, encode
from kubernaut.history.store import HistoryStore

PROBED = {"template": WORKLOAD, "annotations": '{kubernaut/probe: \'{"path":"/healthz","port":"http"}\'}'}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_first_deploy(world: World) -> None:
    plan, changed, release = world.deploy(
        commit="31fba06c", note="new\ngreeting", environment="production", values=read_values({"a": 1})
    )
    assert changed
    assert [action.kind for action in plan.actions] == ["helm-install"]
    assert release is not None
    assert (release.id, release.status, release.serving, release.created_by) == ("demo.hello.v1", "deployed", 1, "ada")
    assert release.description == '1.0.0 (31fba06) by ada: "new greeting"'
    assert release.chart.ref == f"oci://r/charts/hello@{release.chart.digest}"
    assert release.build.url == "http://ci/7"
    wrote = world.operation
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


def test_description_is_one_line(world: World) -> None:
    _, _, release = world.deploy(note="a\x1b[31m\r\n\tb " + "long " * 100)
    assert release is not None
    assert release.description.startswith('1.0.0 by ada: "a?[31m b long')
    assert len(release.description) == 256


def test_requests_of_a_deploy(world: World) -> None:
    """The operation is written before Helm runs, and once after; Helm starts once."""
    world.deploy()
    world.deploy("1.1.0")
    operation = world.operation.secret
    ours = [request for request in world.cluster.requests[:-1] if "sh.helm" not in request]
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
    assert verbs(world) == ["upgrade"]


def test_unchanged_deploy_starts_and_writes_nothing(world: World) -> None:
    world.deploy(values=read_values({"a": 1}))
    plan, changed, release = world.deploy(values=read_values({"a": 1.0}))
    assert not changed
    assert not plan.changes
    assert release is not None
    assert release.id == "demo.hello.v1"
    assert verbs(world) == []
    assert world.cluster.requests == ["list secrets demo"]
    finished = world.events[-1]
    assert isinstance(finished, StepFinished)
    assert (finished.outcome, finished.detail) == (StepOutcome.UNCHANGED, "v1 already runs 1.0.0 with these values")


def test_dry_run_writes_nothing(world: World) -> None:
    plan, changed, release = world.deploy(dry_run=True)
    assert (plan.changes, changed, release) == (True, False, None)
    finished = world.events[-1]
    assert isinstance(finished, StepFinished)
    assert finished.outcome is StepOutcome.PLANNED
    assert all(action.kind in finished.detail for action in plan.actions)
    assert world.cluster.writes == []
    assert verbs(world) == []


def test_labels_and_history_max_reach_helm(world: World) -> None:
    for number in range(4):
        world.deploy(f"1.0.{number}", history_max=2)
    assert [record.revision for record in world.past.records] == [4, 3]
    current = world.past.records[0]
    assert current.labels["kubernaut/revision"] == "4"
    assert current.labels["kubernaut/operation"] == world.operation.id


def test_operation_is_collected_with_its_record(world: World) -> None:
    for number in range(4):
        world.deploy(f"1.0.{number}", history_max=2)
    assert len(world.past.operations) == 2


def test_operations_without_a_release_expire(world: World) -> None:
    for days in (6, 8):
        old = operation(new_operation_id(), reason="chart_invalid").model_copy(update={"started_at": now() - timedelta(days=days)})
        world.cluster.create_secret("demo", operation_secret(old))
        newer = operation_secret(old.model_copy(update={"id": new_operation_id()}))
        world.cluster.create_secret("demo", {**newer, "type": "kubernaut/operation.v2"})
    world.deploy()
    # what cannot be read is not ours to delete
    assert sorted(bool(one.unread) for one in world.past.operations) == [False, False, True, True]


def test_deploy_after_ten_deploys_and_a_delete(world: World) -> None:
    for number in range(10):
        world.deploy(f"1.0.{number}")
    execute(UninstallRequest("demo", "hello"), context=world.context)
    plan, _, release = world.deploy("2.0.0")
    assert [action.kind for action in plan.actions] == ["helm-install-replace"]
    assert verbs(world) == ["install"]
    assert release is not None
    assert (release.id, release.status, release.created_by) == ("demo.hello.v11", "deployed", "ada")
    assert len(world.past.records) == 11
    history = HistoryStore(world.cluster).releases("demo", "hello").items  # type: ignore[arg-type]
    assert history[1].deleted_at is not None
    assert all(release.created_by == "ada" for release in history)


def test_values_replace_the_previous_ones(world: World) -> None:
    world.deploy(values=read_values(sets=["a=1", "b=2"]))
    plan, _, _ = world.deploy(values=read_values(sets=["a=1"]))
    assert "no longer set: b" in plan.actions[0].reason
    world.deploy(values=read_values())
    assert world.past.records[0].config == {}
    world.deploy(values=read_values(sets=["a=1"]))
    world.deploy(values=read_values(sets=["c=3"], reuse=True))
    assert world.past.records[0].config == {"a": 1, "c": 3}


def test_deploy_creates_the_namespace_on_request_only(world: World) -> None:
    world.cluster._namespaces.discard("demo")
    with pytest.raises(NamespaceNotFound):
        world.deploy()
    assert world.cluster.writes == []
    plan, _, _ = world.deploy(create_namespace=True)
    assert [action.kind for action in plan.actions] == ["create-namespace", "helm-install"]


# what goes wrong


def test_chart_refused_by_helm_leaves_no_release(world: World) -> None:
    with pytest.raises(ChartInvalid):
        world.deploy(template="{{ nonsense }}")
    assert world.past.records == ()
    assert world.operation.outcome is not None
    assert world.operation.outcome.reason == "chart_invalid"


def test_probe_that_is_answered(world: World) -> None:
    world.cluster.answers["demo", "web", "http"] = (200, "ok")
    assert world.deploy(**PROBED)[1]
    assert "get service demo/web:http/healthz" in world.cluster.requests


def test_unanswered_probe_rolls_back_or_keeps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.deploy.diagnose._MIN_PROBE_SECONDS", 0.05)
    monkeypatch.setattr("kubernaut.deploy.diagnose._PROBE_PAUSE", 0.01)
    world.cluster.answers["demo", "web", "http"] = (200, "ok")
    world.deploy(**PROBED)
    world.cluster.answers["demo", "web", "http"] = (500, "broken")
    with pytest.raises(DeployRolledBack, match=r"does not answer GET /healthz: it answers 500: broken"):
        world.deploy("1.1.0", timeout=0.01, **PROBED)
    assert world.statuses == ["superseded", "superseded", "deployed"]
    with pytest.raises(DeployKept):
        world.deploy("1.1.0", timeout=0.01, on_failure="keep", **PROBED)
    plan, *_ = world.deploy("1.1.0", dry_run=True, **PROBED)
    assert "did not succeed" in plan.actions[0].reason  # deployed to Helm, and still no no-op


def test_probe_without_a_service_fails(world: World) -> None:
    with pytest.raises(DeployKept, match="no Service with the port http"):
        world.deploy(annotations=PROBED["annotations"])


# rollback, restore, delete


def test_rollback_records_its_actor(world: World) -> None:
    world.deploy()
    world.deploy("1.1.0")
    world.environment["KUBERNAUT_ACTOR"] = "grace"
    plan, changed, release = execute(RollbackRequest("demo", "hello", note="bad"), context=world.context)
    assert changed
    assert plan.actions[0].subject == "demo.hello.v1"
    assert release is not None
    assert (release.id, release.created_by, release.managed_by) == ("demo.hello.v3", "grace", "kubernaut")
    assert release.chart.digest == world.past.operations[-1].chart.digest  # type: ignore[union-attr]
    assert world.operation.verb == "rollback"
    assert not world.deploy()[1]


def test_failed_rollback_is_kept(world: World) -> None:
    world.deploy()
    world.deploy("1.1.0")
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as caught:
        execute(RollbackRequest("demo", "hello"), context=world.context)
    assert caught.value.release == "demo.hello.v3"


@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_pending_record_is_finished_by_the_next_operation(world: World, verb: str) -> None:
    world.deploy()
    world.helm.end_with(Status.PENDING_UPGRADE, KeyboardInterrupt())
    world.cluster.fail("patch secret", ClusterUnreachable("gone"), times=2)
    with pytest.raises(KeyboardInterrupt):
        world.deploy("1.1.0")
    left = world.operation
    assert (world.statuses[-1], left.outcome) == ("pending-upgrade", None)
    world.environment["KUBERNAUT_ACTOR"] = "grace"
    if verb == "deploy":
        world.deploy("1.1.0")
        assert world.statuses == ["superseded", "failed", "deployed"]
    elif verb == "rollback":
        execute(RollbackRequest("demo", "hello"), context=world.context)
        assert world.statuses == ["superseded", "failed", "deployed"]
    else:
        execute(UninstallRequest("demo", "hello"), context=world.context)
        assert world.statuses == ["deployed", "uninstalled"]
    fenced = world.past.find(2)
    assert fenced is not None
    assert fenced.immutable
    assert fenced.labelled_status == fenced.status
    assert verb == "delete" or fenced.description.startswith("Marked failed by grace: it was left pending-upgrade by ada (deploy)")
    (settled,) = (one for one in world.past.operations if one.id == left.id)
    assert settled.outcome is not None
    assert (settled.outcome.reason, settled.made[0].id, settled.made[0].uid) == ("interrupted", "demo.hello.v2", fenced.uid)
    assert world.past.aside == ()
    world.deploy("1.2.0")  # a tombstone is rewritten once more, and stays fenced
    again = world.past.find(2)
    assert again is not None
    assert (again.immutable, world.statuses.count("deployed")) == (True, 1)


def test_orphaned_helm_that_finishes_before_the_fence_is_superseded(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.PENDING_UPGRADE, KeyboardInterrupt())
    world.cluster.fail("patch secret", ClusterUnreachable("gone"), times=2)
    with pytest.raises(KeyboardInterrupt):
        world.deploy("1.1.0")
    execute(UninstallRequest("demo", "hello"), context=world.context)
    original = world.helm.install_replace

    def overtaken(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        orphans = world.past.find(2)
        assert orphans is not None
        content = {**orphans.content, "info": {**orphans.info, "status": "deployed"}}
        patch = {"metadata": {"labels": {"status": "deployed"}}, "data": {"release": encode(content)}}
        world.cluster.patch_secret("demo", orphans.secret, patch)

    world.helm.install_replace = overtaken  # type: ignore[method-assign]
    world.deploy("1.2.0")
    assert world.statuses == ["superseded", "superseded", "deployed"]
    fenced = world.past.find(2)
    assert fenced is not None
    assert fenced.immutable


def test_delete_then_restore(world: World) -> None:
    world.deploy(values=read_values({"a": 1}))
    world.environment["KUBERNAUT_ACTOR"] = "grace"
    _, changed, release = execute(UninstallRequest("demo", "hello", note="bye"), context=world.context)
    assert changed
    assert release is not None
    assert (release.status, release.active, release.serving, release.created_by) == ("uninstalled", False, None, "ada")
    assert release.description == 'Deleted by grace: "bye"'
    assert release.deleted_at is not None
    assert execute(UninstallRequest("demo", "hello"), context=world.context)[1] is False
    _, changed, release = execute(RestoreRequest("demo", "hello"), context=world.context)
    assert changed
    assert release is not None
    assert (release.id, release.active, release.created_by) == ("demo.hello.v2", True, "grace")
    assert world.past.records[0].config == {"a": 1}
    assert execute(RestoreRequest("demo", "hello"), context=world.context)[1] is False


def test_objects_of_a_delete_are_planned_and_not_stored(world: World) -> None:
    """An older kubernaut reads operations strictly."""
    world.deploy()
    plan, *_ = execute(UninstallRequest("demo", "hello"), context=world.context, dry_run=True)
    assert plan.actions[0].objects == ("ConfigMap/hello",)
    execute(UninstallRequest("demo", "hello"), context=world.context)
    assert world.operation.verb == "delete"
    assert world.operation.unread is None
    assert world.operation.plan.actions[0].objects == ()
    assert "removes 1 object" in world.operation.plan.actions[0].reason


def test_unfinished_delete_is_reported_and_finished_by_the_next_one(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.UNINSTALLING, DeadlineExceeded("too long"))
    with pytest.raises(DeployKept, match=r"demo\.hello\.v1 is not deleted.*uninstalling.*too long"):
        execute(UninstallRequest("demo", "hello"), context=world.context)
    _, changed, release = execute(UninstallRequest("demo", "hello"), context=world.context)
    assert changed
    assert release is not None
    assert release.status == "uninstalled"


@pytest.mark.parametrize("verb", [RollbackRequest, RestoreRequest, UninstallRequest])
def test_dry_run_of_the_other_verbs(world: World, verb: type[OperationRequest]) -> None:
    world.deploy()
    world.deploy("1.1.0")
    if verb is RestoreRequest:
        execute(UninstallRequest("demo", "hello"), context=world.context)
    world.helm.starts.clear()
    world.cluster.requests.clear()
    plan, changed, release = execute(verb("demo", "hello"), context=world.context, dry_run=True)
    assert plan.changes
    assert not changed
    assert release is not None
    assert (world.helm.starts, world.cluster.requests) == ([], ["list secrets demo", "get lease demo/kubernaut.hello"])
    finished = world.events[-1]
    assert isinstance(finished, StepFinished)
    assert finished.outcome is StepOutcome.PLANNED
    assert all(action.kind in finished.detail for action in plan.actions)


# secrets


def test_secrets_are_neither_written_nor_reported(world: World) -> None:
    """A canary in the values: in Helm's record, where it belongs, and nowhere else."""
    wish = read_values({"db": {"password": CANARY}, "plain": CANARY}, sets=[f"token={CANARY}"])
    world.deploy(values=wish)
    world.helm.end_with(Status.FAILED, HelmFailed(f"the server said password={CANARY}"))
    world.cluster.pods["demo"] = [CRASHING]
    world.cluster.logs["demo", "web-1", "web"] = [f"token: {CANARY}"]
    with pytest.raises(KubernautError) as caught:
        world.deploy("1.1.0", template=WORKLOAD, values=read_values({"db": {"password": CANARY + "2"}}))
    told = json.dumps([caught.value.problem(), [str(event) for event in world.events if "StepFinished" not in str(event)]])
    secrets = world.cluster.list_secrets("demo", {"owner": "kubernaut"})
    operations = [decode_operation(secret) for secret in secrets]
    assert len(operations) == 2
    assert CANARY not in "".join(operation.model_dump_json() for operation in operations if operation)
    assert CANARY not in json.dumps([secret["metadata"] for secret in world.cluster.list_secrets("demo", {})])
    assert CANARY not in "".join(caught.value.details)
    assert CANARY in json.dumps(world.past.records[-1].config)
    assert told
