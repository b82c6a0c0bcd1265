"""An unreachable, busy or slow API server: an unknown outcome is reported, and the next deploy works."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from support.faultpoints import POINTS, Request, lease, secret
from support.faults import FaultScenario
from support.waiting import until

from kubernaut_local import Platform

pytestmark = pytest.mark.platform

BUSY = (429, 500, 503)


@pytest.mark.parametrize("point", ["before-lease", "before-operation"])
def test_outage_before_the_first_write_changes_nothing(scenario: FaultScenario, point: str) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held(point, *subject.verb("deploy", "b", "-o", "json"))
    subject.proxy.cut()
    subject.proxy.release(point, forward=False)
    ended = running.wait(30)
    assert ended.status == 8, ended
    assert ended.problem()["code"] == "cluster_unreachable"
    subject.proxy.restore()
    assert scenario.check().current.revision == 1
    subject.deploy("b")
    scenario.check_settled()


def test_outage_from_the_start_is_unreachable(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    with subject.proxy.away():
        ended = subject.deploy("a", "-o", "json", status=8)
    assert ended.problem()["code"] == "cluster_unreachable"
    subject.deploy("a", status=0)
    scenario.check_settled()


@pytest.mark.parametrize(
    ("helm", "point"),
    [
        ("helm3", "before-record"),
        ("helm3", "after-record"),
        ("helm4", "mid-apply"),
        ("helm3", "before-final-write"),
        ("helm4", "before-final-write"),
        ("helm4", "after-final-write"),
    ],
)
def test_outage_while_helm_runs_is_resolved_by_the_next_deploy(scenario: FaultScenario, helm: str, point: str) -> None:
    """The outcome is unknown, which is reported; the next deploy finds it out."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    running = subject.held(point, *subject.verb("deploy", "b"))
    subject.proxy.cut()
    subject.proxy.release(point, forward=False)
    ended = running.wait(40)
    assert ended.status == 8, ended
    assert re.search(r"kubernaut history .*\bapp\b", ended.stderr), "it names the command that shows what came of it"
    subject.settled()
    subject.proxy.restore()
    scenario.check()
    subject.deploy("c")
    assert scenario.text() == "c"
    now = scenario.check_settled()
    assert now.operations[1].outcome == ("succeeded" if point == "after-final-write" else "interrupted")


@pytest.mark.parametrize("verb", ["rollback", "delete"])
def test_outage_in_another_verb_is_resolved_by_running_it_again(scenario: FaultScenario, verb: str) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    subject.deploy("b")
    running = subject.held("before-final-write", *subject.verb(verb))
    subject.proxy.cut()
    subject.proxy.release("before-final-write", forward=False)
    ended = running.wait(40)
    assert ended.status == 8, ended
    assert re.search(r"kubernaut history .*\bapp\b", ended.stderr), "it names the command that shows what came of it"
    subject.settled()
    subject.proxy.restore()
    subject.run(*subject.verb(verb, "", *(["--revision", "1"] if verb == "rollback" else [])))
    scenario.check_settled()


def test_short_outage_is_survived(scenario: FaultScenario) -> None:
    """The cluster is away after the last write of a deploy, and answers again in time."""
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held("mid-apply", *subject.verb("deploy", "b"))
    subject.proxy.answer(lambda request: request.method == "GET" and "python" in request.agent, 503, times=2)
    subject.proxy.release("mid-apply")
    assert running.wait().status == 0
    scenario.check_settled()


def test_busy_api_server_costs_no_lock(scenario: FaultScenario) -> None:
    """The lock's renewals are refused for a while; it is still ours, and the deploy goes on."""
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held("mid-apply", *subject.verb("deploy", "b"))
    for status in BUSY:
        subject.proxy.answer(lease("PUT"), status)
    until(lambda: subject.proxy.count(lease("PUT")) > len(BUSY), "it was renewed after all", 30)
    subject.proxy.release("mid-apply")
    assert running.wait().status == 0
    scenario.check_settled()


@pytest.mark.parametrize("status", BUSY)
def test_busy_api_server_while_the_outcome_is_written(scenario: FaultScenario, status: int) -> None:
    """The deploy succeeds, although its outcome cannot be written."""
    subject = scenario.subject()
    subject.deploy("a")
    subject.proxy.answer(POINTS["before-end"].matches, status, times=9)
    ended = subject.deploy("b")
    assert str(status) in ended.stderr, "it says what the API server answered"
    scenario.check()
    subject.proxy.undo()
    subject.deploy("c")
    assert [one.outcome for one in scenario.check_settled().operations] == ["succeeded"] * 3


def test_lost_answer_to_the_lock_leaves_no_lease(scenario: FaultScenario) -> None:
    """The Lease was created, but the answer is lost: no lock is left behind."""
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held("after-lease", *subject.verb("deploy", "b"))
    subject.proxy.release("after-lease", forward=False)
    assert running.wait(40).status in (0, 8)
    assert scenario.look().lease is None
    subject.deploy("c")
    scenario.check_settled()


def test_lost_answer_to_a_renewal_is_survived(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    subject.proxy.delay(lambda request: _applies(request), 12)
    subject.proxy.hold("after-renewal")
    running = subject.start(*subject.verb("deploy", "b"))
    subject.proxy.wait_for("after-renewal")
    subject.proxy.release("after-renewal", forward=False)
    assert running.wait().status == 0
    scenario.check_settled()


def test_slow_api_server_is_survived(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    subject.proxy.delay(lambda request: request.writes, 0.5)
    subject.deploy("a")
    scenario.check_settled()


@pytest.mark.parametrize("point", ["mid-apply", "before-final-write"])
def test_suspended_api_server_is_survived(scenario: FaultScenario, local_platform: Platform, point: str) -> None:
    """The API server is suspended for as long as a control plane upgrade may take."""
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held(point, *subject.verb("deploy", "b"))
    pid = api_server(local_platform)
    os.kill(pid, signal.SIGSTOP)
    try:
        subject.proxy.release(point)
        time.sleep(6)  # longer than it takes to renew a lock
    finally:
        os.kill(pid, signal.SIGCONT)
    assert running.wait().status == 0
    assert scenario.text() == "b"
    scenario.check_settled()


@pytest.mark.parametrize("point", ["before-operation", "after-record", "before-final-write", "before-end"])
def test_killed_api_server_is_survived_by_the_next_deploy(scenario: FaultScenario, local_platform: Platform, point: str) -> None:
    """It restarts by itself. The end of the deploy depends on the moment; the next deploy always works."""
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held(point, *subject.verb("deploy", "b"))
    os.kill(api_server(local_platform), signal.SIGKILL)
    subject.proxy.release(point)
    ended = running.wait(60)
    # A starting API server denies every request for a moment: then the status for an unknown outcome is 9.
    assert ended.status in (0, 6, 7, 8) or (ended.status == 9 and "kubernaut history" in ended.stderr), ended
    assert "Traceback" not in ended.stderr
    assert "defect" not in ended.stderr
    until(lambda: local_platform.status().ready, "the platform is ready again", 60)
    subject.settled()
    scenario.check()
    subject.deploy("c")
    assert scenario.text() == "c"
    scenario.check_settled()


def api_server(platform: Platform) -> int:
    found = next(process.pid for process in platform.status().processes if process.name == "kube-apiserver")
    assert found is not None
    return found


def _applies(request: Request) -> bool:
    return POINTS["mid-apply"].matches(request)


def test_refused_reads_are_retried(scenario: FaultScenario) -> None:
    """A read that fails twice is retried; one that always fails is reported."""
    subject = scenario.subject()
    subject.deploy("a")
    reads = secret("GET", "")
    for status in (429, 503):
        subject.proxy.answer(reads, status, times=2)
        subject.deploy(f"b{status}")
    subject.proxy.answer(reads, 503, times=1000)
    ended = subject.deploy("c", status=8)
    assert "503" in ended.stderr
    subject.proxy.undo()
    scenario.check_settled()
