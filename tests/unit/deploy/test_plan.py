"""The plan: every status of the current record, and every verb, and what else decides."""

from __future__ import annotations

from typing import Any

import pytest
from support.past import DIGEST, made, operation, own, past, record

from kubernaut.deploy.plan import Wanted, plan_delete, plan_deploy, plan_restore, plan_rollback, previous
from kubernaut.deploy.values import Wish
from kubernaut.errors import Conflict, NamespaceNotFound, ReleaseLocked, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.history.record import Status
from kubernaut.history.store import Past
from kubernaut.model import Plan

VERBS = ("deploy", "rollback", "restore", "delete")
UNCHANGED = "unchanged"


def wanted(digest: str = DIGEST, **more: Any) -> Wanted:
    return Wanted("demo", "hello", "1.0.0", f"oci://r/hello@{digest}", digest, **more)


def plan(verb: str, known: Past, **more: Any) -> Plan:
    if verb == "deploy":
        values = more.pop("values", {})
        missing = more.pop("namespace_missing", False)
        return plan_deploy(known, wanted(**more), values, namespace_missing=missing)
    if verb == "rollback":
        return plan_rollback(known, "demo", "hello", more.get("revision"))[0]
    if verb == "restore":
        return plan_restore(known, "demo", "hello", more.get("revision"))[0]
    return plan_delete(known, "demo", "hello", more.get("revision"))[0]


def outcome(verb: str, known: Past, **more: Any) -> object:
    """What a plan does, as one word: the kinds of its actions, or the error."""
    try:
        planned = plan(verb, known, **more)
    except (Conflict, ReleaseNotFound, NamespaceNotFound) as error:
        return type(error)
    assert all(action.reason and action.subject for action in planned.actions)
    assert planned.actions or planned.reason
    return ", ".join(action.kind for action in planned.actions) or UNCHANGED


# The current record is the second; the first once ran (superseded), except beside pending-install.
TABLE: dict[str | None, tuple[object, object, object, object]] = {
    #                             deploy                 rollback         restore          delete
    None: ("helm-install", ReleaseNotFound, ReleaseNotFound, ReleaseNotFound),
    "deployed": (UNCHANGED, "helm-rollback", UNCHANGED, "helm-uninstall"),
    "superseded": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
    "failed": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
    "unknown": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
    "uninstalled": ("helm-install-replace", "helm-rollback", "helm-rollback", UNCHANGED),
    "uninstalling": (ReleaseLocked, ReleaseLocked, ReleaseLocked, "helm-uninstall"),
    "pending-install": (ReleaseLocked, "helm-rollback", ReleaseLocked, "helm-uninstall"),
    "pending-upgrade": (ReleaseLocked, "helm-rollback", ReleaseLocked, "helm-uninstall"),
    "pending-rollback": (ReleaseLocked, "helm-rollback", ReleaseLocked, "helm-uninstall"),
    "from-the-future": ("helm-upgrade", "helm-rollback", UNCHANGED, "helm-uninstall"),
}


def test_the_table_has_every_status() -> None:
    assert {status.value for status in Status} < set(filter(None, TABLE))


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize(("index", "verb"), list(enumerate(VERBS)))
def test_every_status_and_every_verb(status: str | None, index: int, verb: str) -> None:
    old = own(1, "superseded", "old", config={"was": "other"})
    known = past(old, own(2, status), operations=(operation(),)) if status else past()
    assert outcome(verb, known) == TABLE[status][index]


@pytest.mark.parametrize("verb", VERBS)
def test_the_first_record_alone(verb: str) -> None:
    """Nothing before the current one: no way back."""
    for status, wanted_outcome in {
        "deployed": {"deploy": UNCHANGED, "rollback": ReleaseNotFound, "restore": UNCHANGED, "delete": "helm-uninstall"},
        "failed": {"deploy": "helm-upgrade", "rollback": ReleaseNotFound, "restore": UNCHANGED, "delete": "helm-uninstall"},
        "pending-install": {
            "deploy": ReleaseLocked,
            "rollback": ReleaseLocked,
            "restore": ReleaseLocked,
            "delete": "helm-uninstall",
        },
        "uninstalled": {
            "deploy": "helm-install-replace",
            "rollback": ReleaseNotFound,
            "restore": "helm-rollback",
            "delete": UNCHANGED,
        },
    }.items():
        assert outcome(verb, past(own(1, status), operations=(operation(),))) == wanted_outcome[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_a_damaged_current_record_stops_every_verb(verb: str) -> None:
    known = past(own(1, "deployed"), own(2, "deployed", payload="!!!"))
    assert outcome(verb, known) is Conflict


def test_deleted_though_an_older_one_says_deployed() -> None:
    """Helm before 3.19.5 leaves it so after a failed upgrade was deleted."""
    known = past(own(1, "deployed", config={"a": 1}), own(2, "uninstalled"), operations=(operation(),))
    assert [outcome(verb, known) for verb in VERBS] == ["helm-install-replace", "helm-rollback", "helm-rollback", UNCHANGED]


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


def test_an_operation_that_never_ended_well_known_is_no_reason_to_deploy_again() -> None:
    assert outcome("deploy", past(own(2, "deployed"), operations=(operation(reason=None),))) == UNCHANGED


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


def test_a_lock_is_told_with_who_since_when_and_what_to_do() -> None:
    known = past(own(1, "deployed"), own(2, "pending-upgrade", "two"), operations=(operation("two", reason=None),))
    with pytest.raises(
        ReleaseLocked, match=r"demo\.hello is pending-upgrade \(v2\), by ada \(deploy\) since 2026-11-22T12:00"
    ) as caught:
        plan("deploy", known)
    assert "kubernaut rollback hello -n demo" in caught.value.hint
    with pytest.raises(ReleaseLocked, match="plain Helm") as caught:
        plan("deploy", past(record(1, "pending-install")))
    assert "kubernaut delete hello -n demo" in caught.value.hint
    begun = operation("del", verb="delete", reason=None, plan=plan_delete(past(own(1, "deployed")), "demo", "hello")[0])
    with pytest.raises(ReleaseLocked, match=r"by ada \(delete\)") as caught:
        plan("deploy", past(own(1, "uninstalling"), operations=(begun,)))
    assert "kubernaut delete hello -n demo" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "verb"), [("pending-upgrade", "rollback"), ("pending-install", "delete"), ("uninstalling", "delete")]
)
def test_what_the_hint_says_works(status: str, verb: str) -> None:
    assert plan(verb, past(own(1, "superseded", config={"a": 1}), own(2, status))).changes


def test_a_missing_namespace() -> None:
    assert outcome("deploy", past(), namespace_missing=True) is NamespaceNotFound
    assert outcome("deploy", past(), namespace_missing=True, create_namespace=True) == "create-namespace, helm-install"


# rollback


def target(known: Past, revision: int | None = None) -> int:
    return plan_rollback(known, "demo", "hello", revision)[1].revision


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
    known = past(own(1, "superseded"), own(2, "deployed"))
    assert outcome("delete", known, revision=1) is ReleaseNotCurrent
    assert outcome("delete", known, revision=2) == "helm-uninstall"
    deleted = past(own(1, "superseded"), own(2, "uninstalled"))
    assert outcome("restore", deleted, revision=1) is ReleaseNotCurrent
    assert outcome("restore", deleted, revision=2) == "helm-rollback"
    assert outcome("delete", past(own(1, "superseded"), own(2, "uninstalled")), revision=2) == UNCHANGED


# after a failure


def test_what_a_failure_goes_back_to() -> None:
    assert previous(past(own(1, "superseded"), own(2, "deployed"), own(3, "failed")), 3) is not None
    assert previous(past(own(1, "superseded"), own(2, "failed"), own(3, "failed")), 3) is None
    assert previous(past(), 1) is None


# the wish


def test_the_layers_of_a_wish() -> None:
    wish = Wish({"a": 1, "b": 1, "c": 1, "d": 1}, ({"b": 2, "c": 2}, {"c": 3}), ("d=4", "e.f=5"))
    assert wish.values({"a": 9, "z": 9}) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": {"f": 5}}
    reusing = Wish({"a": 1, "n": 1}, ({"b": 2},), ("c=3",), reuse=True)
    assert reusing.values({"a": 9, "b": 9, "c": 9, "z": 9}) == {"a": 9, "n": 1, "b": 2, "c": 3, "z": 9}
    assert reusing.values(None) == {"a": 1, "n": 1, "b": 2, "c": 3}


def test_a_wish_changes_nobodys_values() -> None:
    environment = {"a": {"b": [1]}}
    Wish(environment, (), ("a.b[0]=2", "a.c=3")).values()
    assert environment == {"a": {"b": [1]}}
