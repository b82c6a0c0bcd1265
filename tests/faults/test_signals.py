"""Signals to kubernaut, alone or with its Helm, once or twice, with closed outputs: the release is in order afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress

import pytest
from support.faults import FaultScenario
from support.processes import Running, paused

pytestmark = pytest.mark.platform

STATUSES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
KINDS = [
    *[("deploy", together, kind) for together in (False, True) for kind in ((ALL[0],), (ALL[1], ALL[1]), (ALL[2],), ALL)],
    *[(verb, *more) for verb in ("rollback", "delete") for more in ((False, (ALL[0],)), (True, (ALL[0],)), (True, ALL))],
]


def names(part: object) -> str:
    if isinstance(part, bool):
        return "with-helm" if part else "alone"
    return part if isinstance(part, str) else "-".join(number.name for number in part)  # type: ignore[attr-defined]


def send(running: Running, numbers: Sequence[signal.Signals], *, helm: bool) -> None:
    """Send signals to kubernaut, and to Helm's whole group as well, as an aborted CI job does."""
    group = running.helm() if helm else None
    for number in numbers:
        if group is None:
            running.signal(number)
            continue
        with paused(running.pid):  # so that it does not see Helm obey before it hears of it itself
            with suppress(ProcessLookupError):  # it has obeyed an earlier one
                os.killpg(group, number)
            running.signal(number)


@pytest.mark.parametrize(("verb", "together", "numbers"), KINDS, ids=names)
def test_signal_while_helm_runs_interrupts_the_verb(
    scenario: FaultScenario, verb: str, together: bool, numbers: Sequence[signal.Signals]
) -> None:
    """Its stdout and stderr are closed at the same moment: a terminal that is closed, a CI job that is aborted."""
    subject = scenario.subject()
    subject.deploy("a")
    subject.deploy("b")
    running = subject.held("mid-apply", *subject.verb(verb, "c"), pipes=True)
    running.hang_up()
    send(running, numbers, helm=together)
    status = running.wait(20).status
    subject.proxy.release("mid-apply", forward=False)
    assert status in {STATUSES[number] for number in numbers}  # of those that come together any may be the first
    subject.settled(5)
    now = scenario.check()
    assert now.lease is None
    assert now.operations[-1].outcome == "interrupted"
    assert now.current.status == {"deploy": "failed", "rollback": "failed", "delete": "uninstalling"}[verb]
    assert subject.leftovers() == []
    subject.deploy("d")
    assert scenario.text() == "d"
    assert scenario.check_settled().current.status == "deployed"


@pytest.mark.parametrize("number", STATUSES)
def test_signal_while_helm_4_runs_interrupts_the_deploy(scenario: FaultScenario, number: signal.Signals) -> None:
    subject = scenario.subject("helm4")
    subject.deploy("a")
    running = subject.held("mid-apply", *subject.verb("deploy", "b"))
    running.signal(number)
    ended = running.wait(20)
    subject.proxy.release("mid-apply", forward=False)
    assert ended.status == STATUSES[number]
    assert "Traceback" not in ended.stderr
    now = scenario.check_settled()
    assert [one.status for one in now.records] == ["deployed", "failed"]
    assert now.operations[-1].outcome == "interrupted"


@pytest.mark.parametrize("point", ["before-lease", "after-lease", "before-operation", "after-operation", "before-end"])
def test_signal_between_own_writes_leaves_no_lock(scenario: FaultScenario, point: str) -> None:
    """The current request is cut off; its effect is put in order by this process or by the next."""
    subject = scenario.subject()
    subject.deploy("a")
    running = subject.held(point, *subject.verb("deploy", "b"))
    with paused(running.pid):  # so that it cleans up after the write has arrived
        running.signal(signal.SIGTERM)
        subject.let_go(point)
    assert running.wait(20).status == 143
    subject.settled()
    now = scenario.check()
    assert now.lease is None
    assert now.current.status == "deployed"
    subject.deploy("c")
    assert scenario.check_settled().current.status == "deployed"


def test_signal_while_waiting_for_the_lock_leaves_the_lock(scenario: FaultScenario) -> None:
    subject, other = scenario.subject(), scenario.subject()
    subject.deploy("a")
    holder = subject.held("mid-apply", *subject.verb("deploy", "b"))
    waiting = other.held("before-lease", *other.verb("deploy", "c", "--lock-timeout", "60s"))
    other.proxy.release("before-lease")
    waiting.signal(signal.SIGTERM)
    assert waiting.wait(10).status == 143
    assert scenario.look().lease is not None
    subject.proxy.release("mid-apply")
    assert holder.wait().status == 0
    assert len(scenario.check_settled().records) == 2


def test_closed_output_does_not_stop_a_deploy(scenario: FaultScenario) -> None:
    """Its stdout and stderr are closed without a signal: the deploy goes on, and its outcome is stored."""
    subject = scenario.subject()
    running = subject.held("mid-apply", *subject.verb("deploy", "a"), pipes=True)
    running.hang_up()
    subject.proxy.release("mid-apply")
    assert running.wait(20).status in (0, 141)
    now = scenario.check_settled()
    assert (now.current.status, now.operations[-1].outcome) == ("deployed", "succeeded")
