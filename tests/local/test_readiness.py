from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubernaut.errors import DeadlineExceeded, PlatformFailed
from kubernaut_local import readiness
from kubernaut_local.layout import Layout
from kubernaut_local.models import Ports, ProcessStatus, ReadinessCheck
from kubernaut_local.readiness import CHECKS, Target, Waiter, component_checks, node_problem


def component(name: str, status: str, message: str = "", error: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name}, "conditions": [{"type": "Healthy", "status": status, "message": message, "error": error}]}


def test_component_health_is_read_from_the_api() -> None:
    answer = {"items": [component("etcd-0", "True", "ok"), component("scheduler", "False", error="connection refused")]}
    found = {check.name: (check.ready, check.detail) for check in component_checks(200, answer)}
    ready, unknown = found.pop("kube-controller-manager")
    assert not ready
    assert unknown
    assert found == {"etcd": (True, ""), "kube-scheduler": (False, "connection refused")}
    assert not any(check.ready for check in component_checks(500, {}))


@pytest.mark.parametrize(
    ("status", "conditions", "detail"),
    [
        (200, [{"type": "Ready", "status": "True"}], ""),
        (200, [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}], "cni plugin not initialized"),
    ],
)
def test_node_condition_is_the_detail(status: int, conditions: list[dict[str, str]], detail: str) -> None:
    assert node_problem(status, {"status": {"conditions": conditions}}) == detail


@pytest.mark.parametrize(("status", "fact"), [(200, ""), (404, ""), (403, "403")])
def test_node_without_condition_is_not_ready(status: int, fact: str) -> None:
    detail = node_problem(status, {"status": {"conditions": []}})
    assert detail
    assert fact in detail


@pytest.fixture
def target(tmp_path: Path) -> Target:
    layout = Layout(tmp_path, "blue")
    layout.logs.mkdir(parents=True)
    return Target(layout, Ports())


def test_gates_are_reported_once_and_checked_until_ready(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, reported = list[list[str]](), list[str]()

    def run_checks(_target: Target, names: list[str]) -> list[ReadinessCheck]:
        asked.append(list(names))
        return [ReadinessCheck(name=name, ready=name != "node" or len(asked) > 2) for name in names]

    monkeypatch.setattr(readiness, "run_checks", run_checks)
    waiter = Waiter(target, 10, lambda: None, lambda: True)
    waiter.wait(reported.append, ["link"])
    waiter.wait(reported.append)
    assert reported == [*CHECKS[:-2], CHECKS[-1], "node"]
    assert asked == [["link"], list(CHECKS[1:]), ["node"]]


def test_late_gate_is_named_with_its_log(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    target.layout.log("kubelet").write_text("no space left\n")
    monkeypatch.setattr(
        readiness,
        "run_checks",
        lambda _target, names: [ReadinessCheck(name=name, ready=name != "node", detail="no CNI") for name in names],
    )
    with pytest.raises(DeadlineExceeded, match=r"\bnode\b") as caught:
        Waiter(target, 0.2, lambda: None, lambda: True).wait(lambda name: None)
    assert caught.value.details == ("node: no CNI", "kubelet.log: no space left")


def status(name: str, state: str, target: Target) -> ProcessStatus:
    return ProcessStatus(name=name, state=state, pid=None, uptime_seconds=None, log=target.layout.log(name))


def test_restarted_process_is_waited_for(target: Target) -> None:
    states = iter((None, "starting", "backoff", "starting", "running"))

    def processes() -> list[ProcessStatus] | None:
        state = next(states)
        return None if state is None else [status("etcd", "running", target), status("kubelet", state, target)]

    Waiter(target, 10, processes, lambda: True).wait_running()
    assert next(states, None) is None


def test_process_that_keeps_ending_is_named(target: Target) -> None:
    target.layout.log("kubelet").write_text("no space left\n")
    now = [status("etcd", "running", target), status("kubelet", "starting", target)]
    with pytest.raises(DeadlineExceeded, match=r"\bkubelet\b") as caught:
        Waiter(target, 0.2, lambda: now, lambda: True).wait_running()
    assert caught.value.details == ("kubelet: starting", "kubelet.log: no space left")


def test_fatal_process_fails_at_once(target: Target) -> None:
    log = target.layout.log("etcd")
    log.write_text("bad flag\n")
    fatal = status("etcd", "fatal", target).model_copy(update={"error": "Exited too quickly"})
    with pytest.raises(PlatformFailed, match=r"\betcd\b.*Exited too quickly") as caught:
        Waiter(target, 60, lambda: [fatal], lambda: True).wait(lambda name: None)
    assert caught.value.details == ("bad flag",)


def test_end_of_pid_1_fails_at_once(target: Target) -> None:
    target.layout.log("init").write_text("mount: permission denied\n")
    with pytest.raises(PlatformFailed, match="PID 1") as caught:
        Waiter(target, 60, lambda: None, lambda: False).wait(lambda name: None)
    assert "mount: permission denied" in caught.value.details
