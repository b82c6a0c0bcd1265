"""A build that is aborted: the shell, kubernaut and its Helm all get the signal, more than once, the console is gone, and the next
build starts at once.

This was observed on a real CI server. No manual work may be left.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.checkout import Checkout, make_checkout
from support.ci_step import ShellStep
from support.faults import PROGRAM, FaultScenario, Subject
from support.processes import paused
from support.waiting import until

pytestmark = pytest.mark.platform

GRACE = 10.0
"""Seconds that Helm has to write down how far it came; beside that an abort and the next deploy take little."""
BUILD = {"JOB_NAME": "app-deploy", "BUILD_TAG": "hudson-app-deploy-7", "BUILD_NUMBER": "7"}
SLOW = 12
POINTS = ["before-lease", "after-lease", "after-operation", "before-record", "after-record", "before-final-write", "before-end"]


def deploying(subject: Subject, text: str, *more: str, number: int = 7) -> ShellStep:
    """Start a Deploy build as its job does, with ``--to`` for the release's JSON."""
    line = [str(PROGRAM), *subject.verb("deploy", text, "--lock-timeout", "10m", "--to", "deployed.json", *more)]
    return ShellStep(shlex.join(line), {**subject.environment, **BUILD, "BUILD_NUMBER": str(number)}, subject.folder)


def in_order_after(
    scenario: FaultScenario, subject: Subject, aborted: ShellStep, other: Subject, number: int, *, innermost_first: bool = False
) -> float:
    """Abort a build, start the next one at once, and hold everything to be in order; return how many seconds that took."""
    began = time.monotonic()
    aborted.abort(innermost_first=innermost_first)
    with deploying(other, f"after {number}", number=number) as following:
        following.end()
        took = time.monotonic() - began
    aborted.gone()
    assert scenario.text() == f"after {number}"
    made = json.loads((other.folder / "deployed.json").read_text())
    assert (made["status"], made["build"]["number"]) == ("deployed", number)
    assert not (subject.folder / "deployed.json").exists(), "an aborted build has nothing to hand over"
    now = scenario.check_settled()
    assert now.current.status == "deployed"
    assert not [one for one in scenario.statuses() if one.startswith("pending")]
    assert now.operations[-1].outcome == "succeeded"
    ends = {"succeeded", "interrupted"} | ({"deploy_failed"} if innermost_first else set())
    assert {one.outcome for one in now.operations} <= ends
    return took


@pytest.mark.parametrize("what", ["slow=40", "image=registry.invalid/missing:1"], ids=["in-a-hook", "in-a-rollout"])
def test_abort_while_helm_runs_lets_the_next_build_deploy(scenario: FaultScenario, helm: str, what: str) -> None:
    subject, other = scenario.subject(helm), scenario.subject(helm)
    subject.deploy("a")
    with deploying(subject, "b", "--set", what) as aborted:
        until(lambda: scenario.statuses()[-1] == "pending-upgrade", "Helm is at work", 60)
        assert len(aborted.programs()) == 3, "the shell, kubernaut and Helm"
        took = in_order_after(scenario, subject, aborted, other, 8)
    outcomes = [one.outcome for one in scenario.look().operations]
    assert outcomes == ["succeeded", "interrupted", "succeeded"]
    assert took < GRACE + 20, f"{took:.1f} s"


def test_abort_that_reaches_helm_first_rolls_nothing_back(scenario: FaultScenario, helm: str) -> None:
    """For a moment it looks as if Helm alone had been stopped; nothing is rolled back because of that."""
    subject, other = scenario.subject(helm), scenario.subject(helm)
    subject.deploy("a")
    with deploying(subject, "b", "--set", "image=registry.invalid/missing:1") as aborted:
        until(lambda: scenario.statuses()[-1] == "pending-upgrade", "Helm is at work", 60)
        took = in_order_after(scenario, subject, aborted, other, 8, innermost_first=True)
    assert scenario.statuses() == ["superseded", "failed", "deployed"]
    assert took < GRACE + 20, f"{took:.1f} s"


@pytest.mark.parametrize("point", POINTS)
def test_abort_between_own_writes_lets_the_next_build_deploy(scenario: FaultScenario, point: str) -> None:
    subject, other = scenario.subject(), scenario.subject()
    subject.deploy("a")
    subject.proxy.hold(point)
    with deploying(subject, "b") as aborted:
        subject.proxy.wait_for(point)
        aborted.abort()
        subject.proxy.release(point)
        in_order_after(scenario, subject, aborted, other, 8)


def test_abort_while_waiting_for_the_lock_leaves_the_lock(scenario: FaultScenario) -> None:
    subject, other, third = scenario.subject(), scenario.subject(), scenario.subject()
    subject.deploy("a")
    holder = subject.held("mid-apply", *subject.verb("deploy", "b"))
    third.proxy.hold("before-lease")
    with deploying(third, "c") as aborted:
        third.proxy.wait_for("before-lease")
        third.proxy.release("before-lease")
        aborted.abort()
        aborted.gone()
    assert scenario.look().lease is not None, "the lock is whose it was"
    subject.proxy.release("mid-apply")
    assert holder.wait().status == 0
    other.deploy("d")
    assert scenario.check_settled().current.status == "deployed"


@pytest.fixture
def checkout(platform: Mapping[str, str], tmp_path: Path) -> Checkout:
    """A checkout whose image takes a while to build."""
    made = make_checkout(platform, tmp_path / "checkout")
    slow = f'node -e "setTimeout(() => {{}}, {SLOW}000)"'
    (made.app / "Dockerfile").write_text(f'FROM node:22-slim\nRUN {slow}\nCOPY index.js ./\nUSER 1000\nCMD ["node", "index.js"]\n')
    made.commit()
    return made


def test_abort_during_the_image_build_publishes_nothing(checkout: Checkout, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "tmp").mkdir(parents=True)
    line = shlex.join([str(PROGRAM), "publish", str(checkout.app), "--version", "2.0.0", "--to", "release.json", "-v"])
    environment = {**checkout.environment, **BUILD, "TMPDIR": str(workspace / "tmp")}
    (workspace / "release.json").write_text("of the last build")
    with ShellStep(line, environment, workspace) as aborted:
        aborted.wait_for("RUN node")
        aborted.abort()
        with ShellStep(line, environment, workspace) as following:
            following.wait_for("RUN node")
            with paused(*following.processes()):  # so that the checks see the aborted build's leftovers, not its own output
                aborted.gone()
                assert not (workspace / "release.json").exists()
                assert checkout.json("versions", "hello-world")["items"] == [], "an incomplete version is not listed"
            following.end()
            following.gone()
    made = json.loads((workspace / "release.json").read_text())
    published = checkout.json("versions", "hello-world")
    assert [item["version"] for item in published["items"]] == ["2.0.0"]
    assert (made["version"], made["build"]["tag"]) == ("2.0.0", BUILD["BUILD_TAG"])
    assert sorted(path.name for path in (workspace / "tmp").iterdir()) == []
