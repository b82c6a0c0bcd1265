"""Manifests, read."""

from __future__ import annotations

import pytest

from kubernaut.history.manifest import documents, images, selectors, service_ports

MANIFEST = """
# Source: a
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web, tier: 1}}
  template:
    metadata: {labels: {app: web, tier: 1, more: x}}
    spec:
      initContainers: [{name: i, image: "r/init:1"}]
      containers: [{name: a, image: "r/web:1@sha256:aa"}, {name: b, image: "r/web:1@sha256:aa"}, {name: c}]
---
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: r/cron}]}}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec: {template: {metadata: {labels: {job: j}}, spec: {containers: [{name: j, image: r/job}]}}}
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Pod, metadata: {name: p, labels: {pod: p}}, spec: {containers: [{image: r/pod}]}}
  - {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{name: http, port: 80}, {port: 443}]}}
"""


def test_images_stand_once_in_order() -> None:
    assert images(MANIFEST) == ("r/init:1", "r/web:1@sha256:aa", "r/cron", "r/job", "r/pod")


def test_selectors_find_pods() -> None:
    assert selectors(MANIFEST) == ({"app": "web", "tier": "1"}, {"job": "j"}, {"pod": "p"})


def test_ports_of_services() -> None:
    assert [(port.service, port.name, port.port) for port in service_ports(MANIFEST)] == [("web", "http", 80), ("web", None, 443)]


@pytest.mark.parametrize(
    "manifest",
    ["", "a: [", "- 1\n- 2", "text", "a: 1\n---\nb: {", "spec: 1", "spec: {containers: 1}", "kind: Service", "a: " + "[" * 200_000],
)
def test_odd_manifests_do_no_harm(manifest: str) -> None:
    assert images(manifest) == ()
    assert selectors(manifest) == ()
    assert service_ports(manifest) == ()
    list(documents(manifest))
