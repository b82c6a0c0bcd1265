"""Two people who take a way out of the same state at the same moment: one gets it, the other is refused or follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle

import pytest
from support.api_calls import call_api
from support.fault_chart import NAME
from support.faults import FaultScenario, Subject

pytestmark = pytest.mark.platform

_REFUSED = r"x\, ports: [{containerPort: 99999}]"
"""An image, and a port that the API server rejects."""


def stuck_delete(scenario: FaultScenario, subject: Subject) -> None:
    """Leave a delete whose hook fails, with a fenced record."""
    subject.deploy("a", "--set", "hook=pre-delete")
    subject.run(*subject.verb("delete"), status=7)
    subject.run(*subject.verb("restore"), status=7)


def kept_failure(scenario: FaultScenario, subject: Subject) -> None:
    """Leave a failure that was kept, with a ConfigMap that only it brought."""
    subject.deploy("a")
    subject.deploy("b", "--set", "extra=theirs", "--set", f"image={_REFUSED}", "--on-failure", "keep", status=7)


def killed_deploy(scenario: FaultScenario, subject: Subject) -> None:
    """Leave a deploy that was killed together with its Helm."""
    subject.deploy("a")
    subject.killed("mid-apply", *subject.verb("deploy", "b"), who=("kubernaut", "helm"))
    subject.settled()


def changed_by_others(scenario: FaultScenario, subject: Subject) -> None:
    """Leave an object that others have deleted."""
    subject.deploy("a", "--set", "extra=mine")
    call_api(scenario.cluster, "DELETE", f"/api/v1/namespaces/{scenario.namespace}/configmaps/extra")


def object_of_others(scenario: FaultScenario, subject: Subject) -> None:
    """Leave an object that belongs to no release under a name that the next one needs."""
    subject.deploy("a")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}, "data": {"text": "theirs"}}
    call_api(scenario.cluster, "POST", f"/api/v1/namespaces/{scenario.namespace}/configmaps", body=body)


States = dict[str, tuple[Callable[[FaultScenario, Subject], None], Sequence[Sequence[str]]]]
STATES: States = {
    "stuck delete, ended and kept": (stuck_delete, [("delete", "", "--no-hooks"), ("deploy", "c", "--no-hooks")]),
    "stuck delete, restored and unlocked": (stuck_delete, [("restore", "", "--no-hooks"), ("unlock", "")]),
    "kept failure": (kept_failure, [("rollback", ""), ("deploy", "c")]),
    "killed deploy": (killed_deploy, [("deploy", "c"), ("rollback", "")]),
    "killed deploy, unlocked": (killed_deploy, [("deploy", "c"), ("unlock", "")]),
    "changed by others": (changed_by_others, [("deploy", "a", "--set", "extra=mine")] * 2),
    "object of others": (object_of_others, [("deploy", "c", "--set", "extra=mine", "--take-ownership")] * 2),
}


def arguments(subject: Subject, verb: str, text: str, *more: str) -> list[str]:
    if verb == "unlock":
        return [verb, NAME, "-n", subject.namespace, "--yes"]
    return subject.verb(verb, text, *more)


@pytest.mark.parametrize(("state", "helm"), list(zip(STATES, cycle(["helm3", "helm4"]), strict=False)))
def test_two_ways_out_at_once_leave_a_sound_history(scenario: FaultScenario, helm: str, state: str) -> None:
    prepare, ways = STATES[state]
    subjects = [scenario.subject(helm) for _ in ways]
    prepare(scenario, subjects[0])
    started = [subject.start(*arguments(subject, *way)) for subject, way in zip(subjects, ways, strict=True)]
    ended = [one.wait() for one in started]
    breaks = any(verb == "unlock" for verb, *_ in ways)  # it takes the lock of a holder that lives, which ends with 7
    assert {one.status for one in ended} <= ({0, 5, 7} if breaks else {0, 5}), ended
    assert any(one.status == 0 for one in ended), ended
    subjects[0].deploy("d")
    assert scenario.text() == "d"
    assert scenario.text("extra") is None
    assert scenario.statuses()[-1] == "deployed"
    assert scenario.look().lease is None
