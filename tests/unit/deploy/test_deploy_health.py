"""A deploy of what already runs: unchanged only while the release does not need it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.deploy_harness import WORKLOAD, DeployHarness, put_crashing, verbs
from support.kube_objects import Json, deployment, owned_pod, replica_set, running, service
from support.planning import LIVE, deploy_request
from support.records import history, operation, own

from kubernaut.deploy.lock.lease import Lock
from kubernaut.deploy.planning.plan import plan
from kubernaut.errors import ClusterDenied, ReleaseLocked
from kubernaut.events import Notice
from kubernaut.history.records import Status
from kubernaut.history.releases import HealthStatus, ReleaseHealth
from kubernaut.history.store import ReleaseHistory

REASON = "Deployment web: 0 of 1 ready"
KNOWN = history(own(3, "deployed"), operations=(operation(),))


# the plan


@pytest.mark.parametrize("status", HealthStatus)
def test_degraded_and_missing_releases_are_applied_again(status: HealthStatus) -> None:
    planned = plan(KNOWN, Lock(), deploy_request(), health=ReleaseHealth(status=status, reason=REASON))
    assert planned.changes == (status in ("degraded", "missing"))
    why = planned.actions[0].reason if planned.changes else planned.reason
    assert (REASON in why) == (status != "healthy")
    assert not planned.changes or ("v3 (1.0.0)" in why and status in why)


@pytest.mark.parametrize("known", [KNOWN, history(own(3, "failed"), operations=(operation(),)), history()])
@pytest.mark.parametrize("digest", ["sha256:" + "a" * 64, "sha256:" + "b" * 64])
def test_health_changes_nothing_where_the_release_is_changed_anyway(known: ReleaseHistory, digest: str) -> None:
    without = plan(known, Lock(), deploy_request(digest))
    healthy = plan(known, Lock(), deploy_request(digest), health=ReleaseHealth(status=HealthStatus.HEALTHY))
    assert healthy == without
    if without.changes:
        assert plan(known, Lock(), deploy_request(digest), health=ReleaseHealth(status=HealthStatus.MISSING)) == without


def test_release_that_another_operation_holds_is_not_applied_again() -> None:
    with pytest.raises(ReleaseLocked):
        plan(KNOWN, LIVE, deploy_request(), health=ReleaseHealth(status=HealthStatus.MISSING, reason=REASON))


# the execution


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    found = DeployHarness(tmp_path)
    put_ready(found)
    assert found.deploy(template=WORKLOAD).changed
    return found


def put_ready(harness: DeployHarness) -> list[Json]:
    """Put the objects of ``WORKLOAD``, ready."""
    web = deployment("web")
    made = replica_set(web)
    items = [web, made, owned_pod(made, "a", running()), service(selector={})]
    return [harness.cluster.put(item) for item in items]


def plan_of(harness: DeployHarness) -> str:
    """Return the reason of a dry run's only action."""
    (action,) = harness.deploy(template=WORKLOAD, dry_run=True).plan.actions
    assert action.kind == "helm-upgrade"
    return action.reason


def test_healthy_release_is_unchanged_after_one_round_of_requests(harness: DeployHarness) -> None:
    result = harness.deploy(template=WORKLOAD)
    assert not result.changed
    assert verbs(harness) == []
    assert harness.cluster.requests == ["list secrets demo", "get deployment demo/web", "get service demo/web"]
    assert "already runs 1.0.0" in result.plan.reason
    assert "it is" not in result.plan.reason


def test_release_without_workloads_needs_one_request_for_each_object(tmp_path: Path) -> None:
    harness = DeployHarness(tmp_path)
    harness.deploy()
    assert not harness.deploy().changed
    assert harness.cluster.requests == ["list secrets demo", "get configmap demo/hello"]


def test_missing_workload_is_applied_again(harness: DeployHarness) -> None:
    web = next(item for item in put_ready(harness) if item["kind"] == "Deployment")
    harness.cluster.remove(web)
    assert "Deployment web does not exist" in plan_of(harness)
    harness.helm.end_with(Status.DEPLOYED, during=lambda _: put_ready(harness))
    result = harness.deploy(template=WORKLOAD)
    assert result.changed
    assert harness.statuses == ["superseded", "deployed"]
    assert "v1 (1.0.0) is missing: Deployment web does not exist" in result.plan.actions[-1].reason
    assert "v1 (1.0.0) is missing" in harness.operation.plan.actions[-1].reason
    (notice,) = [event.text for event in harness.events if isinstance(event, Notice)]
    assert "v1 (1.0.0) is missing: Deployment web does not exist" in notice


def test_crashing_workload_is_applied_again(harness: DeployHarness) -> None:
    harness.cluster.remove(next(item for item in put_ready(harness) if item["kind"] == "Pod"))
    put_crashing(harness.cluster, restarts=5)
    reason = plan_of(harness)
    assert "v1 (1.0.0) is degraded: Deployment web: 0 of 1 ready" in reason
    assert "exit status 1" in reason


def test_release_that_becomes_healthy_while_the_lock_is_acquired_is_unchanged(harness: DeployHarness) -> None:
    web = next(item for item in put_ready(harness) if item["kind"] == "Deployment")
    harness.cluster.remove(web)
    request = harness.cluster.create_lease

    def recover(*arguments: str) -> Json:
        put_ready(harness)
        return request(*arguments)  # type: ignore[arg-type]

    harness.cluster.create_lease = recover  # type: ignore[assignment, method-assign]
    assert not harness.deploy(template=WORKLOAD).changed
    assert verbs(harness) == []
    assert harness.statuses == ["deployed"]


def test_release_whose_health_may_not_be_read_is_unchanged(harness: DeployHarness) -> None:
    harness.cluster.fail("get deployment", ClusterDenied("no"), times=None)
    result = harness.deploy(template=WORKLOAD)
    assert not result.changed
    assert "it is unknown" in result.plan.reason
    assert "no right to get deployments" in result.plan.reason


def test_paused_deployment_is_unchanged_and_said(harness: DeployHarness) -> None:
    harness.cluster.put(deployment("web", paused=True))
    result = harness.deploy(template=WORKLOAD)
    assert not result.changed
    assert "it is suspended: Deployment web" in result.plan.reason
