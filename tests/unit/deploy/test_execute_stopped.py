"""Stopped work: Helm ends, nothing new begins, and the outcome names the stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import LATE, WORKLOAD, DeployHarness
from support.lock_harness import ADA, BOB
from support.lock_harness import LockHarness as Locking
from support.messages import facts

from kubernaut.deploy.execute import execute
from kubernaut.deploy.lock.acquire import hold
from kubernaut.deploy.requests import OperationRequest, RollbackRequest, UninstallRequest
from kubernaut.errors import Interrupted
from kubernaut.history.records import Status

PROBED = {"template": WORKLOAD, "annotations": '{kubernaut/probe: \'{"path":"/healthz","port":"http"}\'}'}


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def stop_when(harness: DeployHarness, request: str) -> None:
    """Let the work be stopped right after a request."""
    asked = harness.cluster._asked

    def watched(asking: str) -> Any:
        harness.stopped = harness.stopped or asking.startswith(request)
        return asked(asking)

    harness.cluster._asked = watched  # type: ignore[method-assign]


def execute_until_stopped(harness: DeployHarness, request: OperationRequest) -> None:
    with pytest.raises(Interrupted, match=r"demo\.hello\b"):
        execute(request, context=harness.context)


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_stop_ends_a_running_helm_without_a_rollback(harness: DeployHarness, verb: str) -> None:
    harness.deploy()
    harness.deploy("1.1.0")
    request = harness.request("1.2.0") if verb == "deploy" else RollbackRequest("demo", "hello", revision=1)
    stop_when(harness, "create secret demo/sh.helm")
    execute_until_stopped(harness, request)
    assert harness.statuses == ["superseded", "deployed", "failed"]
    operation = harness.operation
    assert operation.outcome is not None
    assert (operation.state, operation.outcome.reason) == ("failed", "interrupted")
    assert [made.id for made in operation.made] == ["demo.hello.v3"]
    assert harness.cluster._leases == {}


def test_deploy_after_a_stop(harness: DeployHarness) -> None:
    harness.deploy()
    stop_when(harness, "create secret demo/sh.helm.release.v1.hello.v2")
    execute_until_stopped(harness, harness.request("1.1.0"))
    harness.stopped = False
    _, _, release = harness.deploy("1.2.0")
    assert release is not None
    assert release.serving == release.revision == 3


def test_stop_ends_a_running_delete(harness: DeployHarness) -> None:
    harness.deploy()
    stop_when(harness, "patch secret demo/sh.helm")
    with pytest.raises(Interrupted):
        execute(UninstallRequest("demo", "hello"), context=harness.context)
    assert harness.statuses == ["uninstalling"]
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "interrupted"


def test_stop_during_the_rollback_reports_both(harness: DeployHarness) -> None:
    harness.deploy()
    harness.helm.end_with(Status.FAILED, LATE)
    stop_when(harness, "create secret demo/sh.helm.release.v1.hello.v3")
    with pytest.raises(Interrupted, match=facts("1.1.0", "demo", "not ready", "demo.hello")):
        execute(harness.request("1.1.0"), context=harness.context)
    assert harness.statuses == ["deployed", "failed", "failed"]
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "interrupted"


def test_stop_ends_the_probe(harness: DeployHarness) -> None:
    stop_when(harness, "get service")
    with pytest.raises(Interrupted):
        execute(harness.request(timeout=60.0, **PROBED), context=harness.context)
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "interrupted"


def test_stop_before_the_begin_runs_nothing(harness: DeployHarness) -> None:
    operation, _ = harness.accept()
    stop_when(harness, "create lease")
    with pytest.raises(Interrupted):
        harness.serve(operation)
    assert harness.history.records == ()
    assert harness.find(operation).state == "failed"


def test_stop_ends_waiting_for_the_lock() -> None:
    lock_harness = Locking()
    lock_harness.renews(BOB)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True

    lock_harness.at(30, stop)
    with (
        pytest.raises(Interrupted),
        hold(
            lock_harness.cluster,
            "demo",
            "web",
            ADA,
            timeout=600,
            notify=lock_harness.notices.append,
            timing=lock_harness.timing,
            stopped=lambda: stopped,
        ),  # type: ignore[arg-type]
    ):
        raise AssertionError
    assert 30 <= lock_harness.passed < 35
