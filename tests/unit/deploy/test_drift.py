"""Deploys and ways back of a release whose objects others have changed, and objects that are not the release's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import WORKLOAD, DeployHarness, verbs
from support.kube_objects import Json
from support.planning import deploy_request
from support.records import history, operation, own

from kubernaut.adapters.kube_resources import CHART_RESOURCES, RESOURCES
from kubernaut.deploy.execute import execute
from kubernaut.deploy.lock.lease import Lock
from kubernaut.deploy.planning.owners import owner_of
from kubernaut.deploy.planning.plan import plan
from kubernaut.deploy.requests import RestoreRequest, RollbackRequest, UninstallRequest
from kubernaut.deploy.values.layers import Values
from kubernaut.errors import ClusterDenied, Conflict, DeployKept, DeployRolledBack, HelmFailed
from kubernaut.history.records import Status
from kubernaut.history.releases import Drift, HealthStatus, ReleaseHealth

TWO = WORKLOAD + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {text: '{{ .Values.text }}'}\n"
CONFLICT = HelmFailed(
    "Deploying demo.hello failed: conflict occurred while applying object demo/web apps/v1, Kind=Deployment: Apply failed with 1"
    ' conflict: conflict with "kubectl" with subresource "scale" using apps/v1 at 2026-11-28T17:04:09Z: .spec.replicas'
)
CHANGED = ReleaseHealth(
    status=HealthStatus.HEALTHY,
    reason="Deployment web differs from the manifest: spec.replicas",
    drift=(Drift(object="Deployment web", field="spec.replicas", manager="kubectl"),),
)


@pytest.fixture(params=["3.17.3", "4.2.4"])
def harness(tmp_path: Path, request: pytest.FixtureRequest) -> DeployHarness:
    """A release that runs, of each Helm."""
    found = DeployHarness(tmp_path, version=request.param)
    assert found.deploy(template=WORKLOAD).changed
    return found


@pytest.fixture
def helm4(tmp_path: Path) -> DeployHarness:
    found = DeployHarness(tmp_path, version="4.2.4")
    assert found.deploy(template=WORKLOAD).changed
    return found


def change_image(harness: DeployHarness, manager: str = "") -> None:
    """Change the image of the Deployment, as another manager."""
    web = harness.cluster.get_object(RESOURCES["Deployment"], "demo", "web")
    assert web is not None
    container = {**web["spec"]["template"]["spec"]["containers"][0], "image": "r/other"}
    spec = {**web["spec"], "template": {**web["spec"]["template"], "spec": {"containers": [container]}}}
    fields = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"web"}': {"f:image": {}}}}}}}
    managed: Json = {"managedFields": [{"manager": manager, "operation": "Update", "fieldsV1": fields}]} if manager else {}
    item = {"apiVersion": "apps/v1", "kind": "Deployment", **web, "spec": spec, "metadata": {**web["metadata"], **managed}}
    harness.cluster.put(item, "demo")


# the plan


@pytest.mark.parametrize("status", [HealthStatus.HEALTHY, HealthStatus.SUSPENDED, HealthStatus.PROGRESSING])
def test_drift_is_a_reason_to_apply(status: HealthStatus) -> None:
    known = history(own(3, "deployed"), operations=(operation(),))
    planned = plan(known, Lock(), deploy_request(), health=CHANGED.model_copy(update={"status": status}))
    assert CHANGED.reason in planned.actions[0].reason


def test_always_is_a_reason_to_apply() -> None:
    known = history(own(3, "deployed"), operations=(operation(),))
    assert not plan(known, Lock(), deploy_request()).changes
    assert plan(known, Lock(), deploy_request(always=True)).changes


# the same deploy again


def test_changed_workload_is_applied_again(harness: DeployHarness) -> None:
    change_image(harness)
    (action,) = harness.deploy(template=WORKLOAD, dry_run=True).plan.actions
    assert "Deployment web differs from the manifest: spec.template.spec.containers[web].image" in action.reason
    assert harness.deploy(template=WORKLOAD).changed
    assert harness.statuses == ["superseded", "deployed"]
    assert not harness.deploy(template=WORKLOAD).changed


def test_change_that_helm_4_does_not_overwrite_is_refused_before_anything_is_done(helm4: DeployHarness) -> None:
    change_image(helm4, "kubectl-set")
    with pytest.raises(Conflict) as refused:
        helm4.deploy(template=WORKLOAD)
    assert refused.value.members["cause"] == "apply_conflict"
    assert "kubectl-set" in refused.value.message
    assert "the same command again with `--on-conflict take`" in refused.value.hint
    assert "onConflict: take" in refused.value.http_hint
    assert (helm4.statuses, verbs(helm4)) == (["deployed"], [])
    assert helm4.deploy(template=WORKLOAD, on_conflict="take").changed
    assert helm4.helm.flags[-1] == ("--force-conflicts",)


def test_change_is_overwritten_where_helm_applies_on_the_client(tmp_path: Path) -> None:
    found = DeployHarness(tmp_path)
    found.deploy(template=WORKLOAD)
    change_image(found, "kubectl-set")
    assert found.deploy(template=WORKLOAD).changed
    assert found.deploy(template=WORKLOAD, on_conflict="take", always=True).changed
    assert set(found.helm.flags) == {()}


def test_replicas_are_compared_only_if_no_autoscaler_sets_them(tmp_path: Path) -> None:
    found = DeployHarness(tmp_path)
    how: dict[str, Any] = {"template": WORKLOAD.replace("spec:\n  selector", "spec:\n  replicas: 1\n  selector")}
    found.deploy(**how)
    web = found.cluster.get_object(RESOURCES["Deployment"], "demo", "web")
    assert web is not None
    status = {**web["status"], "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    item = {"apiVersion": "apps/v1", "kind": "Deployment", **web, "spec": {**web["spec"], "replicas": 3}, "status": status}
    found.cluster.put(item, "demo")
    assert found.deploy(**how, dry_run=True).plan.changes
    assert "list horizontalpodautoscalers demo" in found.cluster.requests
    found.cluster.fail("list horizontalpodautoscalers", ClusterDenied("no"), times=1)
    assert not found.deploy(**how, dry_run=True).plan.changes


def test_settings_that_are_gone_are_applied_again(harness: DeployHarness) -> None:
    harness.deploy("1.1.0", template=TWO)
    found = harness.cluster.get_object(CHART_RESOURCES["ConfigMap"], "demo", "settings")
    assert found is not None
    harness.cluster.remove({"apiVersion": "v1", "kind": "ConfigMap", **found})
    (action,) = harness.deploy("1.1.0", template=TWO, dry_run=True).plan.actions
    assert "ConfigMap settings of the manifest does not exist" in action.reason
    assert harness.deploy("1.1.0", template=TWO).changed
    assert not harness.deploy("1.1.0", template=TWO).changed


@pytest.fixture
def without_text(harness: DeployHarness) -> DeployHarness:
    """A release whose ConfigMap has lost its only key, without a trace of who removed it."""
    harness.deploy("1.1.0", template=TWO, values=Values(sets=("text=a",)))
    found = harness.cluster.get_object(CHART_RESOURCES["ConfigMap"], "demo", "settings")
    assert found is not None
    metadata = {**found["metadata"], "managedFields": [{"manager": "helm", "operation": "Update", "fieldsV1": {"f:data": {}}}]}
    harness.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, "demo")
    return harness


def test_key_that_is_gone_without_a_trace_is_applied_again(without_text: DeployHarness) -> None:
    how: dict[str, Any] = {"template": TWO, "values": Values(sets=("text=a",))}
    (action,) = without_text.deploy("1.1.0", **how, dry_run=True).plan.actions
    assert "ConfigMap settings differs from the manifest: data" in action.reason
    assert without_text.deploy("1.1.0", **how).changed
    assert not without_text.deploy("1.1.0", **how).changed


def test_key_that_is_gone_is_unknown_where_the_cluster_does_not_say(without_text: DeployHarness) -> None:
    without_text.cluster.fail("get configmap demo/settings with its manifest", ClusterDenied("no right to patch"), times=None)
    assert not without_text.deploy("1.1.0", template=TWO, values=Values(sets=("text=a",))).changed


# conflicts


def test_deploy_that_meets_a_conflict_is_rolled_back_by_force(helm4: DeployHarness) -> None:
    helm4.helm.end_with(Status.FAILED, CONFLICT)
    with pytest.raises(DeployRolledBack) as failed:
        helm4.deploy("1.1.0", template=TWO)
    assert failed.value.members["cause"] == "apply_conflict"
    assert "the same command again with `--on-conflict take`" in failed.value.hint
    assert "since 2026-11-28 17:04:09 UTC" in failed.value.message
    assert helm4.statuses == ["superseded", "failed", "deployed"]
    assert helm4.helm.flags[-2:] == [(), ("--force-conflicts",)]


def test_conflict_in_all_that_changes_needs_no_rollback(helm4: DeployHarness) -> None:
    helm4.helm.end_with(Status.FAILED, CONFLICT)
    with pytest.raises(DeployRolledBack) as failed:
        helm4.deploy("1.1.0", template=WORKLOAD.replace("labels: {app: web}}, spec", "labels: {app: web, a: b}}, spec"))
    assert "v1 (1.0.0) still runs" in failed.value.message
    assert helm4.statuses == ["deployed", "failed"]
    assert verbs(helm4) == ["upgrade"]
    assert helm4.operation.outcome is not None
    assert helm4.operation.outcome.cause == "apply_conflict"


@pytest.mark.parametrize("kind", [RollbackRequest, RestoreRequest])
def test_way_back_takes_conflicts_unless_it_is_to_fail(harness: DeployHarness, kind: type[RollbackRequest]) -> None:
    forced = ("--force-conflicts",) if harness.version.startswith("4") else ()
    for how, flags in (({}, forced), ({"on_conflict": "fail"}, ())):
        harness.deploy("1.1.0", template=WORKLOAD, always=True)
        if kind is RestoreRequest:
            execute(UninstallRequest("demo", "hello"), context=harness.context)
        execute(kind("demo", "hello", **how), context=harness.context)
        assert harness.helm.flags[-1] == flags


def test_failed_release_stays_failed_when_helm_marks_it_superseded(tmp_path: Path) -> None:
    found = DeployHarness(tmp_path)
    found.helm.end_with(Status.FAILED, HelmFailed("no"))
    with pytest.raises(DeployKept):
        found.deploy()
    found.deploy("1.1.0")
    assert found.statuses == ["failed", "deployed"]


# adoption


def test_dry_run_names_what_is_adopted(harness: DeployHarness) -> None:
    other = TWO.replace("name: web}\nspec: {ports", "name: other}\nspec: {ports")
    harness.cluster.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}}, "demo")
    without = harness.deploy("1.1.0", template=other, dry_run=True).plan.actions
    assert [action.kind for action in without] == ["helm-upgrade"]
    planned = harness.deploy("1.1.0", template=other, dry_run=True, take_ownership=True).plan.actions
    assert [(action.kind, action.subject) for action in planned] == [
        ("adopt-object", "Service/other"),
        ("helm-upgrade", "demo.hello"),
    ]
    assert "belongs to no release" in planned[0].reason
    harness.cluster.fail("get configmap", ClusterDenied("no"), times=1)
    planned = harness.deploy("1.1.0", template=other, dry_run=True, take_ownership=True).plan.actions
    assert [action.subject for action in planned] == ["Service/other", "ConfigMap/settings", "demo.hello"]
    assert "not known" in planned[1].reason
    assert harness.deploy("1.1.0", template=other, take_ownership=True).changed
    forced = ("--force-conflicts",) if harness.version.startswith("4") else ()
    assert set(harness.helm.flags[-1]) == {*forced, "--take-ownership"}


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({}, "no release"),
        ({"labels": {"app.kubernetes.io/managed-by": "Kustomize"}}, "managed-by=Kustomize"),
        ({"annotations": {"meta.helm.sh/release-name": "b", "meta.helm.sh/release-namespace": "x"}}, "release b in namespace x"),
        ({"managedFields": [{"manager": "kubectl-create"}]}, "kubectl-create"),
        (
            {
                "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"meta.helm.sh/release-name": "hello", "meta.helm.sh/release-namespace": "demo"},
            },
            "",
        ),
    ],
)
def test_owner_of_an_object(metadata: Json, owner: str) -> None:
    found = owner_of({"metadata": metadata}, "hello", "demo")
    assert owner in found
    assert bool(found) == bool(owner)
