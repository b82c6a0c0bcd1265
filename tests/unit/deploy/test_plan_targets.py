"""The release that a rollback, a restore or a delete works on, and what the plan lists of it."""

from __future__ import annotations

import re

import pytest
from support.messages import facts
from support.planning import LIVE, UNCHANGED, outcome, plan, uninstall_of
from support.records import history, made, operation, own, record

from kubernaut.deploy.planning.revisions import served_before
from kubernaut.errors import Conflict, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.history.operations import Operation, Outcome
from kubernaut.history.records import Record
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan


def target(known: ReleaseHistory, revision: int | None = None) -> int:
    return int(plan("rollback", known, revision=revision).actions[-1].subject.rpartition("v")[2])


def test_rollback_skips_failed_and_damaged_revisions() -> None:
    records = [own(1, "superseded"), own(2, "superseded"), own(3, "failed"), own(4, "deployed", config={"a": 1})]
    assert target(history(*records)) == 2
    assert target(history(*records), 1) == 1
    assert target(history(own(1, "superseded"), own(2, "deployed"), own(3, "failed"))) == 2
    assert target(history(own(1, "superseded"), own(2, "superseded", payload="!!!"), own(3, "failed"))) == 1


def test_rollback_to_the_running_release_does_nothing() -> None:
    known = history(own(1, "superseded", config={"a": 1}), own(2, "superseded"), own(3, "deployed", config={"a": 1.0}))
    assert outcome("rollback", known, revision=3) == UNCHANGED
    assert outcome("rollback", known, revision=1) == UNCHANGED
    assert outcome("rollback", known, revision=2) == "helm-rollback"
    assert outcome("rollback", history(own(1, "superseded"), own(2, "failed")), revision=2) == "helm-rollback"


@pytest.mark.parametrize(("status", "error"), [("pending-upgrade", Conflict), (None, ReleaseNotFound)])
def test_rollback_to_a_revision_that_never_ran_is_refused(status: str | None, error: type[Exception]) -> None:
    records = [own(1, status)] if status else []
    assert outcome("rollback", history(*records, own(3, "deployed", config={"a": 1})), revision=1) is error


def test_rollback_to_a_damaged_record_is_refused() -> None:
    assert outcome("rollback", history(own(1, "superseded", payload="!!!"), own(2, "deployed")), revision=1) is Conflict


# delete


def test_only_the_current_release_is_deleted_restored_or_unlocked() -> None:
    known = history(own(1, "superseded"), own(2, "deployed"), operations=(operation(),))
    assert outcome("delete", known, revision=1) is ReleaseNotCurrent
    assert outcome("delete", known, revision=2) == "helm-uninstall"
    deleted = history(own(1, "superseded"), own(2, "uninstalled"))
    assert outcome("restore", deleted, revision=1) is ReleaseNotCurrent
    assert outcome("restore", deleted, revision=2) == "helm-rollback"
    assert outcome("delete", history(own(1, "superseded"), own(2, "uninstalled")), revision=2) == UNCHANGED
    assert outcome("unlock", known, LIVE, revision=1) is ReleaseNotCurrent
    assert outcome("unlock", known, LIVE, revision=2) == "take-lock, settle-operation"


MANIFEST = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, annotations: {helm.sh/resource-policy: keep}}
---
apiVersion: v1
kind: List
items: [{kind: ConfigMap, metadata: {name: other, namespace: elsewhere}}, {kind: Service, metadata: {name: web, namespace: demo}}]
"""


def test_delete_lists_the_objects_that_it_removes() -> None:
    (action,) = plan("delete", history(own(2, "deployed", manifest=MANIFEST))).actions
    assert action.objects == ("Deployment/web", "ConfigMap/other in elsewhere", "Service/web")
    assert re.search(facts("v2", "1.0.0", "deployed", "3"), action.reason)
    (action,) = plan("delete", history(own(2, "deployed", manifest="# nothing\n"))).actions
    assert action.objects == ()
    assert re.search(facts("v2", "1.0.0", "deployed"), action.reason)


def test_delete_names_the_definitions_whose_resources_go_for_good() -> None:
    manifest = (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: backups.example.com}\n---\n"
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
        "metadata: {name: kept.example.com, annotations: {helm.sh/resource-policy: keep}}\n"
    )
    (action,) = plan("delete", history(own(1, "deployed", manifest=manifest))).actions
    assert action.removed_definitions == ("backups.example.com",)
    assert re.search(facts("backups.example.com", "all namespaces"), action.reason)
    assert "kept.example.com" not in action.reason


def test_delete_says_why_it_cannot_list_the_objects_that_it_removes() -> None:
    (action,) = plan("delete", history(own(2, "deployed", manifest=f"{MANIFEST}---\nkind: [1\n"))).actions
    assert action.objects == ()
    assert "line 13" in action.reason
    assert "no objects" not in action.reason


def test_interrupted_delete_lists_the_objects_that_it_still_removes() -> None:
    left = own(1, "uninstalling", manifest=MANIFEST)
    known = history(left, operations=(uninstall_of(left),))
    assert [len(action.objects) for action in plan("deploy", known).actions] == [3, 0]
    assert re.search(facts("delete", "v1", "1.0.0"), plan("delete", known).actions[0].reason)


def test_objects_are_left_out_of_the_json_of_other_actions() -> None:
    action = Action(kind="helm-upgrade", subject="demo.hello", reason="because")
    assert action.model_dump(mode="json") == {"kind": "helm-upgrade", "subject": "demo.hello", "reason": "because"}


# versions


def test_reasons_name_versions_and_subjects_do_not() -> None:
    old, current = own(1, "superseded", version="1.0.0"), own(2, "failed", version="1.1.0")
    (back,) = plan("rollback", history(old, current)).actions
    assert back.subject == "demo.hello.v1"
    assert re.search(r"v2 \(1\.1\.0\).*failed.*v1 \(1\.0\.0\).*superseded", back.reason)
    (upgrade,) = plan("deploy", history(old, current)).actions
    assert upgrade.subject == "demo.hello"
    assert re.search(r"v2 \(1\.1\.0\).*failed", upgrade.reason)
    deleted = history(old, own(2, "uninstalled", version="1.1.0"))
    assert "v2 (1.1.0)" in plan("restore", deleted).actions[-1].reason
    assert re.search(r"v2 \(1\.1\.0\).*\b1\.0\.0$", plan("deploy", deleted).actions[-1].reason)


# after a failure


def test_target_of_an_automatic_rollback() -> None:
    def automatic(*records: Record, operations: tuple[Operation, ...] = ()) -> int | None:
        found = served_before(history(*records, operations=operations), 4, through_deletes=False).record
        return found.revision if found else None

    assert automatic(own(1, "superseded"), own(2, "deployed"), own(3, "failed")) == 2
    assert automatic(own(1, "superseded"), own(2, "failed"), own(3, "failed")) == 1
    assert automatic(own(1, "superseded"), own(2, "uninstalled")) is None
    assert automatic(own(1, "superseded"), own(2, "superseded", deleted="2026-11-22T12:00:00Z"), own(3, "failed")) is None
    assert automatic() is None


@pytest.mark.parametrize("reason", ["deploy_failed", "interrupted"])
def test_revision_whose_operation_failed_is_passed_over_and_named(reason: str) -> None:
    """Helm calls it deployed, and superseded once a later revision runs; the application never answered."""
    bad = own(2, "superseded", "bad")
    failed = operation("bad", made=(made(bad),), reason=reason)
    known = history(own(1, "superseded"), bad, own(3, "deployed", config={"a": 1}), operations=(failed,))
    assert target(known) == 1
    assert "v2 (1.0.0)" in plan("rollback", known).actions[-1].reason
    assert target(known, 2) == 2


def test_revision_whose_operation_has_no_outcome_counts_by_its_status() -> None:
    killed = own(2, "superseded", "killed")
    without = operation("killed", made=(made(killed),), reason=None)
    assert target(history(own(1, "superseded"), killed, own(3, "deployed", config={"a": 1}), operations=(without,))) == 2


def test_rollback_after_a_failed_deploy_counts_as_serving() -> None:
    bad, back = own(2, "failed", "both"), own(3, "superseded")
    both = operation("both", made=(made(bad), made(back)), reason="deploy_rolled_back")
    assert target(history(own(1, "superseded"), bad, back, own(4, "failed"), operations=(both,))) == 3


def test_rollback_without_a_revision_that_served_is_refused() -> None:
    bad = own(1, "superseded", "bad")
    failed = operation("bad", made=(made(bad),), reason="deploy_failed")
    assert outcome("rollback", history(bad, own(2, "failed"), operations=(failed,))) is ReleaseNotFound


def test_restore_brings_back_the_newest_revision_that_served() -> None:
    bad = own(2, "uninstalled", "bad")
    kept = operation("bad", made=(made(bad),), reason="deploy_kept")
    (restored,) = plan("restore", history(own(1, "superseded"), bad, operations=(kept,))).actions
    assert restored.subject == "demo.hello.v1"
    assert "v2 (1.0.0)" in restored.reason


def test_repeated_rollback_continues_to_its_first_target() -> None:
    """Two rollbacks without a revision: the first left v3, and started from v2."""
    going = Plan(actions=(Action(kind="helm-rollback", subject="demo.hello.v1", reason="because"),))
    begun = operation("back", verb="rollback", reason=None, after=2, plan=going)
    before = (own(1, "superseded"), own(2, "deployed", config={"a": 1}))
    for status in ("pending-rollback", "failed"):
        for reason in (None, "interrupted", "deploy_failed", "lock_lost"):
            ended = begun.model_copy(update={"outcome": Outcome(reason=reason, message="") if reason else None})
            if status == "failed" or reason is None:
                assert target(history(*before, record(3, status), operations=(ended,))) == 1
    assert target(history(*before, record(3, "failed"), record(4, "failed"), operations=(begun,))) == 2
    kept = begun.model_copy(update={"outcome": Outcome(reason="deploy_failed", message="")})
    (again,) = plan("rollback", history(*before, record(3, "failed"), operations=(kept,))).actions
    assert re.search(facts("v3", "v1", "repeated"), again.reason)
    assert target(history(*before, record(3, "failed"), operations=(kept,)), 2) == 2, "another one is named"


def test_rollback_goes_on_after_one_that_succeeded() -> None:
    going = Plan(actions=(Action(kind="helm-rollback", subject="demo.hello.v1", reason="because"),))
    done = operation("back", verb="rollback", after=2, plan=going)
    later = history(own(1, "superseded"), own(2, "superseded"), record(3, "failed"), operations=(done,))
    assert target(later) == 2


def test_rollback_that_was_interrupted_when_it_was_done_is_not_undone() -> None:
    going = Plan(actions=(Action(kind="helm-rollback", subject="demo.hello.v1", reason="because"),))
    interrupted = operation("back", verb="rollback", reason=None, after=2, plan=going, finished_at=None)
    records = (own(1, "superseded"), own(2, "superseded", config={"a": 1}), record(3, "deployed"))
    assert not plan("rollback", history(*records, operations=(interrupted,))).changes, "v3 runs what v1 is"
    done = operation("back", verb="rollback", after=2, plan=going)
    assert target(history(*records, operations=(done,))) == 2, "another one goes on"


# unlock
