"""Objects of many kinds that others change, or from which they remove a field: shown, and repaired by the same deploy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.api_calls import call_api, merge_patch
from support.charts import write_chart
from support.faults import FaultScenario, Subject

pytestmark = pytest.mark.platform

_TEMPLATE = """apiVersion: v1
kind: Service
metadata: {name: k, labels: {app: k}}
spec: {selector: {app: none}, ports: [{name: http, port: 80, targetPort: 8080}], publishNotReadyAddresses: true}
---
apiVersion: v1
kind: Secret
metadata: {name: k}
stringData: {password: first}
data: {token: Zmlyc3Q=}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: k, annotations: {role: reader, owner: a}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: k}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: k}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {
    restartPolicy: Never, containers: [{name: c, image: x, env: [{name: A, value: "1"}, {name: B, value: "2"}]}]}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: k}
spec:
  rules: [{host: a.example.org, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: k, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: k}
spec: {podSelector: {matchLabels: {app: none}}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: k}
data: {text: a, more: b}
---
apiVersion: v1
kind: LimitRange
metadata: {name: k}
spec: {limits: [{type: Container, default: {memory: 512Mi, cpu: 500m}}]}
"""
_GROUPS = {
    "services": "/api/v1",
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "configmaps": "/api/v1",
    "limitranges": "/api/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "cronjobs": "/apis/batch/v1",
    "ingresses": "/apis/networking.k8s.io/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
}
_CONTAINERS = "spec.jobTemplate.spec.template.spec.containers[c]"


def _cron_job(env: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "x", "env": env}]
    return {"jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": containers}}}}}


Changes = Mapping[str, tuple[Mapping[str, Any], str]]
CHANGED: Changes = {
    "services": ({"spec": {"selector": {"app": "x"}}}, "spec.selector.app"),
    "secrets": ({"data": {"token": "eA=="}}, "data.token"),
    "serviceaccounts": ({"metadata": {"annotations": {"role": "admin"}}}, "metadata.annotations.role"),
    "roles": ({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]}, "rules[0].verbs[0]"),
    "cronjobs": ({"spec": {"schedule": "1 1 1 1 *"}}, "spec.schedule"),
    "configmaps": ({"data": {"text": "x", "more": "x"}}, "data.text"),
    "limitranges": ({"spec": {"limits": [{"type": "Container", "default": {"memory": "1Gi"}}]}}, "spec.limits[0].default.memory"),
}
REMOVED: Changes = {
    "services": ({"metadata": {"labels": {"app": None}}}, "metadata.labels.app"),
    "secrets": ({"data": {"password": None}}, "data.password"),
    "serviceaccounts": ({"metadata": {"annotations": {"role": None, "owner": None}}}, "metadata.annotations.owner"),
    "cronjobs": ({"spec": _cron_job([{"name": "A", "value": "1"}])}, f"{_CONTAINERS}.env[B]"),
    "ingresses": ({"spec": {"rules": None, "defaultBackend": {"service": {"name": "k", "port": {"number": 80}}}}}, "spec.rules"),
    "networkpolicies": ({"spec": {"ingress": None}}, "spec.ingress"),
    "configmaps": ({"data": None}, "data"),
}


def path(scenario: FaultScenario, plural: str) -> str:
    return f"{_GROUPS[plural]}/namespaces/{scenario.namespace}/{plural}/k"


def wanted_fields(scenario: FaultScenario, plural: str) -> Any:
    """The fields of an object that its chart can set."""
    found = call_api(scenario.cluster, "GET", path(scenario, plural))
    found["spec"] = {**found.get("spec", {}), "defaultBackend": None}  # of the Ingress; the chart does not set it
    known = {key: value for key, value in found.items() if key not in ("metadata", "status")}
    return known, found["metadata"].get("labels"), found["metadata"].get("annotations")


@pytest.fixture
def user(scenario: FaultScenario, helm: str) -> Subject:
    return scenario.subject(helm)


def deploy(user: Subject, chart: Path) -> str:
    arguments = ("--chart", str(chart), "-n", user.namespace, "--create-namespace", "--on-conflict", "take", "--timeout", "30s")
    return user.run("deploy", "k", *arguments).stderr


def test_changes_of_others_are_shown_and_repaired(scenario: FaultScenario, user: Subject, tmp_path: Path) -> None:
    chart = write_chart(tmp_path, "k", template=_TEMPLATE)
    deploy(user, chart)
    before = {plural: wanted_fields(scenario, plural) for plural in _GROUPS}
    for changes in (CHANGED, REMOVED):
        for plural, (change, _) in changes.items():
            merge_patch(scenario.cluster, path(scenario, plural), change, manager="kubectl-edit")
        shown = json.loads(user.run("show", "k", "-n", user.namespace, "-o", "json").stdout)
        fields = {drift["field"] for drift in shown["health"]["drift"]}
        assert fields >= {field for _, field in changes.values()}
        deploy(user, chart)
        assert {plural: wanted_fields(scenario, plural) for plural in _GROUPS} == before
        assert "unchanged" in deploy(user, chart)


def test_object_that_no_longer_fits_is_made_anew_by_the_hint(scenario: FaultScenario, user: Subject, tmp_path: Path) -> None:
    """Helm merges the port of the chart and that of the others, which have the same name."""
    chart = write_chart(tmp_path, "k", template=_TEMPLATE)
    deploy(user, chart)
    ports = [{"name": "http", "port": 81, "targetPort": 8080}]
    merge_patch(scenario.cluster, path(scenario, "services"), {"spec": {"ports": ports}})
    ended = user.run("deploy", "k", "--chart", str(chart), "-n", user.namespace, "--on-conflict", "take", status=7)
    assert "Others have changed spec.ports[80]" in ended.stderr
    assert f"`kubectl delete service/k -n {user.namespace}`" in ended.stderr
    call_api(scenario.cluster, "DELETE", path(scenario, "services"))
    deploy(user, chart)
    assert call_api(scenario.cluster, "GET", path(scenario, "services"))["spec"]["ports"][0]["port"] == 80
