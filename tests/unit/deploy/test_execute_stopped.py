"""Stopped work: Helm ends, nothing new begins, and the outcome names the stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploying import LATE, WORKLOAD, World
from support.locking import ADA, BOB
from support.locking import World as Locking

from kubernaut.deploy.execute import execute
from kubernaut.deploy.lock import hold
from kubernaut.deploy.requests import OperationRequest, RollbackRequest, UninstallRequest
from kubernaut.errors import Interrupted
from kubernaut.history.records import Status

PROBED = {"template": WORKLOAD, "annotations": '{kubernaut/probe: \'{"path":"/healthz","port":"http"}\'}'}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def stop_when(world: World, request: str) -> None:
    """Let the work be stopped right after a request."""
    asked = world.cluster._asked

    def watched(asking: str) -> Any:
        world.stopped = world.stopped or asking.startswith(request)
        return asked(asking)

    world.cluster._asked = watched  # type: ignore[method-assign]


def carry_out_and_be_stopped(world: World, wanted: OperationRequest) -> None:
    with pytest.raises(Interrupted, match=r"demo\.hello was stopped"):
        execute(wanted, context=world.context)


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_stop_ends_a_running_helm_without_a_rollback(world: World, verb: str) -> None:
    world.deploy()
    world.deploy("1.1.0")
    wanted = world.wanted("1.2.0") if verb == "deploy" else RollbackRequest("demo", "hello", revision=1)
    stop_when(world, "create secret demo/sh.helm")
    carry_out_and_be_stopped(world, wanted)
    assert world.statuses == ["superseded", "deployed", "failed"]
    operation = world.operation
    assert operation.outcome is not None
    assert (operation.state, operation.outcome.reason) == ("failed", "interrupted")
    assert [made.id for made in operation.made] == ["demo.hello.v3"]
    assert world.cluster._leases == {}


def test_deploy_after_a_stop(world: World) -> None:
    world.deploy()
    stop_when(world, "create secret demo/sh.helm.release.v1.hello.v2")
    carry_out_and_be_stopped(world, world.wanted("1.1.0"))
    world.stopped = False
    _, _, release = world.deploy("1.2.0")
    assert release is not None
    assert release.serving == release.revision == 3


def test_stop_ends_a_running_delete(world: World) -> None:
    world.deploy()
    stop_when(world, "patch secret demo/sh.helm")
    with pytest.raises(Interrupted):
        execute(UninstallRequest("demo", "hello"), context=world.context)
    assert world.statuses == ["uninstalling"]
    assert world.operation.outcome is not None
    assert world.operation.outcome.reason == "interrupted"


def test_stop_during_the_rollback_reports_both(world: World) -> None:
    world.deploy()
    world.helm.end_with(Status.FAILED, LATE)
    stop_when(world, "create secret demo/sh.helm.release.v1.hello.v3")
    with pytest.raises(Interrupted, match=r"1\.1\.0 to demo failed: timed out .* demo\.hello was stopped"):
        execute(world.wanted("1.1.0"), context=world.context)
    assert world.statuses == ["deployed", "failed", "failed"]
    assert world.operation.outcome is not None
    assert world.operation.outcome.reason == "interrupted"


def test_stop_ends_the_probe(world: World) -> None:
    stop_when(world, "get service")
    with pytest.raises(Interrupted):
        execute(world.wanted(timeout=60.0, **PROBED), context=world.context)
    assert world.operation.outcome is not None
    assert world.operation.outcome.reason == "interrupted"


def test_stop_before_the_begin_runs_nothing(world: World) -> None:
    operation, _ = world.accept()
    stop_when(world, "create lease")
    with pytest.raises(Interrupted):
        world.serve(operation)
    assert world.past.records == ()
    assert world.find(operation).state == "failed"


def test_stop_ends_waiting_for_the_lock() -> None:
    line = Locking()
    line.renews(BOB)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True

    line.at(30, stop)
    with (
        pytest.raises(Interrupted),
        hold(line.cluster, "demo", "web", ADA, timeout=600, notify=line.said.append, timing=line.timing, stopped=lambda: stopped),  # type: ignore[arg-type]
    ):
        raise AssertionError
    assert 30 <= line.passed < 35
