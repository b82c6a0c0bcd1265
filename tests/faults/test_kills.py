"""``kill -9`` of kubernaut, of Helm, of both, wherever it hurts: nothing is stuck, and the same command works again at once."""

from __future__ import annotations

import json
import os
import signal

import pytest
from support.fault_chart import NAME
from support.faults import FaultScenario, Subject
from support.invariants import Snapshot
from support.waiting import until

pytestmark = pytest.mark.platform

POINTS = ("before-record", "after-record", "mid-apply", "before-final-write")
OWN_POINTS = ("before-lease", "after-lease", "before-operation", "after-operation", "before-end", "before-unlock")
# The status of a deploy's record after kubernaut was killed: Helm writes it when it gets the parent-death signal.
LEFT = {"before-record": "failed", "after-record": "failed", "mid-apply": "failed", "before-final-write": "deployed"}


@pytest.mark.parametrize("point", POINTS)
def test_deploy_with_kubernaut_killed(scenario: FaultScenario, helm: str, point: str) -> None:
    """Helm ends by itself and writes the outcome within seconds; then the same command works."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    scenario.check_settled()
    subject.killed(point, *subject.verb("deploy", "b"))
    until(lambda: scenario.look().current.status == LEFT[point], f"Helm has written {LEFT[point]}")
    subject.settled()
    scenario.check()
    subject.deploy("b")
    assert scenario.text() == "b"
    now = scenario.check_settled()
    assert now.current.status == "deployed"
    assert now.operations[1].outcome == ("succeeded" if LEFT[point] == "deployed" else "interrupted")


@pytest.mark.parametrize("point", POINTS)
def test_first_deploy_with_kubernaut_killed(scenario: FaultScenario, point: str) -> None:
    subject = scenario.subject()
    subject.killed(point, *subject.verb("deploy", "a"))
    subject.settled()
    scenario.check()
    subject.deploy("a")
    assert scenario.text() == "a"
    assert scenario.check_settled().current.status == "deployed"


@pytest.mark.parametrize("verb", ["rollback", "delete", "restore"])
def test_other_verbs_with_kubernaut_killed(scenario: FaultScenario, helm: str, verb: str) -> None:
    """The history grows under faults at each point. Helm 3 and 4 catch no signal here and simply die."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    for point in POINTS:
        _prepare(subject, verb, point)
        scenario.check_settled()
        subject.killed(point, *_command(subject, verb))
        subject.settled()
        scenario.check()
        subject.run(*_command(subject, verb))
        _holds_after(scenario, subject, verb, point)


@pytest.mark.parametrize(
    ("who", "helm"),
    [(("helm",), "helm3"), (("helm",), "helm4"), (("kubernaut", "helm"), "helm3"), (("kubernaut", "helm"), "helm4")],
)
def test_deploy_with_helm_killed(scenario: FaultScenario, who: tuple[str, ...], helm: str) -> None:
    subject = scenario.subject(helm)
    subject.deploy("a")
    for point in POINTS:
        lost = point == "before-record"  # a late record is another test
        ended = subject.killed(point, *subject.verb("deploy", f"b-{point}"), who=who, forward=not lost)
        if "kubernaut" not in who:  # the last write may arrive before kubernaut looks, or after
            assert ended.status in ({7} if lost else {0, 6} if point == "before-final-write" else {6}), ended
        subject.settled()
        scenario.check()
        subject.deploy(f"b-{point}")
        assert scenario.text() == f"b-{point}"
        assert scenario.check_settled().current.status == "deployed"


@pytest.mark.parametrize("verb", ["rollback", "delete", "restore"])
def test_other_verbs_with_helm_killed(scenario: FaultScenario, verb: str) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    for point in POINTS:
        _prepare(subject, verb, point)
        ended = subject.killed(point, *_command(subject, verb), who=("helm",), forward=point == "before-final-write")
        assert ended.status in ({0, 7} if point == "before-final-write" else {7}), ended
        scenario.check()
        subject.run(*_command(subject, verb))
        _holds_after(scenario, subject, verb, point)


@pytest.mark.parametrize("point", ["after-record", "before-final-write"])
def test_deploy_with_final_writes_lost_is_failed_by_the_next(scenario: FaultScenario, helm: str, point: str) -> None:
    """kubernaut is dead, and Helm does not reach the cluster any more: the record stays pending until the next deploy."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    running = subject.held(point, *subject.verb("deploy", "b"))
    subject.proxy.cut()
    running.kill()
    subject.proxy.release(point, forward=False)
    subject.settled()
    subject.proxy.restore()
    assert scenario.check().current.status == "pending-upgrade"
    subject.deploy("b")
    now = scenario.check_settled()
    assert [one.status for one in now.records] == ["superseded", "failed", "deployed"]
    assert [one.outcome for one in now.operations] == ["succeeded", "interrupted", "succeeded"]


def test_late_record_is_failed_by_the_next_deploy(scenario: FaultScenario, helm: str) -> None:
    """Helm is killed while its record is on the way, kubernaut ends, and then the record arrives."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    running = subject.held("before-record", *subject.verb("deploy", "b"))
    os.kill(running.helm(), signal.SIGKILL)
    ended = running.wait()
    assert ended.status == 7, ended
    subject.proxy.release("before-record")
    until(lambda: scenario.statuses() == ["deployed", "pending-upgrade"], "the record has arrived")
    subject.deploy("c")
    assert [one.status for one in scenario.check_settled().records] == ["superseded", "failed", "deployed"]


def test_late_final_write_changes_nothing(scenario: FaultScenario, helm: str) -> None:
    """Helm is killed while its last write is on the way, kubernaut marks the record failed and goes back, and then it arrives."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    running = subject.held("before-final-write", *subject.verb("deploy", "b"))
    os.kill(running.helm(), signal.SIGKILL)
    assert running.wait().status == 6
    before = scenario.check_settled()
    assert [one.status for one in before.records] == ["superseded", "failed", "deployed"]
    subject.let_go("before-final-write")
    assert scenario.check_settled().records == before.records
    assert scenario.text() == "a"


@pytest.mark.parametrize("point", OWN_POINTS)
def test_kubernaut_killed_between_own_writes(scenario: FaultScenario, point: str) -> None:
    subject = scenario.subject()
    subject.deploy("a")
    subject.killed(point, *subject.verb("deploy", "b"))
    subject.settled()
    scenario.check()
    subject.deploy("c")  # another value: a deploy that was finished before the kill would change nothing
    assert scenario.text() == "c"
    now = scenario.check_settled()
    done = point in ("before-end", "before-unlock")
    assert [one.status for one in now.records] == ["superseded"] * (1 + done) + ["deployed"]
    assert len(now.operations) == 2 + (point not in ("before-lease", "after-lease"))


@pytest.mark.parametrize("point", ["before-fence", "after-fence"])
def test_kubernaut_killed_while_fencing(scenario: FaultScenario, point: str) -> None:
    subject = scenario.subject()
    _left_pending(scenario, subject)
    subject.killed(point, *subject.verb("deploy", "c"))
    scenario.check()
    subject.deploy("c")
    assert [one.status for one in scenario.check_settled().records] == ["superseded", "failed", "deployed"]


@pytest.mark.parametrize("point", ["after-aside", "before-recreate", "mid-apply", "before-end"])
def test_kubernaut_killed_while_recreating_a_record(scenario: FaultScenario, point: str) -> None:
    """A fenced record must be rewritten by ``helm uninstall``: it is set aside, deleted, created anew. Nothing is lost between."""
    subject = scenario.subject()
    _left_pending(scenario, subject)
    subject.killed(point, *subject.verb("delete"))
    subject.settled()
    scenario.check()
    listed = json.loads(subject.run("history", NAME, "-n", scenario.namespace, "-o", "json").stdout)
    assert [release["revision"] for release in listed["items"]] == [2, 1]
    subject.run(*subject.verb("delete"))
    subject.run(*subject.verb("restore"))
    now = scenario.check_settled()
    assert now.current.status == "deployed"
    assert [one.revision for one in now.records] == [1, 2, 3]


def test_killed_rollback_continues_to_its_target(scenario: FaultScenario, helm: str) -> None:
    """The killed rollback stored its target; its failed record does not change that."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    subject.deploy("b")
    subject.killed("mid-apply", *subject.verb("rollback"), who=("kubernaut", "helm"), forward=False)
    subject.settled()
    subject.run(*subject.verb("rollback"))
    assert scenario.text() == "a"
    scenario.check_settled()


def test_repeated_kills_leave_a_deployable_release(scenario: FaultScenario, helm: str) -> None:
    """Each deploy is killed before it has ended; the tenth is not."""
    subject = scenario.subject(helm)
    subject.deploy("a")
    for number in range(9):
        point = POINTS[number % 3]
        subject.killed(point, *subject.verb("deploy", f"b{number}"), who=("kubernaut", "helm"), forward=number % 2 == 0)
        scenario.check()
    subject.settled()
    subject.deploy("c")
    assert scenario.text() == "c"
    assert scenario.check_settled().current.status == "deployed"


def _command(subject: Subject, verb: str) -> list[str]:
    return subject.verb(verb, "", *(["--revision", "1"] if verb == "rollback" else []))


def _prepare(subject: Subject, verb: str, point: str) -> None:
    """Bring the release to where a verb has something to do."""
    subject.deploy(f"b-{point}")
    if verb == "restore":
        subject.run(*subject.verb("delete"))


def _holds_after(scenario: FaultScenario, subject: Subject, verb: str, point: str) -> Snapshot:
    """Check the state after a verb, and the invariants."""
    expected = {"rollback": ("deployed", "a"), "delete": ("uninstalled", None), "restore": ("deployed", f"b-{point}")}[verb]
    assert (scenario.look().current.status, scenario.text()) == expected, (verb, point)
    if scenario.look().lease is not None:  # complete before the kill: the unchanged verb left the Lease
        subject.deploy(f"c-{point}")
    return scenario.check_settled()


def _left_pending(scenario: FaultScenario, subject: Subject) -> None:
    """Leave a release as one does whose kubernaut and Helm were killed."""
    subject.deploy("a")
    subject.killed("mid-apply", *subject.verb("deploy", "b"), who=("kubernaut", "helm"), forward=False)
    subject.settled()
    assert scenario.check().current.status == "pending-upgrade"
