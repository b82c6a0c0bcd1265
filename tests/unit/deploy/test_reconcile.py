"""Recovery: finishes what dead holders left, and leaves live ones alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.deploy_harness import DeployHarness
from support.lock_harness import lease_manifest
from support.planning import EXPIRED, LIVE, NOW, UNCHANGED, known_of, plain, uninstall_of
from support.records import history, operation, own

from kubernaut.adapters.process import process_identity
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.lock.lease import Lock, new_holder
from kubernaut.deploy.planning.plan import plan
from kubernaut.deploy.requests import RecoveryRequest
from kubernaut.errors import ReleaseLocked
from kubernaut.history.store import ReleaseHistory

GONE = process_identity().rpartition("/")[0] + "/1"


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def kinds(known: ReleaseHistory, lock: Lock = Lock()) -> str:  # noqa: B008
    planned = plan(known, lock, RecoveryRequest("demo", "hello"))
    return ", ".join(action.kind for action in planned.actions) or UNCHANGED


# the actions


def test_recovery_without_anything_unfinished() -> None:
    assert kinds(history()) == UNCHANGED
    assert kinds(history(own(1, "deployed"), operations=(operation(finished_at=NOW),))) == UNCHANGED


def test_recovery_refuses_a_live_lock() -> None:
    for known in (history(), known_of("pending-upgrade"), known_of("deployed")):
        with pytest.raises(ReleaseLocked) as caught:
            plan(known, LIVE, RecoveryRequest("demo", "hello"))
        assert caught.value.problem()["holder"]["actor"] == "ada"


def test_recovery_finishes_operations_of_a_dead_holder() -> None:
    left = history(own(1, "deployed"), own(2, "pending-upgrade"), operations=(operation(reason=None),))
    assert kinds(left, EXPIRED) == "take-lock, mark-failed, settle-operation"
    assert kinds(left) == "mark-failed, settle-operation"
    current = own(2, "uninstalling")
    assert kinds(history(current, operations=(uninstall_of(current),))) == "mark-failed, settle-operation"


@pytest.mark.parametrize("status", ["pending-install", "pending-upgrade", "pending-rollback", "uninstalling"])
def test_recovery_leaves_plain_helm_alone_until_it_is_stale(status: str) -> None:
    assert kinds(plain(status, age=60)) == UNCHANGED
    assert kinds(plain(status, age=None)) == UNCHANGED
    assert kinds(plain(status, age=901)) == "mark-failed"


def test_recovery_leaves_accepted_operations_until_they_are_overdue() -> None:
    waiting = operation(reason=None, waits_until=NOW)
    assert kinds(replace(history(operations=(waiting,)), read_at=NOW - timedelta(seconds=1))) == UNCHANGED
    assert kinds(history(operations=(waiting,))) == UNCHANGED  # the time is unknown
    assert kinds(replace(history(operations=(waiting,)), read_at=NOW)) == "settle-operation"


# how it is done


def recover(harness: DeployHarness) -> Result:
    return execute(RecoveryRequest("demo", "hello"), context=harness.context)


def leave_lease(harness: DeployHarness, process: str) -> None:
    host = process.partition("/")[0]
    holder = new_holder("01old", "deploy", "ada", host=host, process=process)
    time = datetime.now(UTC)
    harness.cluster.create_lease(
        "demo", lease_manifest("demo", "hello", holder, seconds=30, acquired=time, renewed=time, transitions=0)
    )


def test_recovery_after_a_kill_marks_failed_and_settles(harness: DeployHarness) -> None:
    harness.deploy()
    left = harness.leave_a_deploy()
    leave_lease(harness, GONE)
    planned, changed, release = recover(harness)
    assert changed
    assert [action.kind for action in planned.actions] == ["take-lock", "mark-failed", "settle-operation"]
    assert harness.statuses == ["deployed", "failed"]
    assert release is not None
    assert (release.id, release.status, release.operation) == ("demo.hello.v2", "failed", left)
    ended = next(one for one in harness.history.operations if one.id == left)
    assert ended.outcome is not None
    assert (ended.state, ended.outcome.reason) == ("failed", "interrupted")
    assert harness.cluster._leases == {}
    assert recover(harness)[1] is False


def test_recovery_writes_nothing_while_the_holder_is_alive(harness: DeployHarness) -> None:
    harness.deploy()
    left = harness.leave_a_deploy()
    leave_lease(harness, process_identity())
    before = len(harness.cluster.writes)
    with pytest.raises(ReleaseLocked):
        recover(harness)
    assert len(harness.cluster.writes) == before
    assert next(one for one in harness.history.operations if one.id == left).state == "running"


def test_recovery_writes_no_operation(harness: DeployHarness) -> None:
    harness.deploy()
    recover(harness)
    assert len(harness.history.operations) == 1
