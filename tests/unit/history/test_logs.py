"""Tests of the logs of a release: of its pods, or the lines that were kept when it failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.records import failed_operation, history, own, record

from kubernaut.errors import BadInput, NotFound
from kubernaut.history.explanation import Evidence
from kubernaut.history.logs import LogQuery, read_logs
from kubernaut.history.store import ReleaseHistory
from kubernaut.testing.cluster import FakeCluster

WORKLOAD = """kind: Deployment
spec: {selector: {matchLabels: {app: web}}, template: {spec: {containers: [{name: web}]}}}
"""
KEPT = ["pod web-7f9-x2, container app  starting", "pod web-7f9-x2, container app    cannot connect to db:5432"]


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A cluster with two pods of the release."""
    cluster = FakeCluster("demo")
    cluster.pods["demo"] = [pod("a"), pod("b")]
    monkeypatch.setattr(cluster, "pod_log", lambda namespace, pod, **_: iter([f"{pod} runs"]))
    return cluster


def rolled_back() -> ReleaseHistory:
    first, failed = record(1, "superseded", manifest=WORKLOAD), own(2, "failed", manifest=WORKLOAD)
    again = record(3, "deployed", manifest=WORKLOAD)
    return history(first, failed, again, operations=(failed_operation("op", failed, again),))


def lines(known: ReleaseHistory, revision: int, cluster: FakeCluster, **options: Any) -> tuple[list[str], list[str]]:
    """Return the lines and the notices of the logs of a revision."""
    notices: list[str] = []
    found = known.find(revision)
    assert found is not None
    return list(read_logs(known, found, cluster, notices.append, LogQuery(**options))), notices  # type: ignore[arg-type]


def test_current_release_has_the_logs_of_its_pods(cluster: FakeCluster) -> None:
    assert lines(rolled_back(), 3, cluster) == (["a  a runs", "b  b runs"], [])


@pytest.mark.parametrize("options", [{}, {"follow": True}, {"previous": True}, {"container": "app"}])
def test_rolled_back_release_has_the_kept_lines_and_no_pods_of_another(cluster: FakeCluster, options: dict[str, Any]) -> None:
    found, notices = lines(rolled_back(), 2, cluster, **options)
    assert found == KEPT
    assert len(notices) == 1
    assert "demo.hello.v2" in notices[0]
    assert "demo.hello.v3" in notices[0]
    assert cluster.requests == []


@pytest.mark.parametrize(("tail", "count"), [(0, 0), (1, 1), (9, 2)])
def test_tail_counts_kept_lines_from_the_end(cluster: FakeCluster, tail: int, count: int) -> None:
    assert lines(rolled_back(), 2, cluster, tail=tail)[0] == KEPT[len(KEPT) - count :]


def test_superseded_release_has_no_lines_and_a_notice(cluster: FakeCluster) -> None:
    found, notices = lines(rolled_back(), 1, cluster)
    assert found == []
    assert ["demo.hello.v1" in notice for notice in notices] == [True]


def test_current_release_without_pods_has_the_kept_lines(cluster: FakeCluster) -> None:
    cluster.pods["demo"] = []
    failed = own(1, "failed", manifest=WORKLOAD)
    found, notices = lines(history(failed, operations=(failed_operation("op", failed),)), 1, cluster)
    assert found == KEPT
    assert ["demo.hello.v1" in notice for notice in notices] == [True]


@pytest.mark.parametrize(("container", "found"), [("web", ["a  a/web", "b  b/web"]), ("migrate", ["a  a/migrate"])])
def test_container_selects_also_init_containers(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, container: str, found: list[str]
) -> None:
    cluster.pods["demo"][0]["spec"]["initContainers"] = [{"name": "migrate"}]
    monkeypatch.setattr(cluster, "pod_log", lambda namespace, pod, *, container, **_: iter([f"{pod}/{container}"]))
    assert lines(rolled_back(), 3, cluster, container=container)[0] == found


def test_unknown_container_is_refused_with_those_that_exist(cluster: FakeCluster) -> None:
    cluster.pods["demo"][1]["spec"]["initContainers"] = [{"name": "migrate"}]
    with pytest.raises(NotFound, match=r"demo\.hello\.v3.*'wrong'.*web, migrate"):
        lines(rolled_back(), 3, cluster, container="wrong")


@pytest.mark.parametrize(("since", "seconds"), [(None, None), (90.0, 90), (0.2, 1), (0, 1)])
def test_since_is_whole_seconds(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, since: float | None, seconds: int | None
) -> None:
    monkeypatch.setattr(cluster, "pod_log", lambda *_, since_seconds, **__: iter([str(since_seconds)]))
    assert lines(rolled_back(), 3, cluster, since=since)[0] == [f"a  {seconds}", f"b  {seconds}"]


def test_container_selects_kept_lines(cluster: FakeCluster) -> None:
    logs = [("pod w-1, init container migrate", "no table"), ("pod w-1, container app, previous run", "died"), ("odd", "line")]
    evidence = tuple(Evidence(kind="log", about=about, text=text) for about, text in logs)
    known = rolled_back()
    (operation,) = known.operations
    assert operation.outcome is not None
    outcome = operation.outcome.model_copy(update={"evidence": evidence})
    known = replace(known, operations=(operation.model_copy(update={"outcome": outcome}),))
    assert lines(known, 2, cluster, container="migrate")[0] == ["pod w-1, init container migrate  no table"]
    assert lines(known, 2, cluster, container="app")[0] == ["pod w-1, container app, previous run  died"]
    with pytest.raises(NotFound, match=r"demo\.hello\.v2.*'web'.*migrate, app"):
        lines(known, 2, cluster, container="web")


def test_since_is_refused_for_kept_lines(cluster: FakeCluster) -> None:
    with pytest.raises(BadInput, match=r"demo\.hello\.v2.*--since") as refused:
        lines(rolled_back(), 2, cluster, since=60)
    assert "--tail" in refused.value.hint


@pytest.mark.parametrize("options", [{"since": 60}, {"container": "web"}])
def test_release_without_kept_lines_is_named_with_any_option(cluster: FakeCluster, options: dict[str, Any]) -> None:
    found, notices = lines(rolled_back(), 1, cluster, **options)
    assert found == []
    assert ["demo.hello.v1" in notice for notice in notices] == [True]


def test_secrets_are_masked_in_live_and_kept_lines(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "kind: Secret\nstringData: {dsn: c4nary-7f3e9d21}\n---\n"
    line = "connects with c4nary-7f3e9d21, as 0ther-s3cret says"
    monkeypatch.setattr(cluster, "pod_log", lambda *_, **__: iter([line]))
    live = record(1, "deployed", manifest=secret + WORKLOAD)
    found = read_logs(history(live), live, cluster, print, secrets=("0ther-s3cret",))  # type: ignore[arg-type]
    assert list(found) == ["a  connects with ***, as *** says", "b  connects with ***, as *** says"]


def test_defect_in_one_log_stream_ends_all(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower would wait for ever for a stream that ended silently."""

    def broken(namespace: str, pod: str, **_: Any) -> Iterator[str]:
        yield "hello"
        raise ValueError("no such thing")

    monkeypatch.setattr(cluster, "pod_log", broken)
    with pytest.raises(ValueError, match="no such thing"):
        lines(history(record(1, "deployed", manifest=WORKLOAD)), 1, cluster, follow=True)


def test_logs_of_a_release_with_an_unreadable_manifest_are_refused(cluster: FakeCluster) -> None:
    broken = record(1, "deployed", manifest=f"{WORKLOAD}---\nkind: *nowhere\n")
    with pytest.raises(BadInput, match=r"demo\.hello\.v1.*line 4"):
        lines(history(broken), 1, cluster)
