"""The plan: every status of the current record, and every verb, and what else decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.past import made, operation, own, past, record
from support.planning import EXPIRED, LIVE, NOW, UNCHANGED, VERBS, known_of, outcome, plain, plan, uninstall_of

from kubernaut.deploy.lease import Lock
from kubernaut.deploy.revisions import previous_deployed
from kubernaut.errors import Conflict, NamespaceNotFound, ReleaseLocked, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.history.operations import Outcome
from kubernaut.history.records import Status
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan

FAIL_FIRST = "mark-failed, helm-upgrade"
FAIL_THEN_BACK = "mark-failed, helm-rollback"
FAIL_THEN_DELETE = "mark-failed, recreate-record, helm-uninstall"

# What whoever holds the lock does. The current record is the second, and an operation of ours made it; the first once ran.
TABLE: dict[str | None, tuple[object, object, object, object]] = {
    #                             deploy                 rollback         restore          delete
    None: ("helm-install", ReleaseNotFound, ReleaseNotFound, ReleaseNotFound),
    "deployed": (UNCHANGED, "helm-rollback", UNCHANGED, "helm-uninstall"),
    "superseded": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
    "failed": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
    "unknown": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
    "uninstalled": ("helm-install-replace", "helm-rollback", "helm-rollback", UNCHANGED),
    "uninstalling": (
        "helm-uninstall, helm-install-replace",
        "helm-uninstall, helm-rollback",
        "helm-uninstall, helm-rollback",
        "helm-uninstall",
    ),
    "pending-install": (FAIL_FIRST, FAIL_THEN_BACK, UNCHANGED, FAIL_THEN_DELETE),
    "pending-upgrade": (FAIL_FIRST, FAIL_THEN_BACK, UNCHANGED, FAIL_THEN_DELETE),
    "pending-rollback": (FAIL_FIRST, FAIL_THEN_BACK, UNCHANGED, FAIL_THEN_DELETE),
    "from-the-future": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
}
UNFINISHED = ("uninstalling", "pending-install", "pending-upgrade", "pending-rollback")
REFUSED_ANYWAY = (UNCHANGED, ReleaseNotFound)


def test_the_table_has_every_status() -> None:
    assert {status.value for status in Status} < set(filter(None, TABLE))


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize(("index", "verb"), list(enumerate(VERBS)))
def test_every_status_and_every_verb_by_whoever_holds_the_lock(status: str | None, index: int, verb: str) -> None:
    assert outcome(verb, known_of(status)) == TABLE[status][index]


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("verb", VERBS)
def test_a_lock_whose_holder_is_gone_is_no_lock(status: str | None, verb: str) -> None:
    assert outcome(verb, known_of(status), EXPIRED) == outcome(verb, known_of(status))


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("verb", VERBS)
def test_a_live_lock_refuses_whatever_would_change_something(status: str | None, verb: str) -> None:
    free = outcome(verb, known_of(status))
    assert outcome(verb, known_of(status), LIVE) == (free if free in REFUSED_ANYWAY else ReleaseLocked)


@pytest.mark.parametrize("lock", [Lock(), EXPIRED, LIVE], ids=lambda lock: lock.state)
@pytest.mark.parametrize("status", UNFINISHED)
@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_a_plain_helm_at_work_is_not_trampled(status: str, verb: str, lock: Lock) -> None:
    for age in (0.0, 899.0, -3600.0, None):  # a clock may be set back, and one that is not known proves nothing
        assert outcome(verb, plain(status, age=age), lock) is ReleaseLocked
    assert outcome(verb, plain(status, age=59.0), lock, stale_after=60.0) is ReleaseLocked


@pytest.mark.parametrize(("index", "verb"), list(enumerate(VERBS)))
@pytest.mark.parametrize("status", UNFINISHED)
def test_its_age_says_that_a_plain_helm_is_dead(status: str, index: int, verb: str) -> None:
    expected = str(TABLE[status][index]).replace("helm-install-replace", "mark-superseded, helm-install-replace")
    assert outcome(verb, plain(status, age=900.0)) == expected
    if expected != UNCHANGED:
        assert outcome(verb, plain(status, age=900.0), LIVE) is ReleaseLocked


@pytest.mark.parametrize("verb", VERBS)
def test_the_first_record_alone(verb: str) -> None:
    """Nothing before the current one: no way back."""
    for status, wanted_outcome in {
        "deployed": {"deploy": UNCHANGED, "rollback": ReleaseNotFound, "restore": UNCHANGED, "delete": "helm-uninstall"},
        "failed": {"deploy": "helm-upgrade", "rollback": ReleaseNotFound, "restore": UNCHANGED, "delete": "helm-uninstall"},
        "pending-install": {
            "deploy": FAIL_FIRST,
            "rollback": ReleaseNotFound,
            "restore": UNCHANGED,
            "delete": FAIL_THEN_DELETE,
        },
        "uninstalled": {
            "deploy": "helm-install-replace",
            "rollback": ReleaseNotFound,
            "restore": "helm-rollback",
            "delete": UNCHANGED,
        },
    }.items():
        assert outcome(verb, past(own(1, status), operations=(operation(),))) == wanted_outcome[verb]


# putting in order


def test_what_was_fenced_is_recreated_where_helm_must_rewrite_it() -> None:
    fenced = replace(own(2, "failed"), immutable=True)
    known = past(own(1, "deployed", config={"a": 1}), fenced)
    assert outcome("deploy", known) == "helm-upgrade"
    assert outcome("rollback", known) == "helm-rollback"
    assert outcome("delete", known) == "recreate-record, helm-uninstall"
    deleted = past(own(1, "superseded"), replace(own(2, "uninstalled"), immutable=True))
    assert outcome("deploy", deleted) == "recreate-record, helm-install-replace"
    assert outcome("restore", deleted) == "helm-rollback"


def test_a_fence_by_hand_on_what_runs() -> None:
    """Helm could not supersede it, and two would be deployed."""
    known = past(replace(own(1, "deployed", config={"a": 1}), immutable=True), own(2, "failed"))
    for verb, kind in (("deploy", "helm-upgrade"), ("rollback", "helm-rollback")):
        planned = plan(verb, known)
        assert (planned.actions[0].kind, planned.actions[0].subject) == ("recreate-record", "demo.hello.v1")
        assert planned.actions[-1].kind == kind


def test_what_is_deployed_beside_what_helm_supersedes_is_marked() -> None:
    known = past(own(1, "deployed"), own(2, "deployed"), own(3, "failed"))
    assert [(action.kind, action.subject) for action in plan("deploy", known).actions] == [
        ("mark-superseded", "demo.hello.v1"),
        ("helm-upgrade", "demo.hello"),
    ]
    assert outcome("rollback", known) == "helm-rollback"  # it supersedes them all


def test_a_recreation_that_broke_off_is_finished_first() -> None:
    copy = replace(own(2, "deployed"), aside=True)
    known = replace(past(own(1, "superseded"), copy), aside=(copy,))
    assert outcome("delete", known) == "recreate-record, helm-uninstall"
    assert outcome("unlock", known) == "recreate-record"


def test_a_restore_that_broke_off_or_failed_is_done_again() -> None:
    back = operation("back", verb="restore", reason=None, after=2)
    for status, expected in (("pending-rollback", FAIL_THEN_BACK), ("failed", "helm-rollback")):
        known = past(own(1, "superseded"), own(2, "uninstalled"), record(3, status), operations=(back,))
        planned = plan("restore", known)
        assert ", ".join(action.kind for action in planned.actions) == expected
        assert planned.actions[-1].subject == "demo.hello.v2"


@pytest.mark.parametrize(
    ("verb", "after", "ours"), [("rollback", 1, True), ("deploy", 0, True), ("rollback", 0, False), ("delete", 1, False)]
)
def test_a_rollback_that_broke_off_is_known_by_its_operation(verb: str, after: int, *, ours: bool) -> None:
    left = operation("back", verb=verb, reason=None, after=after)
    known = replace(plain("pending-rollback", age=0.0), operations=(left,))
    assert outcome("deploy", known) == (FAIL_FIRST if ours else ReleaseLocked)


def test_a_delete_that_was_done_is_not_taken_for_the_one_that_is_under_way() -> None:
    """Deleted by us, brought back and being uninstalled by plain Helm now: that one is at work."""
    busy = plain("uninstalling", age=0.0)
    assert busy.current is not None
    deletion = uninstall_of(busy.current)
    assert outcome("delete", replace(busy, operations=(deletion,))) == "helm-uninstall"
    done = deletion.model_copy(update={"outcome": Outcome(reason="succeeded", message="")})
    assert outcome("delete", replace(busy, operations=(done,))) is ReleaseLocked
    made_by_us = replace(busy.current, labels=own(2, "uninstalling").labels)
    assert outcome("delete", replace(busy, records=(made_by_us,))) is ReleaseLocked


def test_a_rollback_that_was_broken_off_goes_on_to_where_it_was_going() -> None:
    """Said without a revision, twice: the first one left v3, and v2 is what it went back from."""
    going = Plan(actions=(Action(kind="helm-rollback", subject="demo.hello.v1", reason="because"),))
    begun = operation("back", verb="rollback", reason=None, after=2, plan=going)
    before = (own(1, "superseded"), own(2, "deployed", config={"a": 1}))
    for status in ("pending-rollback", "failed"):
        for reason in (None, "interrupted"):
            ended = begun.model_copy(update={"outcome": Outcome(reason=reason, message="") if reason else None})
            if status == "failed" or reason is None:
                assert target(past(*before, record(3, status), operations=(ended,))) == 1
    failed = begun.model_copy(update={"outcome": Outcome(reason="deploy_failed", message="")})
    assert target(past(*before, record(3, "failed"), operations=(failed,))) == 2
    assert target(past(*before, record(3, "failed"), record(4, "failed"), operations=(begun,))) == 2


# unlock


def test_there_is_nothing_to_unlock() -> None:
    assert outcome("unlock", past()) == UNCHANGED
    assert outcome("unlock", past(own(1, "deployed"), operations=(operation(finished_at=NOW),))) == UNCHANGED


def test_an_unlock_takes_the_lock_and_ends_what_is_unfinished_whoever_began_it() -> None:
    ours = past(own(1, "deployed"), own(2, "pending-upgrade", "two"), operations=(operation("two", reason=None),))
    assert outcome("unlock", ours, LIVE) == "take-lock, mark-failed, settle-operation"
    assert outcome("unlock", plain("pending-upgrade", age=0.0)) == "mark-failed"
    assert outcome("unlock", plain("uninstalling", age=None), EXPIRED) == "take-lock, mark-failed"
    reasons = [action.reason for action in plan("unlock", ours, LIVE).actions]
    assert "ada on ci-7" in reasons[0]
    assert "was left pending-upgrade by ada (deploy)" in reasons[1]


@pytest.mark.parametrize("verb", VERBS)
def test_a_damaged_current_record_stops_every_verb(verb: str) -> None:
    known = past(own(1, "deployed"), own(2, "deployed", payload="!!!"))
    assert outcome(verb, known) is Conflict


def test_deleted_though_an_older_one_says_deployed() -> None:
    """Helm before 3.19.5 leaves it so after a failed upgrade was deleted."""
    known = past(own(1, "deployed", config={"a": 1}), own(2, "uninstalled"), operations=(operation(),))
    assert [outcome(verb, known) for verb in VERBS] == [
        "mark-superseded, helm-install-replace",
        "helm-rollback",
        "helm-rollback",
        UNCHANGED,
    ]


@pytest.mark.parametrize("revision", [9, 10, 11, 100])
def test_after_a_soft_delete_any_revision_is_replaced(revision: int) -> None:
    known = past(*(own(number, "superseded") for number in range(1, revision)), own(revision, "uninstalled"))
    assert outcome("deploy", known) == "helm-install-replace"


# the no-op


@pytest.mark.parametrize(
    ("known", "more"),
    [
        ((own(2, "deployed"), operation()), {"digest": "sha256:" + "b" * 64}),
        ((own(2, "deployed"), operation()), {"values": {"a": 1}}),
        ((own(2, "deployed", config={"a": 1}), operation()), {}),
        ((own(2, "deployed", config={"a": True}), operation()), {"values": {"a": 1}}),
        ((own(2, "deployed"), operation(reason="deploy_failed")), {}),
        ((own(2, "deployed"), operation(digest="sha256:" + "b" * 64)), {}),
        ((record(2, "deployed"), operation()), {}),
        ((own(2, "deployed", "another"), operation()), {}),
    ],
    ids=["chart", "values", "values-gone", "true-is-not-1", "it-failed", "unknown-chart", "foreign", "its-operation-is-gone"],
)
def test_what_is_not_the_same(known: Any, more: dict[str, Any]) -> None:
    assert outcome("deploy", past(known[0], operations=(known[1],)), **more) == "helm-upgrade"


def test_what_is_the_same() -> None:
    known = past(own(2, "deployed", config={"a": 1, "b": None, "c": [1.0]}), operations=(operation(),))
    planned = plan("deploy", known, values={"c": [1], "b": None, "a": 1.0})
    assert not planned.changes
    assert planned.reason == "v2 already runs 1.0.0 with these values"


def test_what_nobody_saw_through_is_deployed_again() -> None:
    known = past(own(2, "deployed"), operations=(operation(reason=None),))
    assert plan("deploy", known).actions[0].reason == "v2 (1.0.0) has no outcome: the deploy by ada was interrupted"


def test_what_a_newer_kubernaut_wrote_is_no_proof() -> None:
    newer = operation().model_copy(update={"unread": "it was written by a newer kubernaut (operation.v2)"})
    assert "newer kubernaut" in plan("deploy", past(own(2, "deployed"), operations=(newer,))).actions[0].reason


def test_labels_that_plain_helm_copied_are_no_facts() -> None:
    copied = record(3, "deployed", labels=dict(own(2, "deployed").labels))
    assert outcome("deploy", past(own(2, "superseded"), copied, operations=(operation(),))) == "helm-upgrade"


def test_what_was_rolled_back_to_is_known() -> None:
    first, failed, back = own(1, "superseded"), own(2, "failed", "two"), record(3, "deployed")
    two = operation("two", reason="deploy_rolled_back", digest="sha256:b", made=(made(failed, "sha256:b"), made(back)))
    known = past(first, failed, back, operations=(two, operation()))
    assert outcome("deploy", known) == UNCHANGED
    assert outcome("deploy", known, digest="sha256:b") == "helm-upgrade"


# what is told


def test_the_reason_names_what_differs_and_what_is_lost_but_no_value() -> None:
    known = past(own(2, "deployed", config={"a": {"b.c": "SECRET", "d": 1}, "e": 1}), operations=(operation(),))
    (action,) = plan("deploy", known, values={"a": {"d": 2}}).actions
    assert action.reason == r"values differ: a.b\.c, a.d, e; no longer set: a.b\.c, e"
    assert "SECRET" not in action.reason


def test_many_keys_are_counted() -> None:
    known = past(own(2, "deployed", config={f"k{number:02}": 1 for number in range(30)}), operations=(operation(),))
    assert "and 20 more" in plan("deploy", known).actions[0].reason


def test_a_refusal_tells_who_since_when_and_what_to_do() -> None:
    with pytest.raises(ReleaseLocked, match=r"demo\.hello is locked by ada on ci-7 \(deploy\)"):
        plan("deploy", past(), LIVE)
    with pytest.raises(ReleaseLocked, match=r"pending-install \(v2\), by plain Helm since 2026-11-22 11:00:00 UTC") as caught:
        plan("deploy", plain("pending-install", age=300.0))
    assert "--lock-timeout" in caught.value.hint
    assert "in 10 min " in caught.value.hint
    assert "`kubernaut unlock hello -n demo`" in caught.value.hint
    assert "`lockTimeout`" in caught.value.http_hint
    deleting = replace(plain("uninstalling", age=0.0), read_at=None)
    deleting = replace(deleting, records=(record(2, "uninstalling", deleted="2026-11-22T13:00:00Z"),))
    with pytest.raises(ReleaseLocked, match=r"by plain Helm since 2026-11-22 13:00:00 UTC"):
        plan("deploy", deleting)


def test_who_left_it_is_told() -> None:
    known = past(own(1, "deployed"), own(2, "pending-upgrade", "two"), operations=(operation("two", reason=None),))
    first = plan("deploy", known, EXPIRED).actions[0]
    assert first.reason == "it was left pending-upgrade by ada (deploy), which is gone, since 2026-11-22 12:00:00 UTC"
    current = own(1, "uninstalling")
    deletion = uninstall_of(current).model_copy(update={"actor": "bob"})
    assert "the delete by bob (delete) since" in plan("deploy", past(current, operations=(deletion, operation()))).actions[0].reason


def test_a_missing_namespace() -> None:
    assert outcome("deploy", past(), namespace_missing=True) is NamespaceNotFound
    assert outcome("deploy", past(), namespace_missing=True, create_namespace=True) == "create-namespace, helm-install"


# rollback


def target(known: ReleaseHistory, revision: int | None = None) -> int:
    return int(plan("rollback", known, revision=revision).actions[-1].subject.rpartition("v")[2])


def test_a_rollback_goes_to_the_newest_that_ran() -> None:
    records = [own(1, "superseded"), own(2, "superseded"), own(3, "failed"), own(4, "deployed", config={"a": 1})]
    assert target(past(*records)) == 2
    assert target(past(*records), 1) == 1
    assert target(past(own(1, "superseded"), own(2, "deployed"), own(3, "failed"))) == 2
    assert target(past(own(1, "superseded"), own(2, "superseded", payload="!!!"), own(3, "failed"))) == 1


def test_a_rollback_to_what_runs_is_nothing() -> None:
    known = past(own(1, "superseded", config={"a": 1}), own(2, "superseded"), own(3, "deployed", config={"a": 1.0}))
    assert outcome("rollback", known, revision=3) == UNCHANGED
    assert outcome("rollback", known, revision=1) == UNCHANGED
    assert outcome("rollback", known, revision=2) == "helm-rollback"
    assert outcome("rollback", past(own(1, "superseded"), own(2, "failed")), revision=2) == "helm-rollback"


@pytest.mark.parametrize(("status", "error"), [("pending-upgrade", Conflict), ("uninstalling", Conflict), (None, ReleaseNotFound)])
def test_a_rollback_to_what_never_ran(status: str | None, error: type[Exception]) -> None:
    records = [own(1, status)] if status else []
    assert outcome("rollback", past(*records, own(3, "deployed", config={"a": 1})), revision=1) is error


def test_a_rollback_to_a_damaged_record() -> None:
    assert outcome("rollback", past(own(1, "superseded", payload="!!!"), own(2, "deployed")), revision=1) is Conflict


# delete


def test_only_the_current_release_is_deleted_or_restored() -> None:
    known = past(own(1, "superseded"), own(2, "deployed"), operations=(operation(),))
    assert outcome("delete", known, revision=1) is ReleaseNotCurrent
    assert outcome("delete", known, revision=2) == "helm-uninstall"
    deleted = past(own(1, "superseded"), own(2, "uninstalled"))
    assert outcome("restore", deleted, revision=1) is ReleaseNotCurrent
    assert outcome("restore", deleted, revision=2) == "helm-rollback"
    assert outcome("delete", past(own(1, "superseded"), own(2, "uninstalled")), revision=2) == UNCHANGED
    assert outcome("unlock", known, LIVE, revision=1) is ReleaseNotCurrent
    assert outcome("unlock", known, LIVE, revision=2) == "take-lock, settle-operation"


# after a failure


def test_what_a_failure_goes_back_to() -> None:
    assert previous_deployed(past(own(1, "superseded"), own(2, "deployed"), own(3, "failed")), 3) is not None
    assert previous_deployed(past(own(1, "superseded"), own(2, "failed"), own(3, "failed")), 3) is None
    assert previous_deployed(past(), 1) is None
