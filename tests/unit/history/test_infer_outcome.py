"""Tests of inferred outcomes: each status and each verb, and never another operation's release."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from support.messages import facts
from support.records import STARTED, made, operation, own, record, set_aside

from kubernaut.history.operations import Operation, Outcome
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL, Record, Status
from kubernaut.history.repair import InferredOutcome, infer_outcome
from kubernaut.models import Action, Plan

LATER = (STARTED + timedelta(seconds=1)).isoformat()
EARLIER = (STARTED - timedelta(seconds=1)).isoformat()
COPIED = {OPERATION_LABEL: "first", REVISION_LABEL: "1"}
FIRST = own(1, "superseded", "first", last_deployed=EARLIER)


def killed(
    verb: str = "deploy", kind: str = "helm-upgrade", subject: str = "demo.hello", id: str = "op", **fields: Any
) -> Operation:
    plan = Plan(
        actions=(Action(kind="mark-failed", subject="demo.hello.v7", reason="x"), Action(kind=kind, subject=subject, reason="x"))
    )
    return operation(id, verb=verb, reason=None, plan=plan, **fields)


def rollback(id: str = "back", verb: str = "rollback", **fields: Any) -> Operation:
    return killed(verb, "helm-rollback", "demo.hello.v1", id, **fields)


def back(revision: int, status: str, description: str = "Rollback to 1", **fields: Any) -> Record:
    return record(revision, status, labels=COPIED, description=description, **{"last_deployed": LATER, **fields})


def outcome_of(found: InferredOutcome | None) -> tuple[str, str, tuple[int, ...]]:
    assert found is not None
    return found.outcome.reason, found.outcome.message, tuple(one.revision for one in found.made)


DEPLOYS = [
    ("deployed", "succeeded", ("v2",)),
    ("superseded", "succeeded", ("v2",)),
    ("failed", "interrupted", ("v2", "revision 2")),  # Helm's description of the record
    ("pending-install", "interrupted", ("v2", "pending-install")),
    ("pending-upgrade", "interrupted", ("v2", "pending-upgrade")),
    ("pending-rollback", "interrupted", ("v2", "pending-rollback")),
    ("uninstalling", "interrupted", ("v2", "uninstalling", "unknown")),
    ("uninstalled", "interrupted", ("v2", "uninstalled", "unknown")),
    ("unknown", "interrupted", ("v2", "unknown")),
]


def test_parameters_cover_every_status() -> None:
    assert {status for status, _, _ in DEPLOYS} == {status.value for status in Status}


@pytest.mark.parametrize(("status", "reason", "words"), DEPLOYS)
def test_deploy_outcome_follows_the_labelled_record(status: str, reason: str, words: tuple[str, ...]) -> None:
    found = outcome_of(infer_outcome(killed(), [own(2, status), FIRST]))
    assert found[0] == reason
    assert re.search(facts("kubernaut", *words), found[1])
    assert found[2] == (2,)


@pytest.mark.parametrize(("status", "reason", "words"), DEPLOYS)
def test_recorded_uid_identifies_the_record(status: str, reason: str, words: tuple[str, ...]) -> None:
    mine = record(2, status, labels=COPIED)
    wrote = killed(made=(made(mine, "sha256:b"),))
    found = infer_outcome(wrote, [mine, FIRST])
    assert found is not None
    assert (found.outcome.reason, found.made) == (reason, wrote.made)
    assert re.search(facts(*words), found.outcome.message)


def test_finished_and_unreadable_operations_are_not_inferred() -> None:
    finished = killed().model_copy(update={"finished_at": STARTED})
    unread = killed().model_copy(update={"unread": "newer"})
    assert infer_outcome(finished, [own(2, "deployed")]) is None
    assert infer_outcome(unread, [own(2, "deployed")]) is None
    assert infer_outcome(killed(), [own(2, "deployed")]) is not None


def test_apply_writes_outcome_and_reference() -> None:
    mine = own(2, "deployed")
    found = infer_outcome(killed(), [mine])
    assert found is not None
    written = found.apply(killed(), STARTED)
    assert (written.finished_at, written.outcome, written.id) == (STARTED, found.outcome, "op")
    assert [(one.id, one.uid, one.secret, one.chart) for one in written.made] == [
        ("demo.hello.v2", mine.uid, mine.secret, killed().chart)
    ]
    assert infer_outcome(written, [mine]) is None


def test_set_aside_copy_counts_as_its_record() -> None:
    mine = set_aside(2, "deployed", labels={OPERATION_LABEL: "op", REVISION_LABEL: "2"})
    assert outcome_of(infer_outcome(killed(), [mine, FIRST]))[2] == (2,)


def test_recorded_explanation_of_a_failure_is_kept() -> None:
    before = Outcome(reason="deploy_failed", message="The pods crash.", details=("line",), left_out=3)
    for status in ("failed", "deployed", "superseded"):
        wrote = killed().model_copy(update={"outcome": before})
        found = infer_outcome(wrote, [own(2, status), FIRST])
        assert found is not None
        assert (found.outcome.reason, found.outcome.details, found.outcome.left_out) == ("interrupted", ("line",), 3)
        assert found.outcome.message.startswith("The pods crash. v2 ")


def test_helm_description_is_redacted() -> None:
    found = infer_outcome(killed(), [own(2, "failed", description="password=hunter22")])
    assert "hunter22" not in outcome_of(found)[1]


def test_superseded_record_may_be_a_replaced_failure() -> None:
    found = outcome_of(
        infer_outcome(killed(), [own(3, "deployed", "other"), own(2, "superseded", description="superseded by new release")])
    )
    assert found[0] == "interrupted"
    assert "unknown" in found[1]


@pytest.mark.parametrize(
    ("records", "known"),
    [
        ([], True),
        ([FIRST], True),
        ([own(1, "deployed", "other", last_deployed=LATER)], True),
        ([own(5, "deployed", "other", last_deployed=EARLIER)], True),
        ([own(6, "deployed", "other", last_deployed=LATER), own(5, "superseded", "b", last_deployed=EARLIER)], True),
        ([own(6, "deployed", "other", last_deployed=LATER)], False),  # v5 was pruned
        ([own(7, "deployed", "b", last_deployed=LATER), own(5, "superseded", "c", last_deployed=EARLIER)], False),
        ([record(3, "deployed", labels={OPERATION_LABEL: "op", REVISION_LABEL: "2"}), FIRST], False),
    ],
)
def test_deploy_without_a_record_is_interrupted(records: list[Record], known: bool) -> None:
    found = outcome_of(infer_outcome(killed(), records))
    assert found[0] == "interrupted"
    assert ("unknown" not in found[1]) == known
    assert found[2] == ()


def test_deleted_record_of_the_operation_is_reported() -> None:
    found = outcome_of(infer_outcome(killed(made=(made(own(2, "deployed")),)), [FIRST]))
    assert (found[0], found[2]) == ("interrupted", (2,))
    assert re.search(facts("v2"), found[1])


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ("uninstalled", "succeeded", ("v2",)),
        ("uninstalling", "interrupted", ("v2", "uninstalling")),
        ("superseded", "interrupted", ("v2", "unknown")),
        *(
            (status, "interrupted", ("v2", "not", status))
            for status in ("deployed", "failed", "unknown", "pending-install", "pending-upgrade", "pending-rollback")
        ),
    ],
)
def test_delete_outcome_follows_the_record_status(status: str, reason: str, words: tuple[str, ...]) -> None:
    wrote = killed("delete", "helm-uninstall", "demo.hello.v2")
    found = infer_outcome(wrote, [own(2, status, "other"), FIRST])
    assert (outcome_of(found)[0], outcome_of(found)[2]) == (reason, (2,))
    assert re.search(facts(*words), outcome_of(found)[1])
    assert found is not None
    assert found.made[0].chart is None


def test_delete_of_a_missing_record_is_unknown() -> None:
    for wrote in (killed("delete", "helm-uninstall", "demo.hello.v2"), operation(verb="delete", reason=None)):
        found = outcome_of(infer_outcome(wrote, [FIRST]))
        assert (found[0], found[2]) == ("interrupted", ())
        assert "unknown" in found[1]


@pytest.mark.parametrize("verb", ["rollback", "restore"])
@pytest.mark.parametrize(
    ("mine", "reason", "words"),
    [
        (back(3, "pending-rollback"), "interrupted", ("v3", "pending-rollback")),
        (back(3, "deployed"), "succeeded", ("v3",)),
        (back(3, "superseded"), "succeeded", ("v3",)),
        (back(3, "failed", 'Rollback "hello" failed: timed out'), "interrupted", ("v3", 'Rollback "hello" failed: timed out')),
        (back(3, "failed", "Rollback to 1: Marked failed by ada"), "interrupted", ("v3", "Rollback to 1")),
    ],
)
def test_rollback_is_identified_by_helm_description(verb: str, mine: Record, reason: str, words: tuple[str, ...]) -> None:
    found = outcome_of(infer_outcome(rollback(verb=verb), [mine, own(2, "superseded", "second", last_deployed=EARLIER), FIRST]))
    assert found[0] == reason
    assert re.search(facts(*words), found[1])
    assert found[2] == (3,)


SECOND = own(2, "superseded", "second", last_deployed=EARLIER)
NOT_OURS = [
    back(3, "pending-rollback", "Rollback to 2"),
    back(3, "deployed", "Rollback to 2"),
    back(3, "deployed", "Upgrade complete"),
    back(3, "superseded", "Upgrade complete"),
    back(3, "pending-upgrade", "Preparing upgrade"),
    back(3, "failed", 'Upgrade "hello" failed: x'),
    back(3, "failed", 'Release "hello" failed: x'),
    back(3, "failed", "Rollback to 2: Marked failed by ada"),
    back(3, "deployed", last_deployed=EARLIER),
    own(3, "deployed", "other", description="Rollback to 1", last_deployed=LATER),
]
PERHAPS = [
    back(3, "failed", "Marked failed by ada"),
    back(3, "uninstalled", "Uninstallation complete"),
    back(3, "superseded", "superseded by new release"),
    record(3, "deployed", labels=COPIED, payload="!!!"),
]


@pytest.mark.parametrize("other", range(len(NOT_OURS)))
def test_rollback_without_a_record_is_interrupted(other: int) -> None:
    found = outcome_of(infer_outcome(rollback(), [NOT_OURS[other], SECOND, FIRST]))
    assert (found[0], found[2]) == ("interrupted", ())
    assert "unknown" not in found[1]


@pytest.mark.parametrize("other", range(len(PERHAPS)))
def test_rollback_with_ambiguous_records_is_unknown(other: int) -> None:
    for records in ([PERHAPS[other], SECOND, FIRST], [back(4, "deployed"), PERHAPS[other], SECOND, FIRST]):
        found = outcome_of(infer_outcome(rollback(), records))
        assert (found[0], found[2]) == ("interrupted", ())
        assert "unknown" in found[1]


def test_two_possible_records_are_not_credited() -> None:
    found = outcome_of(infer_outcome(rollback(), [back(4, "deployed"), back(3, "superseded"), SECOND, FIRST]))
    assert (found[0], found[2]) == ("interrupted", ())


def test_record_of_another_operation_is_not_credited() -> None:
    theirs, mine = back(3, "superseded"), back(4, "deployed")
    other = rollback("other", made=(made(theirs),)).model_copy(update={"finished_at": STARTED})
    assert outcome_of(infer_outcome(rollback(), [mine, theirs, SECOND, FIRST], [other, rollback()]))[2] == (4,)
    assert outcome_of(infer_outcome(rollback(), [theirs, SECOND, FIRST], [other]))[2] == ()


@pytest.mark.parametrize(
    "other",
    [rollback("other"), killed(id="other"), rollback("other").model_copy(update={"finished_at": STARTED, "unread": "newer"})],
    ids=["unfinished", "deploy", "unread"],
)
def test_running_rival_makes_the_record_ambiguous(other: Operation) -> None:
    found = outcome_of(infer_outcome(rollback(), [back(3, "deployed"), SECOND, FIRST], [other]))
    assert (found[0], found[2]) == ("interrupted", ())


def test_unfinished_delete_is_not_a_rival() -> None:
    other = killed("delete", "helm-uninstall", "demo.hello.v2", "other")
    assert outcome_of(infer_outcome(rollback(), [back(3, "deployed"), SECOND, FIRST], [other]))[2] == (3,)


def test_recorded_predecessor_revision_identifies_the_record() -> None:
    """The next operation has marked the record failed, with its own description; no clock decides."""
    marked = back(3, "failed", "Rollback to 1: Marked failed by bob: it was left so by ada", last_deployed=EARLIER)
    deployed = own(2, "deployed", "first")
    assert outcome_of(infer_outcome(rollback(after=2), [marked, deployed, FIRST]))[2] == (3,)
    assert outcome_of(infer_outcome(rollback(after=1), [marked, deployed, FIRST]))[2] == ()
