"""The history, read from a cluster in memory: what is told, and in how many requests."""

from __future__ import annotations

from typing import Any

import pytest
from support.past import operation, record_secret

from kubernaut.errors import ReleaseNotFound
from kubernaut.history.operation import operation_secret
from kubernaut.history.release import ReleaseId
from kubernaut.history.store import History
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


def test_the_active_releases_in_order(cluster: FakeCluster) -> None:
    found = History(cluster).list()
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


def test_a_listing_takes_three_requests(cluster: FakeCluster) -> None:
    History(cluster).list("demo")
    assert len(cluster.requests) == 3
    assert cluster.writes == []


def test_a_release_that_is_made_between_two_requests(cluster: FakeCluster) -> None:
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
    found = [release for release in History(cluster).list("demo").items if release.name == "hello"]  # type: ignore[arg-type]
    assert [(release.id, release.status, release.serving) for release in found] == [("demo.hello.v3", "deployed", 3)]


def test_every_release_there_is(cluster: FakeCluster) -> None:
    found = History(cluster).list("demo", all=True)
    assert [release.id for release in found.items] == [
        "demo.failing.v2",
        "demo.failing.v1",
        "demo.foreign.app.v1",
        "demo.gone.v10",
        "demo.gone.v9",
        "demo.hello.v2",
        "demo.hello.v1",
    ]


def test_nothing_there() -> None:
    assert History(FakeCluster()).list().items == ()


def test_a_history_newest_first(cluster: FakeCluster) -> None:
    found = History(lambda: cluster).releases("demo", "gone")
    assert [(release.revision, release.active) for release in found.items] == [(10, False), (9, False)]
    assert len(cluster.requests) == 1


def test_one_release(cluster: FakeCluster) -> None:
    history = History(cluster)
    assert history.release(ReleaseId.parse("demo.hello.v1")).revision == 1
    assert history.release(ReleaseId.parse("demo.hello.current")).revision == 2
    assert history.record(ReleaseId.parse("demo.foreign.app")).name == "foreign.app"
    assert len(cluster.requests) == 3


@pytest.mark.parametrize("id", ["demo.hello.v7", "demo.none", "nowhere.hello"])
def test_what_is_not_there(cluster: FakeCluster, id: str) -> None:
    with pytest.raises(ReleaseNotFound):
        History(cluster).release(ReleaseId.parse(id))
    with pytest.raises(ReleaseNotFound):
        History(cluster).releases("demo", "none")
