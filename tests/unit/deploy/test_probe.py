"""The application's probe: a deploy succeeds when the application answers through its Service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import WORKLOAD, DeployHarness
from support.messages import facts

from kubernaut.errors import DeployKept, DeployRolledBack
from kubernaut.events import Notice

PROBED = {"template": WORKLOAD, "annotations": '{kubernaut/probe: \'{"path":"/healthz","port":"http"}\'}'}


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def test_probe_that_is_answered(harness: DeployHarness) -> None:
    harness.cluster.answers["demo", "web", "http"] = (200, "ok")
    assert harness.deploy(**PROBED)[1]
    assert "get service demo/web:http/healthz" in harness.cluster.requests


def test_unanswered_probe_rolls_back_or_keeps(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.deploy.probe._MIN_PROBE_SECONDS", 0.05)
    monkeypatch.setattr("kubernaut.deploy.probe._PROBE_PAUSE", 0.01)
    harness.cluster.answers["demo", "web", "http"] = (200, "ok")
    harness.deploy(**PROBED)
    harness.cluster.answers["demo", "web", "http"] = (500, "broken")
    back = harness.helm.rollback

    def answered(*arguments: Any, **named: Any) -> None:
        harness.cluster.answers["demo", "web", "http"] = (200, "ok")
        back(*arguments, **named)

    harness.helm.rollback = answered  # type: ignore[method-assign]
    with pytest.raises(DeployRolledBack, match=facts("GET /healthz", "500", "broken")):
        harness.deploy("1.1.0", timeout=0.01, **PROBED)
    assert harness.statuses == ["superseded", "failed", "deployed"]
    harness.cluster.answers["demo", "web", "http"] = (500, "broken")
    with pytest.raises(DeployKept):
        harness.deploy("1.1.0", timeout=0.01, on_failure="keep", **PROBED)
    plan, *_ = harness.deploy("1.1.0", dry_run=True, **PROBED)
    assert "v4 (1.1.0) is failed" in plan.actions[0].reason  # Helm had called it deployed


def test_service_behind_a_crd_with_an_equals_sign_is_probed(harness: DeployHarness) -> None:
    harness.cluster.answers["demo", "web", "http"] = (200, "ok")
    assert harness.deploy(**{**PROBED, "template": f"kind: A\nspec: {{enum: [=, '!=']}}\n---\n{WORKLOAD}"})[1]
    assert "get service demo/web:http/healthz" in harness.cluster.requests


def test_probe_of_an_unreadable_manifest_is_not_sent(harness: DeployHarness) -> None:
    _, changed, release = harness.deploy(**{**PROBED, "template": f"{WORKLOAD}\n---\nkind: A\nspec: .nan\n"})
    assert changed
    assert release is not None
    assert release.status == "deployed"
    assert ".nan" in str(release.unread)
    assert not [request for request in harness.cluster.requests if request.startswith("get service")]
    assert any(".nan" in event.text for event in harness.events if isinstance(event, Notice))


def test_probe_without_a_service_fails(harness: DeployHarness) -> None:
    with pytest.raises(DeployKept, match=facts("Service", "http")):
        harness.deploy(annotations=PROBED["annotations"])
