"""`kubernaut config`: the value and the origin of each setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current and the home folder, without variables for the cluster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNAUT_KUBECONFIG", "KUBERNAUT_CONTEXT", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def item(run: Run, name: str) -> dict[str, Any]:
    """Return a setting from the JSON output."""
    result = run("config", "-o", "json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["items"]
    return next(one for one in found if one["name"] == name)


def row(run: Run, name: str) -> str:
    """Return the value and the origin of a setting from the text output."""
    result = run("config")
    assert result.exit_code == 0, result.output
    return next(" ".join(line.split()[1:]) for line in result.stdout.splitlines() if line.split()[0] == name)


def test_config_prints_the_origin_of_each_value(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "kubernaut.toml").write_text('history_max = "7"\n')
    monkeypatch.setenv("KUBERNAUT_TIMEOUT", "10m")
    assert row(run, "timeout") == "600s environment KUBERNAUT_TIMEOUT"
    assert row(run, "history_max") == f"7 {folder / 'kubernaut.toml'}"
    assert row(run, "actor").endswith("default")
    content: dict[str, Any] = json.loads(run("config", "-o", "json").stdout)
    assert content["count"] == len(content["items"]) == len(run("config").stdout.splitlines()) - 1


def test_config_prints_the_current_context_of_the_kubeconfig(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "here.yaml").write_text("current-context: staging\n")
    monkeypatch.setenv("KUBECONFIG", str(folder / "here.yaml"))
    found = item(run, "context")
    assert (found["value"], str(folder / "here.yaml") in found["origin"]) == ("staging", True)
    assert set(found) == {"name", "value", "origin", "help"}
    assert row(run, "context").startswith("staging ")


def test_config_reads_the_default_kubeconfig(run: Run, folder: Path) -> None:
    (folder / ".kube").mkdir()
    (folder / ".kube" / "config").write_text("current-context: home\n")
    assert item(run, "context")["value"] == "home"


def test_config_prefers_the_context_setting(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "here.yaml").write_text("current-context: staging\n")
    monkeypatch.setenv("KUBECONFIG", str(folder / "here.yaml"))
    monkeypatch.setenv("KUBERNAUT_CONTEXT", "production")
    assert row(run, "context") == "production environment KUBERNAUT_CONTEXT"


@pytest.mark.parametrize("content", [None, "- not a mapping", "a: [", "clusters: []"])
def test_config_reports_an_unusable_kubeconfig(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    kubeconfig = folder / "here.yaml"
    if content is not None:
        kubeconfig.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    found = item(run, "context")
    assert (found["value"], found["origin"]) == (None, "not set")
    assert str(kubeconfig) in found["problem"]
    assert str(kubeconfig) in row(run, "context")


def test_config_in_a_pod_names_its_service_account(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert item(run, "context")["value"] is None
    assert "service account" in row(run, "context")
