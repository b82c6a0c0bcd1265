"""A release that failed because its deadline was too short, and that is ready now: adopted by the same deploy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deploy_harness import LATE, WORKLOAD, DeployHarness, verbs
from support.kube_objects import IMAGE
from support.planning import deploy_request
from support.records import history, made, operation, own, record

from kubernaut.deploy.lock.lease import Lock
from kubernaut.deploy.planning.adoption import covers, failed_late, missing_hook
from kubernaut.deploy.planning.plan import plan
from kubernaut.errors import ClusterUnreachable, DeployKept, HelmFailed
from kubernaut.history.operations import Operation, Outcome
from kubernaut.history.records import Record, Status
from kubernaut.history.releases import HealthStatus, ReleaseHealth
from kubernaut.history.repair import infer_outcome
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.models import Action, Plan
from kubernaut.testing.workloads import apply_manifest

HEALTHY = ReleaseHealth(status=HealthStatus.HEALTHY)
LATE_OUTCOME = Outcome(reason=DeployKept.code, message="late", cause="deadline_exceeded")


def late_operation(*records: Record, cause: str | None = "deadline_exceeded", **more: Any) -> Operation:
    found = operation(made=tuple(map(made, records)), **more)
    return found.model_copy(update={"outcome": LATE_OUTCOME.model_copy(update={"cause": cause})})


def known(*, status: str = "failed", cause: str | None = "deadline_exceeded", **more: Any) -> ReleaseHistory:
    current = own(2, status, **more)
    return history(own(1, "deployed", "old"), current, operations=(late_operation(current, cause=cause),))


# the plan


@pytest.mark.parametrize("status", ["failed", "deployed"])
def test_release_that_is_ready_late_is_adopted(status: str) -> None:
    kinds = [action.kind for action in plan(known(status=status), Lock(), deploy_request(), health=HEALTHY).actions]
    assert kinds == ["mark-superseded", "adopt-record"]
    assert plan(known(), Lock(), deploy_request()).actions[-1].kind == "helm-upgrade"


@pytest.mark.parametrize("health", [status for status in HealthStatus if status is not HealthStatus.HEALTHY])
def test_release_that_is_not_healthy_is_not_adopted(health: HealthStatus) -> None:
    found = plan(known(), Lock(), deploy_request(), health=ReleaseHealth(status=health, reason="because"))
    assert found.actions[-1].kind == "helm-upgrade"


@pytest.mark.parametrize("cause", ["hook_failed", "apply_conflict", "object_invalid", "helm_failed", None])
def test_release_that_was_not_applied_whole_is_not_adopted(cause: str | None) -> None:
    assert failed_late(known(cause=cause), deploy_request()) is None


def test_only_what_is_requested_is_adopted() -> None:
    assert failed_late(known(), deploy_request()) is not None
    assert failed_late(known(), deploy_request("sha256:" + "b" * 64)) is None
    assert failed_late(known(), deploy_request(values={"a": 1})) is None
    assert failed_late(known(config={"a": 1}), deploy_request(values={"a": 1.0})) is not None


def test_rollbacks_interrupted_deploys_and_foreign_releases_are_not_adopted() -> None:
    current = own(2, "failed")
    for other in (
        operation(made=(made(current),), reason="interrupted"),
        operation(made=(made(current),), reason=None),
        late_operation(own(1, "failed"), current),
        late_operation(current, verb="rollback"),
    ):
        assert failed_late(history(own(1, "superseded"), current, operations=(other,)), deploy_request()) is None
    assert failed_late(history(record(1, "failed")), deploy_request()) is None


def test_hook_that_did_not_run_is_named_and_the_release_applied_again() -> None:
    hook = {"name": "migrate", "events": ["post-upgrade"], "last_run": {"phase": ""}, "manifest": ""}
    current = own(2, "failed")
    for phase, kind in (("", "helm-upgrade"), ("Failed", "helm-upgrade"), ("Succeeded", "adopt-record")):
        current = own(2, "failed")
        current.content["hooks"] = [{**hook, "last_run": {"phase": phase}}]  # type: ignore[index]
        found = plan(history(current, operations=(late_operation(current),)), Lock(), deploy_request(), health=HEALTHY)
        assert found.actions[-1].kind == kind
        assert ("post-upgrade hook migrate" in found.actions[-1].reason) == (kind == "helm-upgrade")
    current.content["hooks"] = [{**hook, "events": ["pre-upgrade", "post-install"]}]  # type: ignore[index]
    upgrade = Plan(actions=(Action(kind="helm-upgrade", subject="demo.hello", reason="because"),))
    install = Plan(actions=(Action(kind="helm-install", subject="demo.hello", reason="because"),))
    assert missing_hook(current, history(current, operations=(late_operation(current, plan=upgrade),))) is None
    assert missing_hook(current, history(current, operations=(late_operation(current, plan=install),))) is not None


def test_fenced_release_is_recreated_before_it_is_adopted() -> None:
    current = replace(own(2, "failed"), immutable=True)
    found = plan(history(current, operations=(late_operation(current),)), Lock(), deploy_request(), health=HEALTHY)
    assert [action.kind for action in found.actions] == ["recreate-record", "adopt-record"]


def test_outcome_of_an_interrupted_adoption_is_in_the_record() -> None:
    adopts = Plan(actions=(Action(kind="adopt-record", subject="demo.hello.v2", reason="because"),))
    begun = operation("adopter", reason=None, after=2, plan=adopts)
    for status, by, reason in (("deployed", "adopter", "succeeded"), ("failed", "op", "interrupted")):
        found = infer_outcome(begun, [own(2, status, by), own(1, "superseded")])
        assert found is not None
        assert found.outcome.reason == reason
        assert [one.id for one in found.made] == (["demo.hello.v2"] if status == "deployed" else [])


# the objects


@pytest.mark.parametrize(
    ("live", "wanted", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": {}, "b": [], "c": None, "d": {"e": None}}, True),
        ({"env": [{"name": "A", "value": "1"}, {"name": "B"}]}, {"env": [{"name": "A"}]}, True),
        ({"env": [{"name": "A"}]}, {"env": [{"name": "B"}]}, False),
        ({"args": ["x"]}, {"args": ["x", "y"]}, False),
        ({"data": {}}, {"stringData": {"a": "b"}}, True),
        ("x", {"a": 1}, False),
        ({"a": None}, {"a": False}, False),
    ],
)
def test_live_object_has_what_the_manifest_says(live: Any, wanted: Any, *, expected: bool) -> None:
    assert covers(live, wanted) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=2), JSON, max_size=4), st.dictionaries(st.text(max_size=2), JSON, max_size=4))
def test_object_has_what_it_says_itself_and_more_does_not_matter(item: dict[str, Any], more: dict[str, Any]) -> None:
    assert covers(item, item)
    assert covers({**more, **item}, item)


# the execution


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    """A release whose second version was not ready in time, and is ready now."""
    found = DeployHarness(tmp_path)
    found.deploy(template=WORKLOAD)
    found.helm.end_with(Status.FAILED, LATE, during=lambda _: apply_manifest(found.cluster, WORKLOAD, "demo", 2))
    with pytest.raises(DeployKept):
        found.deploy("1.1.0", template=WORKLOAD, on_failure="keep")
    assert found.statuses == ["deployed", "failed"]
    return found


def again(harness: DeployHarness, **more: Any) -> Any:
    return harness.deploy("1.1.0", template=WORKLOAD, on_failure="keep", **more)


def test_same_deploy_adopts_without_helm(harness: DeployHarness) -> None:
    assert [action.kind for action in again(harness, dry_run=True).plan.actions] == ["mark-superseded", "adopt-record"]
    _, changed, release = again(harness)
    assert changed
    assert verbs(harness) == []
    assert harness.statuses == ["superseded", "deployed"]
    current = harness.history.records[0]
    assert current.labelled_status == current.status
    assert "adopted" in current.description
    assert release is not None
    assert (release.revision, release.serving, release.created_by) == (2, 2, "ada")
    assert release.outcome is not None
    assert (release.outcome.reason, "adopted" in release.outcome.message) == ("succeeded", True)
    assert not again(harness).changed
    assert harness.history.operations[0].state == "succeeded"


def test_adopted_release_is_rolled_back_to(harness: DeployHarness) -> None:
    again(harness)
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(Exception, match=r"v2 \(1\.1\.0\) runs again"):
        harness.deploy("1.2.0", template=WORKLOAD)


def test_object_that_is_missing_or_differs_is_applied_again(harness: DeployHarness) -> None:
    apply_manifest(harness.cluster, WORKLOAD.replace(IMAGE, "r/old"), "demo", 2)
    assert again(harness).changed
    assert verbs(harness) == ["upgrade"]
    assert harness.statuses == ["superseded", "failed", "deployed"]


def test_release_that_cannot_be_read_is_applied_again(harness: DeployHarness) -> None:
    harness.cluster.fail("get deployment", ClusterUnreachable("away"), times=None)
    harness.helm.end_with(None, HelmFailed("it does not answer either"))
    with pytest.raises(HelmFailed):
        again(harness)
    assert verbs(harness) == ["upgrade"]


def test_show_says_that_a_failed_release_is_ready_now(harness: DeployHarness) -> None:
    (release,) = HistoryStore(harness.cluster).list("demo").items  # type: ignore[arg-type]
    assert not release.is_ready_late
    assert release.model_copy(update={"health": HEALTHY}).is_ready_late
    assert not release.model_copy(update={"health": HEALTHY, "status": "deployed"}).is_ready_late
