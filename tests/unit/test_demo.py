"""examples/demo.py on a fake library and a fake platform; tests/e2e runs the real demo."""

from __future__ import annotations

import http.server
import importlib.util
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kubernaut import Deployed, Plan, Settings
from kubernaut.errors import DeployRolledBack
from kubernaut.events import Listener

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
DEPLOYED = Deployed(plan=Plan(), changed=True, release=SimpleNamespace(app_version="1.0.0"))  # type: ignore[arg-type]


class FakeKubernaut:
    """Records the arguments of `ship`."""

    shipped: dict[str, Any]
    result: Deployed | Exception = DEPLOYED

    def __init__(self, settings: Settings, *, listener: Listener) -> None:
        self.settings = settings

    def ship(self, app_dir: Path, **arguments: Any) -> Deployed:
        FakeKubernaut.shipped = {"settings": self.settings, "app_dir": app_dir, **arguments}
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The demo, with fakes of the library and of Helm."""
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    helm = tmp_path / "helm"
    helm.write_text('#!/bin/sh\necho "helm $* of $KUBECONFIG"\n')
    helm.chmod(0o755)
    for name in ("KUBERNAUT_REGISTRY", "KUBERNAUT_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBERNAUT_HELM", str(helm))
    monkeypatch.setenv("KUBECONFIG", "my-config")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "Kubernaut", FakeKubernaut)
    monkeypatch.setattr(FakeKubernaut, "result", DEPLOYED)
    return module


@pytest.fixture
def node_port() -> Iterator[str]:
    """A port at which the application answers, at first with the previous version."""
    versions = iter(["0.9.0"])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"version": "%s"}\n' % next(versions, "1.0.0").encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


@pytest.fixture
def platforms(monkeypatch: pytest.MonkeyPatch, node_port: str) -> list[str]:
    """A fake local platform; the names of those that were started."""
    started: list[str] = []
    environment = {"KUBECONFIG": "local-config", "KUBERNAUT_REGISTRY": "127.0.0.1:5000", "KUBERNAUT_NODE_PORT": node_port}

    def platform(name: str) -> SimpleNamespace:
        return SimpleNamespace(up=lambda listener: started.append(name), environment=lambda: environment)

    monkeypatch.setitem(sys.modules, "kubernaut_local", SimpleNamespace(Platform=platform))
    return started


def test_cluster_current_uses_the_users_cluster_and_starts_nothing(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kubernaut_local", None)  # importing it would fail
    assert demo.main(["--cluster", "current", "--registry", "registry.example.com/team"]) == 0
    shipped = FakeKubernaut.shipped
    assert shipped["app_dir"] == DEMO.parent / "hello-world"
    assert (shipped["namespace"], shipped["create_namespace"], shipped["set"]) == ("demo", True, [])
    assert shipped["settings"].registry == "registry.example.com/team"
    assert "helm history hello-world -n demo --max 5 of my-config" in capsys.readouterr().out


def test_cluster_local_starts_the_platform_and_calls_the_new_version(
    demo: ModuleType, platforms: list[str], node_port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--name", "mine"]) == 0
    assert platforms == ["mine"]
    assert FakeKubernaut.shipped["set"] == ["service.type=NodePort", f"service.nodePort={node_port}"]
    assert FakeKubernaut.shipped["settings"].registry == "127.0.0.1:5000"
    output = capsys.readouterr().out
    assert "--max 5 of local-config" in output
    assert f'$ curl http://127.0.0.1:{node_port}/\n{{"version": "1.0.0"}}' in output


def test_an_unchanged_deploy_is_reported_with_its_reason(
    demo: ModuleType, platforms: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeKubernaut, "result", replace(DEPLOYED, plan=Plan(reason="nothing has changed"), changed=False))
    assert demo.main([]) == 0
    assert "nothing has changed" in capsys.readouterr().out


@pytest.mark.parametrize("failing", ["deploy", "application"])
def test_a_failure_has_the_exit_status_of_the_command(
    demo: ModuleType, platforms: list[str], failing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "ANSWER_SECONDS", 0.0)
    failure = DeployRolledBack("hello-world did not become ready.", hint="Look at it.")
    unanswered = replace(DEPLOYED, release=SimpleNamespace(app_version="2.0.0"))
    monkeypatch.setattr(FakeKubernaut, "result", failure if failing == "deploy" else unanswered)
    assert demo.main([]) == (6 if failing == "deploy" else 8)
    output, errors = capsys.readouterr()
    assert output == ""
    assert ("Look at it." if failing == "deploy" else "2.0.0") in errors
