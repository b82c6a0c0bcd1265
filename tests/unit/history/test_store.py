"""Tests of the store over a cluster in memory: answers, and the number of requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.records import STARTED, history, made, operation, own, record, record_secret

from kubernaut.errors import ReleaseNotFound
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.history.repair import aside_secret
from kubernaut.history.store import HistoryStore
from kubernaut.testing.cluster import FakeCluster

LABELS = {"kubernaut/operation": "op", "kubernaut/revision": "2"}


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster("demo", "prod")
    for secret in (
        record_secret(1, "superseded"),
        record_secret(2, "deployed", labels=LABELS),
        record_secret(9, "superseded", name="gone"),
        record_secret(10, "uninstalled", name="gone"),
        record_secret(1, "deployed", name="failing"),
        record_secret(2, "failed", name="failing"),
        record_secret(1, "deployed", name="foreign.app"),
        record_secret(1, "pending-install", name="stuck", namespace="prod"),
        record_secret(1, "deployed", name="broken", namespace="prod", payload="!!!"),
        record_secret(3, "superseded", name="odd", namespace="prod"),
    ):
        cluster.create_secret(secret["metadata"]["namespace"], secret)
    cluster.create_secret("demo", operation_secret(operation()))
    cluster.create_secret("demo", {"metadata": {"name": "sh.helm.release.v1.fake.v1"}})
    cluster.requests.clear()
    return cluster


def test_list_returns_active_releases_in_order(cluster: FakeCluster) -> None:
    found = HistoryStore(cluster).list()
    assert [(release.id, release.status) for release in found.items] == [
        ("demo.failing.v2", "failed"),
        ("demo.foreign.app.v1", "deployed"),
        ("demo.hello.v2", "deployed"),
        ("prod.broken.v1", "deployed"),
        ("prod.odd.v3", "superseded"),
        ("prod.stuck.v1", "pending-install"),
    ]
    assert found.count == 6
    assert [release.serving for release in found.items[:3]] == [1, 1, 2]
    assert [release.created_by for release in found.items[:3]] == [None, None, "ada"]


def test_list_takes_three_requests(cluster: FakeCluster) -> None:
    HistoryStore(cluster).list("demo")
    assert len(cluster.requests) == 3
    assert cluster.writes == []


def test_list_sees_a_release_created_between_requests(cluster: FakeCluster) -> None:
    """The record that was current is superseded when it is read: the new one is current, and the old one not active."""
    original, listed = cluster.list_secrets, []

    def crossed(*arguments: Any, **named: Any) -> Any:
        listed.append(original(*arguments, **named))
        if len(listed) == 1:
            old = record_secret(2, "superseded", labels=LABELS)
            patch = {"metadata": {"labels": {"status": "superseded"}}, "data": old["data"]}
            cluster.patch_secret("demo", old["metadata"]["name"], patch)
            cluster.create_secret("demo", record_secret(3, "deployed"))
        return listed[-1]

    cluster.list_secrets = crossed  # type: ignore[method-assign]
    found = [release for release in HistoryStore(cluster).list("demo").items if release.name == "hello"]  # type: ignore[arg-type]
    assert [(release.id, release.status, release.serving) for release in found] == [("demo.hello.v3", "deployed", 3)]


def test_list_all_returns_every_revision(cluster: FakeCluster) -> None:
    found = HistoryStore(cluster).list("demo", all=True)
    assert [release.id for release in found.items] == [
        "demo.failing.v2",
        "demo.failing.v1",
        "demo.foreign.app.v1",
        "demo.gone.v10",
        "demo.gone.v9",
        "demo.hello.v2",
        "demo.hello.v1",
    ]


def test_empty_cluster_has_no_releases() -> None:
    assert HistoryStore(FakeCluster()).list().items == ()


def test_history_is_newest_first(cluster: FakeCluster) -> None:
    found = HistoryStore(lambda: cluster).releases("demo", "gone")
    assert [(release.revision, release.active) for release in found.items] == [(10, False), (9, False)]
    assert len(cluster.requests) == 1


def test_release_by_id(cluster: FakeCluster) -> None:
    history = HistoryStore(cluster)
    assert history.release(ReleaseId.parse("demo.hello.v1")).revision == 1
    assert history.release(ReleaseId.parse("demo.hello.current")).revision == 2
    assert history.record(ReleaseId.parse("demo.foreign.app")).name == "foreign.app"
    assert len(cluster.requests) == 3


@pytest.mark.parametrize("id", ["demo.hello.v7", "demo.none", "nowhere.hello"])
def test_missing_releases_raise_release_not_found(cluster: FakeCluster, id: str) -> None:
    with pytest.raises(ReleaseNotFound):
        HistoryStore(cluster).release(ReleaseId.parse(id))
    with pytest.raises(ReleaseNotFound):
        HistoryStore(cluster).releases("demo", "none")


def secret_name(name: str, revision: int) -> str:
    return f"sh.helm.release.v1.{name}.v{revision}"


def set_it_aside(cluster: FakeCluster, name: str, revision: int, *, deleted: bool = True) -> None:
    """Leave things as a crash does between setting a record aside and creating it anew."""
    secret = cluster.get_secret("demo", secret_name(name, revision))
    assert secret is not None
    cluster.create_secret("demo", aside_secret(secret))
    if deleted:
        cluster.delete_secret("demo", secret_name(name, revision))
    cluster.requests.clear()


def read_everything(history: HistoryStore, name: str) -> list[Release]:
    """Return the releases of every query, without the time and the resource version of the last write."""
    lists = [history.list("demo"), history.list("demo", all=True), history.releases("demo", name)]
    found = [release for one in lists for release in one.items] + [history.release(ReleaseId("demo", name))]
    return [release.model_copy(update={"updated_at": None, "resource_version": ""}) for release in found]


@pytest.mark.parametrize(("name", "revision"), [("hello", 2), ("hello", 1), ("gone", 10), ("foreign.app", 1), ("failing", 2)])
@pytest.mark.parametrize("deleted", [True, False])
def test_set_aside_record_is_found_everywhere(cluster: FakeCluster, name: str, revision: int, deleted: bool) -> None:
    """Every query returns the same, except for the time and resource version of the last write, which are those of the copy."""
    history = HistoryStore(cluster)
    before = read_everything(history, name)
    set_it_aside(cluster, name, revision, deleted=deleted)
    assert read_everything(history, name) == before
    found = history.get("demo", name)
    assert [(one.revision, one.aside) for one in found.aside] == [(revision, True)]
    assert [one.revision for one in found.records if one.aside] == ([revision] if deleted else [])
    cluster.requests.clear()
    history.list("demo")
    assert len(cluster.requests) == 3
    history.list("demo", all=True)
    assert len(cluster.requests) == 4


def test_lone_copy_counts_as_a_release() -> None:
    cluster = FakeCluster("demo")
    cluster.create_secret("demo", aside_secret(record_secret(1, "failed")))
    assert [release.id for release in HistoryStore(cluster).list("demo").items] == ["demo.hello.v1"]
    assert [one.aside for one in HistoryStore(cluster).get("demo", "hello").records] == [True]


@pytest.mark.parametrize("after", [1, 2])
def test_list_sees_a_record_recreated_between_requests(cluster: FakeCluster, after: int) -> None:
    """It is listed from whichever of the two is there when it is read."""
    copy = aside_secret(record_secret(2, "deployed", labels=LABELS))
    own_secret = secret_name("hello", 2)
    for goes in (True, False):
        original, listed = FakeCluster.list_secrets, []

        def crossed(*arguments: Any, original: Any = original, listed: list[int] = listed, goes: bool = goes, **named: Any) -> Any:
            answer = original(cluster, *arguments, **named)
            listed.append(1)
            if len(listed) == after:
                if goes:
                    cluster.create_secret("demo", copy)
                    cluster.delete_secret("demo", own_secret)
                else:
                    cluster.create_secret("demo", record_secret(2, "deployed", labels=LABELS))
                    cluster.delete_secret("demo", copy["metadata"]["name"])
            return answer

        cluster.list_secrets = crossed  # type: ignore[method-assign]
        found = [release for release in HistoryStore(cluster).list("demo").items if release.name == "hello"]  # type: ignore[arg-type]
        assert [(release.id, release.status) for release in found] == [("demo.hello.v2", "deployed")]


def test_read_at_is_the_server_time(cluster: FakeCluster) -> None:
    cluster.server_time = STARTED
    assert HistoryStore(cluster).get("demo", "hello").read_at == STARTED


def test_unfinished_operations() -> None:
    known = operation("a", reason=None)
    finished = operation("b", finished_at=known.started_at)
    unread = operation("c", reason=None).model_copy(update={"unread": "newer"})
    assert history(operations=(unread, finished, known)).unfinished == (known,)


def test_attempts_are_operations_without_a_release() -> None:
    mine, gone = own(2, "deployed", "labelled"), record(1, "superseded")
    operations = (
        operation("refused", reason="chart_refused"),
        operation("labelled"),
        operation("noted", made=(made(gone),)),
        operation("unread").model_copy(update={"unread": "newer"}),
    )
    found = history(mine, operations=operations)
    assert [one.id for one in found.attempts] == ["refused", "unread"]
    assert replace(found, records=()).attempts == (operations[0], operations[1], operations[3])


def test_history_includes_attempts_in_one_request(cluster: FakeCluster) -> None:
    cluster.create_secret("demo", operation_secret(operation("refused", reason="chart_refused")))
    cluster.requests.clear()
    found = HistoryStore(cluster).releases("demo", "hello")
    assert [one.id for one in found.attempts] == ["refused"]
    assert len(cluster.requests) == 1
    assert set(found.model_dump(mode="json", by_alias=True)) == {"items", "count", "next"}
    assert HistoryStore(cluster).get("demo", "hello").attempts == found.attempts


def test_copy_never_precedes_its_record(cluster: FakeCluster) -> None:
    """Not even where the record has to be asked for by its name, since its status is not what a current one has."""
    cluster.create_secret("prod", aside_secret(record_secret(3, "superseded", name="odd", namespace="prod", description="old")))
    found = next(release for release in HistoryStore(cluster).list("prod").items if release.name == "odd")
    assert found.description == "revision 3"
