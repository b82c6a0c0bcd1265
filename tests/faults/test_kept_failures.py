"""Failures that were kept, on the real cluster with both Helms: repeated, adopted, and cleaned up by the next command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness, cluster_harness
from support.waiting import until

from kubernaut.adapters.helm import Helm
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.requests import RollbackRequest
from kubernaut.errors import DeployFailed, DeployKept, DeployRolledBack
from kubernaut.events import Notice
from kubernaut.rollout.health_reader import HealthReader

pytestmark = pytest.mark.platform

WEB = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {text: {{ .Values.text | quote }}}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: {{ .Values.image }}
          command: [node, -e, {{ .Values.script | quote }}]
          env: [{name: TEXT, value: {{ .Values.text | quote }}}LEAK]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {text: {{ .Values.text | quote }}}
"""
EXTRA = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: extra}
data: {text: leaks}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: precious, annotations: {helm.sh/resource-policy: keep}}
"""
GOOD = WEB.replace("LEAK", "")
BAD = WEB.replace("LEAK", ", {name: LEAK, value: leaks}") + EXTRA
BROKEN = "image=web:not:valid"  # given up at once; a crash would take three restarts
NEEDS_OUTSIDE = WEB.replace("LEAK", ", {name: OUTSIDE, valueFrom: {configMapKeyRef: {name: outside, key: text}}}")
SLOWLY = "script=setTimeout(() => require('http').createServer((q\\,r)=>r.end('hi')).listen(8080)\\, 8000)"


@pytest.fixture
def harness(platform: Mapping[str, str], helms: Mapping[str, str], helm: str, tmp_path: Path) -> Iterator[ClusterHarness]:
    with cluster_harness(platform, helms[helm], tmp_path) as made:
        yield made


def find(harness: ClusterHarness, kind: str, name: str) -> dict[str, Any] | None:
    resource = harness.cluster.find_resource("apps/v1" if kind == "Deployment" else "v1", kind)
    return harness.cluster.get_object(resource, harness.namespace, name)


def variables(harness: ClusterHarness) -> set[str]:
    """The names of the environment variables of the live Deployment."""
    web = find(harness, "Deployment", "web")
    assert web is not None
    return {one["name"] for one in web["spec"]["template"]["spec"]["containers"][0].get("env", ())}


def notices(harness: ClusterHarness) -> str:
    return "\n".join(event.text for event in harness.events if isinstance(event, Notice))


def roll_back(harness: ClusterHarness, **more: Any) -> Result:
    return execute(RollbackRequest(harness.namespace, "web", timeout=60.0, **more), context=harness.context)


def keep_a_failure(harness: ClusterHarness, text: str = "b") -> None:
    with pytest.raises(DeployKept):
        harness.deploy(BAD, f"text={text}", BROKEN, on_failure="keep", timeout=40.0)


def is_clean(harness: ClusterHarness) -> bool:
    return variables(harness) == {"TEXT"} and find(harness, "ConfigMap", "extra") is None


# what a failure that was kept leaves


def test_next_deploy_removes_what_a_kept_failure_brought(harness: ClusterHarness) -> None:
    harness.deploy(GOOD)
    keep_a_failure(harness)
    assert variables(harness) == {"TEXT", "LEAK"}
    assert find(harness, "ConfigMap", "extra") is not None
    planned = execute(harness.request(GOOD, "text=c"), context=harness.context, dry_run=True).plan
    assert "ConfigMap extra" in planned.actions[-1].reason
    assert harness.deploy(GOOD, "text=c").changed
    assert is_clean(harness)
    assert find(harness, "ConfigMap", "precious") is not None
    assert harness.statuses == ["superseded", "failed", "deployed"]


def test_rollback_removes_what_kept_failures_brought(harness: ClusterHarness) -> None:
    harness.deploy(GOOD)
    keep_a_failure(harness)
    with pytest.raises(DeployRolledBack):
        harness.deploy(GOOD, "text=c", BROKEN, timeout=40.0)
    assert is_clean(harness)
    keep_a_failure(harness, "d")
    assert roll_back(harness).changed
    assert is_clean(harness)


def test_two_kept_failures_leave_nothing(harness: ClusterHarness) -> None:
    harness.deploy(GOOD)
    keep_a_failure(harness)
    with pytest.raises(DeployKept):
        harness.deploy(GOOD, "text=c", BROKEN, on_failure="keep", timeout=40.0)
    assert harness.deploy(GOOD, "text=d").changed
    assert is_clean(harness)
    assert harness.statuses == ["superseded", "failed", "failed", "deployed"]


def test_the_other_helm_removes_it_too(harness: ClusterHarness, helms: Mapping[str, str]) -> None:
    harness.deploy(GOOD)
    keep_a_failure(harness)
    other = next(path for path in helms.values() if path != harness.settings.helm)
    harness.helm = Helm(
        other,
        kubeconfig=harness.settings.kubeconfig,
        environment=harness.settings.environment,
        plain_http=harness.settings.uses_plain_http,
    )
    assert harness.deploy(GOOD, "text=c").changed
    assert is_clean(harness)


def test_deploy_that_helm_refuses_leaves_the_release_that_served(harness: ClusterHarness) -> None:
    harness.deploy(GOOD)
    keep_a_failure(harness)
    with pytest.raises(Exception, match="boom"):
        harness.deploy(GOOD + '{{ fail "boom" }}', "text=c")
    assert harness.statuses == ["deployed", "failed"]


# a rollback that failed


def test_failed_rollback_is_repeated_by_the_same_command(harness: ClusterHarness) -> None:
    harness.cluster.create_namespace(harness.namespace)
    outside = f"/api/v1/namespaces/{harness.namespace}/configmaps"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "outside"}, "data": {"text": "a"}}
    call_api(harness.cluster, "POST", outside, body=body)
    harness.deploy(NEEDS_OUTSIDE)
    harness.deploy(GOOD, "text=b")
    call_api(harness.cluster, "DELETE", f"{outside}/outside")
    with pytest.raises(DeployFailed, match="outside"):
        roll_back(harness)
    call_api(harness.cluster, "POST", outside, body=body)
    result = roll_back(harness)
    assert result.plan.actions[-1].subject == f"{harness.namespace}.web.v1"
    assert harness.statuses == ["superseded", "superseded", "failed", "deployed"]
    assert variables(harness) == {"TEXT", "OUTSIDE"}


# a deadline that was too short


def test_release_that_is_ready_late_is_adopted_by_the_same_deploy(harness: ClusterHarness) -> None:
    with pytest.raises(DeployKept) as late:
        harness.deploy(GOOD, SLOWLY, timeout=4.0)
    assert late.value.members["cause"] != "helm_failed"
    health = HealthReader(harness.context.store, lambda: harness.cluster, harness.settings)
    until(lambda: health.health(harness.history.records[0]).status == "healthy", "it is healthy", 40)
    release = harness.history.release(harness.history.records[0])
    assert release.model_copy(update={"health": health.health(harness.history.records[0])}).is_ready_late
    before = find(harness, "Deployment", "web")
    result = harness.deploy(GOOD, SLOWLY, timeout=4.0)
    assert [action.kind for action in result.plan.actions] == ["adopt-record"]
    assert harness.statuses == ["deployed"]
    after = find(harness, "Deployment", "web")
    assert before is not None
    assert after is not None
    assert before["metadata"]["generation"] == after["metadata"]["generation"], "nothing was rolled out"
    assert not harness.deploy(GOOD, SLOWLY, timeout=4.0).changed
    assert harness.deploy(GOOD, "text=b").changed
    assert harness.statuses == ["superseded", "deployed"]


def test_release_whose_hook_did_not_run_is_applied_again(harness: ClusterHarness) -> None:
    hook = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: after, annotations: {helm.sh/hook: "post-install,post-upgrade"}}
"""
    with pytest.raises(DeployKept):
        harness.deploy(GOOD + hook, SLOWLY, timeout=4.0)
    health = HealthReader(harness.context.store, lambda: harness.cluster, harness.settings)
    until(lambda: health.health(harness.history.records[0]).status == "healthy", "it is healthy", 40)
    result = harness.deploy(GOOD + hook, SLOWLY, timeout=60.0)
    assert result.plan.actions[-1].kind == "helm-upgrade"
    assert "post-install hook after" in result.plan.actions[-1].reason
    assert find(harness, "ConfigMap", "after") is not None


def test_change_by_others_is_applied_again(harness: ClusterHarness) -> None:
    with pytest.raises(DeployKept):
        harness.deploy(GOOD, SLOWLY, timeout=4.0)
    health = HealthReader(harness.context.store, lambda: harness.cluster, harness.settings)
    until(lambda: health.health(harness.history.records[0]).status == "healthy", "it is healthy", 40)
    call_api(harness.cluster, "DELETE", f"/api/v1/namespaces/{harness.namespace}/configmaps/settings")
    result = harness.deploy(GOOD, SLOWLY, timeout=60.0)
    assert result.plan.actions[-1].kind == "helm-upgrade"
    assert find(harness, "ConfigMap", "settings") is not None
