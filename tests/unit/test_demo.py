"""examples/demo.py: what it asks of the library, what it prints, and what it leaves alone. The real one is an end-to-end test."""

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
from kubernaut.events import Listener, Progress

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The demo, with a Helm that says what it was asked."""
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
    return module


class FakeKubernaut:
    """Ships nothing, and keeps what it was asked."""

    asked: dict[str, Any]
    answer: Deployed | Exception = Deployed(plan=Plan(), changed=True, release=SimpleNamespace(app_version="1.0.0"))  # type: ignore[arg-type]

    def __init__(self, settings: Settings, *, listener: Listener) -> None:
        self.settings, self.listener = settings, listener

    def ship(self, app_dir: Path, **arguments: Any) -> Deployed:
        FakeKubernaut.asked = {"settings": self.settings, "app_dir": app_dir, **arguments}
        with Progress(self.listener).step("deploy", "hello-world"):
            if isinstance(self.answer, Exception):
                raise self.answer
        return self.answer


@pytest.fixture
def library(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> type[FakeKubernaut]:
    monkeypatch.setattr(demo, "Kubernaut", FakeKubernaut)
    monkeypatch.setattr(FakeKubernaut, "answer", FakeKubernaut.answer)
    return FakeKubernaut


@pytest.fixture
def node_port() -> Iterator[str]:
    """A port at which the application answers; the version before it once more, at first."""
    versions = iter(["0.9.0"])

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"greeting": "Hello, world!", "version": "%s"}\n' % next(versions, "1.0.0").encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


@pytest.fixture
def brought_up(monkeypatch: pytest.MonkeyPatch, node_port: str) -> list[str]:
    """A local platform that is up at once; the names of those that were brought up."""
    up: list[str] = []

    class Platform:
        def __init__(self, name: str) -> None:
            self.name = name

        def up(self, listener: Listener) -> None:
            up.append(self.name)

        def environment(self) -> dict[str, str]:
            return {"KUBECONFIG": "local-config", "KUBERNAUT_REGISTRY": "127.0.0.1:5000", "KUBERNAUT_NODE_PORT": node_port}

    monkeypatch.setitem(sys.modules, "kubernaut_local", SimpleNamespace(Platform=Platform))
    return up


def test_a_cluster_of_ones_own_is_used_as_it_is(
    demo: ModuleType, library: type[FakeKubernaut], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kubernaut_local", None)  # importing it would fail
    assert demo.main(["--cluster", "current", "--registry", "registry.example.com/team"]) == 0
    assert library.asked["app_dir"] == DEMO.parent / "hello-world"
    assert (library.asked["namespace"], library.asked["create_namespace"], library.asked["set"]) == ("demo", True, [])
    assert library.asked["settings"].registry == "registry.example.com/team"
    output = capsys.readouterr().out
    assert "helm history hello-world -n demo --max 5 of my-config" in output
    assert "port-forward service/hello-world" in output
    assert "Unchanged" not in output


def test_the_local_platform_is_brought_up_and_the_application_called(
    demo: ModuleType, library: type[FakeKubernaut], brought_up: list[str], node_port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--name", "mine"]) == 0
    assert brought_up == ["mine"]
    assert library.asked["set"] == ["service.type=NodePort", f"service.nodePort={node_port}"]
    assert library.asked["settings"].registry == "127.0.0.1:5000"
    output, talk = capsys.readouterr()
    assert "--max 5 of local-config" in output
    assert f'$ curl http://127.0.0.1:{node_port}/\n{{"greeting": "Hello, world!", "version": "1.0.0"}}' in output
    assert 'eval "$(kubernaut local env)"' in output
    assert [line.split()[0] for line in talk.splitlines() if " done " in line] == ["deploy", "call"]


def test_again_it_says_what_is_unchanged(
    demo: ModuleType, library: type[FakeKubernaut], brought_up: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    library.answer = replace(FakeKubernaut.answer, plan=Plan(reason="the same chart and values run already"), changed=False)
    assert demo.main([]) == 0
    assert "Unchanged: the same chart and values run already" in capsys.readouterr().out


def test_a_failure_has_the_commands_exit_status_and_a_hint(
    demo: ModuleType, library: type[FakeKubernaut], brought_up: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    library.answer = DeployRolledBack("hello-world did not become ready.", hint="Look at it.")
    assert demo.main([]) == 6
    output, talk = capsys.readouterr()
    assert output == ""
    assert "hello-world did not become ready." in talk
    assert "Look at it." in talk


def test_an_application_that_never_answers_is_a_clear_error(
    demo: ModuleType,
    library: type[FakeKubernaut],
    brought_up: list[str],
    node_port: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "ANSWERS_WITHIN", 0.0)
    monkeypatch.setattr(sys.modules["kubernaut_local"].Platform, "environment", lambda _: {"KUBERNAUT_NODE_PORT": "1"})
    assert demo.main([]) == 8
    assert "http://127.0.0.1:1/ does not answer" in capsys.readouterr().err
