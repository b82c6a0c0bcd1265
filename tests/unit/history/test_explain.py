"""Tests of the explanation of a release: which release it is of, and what it contains."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.records import EVIDENCE, SENTENCE, STARTED, failed_operation, history, operation, own, record, write_rolled_back

from kubernaut.errors import Conflict, ReleaseNotFound
from kubernaut.history.explain import ReleaseExplanation, explain_release, read_explanation
from kubernaut.history.operations import Operation
from kubernaut.history.records import encode
from kubernaut.history.releases import ReleaseId
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.testing.cluster import FakeCluster

CURRENT = ReleaseId("demo", "hello")


def revision(number: int) -> ReleaseId:
    return ReleaseId("demo", "hello", number)


def rolled_back() -> ReleaseHistory:
    first, failed, again = record(1, "superseded"), own(2, "failed"), record(3, "deployed")
    return history(first, failed, again, operations=(failed_operation("op", failed, again),))


def attempt(id: str = "op9", *, hours: int) -> Operation:
    """Return an operation that failed without making a release, some hours after the others."""
    at = STARTED + timedelta(hours=hours)
    return failed_operation(id).model_copy(update={"started_at": at, "finished_at": at})


def test_failed_release_is_explained_by_its_operation() -> None:
    failed = own(1, "failed")
    assert explain_release(history(failed, operations=(failed_operation("op", failed),)), CURRENT) == ReleaseExplanation(
        id="demo.hello.v1",
        namespace="demo",
        name="hello",
        verb="deploy",
        state="failed",
        reason="deploy_failed",
        cause="image_not_found",
        sentence=SENTENCE,
        evidence=EVIDENCE,
        operation="op",
        at=STARTED,
    )


@pytest.mark.parametrize("wanted", [CURRENT, revision(2)])
def test_name_of_a_rolled_back_release_explains_the_failed_one(wanted: ReleaseId) -> None:
    found = explain_release(rolled_back(), wanted)
    assert (found.id, found.state, found.cause, found.evidence) == ("demo.hello.v2", "failed", "image_not_found", EVIDENCE)
    assert found.last_failed is None


def test_release_that_a_rollback_made_succeeded_and_names_the_failed_one() -> None:
    found = explain_release(rolled_back(), revision(3))
    assert (found.id, found.state, found.cause, found.evidence) == ("demo.hello.v3", "succeeded", None, ())
    assert found.last_failed == "demo.hello.v2"
    assert explain_release(rolled_back(), revision(1)).last_failed is None


def test_failed_release_whose_record_helm_removed_is_still_explained() -> None:
    failed, again = own(2, "failed"), record(3, "deployed")
    found = explain_release(history(again, operations=(failed_operation("op", failed, again),)), CURRENT)
    assert (found.id, found.cause) == ("demo.hello.v2", "image_not_found")


def test_release_after_a_failed_one_succeeded() -> None:
    failed, fixed = own(1, "failed", "op"), own(2, "deployed", "op2")
    done = operation("op2", finished_at=STARTED)
    found = explain_release(history(failed, fixed, operations=(done, failed_operation("op", failed))), CURRENT)
    assert (found.id, found.state, found.reason, found.last_failed) == ("demo.hello.v2", "succeeded", "succeeded", "demo.hello.v1")


@pytest.mark.parametrize(("hours", "id", "state"), [(1, None, "failed"), (-48, "demo.hello.v1", "succeeded")])
def test_newest_attempt_without_a_release_is_explained(hours: int, id: str | None, state: str) -> None:
    found = explain_release(history(record(1, "deployed"), operations=(attempt(hours=hours),)), CURRENT)
    assert (found.id, found.state) == (id, state)
    assert explain_release(history(record(1, "deployed"), operations=(attempt(hours=hours),)), revision(1)).id == "demo.hello.v1"


def test_attempt_of_a_name_without_releases_is_explained() -> None:
    found = explain_release(history(operations=(attempt(hours=0),)), CURRENT)
    assert (found.id, found.verb, found.operation, found.cause) == (None, "deploy", "op9", "image_not_found")


@pytest.mark.parametrize(
    ("status", "state", "sentence"),
    [("failed", "failed", "revision 1"), ("deployed", "succeeded", ""), ("pending-install", "running", "")],
)
def test_release_of_plain_helm_has_its_status_and_description(status: str, state: str, sentence: str) -> None:
    found = explain_release(history(record(1, status)), CURRENT)
    assert (found.state, found.sentence, found.operation, found.reason, found.verb) == (state, sentence, None, None, None)


def test_running_and_unreadable_operations_have_their_states() -> None:
    running = operation("op", reason=None)
    assert explain_release(history(own(1, "pending-install"), operations=(running,)), CURRENT).state == "running"
    unread = operation("op").model_copy(update={"unread": "it was written by a newer kubernaut"})
    found = explain_release(history(own(1, "failed"), operations=(unread,)), CURRENT)
    assert (found.state, found.sentence) == ("unread", "it was written by a newer kubernaut")


def test_unknown_release_and_damaged_record_raise() -> None:
    with pytest.raises(ReleaseNotFound):
        explain_release(history(), CURRENT)
    with pytest.raises(ReleaseNotFound):
        explain_release(rolled_back(), revision(9))
    odd = record(1, "deployed", payload=encode({"info": {"status": "deployed"}, "chart": {"metadata": {"name": ["shop"]}}}))
    with pytest.raises(Conflict):
        explain_release(history(odd), CURRENT)


def test_explanation_is_read_from_the_cluster_with_one_request() -> None:
    cluster = FakeCluster("demo")
    write_rolled_back(cluster)
    cluster.requests.clear()
    assert read_explanation(HistoryStore(cluster), CURRENT).evidence == EVIDENCE
    assert cluster.requests == ["list secrets demo"]
