"""``watch`` and ``--no-wait``: with and without a server, on one cluster."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.backend import Backend
from support.backend import backend as backend
from support.clients import library, listening, token_file
from support.deploy_harness import LATE
from support.messages import facts
from support.waiting import until

from kubernaut.cli.main import main
from kubernaut.errors import KubernautError
from kubernaut.history.records import Status

Run = Callable[..., Result]
WATCH = ("watch", "hello", "-n", "demo")


@pytest.fixture
def url(backend: Backend) -> Iterator[str]:
    with listening(backend.server()) as address:
        yield address


@pytest.fixture
def local(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line without a server."""
    monkeypatch.setattr("kubernaut.cli.session.open_kubernaut", lambda _settings, listener: library(backend, listener))
    return lambda *arguments: CliRunner().invoke(main, arguments, env={"KUBERNAUT_SERVER": ""})


@pytest.fixture
def remote(url: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line with a server on the same cluster."""
    monkeypatch.chdir(backend.folder)
    environment = {"KUBERNAUT_TOKEN_FILE": str(token_file(backend.folder)), "HOME": str(backend.folder)}
    return lambda *arguments: CliRunner().invoke(main, (*arguments, "--server", url), env=environment)


@pytest.fixture(params=["local", "remote"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(request.param)
    return found


def deploying(backend: Backend, version: str = "1.0.0") -> threading.Thread:
    """Start a deploy in another thread, whose Helm waits until the watch has begun."""
    backend.helm.begun.clear()
    backend.helm.may_end.clear()

    def deploy() -> None:
        with suppress(KubernautError):
            library(backend).deploy("hello", namespace="demo", version=version)

    thread = threading.Thread(target=deploy)
    thread.start()
    assert backend.helm.begun.wait(20)
    return thread


def watched(backend: Backend, run: Run, *more: str) -> Result:
    """Watch, and let Helm end once the watch has found the operation: then it reads the lock."""
    backend.cluster.requests.clear()

    def end() -> None:
        until(lambda: any(request.startswith("get lease") for request in [*backend.cluster.requests]), "the watch")
        backend.helm.may_end.set()

    ending = threading.Thread(target=end)
    ending.start()
    result = run(*WATCH, *more)
    ending.join()
    return result


def test_result_of_the_watched_deploy_is_printed_as_deploy_prints_it(backend: Backend, run: Run) -> None:
    thread = deploying(backend)
    result = watched(backend, run)
    thread.join(20)
    assert result.exit_code == 0, result.output
    assert re.search(facts("hello", "1.0.0", "demo", "demo.hello.v1"), result.stdout)
    lines = result.stderr.splitlines()
    assert len([line for line in lines if re.fullmatch(r"deploy +started +hello 1\.0\.0 to demo", line)]) == 1
    assert len([line for line in lines if re.match(r"deploy +done\b", line)]) == 1
    assert len([line for line in lines if "ada" in line]) == 1


def test_failure_has_the_exit_status_and_the_evidence_of_the_deploy(backend: Backend, run: Run) -> None:
    library(backend).deploy("hello", namespace="demo", version="1.0.0")
    backend.helm.end_with(Status.FAILED, LATE)
    thread = deploying(backend, "1.1.0")
    result = watched(backend, run, "-o", "json")
    thread.join(20)
    assert result.exit_code == 6, result.output
    problem = json.loads(result.stdout)
    assert (problem["code"], problem["release"]) == ("deploy_rolled_back", "demo.hello.v2")
    assert problem["cause"]
    assert "kubernaut explain hello -n demo" in problem["hint"]


def test_current_release_is_reported_when_nothing_runs(backend: Backend, run: Run) -> None:
    library(backend).deploy("hello", namespace="demo", version="1.0.0")
    result = run(*WATCH)
    assert result.exit_code == 0, result.output
    assert "demo.hello.v1" in result.stdout
    assert json.loads(run("watch", "demo.hello.v1", "-o", "json").stdout)["id"] == "demo.hello.v1"
    assert run("watch", "nothing", "-n", "demo").exit_code == 4
    assert run("watch", "hello").exit_code in (3, 8)  # a server cannot know the namespace; here no kubeconfig exists


@pytest.mark.parametrize(
    "line",
    [
        ("deploy", "hello", "-n", "demo"),
        ("rollback", "hello", "-n", "demo"),
        ("restore", "hello", "-n", "demo"),
        ("delete", "hello", "-n", "demo", "--yes"),
        ("ship", "app", "-n", "demo"),
    ],
)
def test_without_a_server_every_operation_is_waited_for(local: Run, backend: Backend, line: tuple[str, ...]) -> None:
    result = local(*line, "--no-wait", "-o", "json")
    problem = json.loads(result.stdout)
    assert (result.exit_code, problem["code"]) == (2, "usage")
    assert "--server" in problem["hint"]
    assert "kubernaut watch" in problem["hint"]
    assert not backend.cluster.writes


def test_operation_is_accepted_and_watched_later(remote: Run, backend: Backend, url: str) -> None:
    backend.helm.may_end.clear()
    accepted = remote("deploy", "hello", "-n", "demo", "--no-wait")
    assert accepted.exit_code == 0, accepted.output
    command = re.search(r"kubernaut (watch [0-9a-z]{26}) --server (\S+)", accepted.stderr)
    assert command is not None
    assert command[2] == url
    assert command[1].split()[1] in accepted.stdout
    backend.helm.may_end.set()
    watched = remote(*command[1].split())
    assert watched.exit_code == 0, watched.output
    assert "demo.hello.v2" in watched.stdout or "demo.hello.v1" in watched.stdout


def test_accepted_operation_is_printed_as_the_api_does(remote: Run, backend: Backend) -> None:
    for version in ("1.0.0", "1.1.0"):
        assert remote("deploy", f"hello@{version}", "-n", "demo").exit_code == 0
    backend.helm.may_end.clear()
    for verb in ("rollback", "delete"):
        result = remote(verb, "hello", "-n", "demo", "--no-wait", "-o", "json", *(["--yes"] if verb == "delete" else []))
        content: dict[str, Any] = json.loads(result.stdout)
        assert (content.get("verb"), content.get("name"), content.get("namespace")) == (verb, "hello", "demo"), content
        assert content["state"] in ("accepted", "running", "succeeded")
        assert "fingerprint" not in content
        backend.helm.may_end.set()
        assert remote("watch", content["id"]).exit_code == 0


def test_result_file_needs_the_result(remote: Run, backend: Backend) -> None:
    result = remote("deploy", "hello", "-n", "demo", "--no-wait", "--to", str(backend.folder / "out.json"))
    assert result.exit_code == 2
    assert not (backend.folder / "out.json").exists()
