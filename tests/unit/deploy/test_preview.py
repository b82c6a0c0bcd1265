"""What a dry run would change, compared with what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.charts import CONFIG_MAP
from support.deploy_harness import DeployHarness

from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import RollbackRequest, UninstallRequest
from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import ChartInvalid, ClusterDenied
from kubernaut.events import Notice
from kubernaut.history.detail import Difference, Preview

SECRET = """apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {password: {{ .Values.password | quote }}}
"""


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def difference_of(harness: DeployHarness, request: Any) -> Difference | None:
    harness.helm.starts.clear()
    harness.cluster.requests.clear()
    plan = execute(request, context=harness.context, dry_run=True, diff=True).plan
    assert not [one for one in harness.cluster.requests if not one.startswith(("list", "get"))]
    return plan.difference if isinstance(plan, Preview) else None


def test_upgrade_is_compared_with_what_runs(harness: DeployHarness) -> None:
    harness.deploy(values=read_values({"text": "old", "same": 1}))
    found = difference_of(harness, harness.request("1.1.0", values=read_values({"text": "new", "same": 1})))
    assert found is not None
    assert (found.from_, found.to) == ("demo.hello.v1", "demo.hello.v2")
    assert found.chart is not None
    assert (found.chart.from_.version, found.chart.to.version) == ("1.0.0", "1.1.0")
    assert [(change.path, change.from_, change.to) for change in found.values] == [("text", "old", "new")]
    assert '-  text: "old"\n' in found.manifest
    assert '+  text: "new"\n' in found.manifest
    assert harness.helm.starts == [("render", "demo.hello")]


def test_first_release_is_compared_with_nothing(harness: DeployHarness) -> None:
    found = difference_of(harness, harness.request(values=read_values({"text": "new"})))
    assert found is not None
    assert (found.from_, found.to) == ("demo.hello.v0", "demo.hello.v1")
    assert "--- /dev/null" in found.manifest
    assert "-" not in {line[:1] for line in found.manifest.splitlines() if not line.startswith("---")}


def test_deleted_release_is_compared_with_nothing(harness: DeployHarness) -> None:
    harness.deploy()
    execute(UninstallRequest("demo", "hello"), context=harness.context)
    found = difference_of(harness, harness.request())
    assert found is not None
    assert "--- /dev/null" in found.manifest


def test_secrets_are_masked(harness: DeployHarness) -> None:
    harness.deploy(template=SECRET, values=read_values({"password": "hunter22-old"}))
    found = difference_of(harness, harness.request("1.1.0", template=SECRET, values=read_values({"password": "hunter22-new"})))
    assert found is not None
    assert "hunter22" not in found.model_dump_json()
    assert "# changed" in found.manifest


def test_rollback_is_compared_without_helm(harness: DeployHarness) -> None:
    harness.deploy(values=read_values({"text": "one"}))
    harness.deploy(values=read_values({"text": "two"}))
    found = difference_of(harness, RollbackRequest("demo", "hello"))
    assert found is not None
    assert (found.from_, found.to) == ("demo.hello.v2", "demo.hello.v1")
    assert '+  text: "one"\n' in found.manifest
    assert harness.helm.starts == []


def test_unchanged_deploy_and_delete_are_not_compared(harness: DeployHarness) -> None:
    harness.deploy()
    assert difference_of(harness, harness.request()) is None
    assert difference_of(harness, UninstallRequest("demo", "hello")) is None
    assert harness.helm.starts == []


def test_chart_that_cannot_be_rendered_fails_the_dry_run(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ChartInvalid("templates/object.yaml:1: broken")

    harness.deploy()
    monkeypatch.setattr(harness.helm, "render", fail)
    with pytest.raises(ChartInvalid):
        difference_of(harness, harness.request("1.1.0"))


def test_values_are_compared_where_helm_cannot_render(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ClusterDenied("no right to list pods")

    harness.deploy(values=read_values({"text": "one"}))
    monkeypatch.setattr(harness.helm, "render", fail)
    found = difference_of(harness, harness.request("1.1.0", values=read_values({"text": "two"})))
    assert found is not None
    assert [change.path for change in found.values] == ["text"]
    assert (found.manifest, found.images) == ("", None)
    assert any("no right to list pods" in event.text for event in harness.events if isinstance(event, Notice))


def test_unfinished_record_is_not_rendered_over(harness: DeployHarness) -> None:
    harness.deploy(values=read_values({"text": "one"}))
    harness.leave_a_deploy()
    found = difference_of(harness, harness.request("1.2.0", values=read_values({"text": "two"})))
    assert found is not None
    assert harness.helm.starts == []
    assert any("mark-failed" in event.text for event in harness.events if isinstance(event, Notice))


def test_unpublished_version_is_compared_by_its_values(harness: DeployHarness) -> None:
    from dataclasses import replace

    harness.deploy(values=read_values({"text": "one"}))
    request = replace(harness.request("1.1.0", template=CONFIG_MAP, values=read_values({"text": "two"})), chart_digest="")
    found = difference_of(harness, request)
    assert found is not None
    assert [change.path for change in found.values] == ["text"]
    assert harness.helm.starts == []
