"""A Helm that outlives its kubernaut: its late writes do not change the history of the deploys after it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.faults import FaultScenario, Subject
from support.invariants import Snapshot
from support.orphan import OrphanWrapper, write_wrapper
from support.processes import Running
from support.waiting import until

pytestmark = pytest.mark.platform


def orphaned(scenario: FaultScenario, helm: str, point: str, *arguments: str) -> tuple[Subject, OrphanWrapper]:
    """Leave an orphan: a Helm that is held at a point, and whose kubernaut was killed."""
    wrapper = write_wrapper(scenario.folder, scenario.helms[helm])
    subject = scenario.subject(str(wrapper.helm))
    subject.deploy("a")
    subject.deploy("b")
    running: Running = subject.held(point, *subject.verb(*arguments))
    running.kill()
    return subject, wrapper


def records(snapshot: Snapshot) -> list[object]:
    return [replace(one, uid="") for one in snapshot.records]


def let_go(subject: Subject, point: str) -> None:
    """Let the orphan run to its end."""
    subject.proxy.release(point)
    subject.settled(20)


@pytest.mark.parametrize("point", ["before-record", "after-record", "mid-apply", "before-final-write"])
def test_orphaned_deploy_cannot_change_the_history(scenario: FaultScenario, helm: str, point: str) -> None:
    subject, _ = orphaned(scenario, helm, point, "deploy", "orphan")
    other = scenario.subject(helm)
    other.deploy("c")
    before = scenario.look()
    assert before.current.status == "deployed"
    assert subject.processes(), "the orphan lives"
    let_go(subject, point)
    assert records(scenario.check_settled()) == records(before)
    other.deploy("d")
    assert scenario.text() == "d"
    scenario.check_settled()


@pytest.mark.parametrize("point", ["after-record", "before-final-write"])
def test_orphaned_rollback_can_only_supersede(scenario: FaultScenario, helm: str, point: str) -> None:
    """Its own record is fenced. It may still mark the deployed record superseded; then the same deploy changes something."""
    subject, _ = orphaned(scenario, helm, point, "rollback")
    other = scenario.subject(helm)
    other.deploy("c")
    before = scenario.look()
    let_go(subject, point)
    now = scenario.check_settled()
    assert records(now)[:-1] == records(before)[:-1]
    assert now.current.status == {"after-record": "superseded", "before-final-write": "deployed"}[point]
    other.deploy("c")
    assert scenario.text() == "c"
    assert scenario.check_settled().current.status == "deployed"


@pytest.mark.parametrize("point", ["after-record", "before-final-write"])
def test_orphaned_delete_can_only_supersede(scenario: FaultScenario, helm: str, point: str) -> None:
    """The next deploy finishes the delete and fences its record. Helm 4 ends by superseding the deployed record."""
    subject, _ = orphaned(scenario, helm, point, "delete")
    other = scenario.subject(helm)
    other.deploy("c")
    assert scenario.look().current.status == "deployed"
    let_go(subject, point)
    now = scenario.check_settled()
    assert (now.current.revision, now.current.status) == (3, {"helm3": "deployed", "helm4": "superseded"}[helm])
    other.deploy("d")
    assert scenario.text() == "d"
    scenario.check_settled()


@pytest.mark.parametrize("verb", ["delete", "rollback"])
def test_fenced_release_can_be_deleted_and_rolled_back(scenario: FaultScenario, verb: str) -> None:
    """The fence is taken down for the Helm that must rewrite the record, and stands again afterwards: the orphan still lives."""
    subject, _ = orphaned(scenario, "helm3", "before-final-write", "deploy", "orphan")
    other = scenario.subject()
    other.run(*other.verb(verb, "", *(["--revision", "1"] if verb == "rollback" else [])))
    before = scenario.look()
    assert before.current.status == {"delete": "uninstalled", "rollback": "deployed"}[verb]
    let_go(subject, "before-final-write")
    assert records(scenario.check_settled()) == records(before)
    other.run(*other.verb("restore" if verb == "delete" else "delete"))
    scenario.check_settled()


def test_finished_orphan_is_a_success(scenario: FaultScenario, helm: str) -> None:
    """It finished before the next deploy: its operation has succeeded."""
    subject, wrapper = orphaned(scenario, helm, "before-final-write", "deploy", "orphan")
    let_go(subject, "before-final-write")
    until(lambda: scenario.statuses() == ["superseded", "superseded", "deployed"], "the orphan has finished")
    other = scenario.subject(helm)
    other.deploy("c")
    now = scenario.check_settled()
    assert [one.outcome for one in now.operations] == ["succeeded"] * 4
    assert len(wrapper.pids) == 3
