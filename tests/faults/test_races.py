"""Concurrent kubernauts, and plain Helm, which takes no lock. One wins; the others name the holder."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Sequence

import pytest
from support.fault_chart import NAME
from support.faults import FaultScenario
from support.waiting import until

from kubernaut import Kubernaut, load_settings
from kubernaut.errors import KubernautError, ReleaseLocked

pytestmark = pytest.mark.platform


@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_second_verb_is_refused_or_waits(scenario: FaultScenario, verb: str) -> None:
    """The second is refused at once, naming the holder; with ``--lock-timeout`` it gets its turn."""
    one, other = scenario.subject(), scenario.subject()
    one.deploy("a")
    one.deploy("b")
    holder = one.held("mid-apply", *one.verb("deploy", "c"), BUILD_URL="http://ci/7")
    before = scenario.look()
    refused = other.run(*other.verb(verb, "d", "-o", "json"), status=5)
    assert refused.problem()["code"] == "release_locked"
    assert refused.problem()["holder"]["actor"] == "user0"
    assert "user0" in refused.stderr
    assert "http://ci/7" in refused.stderr
    assert scenario.look().records == before.records
    assert len(scenario.look().operations) == len(before.operations)
    waiting = other.start(*other.verb(verb, "d", "--lock-timeout", "60s"))
    until(lambda: "user0" in (other.folder / "1.stderr").read_text(), "it names the holder")
    one.proxy.release("mid-apply")
    assert holder.wait().status == 0
    assert waiting.wait().status == 0
    assert scenario.text() == {"deploy": "d", "rollback": "b", "delete": None}[verb]
    scenario.check_settled()


def test_unchanged_deploy_needs_no_lock(scenario: FaultScenario) -> None:
    one, other = scenario.subject(), scenario.subject()
    one.deploy("a")
    holder = one.held("before-operation", *one.verb("deploy", "b"))
    ended = other.deploy("a")
    assert re.search(r"^deploy +unchanged .*\bv1\b", ended.stderr, re.MULTILINE)
    assert other.proxy.count(lambda request: request.writes) == 0
    one.proxy.release("before-operation")
    assert holder.wait().status == 0
    scenario.check_settled()


@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_running_plain_helm_is_left_alone(scenario: FaultScenario, helm: str, verb: str) -> None:
    one, other = scenario.subject(helm), scenario.subject(helm)
    one.deploy("a")
    one.deploy("b")
    other.proxy.hold("mid-apply")
    plain = other.plain_upgrade("plain")
    other.proxy.wait_for("mid-apply")
    before = scenario.record(3)
    problem = one.run(*one.verb(verb, "c", "-o", "json"), status=5).problem()
    assert problem["code"] == "release_locked"
    assert "Helm" in problem["detail"]
    assert scenario.record(3) == before
    assert scenario.look().lease is None
    other.proxy.release("mid-apply")
    assert plain.wait(30).status == 0
    assert scenario.text() == "plain"
    one.run(*one.verb(verb, "c"))
    scenario.check_settled()


def test_running_plain_helm_is_waited_for(scenario: FaultScenario) -> None:
    one, other = scenario.subject(), scenario.subject()
    one.deploy("a")
    other.proxy.hold("mid-apply")
    plain = other.plain_upgrade("plain")
    other.proxy.wait_for("mid-apply")
    waiting = one.start(*one.verb("deploy", "c", "--lock-timeout", "60s"))
    until(lambda: "Helm" in (one.folder / "1.stderr").read_text(), "it names the holder")
    other.proxy.release("mid-apply")
    assert plain.wait(30).status == 0
    assert waiting.wait().status == 0
    assert scenario.text() == "c"
    scenario.check_settled()


def test_dead_plain_helm_is_given_up_after_stale_after(scenario: FaultScenario, helm: str) -> None:
    """Only the age of its record shows it."""
    one, other = scenario.subject(helm), scenario.subject(helm)
    one.deploy("a")
    other.proxy.hold("mid-apply")
    plain = other.plain_upgrade("plain")
    other.proxy.wait_for("mid-apply")
    plain.kill()
    other.proxy.release("mid-apply", forward=False)
    one.deploy("c", status=5)
    until(lambda: one.deploy("c", status=None, KUBERNAUT_STALE_AFTER="2s").status == 0, "it is taken for dead", 15)
    assert [record.status for record in scenario.check_settled().records] == ["superseded", "failed", "deployed"]


def test_plain_helm_is_refused_beside_kubernaut(scenario: FaultScenario, helm: str) -> None:
    """Helm itself refuses; kubernaut's deploy is not disturbed."""
    one, other = scenario.subject(helm), scenario.subject(helm)
    one.deploy("a")
    holder = one.held("after-record", *one.verb("deploy", "b"))
    assert other.plain_upgrade("plain").wait(30).status != 0
    one.proxy.release("after-record")
    assert holder.wait().status == 0
    assert scenario.text() == "b"
    scenario.check_settled()


def test_faster_plain_helm_is_a_conflict(scenario: FaultScenario, helm: str) -> None:
    """It makes the revision that kubernaut's Helm was about to make: that one is refused, and it is a conflict."""
    one, other = scenario.subject(helm), scenario.subject(helm)
    one.deploy("a")
    holder = one.held("before-record", *one.verb("deploy", "b"))
    assert other.plain_upgrade("plain").wait(30).status == 0
    one.proxy.release("before-record")
    ended = holder.wait()
    assert ended.status == 5, ended
    assert scenario.text() == "plain"
    assert [record.status for record in scenario.check_settled().records] == ["superseded", "deployed"]


def test_concurrent_verbs_leave_a_sound_history(scenario: FaultScenario, helm: str) -> None:
    """All but one verb of a round may be refused; each round leaves a sound history."""
    subjects = [scenario.subject(helm) for _ in range(4)]
    subjects[0].deploy("a")
    subjects[0].deploy("b")
    for number in range(3):
        started = [
            subject.start(*subject.verb(verb, f"{verb}-{number}"))
            for subject, verb in zip(subjects, ("deploy", "rollback", "delete", "deploy"), strict=True)
        ]
        ended = [one.wait() for one in started]
        assert {one.status for one in ended} <= {0, 5}, ended
        assert any(one.status == 0 for one in ended)
        scenario.check_settled()
        subjects[0].deploy(f"again-{number}")
        scenario.check_settled()


def test_one_of_twenty_deployers_wins(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    subject.proxy.hold("mid-apply")
    settings = load_settings(environment=subject.environment, directory=subject.folder)
    ends: list[KubernautError | None] = []
    gate = threading.Barrier(20)

    def deploy(number: int) -> None:
        gate.wait()
        try:
            Kubernaut(settings).deploy(NAME, namespace=scenario.namespace, set=[f"text=t{number}"], timeout=60)
            ends.append(None)
        except KubernautError as failure:
            ends.append(failure)

    threads = [threading.Thread(target=deploy, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(ends) == 19, "nineteen are refused", 40)
        assert _refusals(ends) == 19
    finally:
        subject.proxy.release("mid-apply")
        for thread in threads:
            thread.join(60)
    assert ends.count(None) == 1
    now = scenario.check_settled()
    assert [record.status for record in now.records] == ["superseded", "deployed"]
    assert len(now.operations) == 2


def test_suspended_holder_keeps_the_lock(scenario: FaultScenario) -> None:
    """It is suspended for less than its Lease lasts; others do not take it for dead."""
    one, other = scenario.subject(), scenario.subject()
    one.deploy("a")
    holder = one.held("mid-apply", *one.verb("deploy", "b"))
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        problem = other.deploy("c", "-o", "json", status=5).problem()
        assert (problem["code"], problem["holder"]["actor"]) == ("release_locked", "user0")
    finally:
        os.kill(holder.pid, signal.SIGCONT)
    one.proxy.release("mid-apply")
    assert holder.wait().status == 0
    assert scenario.text() == "b"
    scenario.check_settled()


def _refusals(ends: Sequence[KubernautError | None]) -> int:
    return sum(1 for end in ends if isinstance(end, ReleaseLocked) and end.problem()["holder"]["actor"] == "user0")
