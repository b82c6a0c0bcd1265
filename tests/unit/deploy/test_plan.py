"""The plan for every status of the current record and every verb."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from support.messages import facts
from support.planning import EXPIRED, LIVE, NOW, UNCHANGED, VERBS, known_of, outcome, plain, plan, uninstall_of
from support.records import history, made, operation, own, record

from kubernaut.deploy.lock.lease import Lock
from kubernaut.errors import Conflict, NamespaceNotFound, ReleaseLocked, ReleaseNotFound
from kubernaut.history.operations import Outcome
from kubernaut.history.records import Status

FAIL_FIRST = "mark-failed, helm-upgrade"
FAIL_THEN_BACK = "mark-failed, helm-rollback"
FAIL_THEN_DELETE = "mark-failed, recreate-record, helm-uninstall"

# The plan of the lock holder. The current record is the second, made by our own operation; the first was deployed before it.
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


def test_table_has_every_status() -> None:
    assert {status.value for status in Status} < set(filter(None, TABLE))


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize(("index", "verb"), list(enumerate(VERBS)))
def test_plan_for_every_status_and_verb(status: str | None, index: int, verb: str) -> None:
    assert outcome(verb, known_of(status)) == TABLE[status][index]


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("verb", VERBS)
def test_expired_lock_refuses_nothing(status: str | None, verb: str) -> None:
    assert outcome(verb, known_of(status), EXPIRED) == outcome(verb, known_of(status))


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("verb", VERBS)
def test_live_lock_refuses_every_change(status: str | None, verb: str) -> None:
    free = outcome(verb, known_of(status))
    assert outcome(verb, known_of(status), LIVE) == (free if free in REFUSED_ANYWAY else ReleaseLocked)


@pytest.mark.parametrize("lock", [Lock(), EXPIRED, LIVE], ids=lambda lock: lock.state)
@pytest.mark.parametrize("status", UNFINISHED)
@pytest.mark.parametrize("verb", ["deploy", "rollback", "delete"])
def test_plain_helm_at_work_refuses_every_change(status: str, verb: str, lock: Lock) -> None:
    for age in (0.0, 899.0, -3600.0, None):  # a clock may be set back, and one that is not known proves nothing
        assert outcome(verb, plain(status, age=age), lock) is ReleaseLocked
    assert outcome(verb, plain(status, age=59.0), lock, stale_after=60.0) is ReleaseLocked


@pytest.mark.parametrize(("index", "verb"), list(enumerate(VERBS)))
@pytest.mark.parametrize("status", UNFINISHED)
def test_stale_record_of_plain_helm_is_finished(status: str, index: int, verb: str) -> None:
    expected = str(TABLE[status][index]).replace("helm-install-replace", "mark-superseded, helm-install-replace")
    assert outcome(verb, plain(status, age=900.0)) == expected
    if expected != UNCHANGED:
        assert outcome(verb, plain(status, age=900.0), LIVE) is ReleaseLocked


@pytest.mark.parametrize("verb", VERBS)
def test_plan_with_a_single_record(verb: str) -> None:
    """Nothing before the current one: no way back."""
    for status, expected in {
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
        assert outcome(verb, history(own(1, status), operations=(operation(),))) == expected[verb]


# putting in order


def test_fenced_record_is_recreated_where_helm_rewrites_it() -> None:
    fenced = replace(own(2, "failed"), immutable=True)
    known = history(own(1, "deployed", config={"a": 1}), fenced)
    assert outcome("deploy", known) == "helm-upgrade"
    assert outcome("rollback", known) == "helm-rollback"
    assert outcome("delete", known) == "recreate-record, helm-uninstall"
    deleted = history(own(1, "superseded"), replace(own(2, "uninstalled"), immutable=True))
    assert outcome("deploy", deleted) == "recreate-record, helm-install-replace"
    assert outcome("restore", deleted) == "helm-rollback"


@pytest.mark.parametrize(
    ("verb", "left", "gone"),
    [
        ("deploy", "recreate-record, helm-uninstall, helm-install-replace", "mark-uninstalled, helm-install-replace"),
        ("rollback", "recreate-record, helm-uninstall, helm-rollback", "mark-uninstalled, helm-rollback"),
        ("restore", "recreate-record, helm-uninstall, helm-rollback", "mark-uninstalled, helm-rollback"),
        ("delete", "recreate-record, helm-uninstall", "mark-uninstalled"),
        ("unlock", "mark-failed", "mark-uninstalled"),
    ],
)
def test_fenced_uninstall_goes_by_what_is_left(verb: str, left: str, gone: str) -> None:
    current = replace(own(2, "uninstalling"), immutable=True)
    known = history(own(1, "superseded"), current, operations=(uninstall_of(current, finished_at=NOW), operation(finished_at=NOW)))
    assert outcome(verb, known) == left
    assert outcome(verb, known, gone=True) == gone
    unfenced = replace(known, records=(replace(current, immutable=False), *known.records[1:]))
    assert "mark-uninstalled" not in str(outcome(verb, unfenced, gone=True)), "Helm finishes it, with its hooks"


@pytest.mark.parametrize("verb", ["deploy", "rollback", "restore", "delete"])
def test_plan_says_that_hooks_are_left_out(verb: str) -> None:
    known = history(own(1, "superseded"), own(2, "uninstalling"), operations=(uninstall_of(own(2, "uninstalling")), operation()))
    for action in plan(verb, known, no_hooks=True).actions:
        assert action.reason.endswith("without hooks")


def test_revision_that_is_being_uninstalled_is_a_target() -> None:
    current = own(1, "uninstalling")
    known = history(current, operations=(uninstall_of(current), operation()))
    assert outcome("rollback", known, revision=1) == "helm-uninstall, helm-rollback"


def test_fenced_running_record_is_recreated_first() -> None:
    """Helm could not supersede it, and two would be deployed."""
    known = history(replace(own(1, "deployed", config={"a": 1}), immutable=True), own(2, "failed"))
    for verb, kind in (("deploy", "helm-upgrade"), ("rollback", "helm-rollback")):
        planned = plan(verb, known)
        assert (planned.actions[0].kind, planned.actions[0].subject) == ("recreate-record", "demo.hello.v1")
        assert planned.actions[-1].kind == kind


def test_stray_deployed_revisions_are_marked_superseded() -> None:
    known = history(own(1, "deployed"), own(2, "deployed"), own(3, "failed"))
    assert [(action.kind, action.subject) for action in plan("deploy", known).actions] == [
        ("mark-superseded", "demo.hello.v1"),
        ("helm-upgrade", "demo.hello"),
    ]
    assert outcome("rollback", known) == "helm-rollback"  # it supersedes them all


def test_interrupted_recreation_is_finished_first() -> None:
    copy = replace(own(2, "deployed"), aside=True)
    known = replace(history(own(1, "superseded"), copy), aside=(copy,))
    assert outcome("delete", known) == "recreate-record, helm-uninstall"
    assert outcome("unlock", known) == "recreate-record"


def test_interrupted_or_failed_restore_is_repeated() -> None:
    back = operation("back", verb="restore", reason=None, after=2)
    for status, expected in (("pending-rollback", FAIL_THEN_BACK), ("failed", "helm-rollback")):
        known = history(own(1, "superseded"), own(2, "uninstalled"), record(3, status), operations=(back,))
        planned = plan("restore", known)
        assert ", ".join(action.kind for action in planned.actions) == expected
        assert planned.actions[-1].subject == "demo.hello.v2"


@pytest.mark.parametrize(
    ("verb", "after", "ours"), [("rollback", 1, True), ("deploy", 0, True), ("rollback", 0, False), ("delete", 1, False)]
)
def test_interrupted_rollback_is_recognized_by_its_operation(verb: str, after: int, *, ours: bool) -> None:
    left = operation("back", verb=verb, reason=None, after=after)
    known = replace(plain("pending-rollback", age=0.0), operations=(left,))
    assert outcome("deploy", known) == (FAIL_FIRST if ours else ReleaseLocked)


def test_finished_delete_does_not_claim_plain_helms_uninstall() -> None:
    """Deleted by us, brought back and being uninstalled by plain Helm now: that one is at work."""
    busy = plain("uninstalling", age=0.0)
    assert busy.current is not None
    deletion = uninstall_of(busy.current)
    assert outcome("delete", replace(busy, operations=(deletion,))) == "helm-uninstall"
    done = deletion.model_copy(update={"outcome": Outcome(reason="succeeded", message="")})
    assert outcome("delete", replace(busy, operations=(done,))) is ReleaseLocked
    made_by_us = replace(busy.current, labels=own(2, "uninstalling").labels)
    assert outcome("delete", replace(busy, records=(made_by_us,))) is ReleaseLocked


def test_unlock_without_anything_to_do() -> None:
    assert outcome("unlock", history()) == UNCHANGED
    assert outcome("unlock", history(own(1, "deployed"), operations=(operation(finished_at=NOW),))) == UNCHANGED


def test_unlock_takes_the_lock_and_finishes_everything() -> None:
    ours = history(own(1, "deployed"), own(2, "pending-upgrade", "two"), operations=(operation("two", reason=None),))
    assert outcome("unlock", ours, LIVE) == "take-lock, mark-failed, settle-operation"
    assert outcome("unlock", plain("pending-upgrade", age=0.0)) == "mark-failed"
    assert outcome("unlock", plain("uninstalling", age=None), EXPIRED) == "take-lock, mark-failed"
    reasons = [action.reason for action in plan("unlock", ours, LIVE).actions]
    assert re.search(facts("ada", "ci-7"), reasons[0])
    assert re.search(facts("pending-upgrade", "ada", "deploy"), reasons[1])


@pytest.mark.parametrize("verb", VERBS)
def test_damaged_current_record_refuses_every_verb(verb: str) -> None:
    known = history(own(1, "deployed"), own(2, "deployed", payload="!!!"))
    assert outcome(verb, known) is Conflict


def test_deleted_current_record_outweighs_an_older_deployed_one() -> None:
    """Helm before 3.19.5 leaves it so after a failed upgrade was deleted."""
    known = history(own(1, "deployed", config={"a": 1}), own(2, "uninstalled"), operations=(operation(),))
    assert [outcome(verb, known) for verb in VERBS] == [
        "mark-superseded, helm-install-replace",
        "helm-rollback",
        "helm-rollback",
        UNCHANGED,
    ]


@pytest.mark.parametrize("revision", [9, 10, 11, 100])
def test_deploy_after_a_delete_replaces_any_revision(revision: int) -> None:
    known = history(*(own(number, "superseded") for number in range(1, revision)), own(revision, "uninstalled"))
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
def test_difference_leads_to_an_upgrade(known: Any, more: dict[str, Any]) -> None:
    assert outcome("deploy", history(known[0], operations=(known[1],)), **more) == "helm-upgrade"


def test_equal_release_needs_no_upgrade() -> None:
    known = history(own(2, "deployed", config={"a": 1, "b": None, "c": [1.0]}), operations=(operation(),))
    planned = plan("deploy", known, values={"c": [1], "b": None, "a": 1.0})
    assert not planned.changes
    assert re.search(facts("v2", "1.0.0"), str(planned.reason))


def test_deploy_without_an_outcome_is_repeated() -> None:
    known = history(own(2, "deployed"), operations=(operation(reason=None),))
    assert re.search(facts("v2", "1.0.0", "deploy", "ada"), plan("deploy", known).actions[0].reason)


def test_unreadable_operation_is_deployed_again() -> None:
    newer = operation().model_copy(update={"unread": "unknown schema operation.v2"})
    assert "unknown schema operation.v2" in plan("deploy", history(own(2, "deployed"), operations=(newer,))).actions[0].reason


def test_labels_copied_by_plain_helm_are_ignored() -> None:
    copied = record(3, "deployed", labels=dict(own(2, "deployed").labels))
    assert outcome("deploy", history(own(2, "superseded"), copied, operations=(operation(),))) == "helm-upgrade"


def test_rolled_back_release_is_compared_by_its_own_chart() -> None:
    first, failed, back = own(1, "superseded"), own(2, "failed", "two"), record(3, "deployed")
    two = operation("two", reason="deploy_rolled_back", digest="sha256:b", made=(made(failed, "sha256:b"), made(back)))
    known = history(first, failed, back, operations=(two, operation()))
    assert outcome("deploy", known) == UNCHANGED
    assert outcome("deploy", known, digest="sha256:b") == "helm-upgrade"


# reasons and refusals


def test_reason_names_keys_but_no_values() -> None:
    known = history(own(2, "deployed", config={"a": {"b.c": "SECRET", "d": 1}, "e": 1}), operations=(operation(),))
    (action,) = plan("deploy", known, values={"a": {"d": 2}}).actions
    differing, _, unset = action.reason.partition(";")
    assert re.search(facts(r"a.b\.c", "a.d", "e"), differing)
    assert re.search(facts(r"a.b\.c", "e"), unset)
    assert "a.d" not in unset
    assert "SECRET" not in action.reason


def test_reason_counts_further_keys() -> None:
    known = history(own(2, "deployed", config={f"k{number:02}": 1 for number in range(30)}), operations=(operation(),))
    reason = plan("deploy", known).actions[0].reason
    assert re.search(facts("k00", "20"), reason)
    assert "k29" not in reason


def test_refusal_names_holder_start_and_commands() -> None:
    with pytest.raises(ReleaseLocked, match=facts("demo.hello", "ada", "ci-7", "deploy")):
        plan("deploy", history(), LIVE)
    with pytest.raises(ReleaseLocked, match=facts("pending-install", "v2", "Helm", "2026-11-22 11:00:00 UTC")) as caught:
        plan("deploy", plain("pending-install", age=300.0))
    assert "--lock-timeout" in caught.value.hint
    assert re.search(facts("10 min"), caught.value.hint)
    assert "`kubernaut unlock hello -n demo`" in caught.value.hint
    assert "`lockTimeout`" in caught.value.http_hint
    deleting = replace(plain("uninstalling", age=0.0), read_at=None)
    deleting = replace(deleting, records=(record(2, "uninstalling", deleted="2026-11-22T13:00:00Z"),))
    with pytest.raises(ReleaseLocked, match=facts("Helm", "2026-11-22 13:00:00 UTC")):
        plan("deploy", deleting)


def test_reason_names_who_left_a_record() -> None:
    known = history(own(1, "deployed"), own(2, "pending-upgrade", "two"), operations=(operation("two", reason=None),))
    first = plan("deploy", known, EXPIRED).actions[0]
    assert re.search(facts("pending-upgrade", "ada", "deploy", "2026-11-22 12:00:00 UTC"), first.reason)
    current = own(1, "uninstalling")
    deletion = uninstall_of(current).model_copy(update={"actor": "bob"})
    assert (
        "the delete by bob (delete) since" in plan("deploy", history(current, operations=(deletion, operation()))).actions[0].reason
    )


def test_missing_namespace_is_refused_or_created() -> None:
    assert outcome("deploy", history(), namespace_missing=True) is NamespaceNotFound
    assert outcome("deploy", history(), namespace_missing=True, create_namespace=True) == "create-namespace, helm-install"


# rollback
