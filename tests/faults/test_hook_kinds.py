"""Hooks of each kind that fail and that hang: the command in the hint leads out, and nothing of the hook runs on."""

from __future__ import annotations

from itertools import product

import pytest
from support.faults import FaultScenario, Subject
from support.processes import Ended
from support.waiting import until

pytestmark = pytest.mark.platform

_FAILS, _HANGS = "hook", "migration"
VERBS = ("install", "upgrade", "rollback", "delete")
KINDS = [
    (verb, f"{when}-{verb}", way, ("helm3", "helm4")[number % 2])
    for number, (verb, when, way) in enumerate(product(VERBS, ("pre", "post"), (_FAILS, _HANGS)))
]
KINDS += [("delete", "post-delete", _FAILS, "helm4"), ("delete", "post-delete", _HANGS, "helm3")]
ENDS = {"install": (7, "a"), "upgrade": (6, "b"), "rollback": (7, "a"), "delete": (7, None)}
"""The exit status of the verb, and what runs after the way out."""


def fail(subject: Subject, verb: str, hooked: tuple[str, str]) -> Ended:
    """Run a verb whose hook fails or does not end in time."""
    status, _ = ENDS[verb]
    short = ("--timeout", "6s")
    if verb == "install":
        return subject.deploy("a", *hooked, *short, status=status)
    if verb == "upgrade":
        subject.deploy("a")
        return subject.deploy("b", *hooked, *short, status=status)
    subject.deploy("a", *hooked)
    if verb == "rollback":
        subject.deploy("b")
    return subject.run(*subject.verb(verb), *short, status=status)


@pytest.mark.parametrize(("verb", "event", "way", "helm"), KINDS)
def test_hook_is_named_and_left_out_by_the_hint(scenario: FaultScenario, verb: str, event: str, way: str, helm: str) -> None:
    subject = scenario.subject(helm)
    ended = fail(subject, verb, ("--set", f"{way}={event}"))
    assert f"{event} hook" in ended.stderr
    assert ("no queue" if way == _FAILS else "migrating") in ended.stderr, "the last lines of the hook"
    until(lambda: not running(scenario), "nothing of the hook runs")
    if scenario.statuses() != ["uninstalled"]:
        subject.run(*ended.hinted(" --no-hooks"))
    assert scenario.text() == ENDS[verb][1]
    scenario.check_settled()


def running(scenario: FaultScenario) -> list[str]:
    pods = scenario.cluster.list_pods(scenario.namespace, {})
    return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]
