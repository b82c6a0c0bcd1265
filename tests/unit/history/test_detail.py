"""Tests of manifests, values, differences and reports of one release, over a cluster in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.messages import facts
from support.records import made, operation, own, record_secret

from kubernaut.errors import Conflict, NameInvalid, ReleaseNotFound
from kubernaut.history.detail import diff_releases, parse_other, read_manifest, read_report, read_values
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.records import encode
from kubernaut.history.releases import ReleaseId
from kubernaut.history.store import HistoryStore
from kubernaut.testing.cluster import FakeCluster

LABELS = {"kubernaut/operation": "op", "kubernaut/revision": "2"}
CURRENT = ReleaseId("demo", "hello")


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster("demo", "prod")
    for secret in (
        record_secret(1, "superseded", config={"a": 1}, manifest="---\nkind: ConfigMap\ndata: {a: one}\n"),
        record_secret(2, "superseded", labels=LABELS, config={"a": 2}, manifest="---\nkind: ConfigMap\ndata: {a: two}\n"),
        record_secret(4, "deployed", config={"a": 4, "password": "hunter22"}),
        record_secret(1, "deployed", namespace="prod", config={"a": 9}),
        record_secret(1, "deployed", name="foreign.app", namespace="prod"),
        record_secret(1, "superseded", name="broken", namespace="prod"),
        record_secret(2, "deployed", name="broken", namespace="prod", payload="!!!"),
    ):
        cluster.create_secret(secret["metadata"]["namespace"], secret)
    cluster.create_secret("demo", operation_secret(operation()))
    cluster.requests.clear()
    return cluster


@pytest.fixture
def history(cluster: FakeCluster) -> HistoryStore:
    return HistoryStore(cluster)


def test_manifest_and_values_belong_to_the_named_revision(history: HistoryStore, cluster: FakeCluster) -> None:
    assert read_manifest(history, ReleaseId("demo", "hello", 1)) == "---\nkind: ConfigMap\ndata: {a: one}\n"
    assert read_values(history, ReleaseId("demo", "hello", 1), all=False) == {"a": 1}
    assert read_values(history, CURRENT, all=False) == {"a": 4, "password": "***"}
    assert cluster.requests == ["get secret demo/sh.helm.release.v1.hello.v1"] * 2 + ["list secrets demo"]


def test_all_values_merge_chart_defaults_and_overrides_like_helm(cluster: FakeCluster) -> None:
    defaults = {"keep": 1, "gone": 2, "map": {"x": 1, "y": {"z": 1}, "off": 1}, "list": [1, 2], "flat": {"a": 1}, "dbPassword": "x"}
    config = {"gone": None, "map": {"y": {"w": 2}, "off": None}, "list": [3], "flat": 7, "own": None}
    secret = record_secret(1, "deployed", name="joined", config=config, defaults=defaults)
    cluster.create_secret("demo", secret)
    assert read_values(HistoryStore(cluster), ReleaseId("demo", "joined"), all=True) == {
        "keep": 1,
        "map": {"x": 1, "y": {"z": 1, "w": 2}},
        "list": [3],
        "flat": 7,
        "dbPassword": "***",
        "own": None,
    }


def changes(history: HistoryStore, release_id: ReleaseId, to: str | None = None) -> tuple[str, str, object, object]:
    found = diff_releases(history, release_id, to)
    value = next(value for value in found.values if value.path == "a")
    return found.from_, found.to, value.from_, value.to


def test_diff_without_target_compares_with_the_predecessor(history: HistoryStore, cluster: FakeCluster) -> None:
    assert changes(history, CURRENT) == ("demo.hello.v2", "demo.hello.v4", 2, 4)
    assert changes(history, ReleaseId("demo", "hello", 2)) == ("demo.hello.v1", "demo.hello.v2", 1, 2)
    assert len(cluster.requests) == 2


@pytest.mark.parametrize("to", ["1", "v1", "demo.hello.v1"])
def test_diff_with_target_goes_from_the_release_to_the_target(history: HistoryStore, cluster: FakeCluster, to: str) -> None:
    assert changes(history, CURRENT, to) == ("demo.hello.v4", "demo.hello.v1", 4, 1)
    assert len(cluster.requests) == 1


def test_diff_compares_releases_of_different_namespaces(history: HistoryStore) -> None:
    assert changes(history, CURRENT, "prod.hello") == ("demo.hello.v4", "prod.hello.v1", 4, 9)
    assert changes(history, CURRENT, "prod.hello.current") == ("demo.hello.v4", "prod.hello.v1", 4, 9)


def test_diff_of_a_release_with_itself_is_empty(history: HistoryStore) -> None:
    assert diff_releases(history, CURRENT, "demo.hello.v4").empty


def test_diff_of_the_first_release_without_target_raises_release_not_found(history: HistoryStore) -> None:
    with pytest.raises(ReleaseNotFound, match=r"demo\.hello\.v1"):
        diff_releases(history, ReleaseId("demo", "hello", 1), None)


def test_missing_releases_raise_release_not_found(history: HistoryStore) -> None:
    for to in ("3", "0", "prod.gone"):
        with pytest.raises(ReleaseNotFound):
            diff_releases(history, CURRENT, to)
    with pytest.raises(NameInvalid):
        diff_releases(history, CURRENT, "Prod")


def test_diff_target_can_be_an_id_or_a_revision() -> None:
    assert parse_other(CURRENT, "prod.v1.v2") == ReleaseId("prod", "v1", 2)
    assert parse_other(CURRENT, "12") == ReleaseId("demo", "hello", 12)


def test_damaged_record_raises_conflict_with_the_reason(history: HistoryStore) -> None:
    broken = ReleaseId("prod", "broken")
    for read in (
        lambda: read_manifest(history, broken),
        lambda: read_values(history, broken, all=True),
        lambda: diff_releases(history, broken, None),
        lambda: diff_releases(history, ReleaseId("prod", "broken", 1), "2"),
    ):
        with pytest.raises(Conflict, match=facts("prod.broken.v2")):
            read()
    assert read_report(history, broken).release.status == "deployed"


def test_record_without_a_valid_release_raises_conflict(cluster: FakeCluster) -> None:
    payload = encode({"info": {"status": "deployed"}, "chart": {"metadata": {"name": ["shop"]}}, "manifest": ["no text"]})
    cluster.create_secret("demo", record_secret(1, "superseded", name="odd"))
    cluster.create_secret("demo", record_secret(2, "deployed", name="odd", payload=payload))
    history, release_id = HistoryStore(cluster), ReleaseId("demo", "odd")
    for read in (lambda: read_report(history, release_id), lambda: diff_releases(history, release_id, None)):
        with pytest.raises(Conflict, match=facts("demo.odd.v2")):
            read()
    assert "no text" not in read_manifest(history, release_id)


def nested(depth: int) -> dict[str, Any]:
    values: dict[str, Any] = {"a": "end"}
    for _ in range(depth):
        values = {"a": [values]}
    return values


def test_values_nested_too_deeply_raise_conflict(cluster: FakeCluster) -> None:
    cluster.create_secret("demo", record_secret(1, "superseded", name="deep", config=nested(45)))
    cluster.create_secret("demo", record_secret(2, "deployed", name="deep", config=nested(400)))
    history = HistoryStore(cluster)
    assert json.dumps(read_values(history, ReleaseId("demo", "deep", 1), all=True)) == json.dumps(nested(45))
    assert read_manifest(history, ReleaseId("demo", "deep")) == ""
    for read in (
        lambda: read_values(history, ReleaseId("demo", "deep"), all=False),
        lambda: diff_releases(history, ReleaseId("demo", "deep"), None),
    ):
        with pytest.raises(Conflict, match=facts("demo.deep.v2")):
            read()


def test_report_contains_the_operation_with_its_events(cluster: FakeCluster) -> None:
    event = {"at": "2026-11-22T12:00:00Z", "step": "deploy", "kind": "step-started", "text": "demo/hello"}
    found = own(5, "deployed", "op5")
    secret = record_secret(5, "deployed", labels={"kubernaut/operation": "op5", "kubernaut/revision": "5"})
    cluster.create_secret("demo", secret)
    attempt = operation("op5", made=(made(found),), events=(event,), fingerprint="f" * 64, key="k" * 64)
    cluster.create_secret("demo", operation_secret(attempt))
    report = read_report(HistoryStore(cluster), CURRENT)
    assert report.release.id == "demo.hello.v5"
    assert report.operation is not None
    assert [one.text for one in report.operation.events] == ["demo/hello"]
    assert report.operation.fingerprint is report.operation.key is None


def test_report_of_a_foreign_release_has_no_operation(history: HistoryStore) -> None:
    report = read_report(history, ReleaseId("prod", "foreign.app", 1))
    assert (report.release.name, report.operation) == ("foreign.app", None)
