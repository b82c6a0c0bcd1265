"""Tests of causes and evidence in releases: single ones have both, lists and the index only the cause."""

from __future__ import annotations

import json

import pytest
from support.records import EVIDENCE, SENTENCE, failed_operation, own, record, write_rolled_back

from kubernaut.history.detail import read_report
from kubernaut.history.explanation import Evidence
from kubernaut.history.index import Index, Query
from kubernaut.history.releases import Release, ReleaseId, ReleaseOutcome, describe, with_evidence
from kubernaut.history.store import HistoryStore
from kubernaut.testing.cluster import FakeCluster

FAILED = ReleaseId("demo", "hello", 2)
CURRENT = ReleaseId("demo", "hello")


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster("demo")
    write_rolled_back(cluster)
    cluster.requests.clear()
    return cluster


@pytest.fixture
def index(cluster: FakeCluster) -> Index:
    index = Index(cluster)  # type: ignore[arg-type]
    index.load()
    cluster.requests.clear()
    return index


def outcome(release: Release) -> ReleaseOutcome:
    assert release.outcome is not None
    return release.outcome


def causes(releases: list[Release]) -> list[tuple[str, str | None, tuple[Evidence, ...]]]:
    return [(one.id, one.outcome.cause if one.outcome else None, one.outcome.evidence if one.outcome else ()) for one in releases]


def test_failed_release_has_the_cause_and_the_evidence_of_its_operation() -> None:
    failed = own(1, "failed")
    operation = failed_operation("op", failed)
    described = describe(failed, (failed,), (operation,))
    assert outcome(described) == ReleaseOutcome(reason="deploy_failed", message=SENTENCE, cause="image_not_found")
    assert outcome(with_evidence(described, (operation,))).evidence == EVIDENCE


def test_release_that_a_rollback_made_has_no_cause() -> None:
    first, failed, again = record(1, "superseded"), own(2, "failed"), record(3, "deployed")
    operation = failed_operation("op", failed, again)
    found = {one.revision: describe(one, (again, failed, first), (operation,)) for one in (failed, again)}
    assert [outcome(one).cause for one in found.values()] == ["image_not_found", None]
    assert outcome(found[3]).reason == "rolled_back"
    assert outcome(with_evidence(found[3], (operation,))).evidence == ()


def test_evidence_is_not_taken_from_another_operation() -> None:
    failed = own(1, "failed")
    operation = failed_operation("op", failed)
    described = describe(failed, (failed,), (operation,))
    assert with_evidence(described, (failed_operation("other"),)) == described


def test_json_has_evidence_only_where_there_is_some() -> None:
    outcomes = [ReleaseOutcome(reason="a", message="b", cause="c"), ReleaseOutcome(reason="a", message="b", evidence=EVIDENCE)]
    content = [json.loads(one.model_dump_json(by_alias=True)) for one in outcomes]
    assert content[0] == {"reason": "a", "message": "b", "cause": "c"}
    assert [one["count"] for one in content[1]["evidence"]] == [1, 12, 1, 1]


def test_single_releases_have_evidence_and_lists_only_causes(cluster: FakeCluster) -> None:
    store = HistoryStore(cluster)
    assert causes([store.release(FAILED)]) == [("demo.hello.v2", "image_not_found", EVIDENCE)]
    assert causes([read_report(store, FAILED).release]) == [("demo.hello.v2", "image_not_found", EVIDENCE)]
    expected = [("demo.hello.v3", None, ()), ("demo.hello.v2", "image_not_found", ()), ("demo.hello.v1", None, ())]
    assert causes(list(store.releases("demo", "hello"))) == expected
    assert causes(list(store.list(all=True))) == expected


def test_index_reads_evidence_for_a_single_release_only(cluster: FakeCluster, index: Index) -> None:
    page = [Release.model_validate_json(item) for item in index.page(Query(all=True)).items]
    expected = [("demo.hello.v3", None, ()), ("demo.hello.v2", "image_not_found", ()), ("demo.hello.v1", None, ())]
    assert causes(page) == causes(list(index.history("demo", "hello"))) == expected
    cluster.requests.clear()
    assert causes([index.release(FAILED)]) == [("demo.hello.v2", "image_not_found", EVIDENCE)]
    assert causes([index.release(CURRENT)]) == [("demo.hello.v3", None, ())]
    assert cluster.requests == [], "the operation is cached"


def test_index_answers_as_the_store_does(cluster: FakeCluster, index: Index) -> None:
    for wanted in (FAILED, CURRENT, ReleaseId("demo", "hello", 1)):
        assert index.release(wanted) == HistoryStore(cluster).release(wanted)


def test_index_reads_an_operation_that_is_no_longer_cached(cluster: FakeCluster, index: Index) -> None:
    index.release(FAILED)
    index._cache.contents.clear()
    cluster.requests.clear()
    assert outcome(index.release(FAILED)).evidence == EVIDENCE
    assert len(cluster.requests) == 2, "the record and the operation"
