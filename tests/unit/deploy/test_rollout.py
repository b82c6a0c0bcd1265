"""The verbs, on a cluster and a Helm in memory: what is written, in which order, and what is told when it goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.charts import CONFIG_MAP, write_chart
from support.past import operation

from kubernaut.deploy import rollout
from kubernaut.deploy.plan import Wanted
from kubernaut.deploy.rollout import Done, Tools
from kubernaut.deploy.values import read_wish
from kubernaut.errors import (
    ChartInvalid,
    ClusterUnreachable,
    Conflict,
    DeadlineExceeded,
    DeployKept,
    DeployRolledBack,
    HelmFailed,
    KubernautError,
    NamespaceNotFound,
    ReleaseLocked,
)
from kubernaut.events import Event, Progress, StepFinished, StepOutcome
from kubernaut.history.operation import Operation, decode_operation, new_id, now, operation_secret
from kubernaut.history.record import Status
from kubernaut.history.store import History, Past
from kubernaut.settings import load_settings
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm

CANARY = "canary-8f3a-secret"
LATE = DeadlineExceeded("timed out waiting for the condition")
WORKLOAD = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: r/web}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
"""
CRASHING = {
    "metadata": {"name": "web-1", "labels": {"app": "web"}},
    "status": {"containerStatuses": [{"name": "web", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
}


@dataclass
class World:
    """A cluster, a Helm, and a chart that is pushed anew for every version."""

    folder: Path
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster("demo"))
    events: list[Event] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: {"KUBERNAUT_ACTOR": "ada", "BUILD_URL": "http://ci/7"})
    time: float = 0.0

    def __post_init__(self) -> None:
        self.helm = FakeHelm(self.cluster)

    @property
    def tools(self) -> Tools:
        return Tools(
            helm=lambda: self.helm,  # type: ignore[arg-type, return-value]
            cluster=lambda: self.cluster,  # type: ignore[arg-type, return-value]
            history=History(self.cluster),  # type: ignore[arg-type]
            settings=load_settings(environment=self.environment, directory=self.folder),
            progress=Progress(self.events.append),
        )

    @property
    def past(self) -> Past:
        return History(self.cluster).past("demo", "hello")  # type: ignore[arg-type]

    @property
    def statuses(self) -> list[str]:
        return [record.status for record in reversed(self.past.records)]

    @property
    def operation(self) -> Operation:
        """The newest operation."""
        return self.past.operations[0]

    def wanted(self, version: str = "1.0.0", *, template: str = CONFIG_MAP, annotations: str = "", **more: Any) -> Wanted:
        chart = write_chart(self.folder, "hello", version=version, template=template)
        if annotations:
            (chart / "Chart.yaml").write_text(f"{(chart / 'Chart.yaml').read_text()}annotations: {annotations}\n")
        digest = self.helm.push(self.helm.package(chart, self.folder / "out"), "r/charts")
        return Wanted("demo", "hello", version, f"oci://r/charts/hello@{digest}", digest, **more)

    def deploy(self, version: str = "1.0.0", *, dry_run: bool = False, **more: Any) -> Done:
        wanted = self.wanted(version, **more)
        self.helm.starts.clear()
        self.cluster.requests.clear()
        return rollout.deploy(wanted, tools=self.tools, dry_run=dry_run)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def verbs(world: World) -> list[str]:
    return [verb for verb, _ in world.helm.starts]


# deploy


def test_the_first_deploy(world: World) -> None:
    plan, changed, release = world.deploy(
        commit="31fba06c", note="new\ngreeting", environment="production", wish=read_wish({"a": 1})
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


def test_the_line_in_helms_history_is_one_line(world: World) -> None:
    _, _, release = world.deploy(note="a\x1b[31m\r\n\tb " + "long " * 100)
    assert release is not None
    assert release.description.startswith('1.0.0 by ada: "a?[31m b long')
    assert len(release.description) == 256


def test_what_a_deploy_asks_of_the_cluster(world: World) -> None:
    """The operation is written before Helm runs, and once after; Helm starts once."""
    world.deploy()
    world.deploy("1.1.0")
    operation = world.operation.secret
    ours = [request for request in world.cluster.requests[:-1] if "sh.helm" not in request]
    assert ours == [
        "list secrets demo",
        f"create secret demo/{operation}",
        "list secrets demo",  # Helm's own look
        "list secrets demo",
        f"patch secret demo/{operation}",
    ]
    assert verbs(world) == ["upgrade"]


def test_an_unchanged_deploy_starts_nothing_and_writes_nothing(world: World) -> None:
    world.deploy(wish=read_wish({"a": 1}))
    plan, changed, release = world.deploy(wish=read_wish({"a": 1.0}))
    assert not changed
    assert not plan.changes
    assert release is not None
    assert release.id == "demo.hello.v1"
    assert verbs(world) == []
    assert world.cluster.requests == ["list secrets demo"]
    finished = world.events[-1]
    assert isinstance(finished, StepFinished)
    assert (finished.outcome, finished.detail) == (StepOutcome.UNCHANGED, "v1 already runs 1.0.0 with these values")


def test_a_dry_run_writes_nothing(world: World) -> None:
    plan, changed, release = world.deploy(dry_run=True)
    assert (plan.changes, changed, release) == (True, False, None)
    assert world.cluster.writes == []
    assert verbs(world) == []


def test_labels_and_history_max_reach_helm(world: World) -> None:
    for number in range(4):
        world.deploy(f"1.0.{number}", history_max=2)
    assert [record.revision for record in world.past.records] == [4, 3]
    current = world.past.records[0]
    assert current.labels["kubernaut/revision"] == "4"
    assert current.labels["kubernaut/operation"] == world.operation.id


def test_an_operation_goes_with_its_record(world: World) -> None:
    for number in range(4):
        world.deploy(f"1.0.{number}", history_max=2)
    assert len(world.past.operations) == 2


def test_operations_that_left_nothing_expire(world: World) -> None:
    for days in (6, 8):
        old = operation(new_id(), reason="chart_invalid").model_copy(update={"started_at": now() - timedelta(days=days)})
        world.cluster.create_secret("demo", operation_secret(old))
    world.deploy()
    assert len(world.past.operations) == 2


def test_ten_deploys_a_delete_and_a_deploy(world: World) -> None:
    for number in range(10):
        world.deploy(f"1.0.{number}")
    rollout.delete("demo", "hello", tools=world.tools)
    plan, _, release = world.deploy("2.0.0")
    assert [action.kind for action in plan.actions] == ["helm-install-replace"]
    assert verbs(world) == ["install"]
    assert release is not None
    assert (release.id, release.status, release.created_by) == ("demo.hello.v11", "deployed", "ada")
    assert len(world.past.records) == 11
    history = History(world.cluster).releases("demo", "hello").items  # type: ignore[arg-type]
    assert history[1].deleted_at is not None
    assert all(release.created_by == "ada" for release in history)


def test_values_are_the_whole_wish(world: World) -> None:
    world.deploy(wish=read_wish(sets=["a=1", "b=2"]))
    plan, _, _ = world.deploy(wish=read_wish(sets=["a=1"]))
    assert "no longer set: b" in plan.actions[0].reason
    world.deploy(wish=read_wish())
    assert world.past.records[0].config == {}
    world.deploy(wish=read_wish(sets=["a=1"]))
    world.deploy(wish=read_wish(sets=["c=3"], reuse=True))
    assert world.past.records[0].config == {"a": 1, "c": 3}


def test_namespaces(world: World) -> None:
    world.cluster._namespaces.discard("demo")
    with pytest.raises(NamespaceNotFound):
        world.deploy()
    assert world.cluster.writes == []
    plan, _, _ = world.deploy(create_namespace=True)
    assert [action.kind for action in plan.actions] == ["create-namespace", "helm-install"]


# what goes wrong


def test_what_helm_refuses_leaves_no_release(world: World) -> None:
    with pytest.raises(ChartInvalid):
        world.deploy(template="{{ nonsense }}")
    assert world.past.records == ()
    assert world.operation.outcome is not None
    assert world.operation.outcome.reason == "chart_invalid"


def test_a_failed_deploy_is_explained_then_rolled_back(world: World) -> None:
    world.deploy(template=WORKLOAD)
    world.cluster.pods["demo"] = [CRASHING]
    world.cluster.logs["demo", "web-1", "web"] = ["no database"]
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as caught:
        world.deploy("1.1.0", template=WORKLOAD)
    failure = caught.value
    assert str(failure) == "hello 1.1.0 to demo failed: the container web ends again and again. v1 runs again, as v3."
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
    back = History(world.cluster).releases("demo", "hello").items[0]  # type: ignore[arg-type]
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
    with pytest.raises(DeployKept, match="nothing before it to go back to"):
        world.deploy()
    assert world.statuses == ["failed"]


def test_a_deploy_after_a_delete_that_fails_keeps_the_history(world: World) -> None:
    world.deploy()
    rollout.delete("demo", "hello", tools=world.tools)
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept):
        world.deploy("1.1.0")
    assert world.statuses == ["superseded", "failed"]


def test_a_rollback_that_fails_too(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept, match="Going back to v1 failed too"):
        world.deploy("1.1.0")


def test_an_exit_status_is_not_the_truth(world: World) -> None:
    """Helm failed, and its record is deployed; Helm succeeded, and its record is pending."""
    world.helm.end_with(Status.DEPLOYED, HelmFailed("the connection was lost at the end"))
    _, changed, release = world.deploy()
    assert changed
    assert release is not None
    assert release.status == "deployed"
    world.helm.end_with(Status.PENDING_UPGRADE)
    with pytest.raises(DeployRolledBack, match="its record says"):
        world.deploy("1.1.0")
    assert world.statuses == ["superseded", "failed", "deployed"]


def test_a_helm_that_says_all_is_well_and_leaves_nothing(world: World) -> None:
    world.helm.end_with(None)
    with pytest.raises(HelmFailed, match="there is no record"):
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
    assert not world.past.records[0].disagrees
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
    original = world.helm.upgrade_install

    def lost(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        world.cluster.fail("list secrets", ClusterUnreachable("refused"), times=1)
        raise ClusterUnreachable("connection refused")

    world.helm.upgrade_install = lost  # type: ignore[method-assign]
    with pytest.raises(ClusterUnreachable, match=r"What came of the deploy is not known.*Helm said: connection refused"):
        rollout.deploy(wanted, tools=world.tools)
    assert world.deploy()[1] is False  # the truth was in the record


def test_the_end_cannot_be_written_down(world: World) -> None:
    world.cluster.fail("patch secret demo/kubernaut.", ClusterUnreachable("gone"))
    _, changed, release = world.deploy()
    assert changed
    assert release is not None
    assert release.created_by == "ada"
    assert any("could not be written down" in str(event) for event in world.events)
    assert not world.deploy()[1]  # the record's labels know whose it is


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
        rollout.deploy(wanted, tools=world.tools)
    assert "upgrade" not in verbs(world)


# the probe

PROBED = {"template": WORKLOAD, "annotations": '{kubernaut/probe: \'{"path":"/healthz","port":"http"}\'}'}


def test_an_application_that_answers(world: World) -> None:
    world.cluster.answers["demo", "web", "http"] = (200, "ok")
    assert world.deploy(**PROBED)[1]
    assert "get service demo/web:http/healthz" in world.cluster.requests


def test_an_application_that_does_not_answer_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.deploy.failure._SHORTEST_PROBE", 0.05)
    monkeypatch.setattr("kubernaut.deploy.failure._PROBE_PAUSE", 0.01)
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


def test_a_probe_without_its_service(world: World) -> None:
    with pytest.raises(DeployKept, match="no Service with the port http"):
        world.deploy(annotations=PROBED["annotations"])


# rollback, restore, delete


def test_a_rollback_is_known_by_who_made_it(world: World) -> None:
    world.deploy()
    world.deploy("1.1.0")
    world.environment["KUBERNAUT_ACTOR"] = "grace"
    plan, changed, release = rollout.rollback("demo", "hello", note="bad", tools=world.tools)
    assert changed
    assert plan.actions[0].subject == "demo.hello.v1"
    assert release is not None
    assert (release.id, release.created_by, release.managed_by) == ("demo.hello.v3", "grace", "kubernaut")
    assert release.chart.digest == world.past.operations[-1].chart.digest  # type: ignore[union-attr]
    assert world.operation.verb == "rollback"
    assert not world.deploy()[1]


def test_a_rollback_that_fails_is_kept(world: World) -> None:
    world.deploy()
    world.deploy("1.1.0")
    world.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployKept) as caught:
        rollout.rollback("demo", "hello", tools=world.tools)
    assert caught.value.release == "demo.hello.v3"


def test_a_rollback_ends_what_was_left_pending(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.PENDING_UPGRADE, KeyboardInterrupt())
    world.cluster.fail("patch secret", ClusterUnreachable("gone"), times=2)
    with pytest.raises(KeyboardInterrupt):
        world.deploy("1.1.0")
    assert world.statuses[-1] == "pending-upgrade"
    with pytest.raises(ReleaseLocked, match="by ada"):
        world.deploy("1.1.0")
    rollout.rollback("demo", "hello", tools=world.tools)
    assert world.statuses == ["superseded", "pending-upgrade", "deployed"]
    world.deploy("1.1.0")


def test_a_delete_and_a_restore(world: World) -> None:
    world.deploy(wish=read_wish({"a": 1}))
    world.environment["KUBERNAUT_ACTOR"] = "grace"
    _, changed, release = rollout.delete("demo", "hello", note="bye", tools=world.tools)
    assert changed
    assert release is not None
    assert (release.status, release.active, release.serving, release.created_by) == ("uninstalled", False, None, "ada")
    assert release.description == 'Deleted by grace: "bye"'
    assert release.deleted_at is not None
    assert rollout.delete("demo", "hello", tools=world.tools)[1] is False
    _, changed, release = rollout.restore("demo", "hello", tools=world.tools)
    assert changed
    assert release is not None
    assert (release.id, release.active, release.created_by) == ("demo.hello.v2", True, "grace")
    assert world.past.records[0].config == {"a": 1}
    assert rollout.restore("demo", "hello", tools=world.tools)[1] is False


def test_a_delete_that_does_not_end(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.UNINSTALLING, DeadlineExceeded("too long"))
    with pytest.raises(DeployKept, match=r"demo\.hello\.v1 is not deleted, it is uninstalling: too long"):
        rollout.delete("demo", "hello", tools=world.tools)
    _, changed, release = rollout.delete("demo", "hello", tools=world.tools)
    assert changed
    assert release is not None
    assert release.status == "uninstalled"


@pytest.mark.parametrize("verb", [rollout.rollback, rollout.restore, rollout.delete])
def test_dry_runs_of_the_others(world: World, verb: Callable[..., Done]) -> None:
    world.deploy()
    world.deploy("1.1.0")
    if verb is rollout.restore:
        rollout.delete("demo", "hello", tools=world.tools)
    world.helm.starts.clear()
    world.cluster.requests.clear()
    plan, changed, release = verb("demo", "hello", tools=world.tools, dry_run=True)
    assert plan.changes
    assert not changed
    assert release is not None
    assert (world.helm.starts, world.cluster.requests) == ([], ["list secrets demo"])


# secrets


def test_no_secret_is_written_down_or_told(world: World) -> None:
    """A canary in the values: in Helm's record, where it belongs, and nowhere else."""
    wish = read_wish({"db": {"password": CANARY}, "plain": CANARY}, sets=[f"token={CANARY}"])
    world.deploy(wish=wish)
    world.helm.end_with(Status.FAILED, HelmFailed(f"the server said password={CANARY}"))
    world.cluster.pods["demo"] = [CRASHING]
    world.cluster.logs["demo", "web-1", "web"] = [f"token: {CANARY}"]
    with pytest.raises(KubernautError) as caught:
        world.deploy("1.1.0", template=WORKLOAD, wish=read_wish({"db": {"password": CANARY + "2"}}))
    told = json.dumps([caught.value.problem(), [str(event) for event in world.events if "StepFinished" not in str(event)]])
    secrets = world.cluster.list_secrets("demo", {"owner": "kubernaut"})
    operations = [decode_operation(secret) for secret in secrets]
    assert len(operations) == 2
    assert CANARY not in "".join(operation.model_dump_json() for operation in operations if operation)
    assert CANARY not in json.dumps([secret["metadata"] for secret in world.cluster.list_secrets("demo", {})])
    assert CANARY not in "".join(caught.value.details)
    assert CANARY in json.dumps(world.past.records[-1].config)
    assert told
