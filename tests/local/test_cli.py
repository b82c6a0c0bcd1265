from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kubernaut.errors import NameInvalid, PlatformFailed
from kubernaut_local.cli import local, status_lines
from kubernaut_local.models import PlatformState, PlatformStatus, Ports, ProcessStatus, ReadinessCheck


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_help_has_examples_and_exit_statuses() -> None:
    shown = CliRunner().invoke(local, ["--help"], catch_exceptions=False).output
    assert '\n    eval "$(kubernaut local env)"\n' in shown
    for verb in ("up", "down", "status", "env"):
        assert verb in shown
        explained = CliRunner().invoke(local, [verb, "--help"], catch_exceptions=False).output
        assert "Examples:" in explained
        assert "Exit status: " in explained


def test_status_of_a_missing_platform_is_down() -> None:
    ended = CliRunner().invoke(local, ["status", "-o", "json"], catch_exceptions=False)
    assert ended.exit_code == 8
    found = json.loads(ended.stdout)
    assert (found["name"], found["state"], found["ports"], found["processes"]) == ("default", "down", None, [])
    shown = CliRunner().invoke(local, ["status"], catch_exceptions=False).stdout.splitlines()
    assert shown[0].split() == ["platform", "default:", "down"]


def test_status_works_without_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> dict[str, str]:
        raise OSError("no os-release")

    monkeypatch.setattr("platform.freedesktop_os_release", unknown)
    assert CliRunner().invoke(local, ["status"], catch_exceptions=False).exit_code == 8


def test_env_of_a_missing_platform_fails_with_a_hint() -> None:
    with pytest.raises(PlatformFailed, match=r"\bblue\b") as caught:
        CliRunner().invoke(local, ["env", "--name", "blue"], catch_exceptions=False)
    assert "`kubernaut local up --name blue`" in caught.value.hint


@pytest.mark.parametrize("verb", ["up", "down", "status", "env"])
def test_invalid_name_is_refused(verb: str) -> None:
    with pytest.raises(NameInvalid, match="-x"):
        CliRunner().invoke(local, [verb, "--name", "-x"], catch_exceptions=False)


@pytest.mark.parametrize("arguments", [["--node-port", "80"], ["--port-api", "0"], ["--port-registry", "x"], ["extra"]])
def test_invalid_options_are_usage_errors(arguments: list[str]) -> None:
    assert CliRunner().invoke(local, ["up", *arguments]).exit_code == 2


def test_status_table() -> None:
    processes = (
        ProcessStatus(name="etcd", state="running", pid=4711, uptime_seconds=75.2, log=Path("/s/logs/etcd.log")),
        ProcessStatus(
            name="kubelet",
            state="backoff",
            pid=None,
            uptime_seconds=None,
            log=Path("/s/logs/kubelet.log"),
            error="Exited too quickly",
        ),
    )
    found = PlatformStatus(
        name="blue",
        state=PlatformState.NOT_READY,
        folder=Path("/s"),
        ports=Ports(),
        kubeconfig=Path("/s/kubeconfig"),
        docker_host="unix:///s/run/docker.sock",
        registry="localhost:15000",
        versions={"kubernetes": "1.35.4", "socat": "1"},
        checks=(ReadinessCheck(name="etcd", ready=True), ReadinessCheck(name="node", ready=False, detail="not registered")),
        processes=processes,
    )
    first, *lines = status_lines(found)
    assert first.startswith("platform    blue: ")
    assert lines == [
        "state       /s",
        "ports       API 127.0.0.1:16443, registry 127.0.0.1:15000, node port 127.0.0.1:30080",
        "kubeconfig  /s/kubeconfig",
        "docker      unix:///s/run/docker.sock",
        "versions    kubernetes 1.35.4",
        "",
        "PROCESS  STATE    PID   UPTIME  LOG",
        "etcd     running  4711  1m15s   /s/logs/etcd.log",
        "kubelet  backoff  -     -       /s/logs/kubelet.log  Exited too quickly",
        "",
        "CHECK  READY",
        "etcd   yes",
        "node   no     not registered",
    ]
    assert [check["name"] for check in found.model_dump(mode="json", by_alias=True)["gates"]] == ["etcd", "node"]
