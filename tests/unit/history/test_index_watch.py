"""Tests of the index's threads over a cluster in memory with failures: changes are published, staleness is reported."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.random_histories import encoded, eventually
from support.records import STARTED, operation, record_secret

from kubernaut.errors import ClusterDenied, ClusterUnreachable, IndexStale
from kubernaut.history.index import Index, Query, Timings
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.history.store import HistoryStore
from kubernaut.testing.cluster import FakeCluster

QUICK = Timings(watch=1, ping=0.05, stale=0.3, first_pause=0.01, longest_pause=0.05)
SLOW = Timings(watch=60, ping=60, stale=30, first_pause=0.01, longest_pause=0.05)


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster("demo", "prod")
    write(cluster, record_secret(1, "deployed"))
    return cluster


@pytest.fixture
def begin(cluster: FakeCluster) -> Iterator[Callable[..., Index]]:
    """Starts indexes, and stops them at the end."""
    begun: list[Index] = []

    def start(timings: Timings = SLOW, *, ready: bool = True, **options: Any) -> Index:
        index = Index(cluster, timings=timings, **options)  # type: ignore[arg-type]
        begun.append(index)
        index.start()
        if ready:
            eventually(index.check)
            eventually(lambda: watched(index))  # the list is current before the watch is requested
        return index

    yield start
    for index in begun:
        index.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("kubernaut-index")] == []


def watched(index: Index) -> None:
    assert all(reflector.current for reflector in index._reflectors)


def write(cluster: FakeCluster, secret: dict[str, Any]) -> None:
    """Write a record, over the one that is there."""
    namespace, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
    if cluster.get_secret(namespace, name) is None:
        cluster.create_secret(namespace, secret)
    else:
        patch(cluster, secret)


def patch(cluster: FakeCluster, secret: dict[str, Any]) -> None:
    body = {"metadata": {"labels": secret["metadata"]["labels"]}, "data": secret["data"]}
    cluster.patch_secret(secret["metadata"]["namespace"], secret["metadata"]["name"], body)


def listed(index: Index, **query: Any) -> list[tuple[str, str]]:
    releases = [Release.model_validate_json(item) for item in index.page(Query(**query)).items]
    return [(release.id, release.status) for release in releases]


def shows(index: Index, *expected: tuple[str, str]) -> None:
    def check() -> None:
        assert listed(index) == [*expected]

    eventually(check)


def becomes_stale(index: Index, pattern: str) -> None:
    def check() -> None:
        try:
            index.check()
        except IndexStale as stale:
            message = stale.message
        else:
            message = "it is current"
        assert re.search(pattern, message)

    eventually(check)


def held(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, request: str) -> threading.Event:
    """Let the requests of a method wait until an event is set."""
    proceed, original = threading.Event(), getattr(cluster, request)

    def waits(*arguments: Any, **named: Any) -> Any:
        proceed.wait(10)
        return original(*arguments, **named)

    monkeypatch.setattr(cluster, request, waits)
    return proceed


def lists_what_the_store_lists(index: Index, cluster: FakeCluster) -> None:
    def same() -> None:
        assert [*index.page(Query()).items] == encoded(HistoryStore(cluster).list().items)  # type: ignore[arg-type]

    eventually(same)


def answered_late(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, request: str, answered: threading.Event, proceed: threading.Event
) -> None:
    """Let the whole objects that a method returns, which set the event ``answered``, arrive when ``proceed`` is set."""
    original = getattr(cluster, request)

    def late(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        if not named.get("metadata_only"):
            answered.set()
            proceed.wait(10)
        return answer

    monkeypatch.setattr(cluster, request, late)


def test_changes_are_published(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin()
    write(cluster, record_secret(2, "pending-upgrade"))
    shows(index, ("demo.hello.v2", "pending-upgrade"))
    write(cluster, record_secret(1, "superseded"))
    write(cluster, record_secret(2, "deployed"))
    shows(index, ("demo.hello.v2", "deployed"))
    write(cluster, record_secret(1, "failed", name="other", namespace="prod"))
    shows(index, ("demo.hello.v2", "deployed"), ("prod.other.v1", "failed"))
    cluster.delete_secret("demo", "sh.helm.release.v1.hello.v2")
    shows(index, ("demo.hello.v1", "superseded"), ("prod.other.v1", "failed"))
    write(cluster, record_secret(1, "uninstalled"))
    shows(index, ("prod.other.v1", "failed"))
    assert index.age() < 1


def test_change_costs_one_request(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    for name in ("a", "b", "c"):
        write(cluster, record_secret(1, "deployed", name=name))
    index = begin()
    assert "watch secrets *" in cluster.requests
    cluster.requests.clear()
    cluster.create_secret("demo", record_secret(2, "failed"))
    shows(
        index,
        ("demo.a.v1", "deployed"),
        ("demo.b.v1", "deployed"),
        ("demo.c.v1", "deployed"),
        ("demo.hello.v2", "failed"),
    )
    reads = [request for request in cluster.requests if not request.startswith("create")]
    assert reads == ["get secret demo/sh.helm.release.v1.hello.v2"]


def test_operation_event_costs_one_request(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    running = operation("01jd0000000000000000000000")
    cluster.create_secret("demo", operation_secret(running))
    index = begin()
    assert "watch secrets *" in cluster.requests
    cluster.requests.clear()
    event = {"at": STARTED, "step": "deploy", "kind": "line", "text": "still waiting"}
    message = type(running).model_validate({**running.model_dump(), "events": [event]})
    cluster.patch_secret("demo", running.secret, {"data": operation_secret(message)["data"]})

    write(cluster, record_secret(1, "deployed", name="later"))
    shows(index, ("demo.hello.v1", "deployed"), ("demo.later.v1", "deployed"))  # the earlier changes have arrived
    assert [one.text for one in index.operation(running.id).events] == ["still waiting"]
    assert cluster.requests.count(f"get secret demo/{running.secret}") == 1
    assert index.unfinished() == {("demo", "hello")}


def test_each_namespace_has_its_own_watch(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin(namespaces=("demo", "prod"))
    write(cluster, record_secret(1, "deployed", namespace="prod"))
    write(cluster, record_secret(1, "deployed", namespace="default"))
    shows(index, ("demo.hello.v1", "deployed"), ("prod.hello.v1", "deployed"))
    assert {request for request in cluster.requests if request.startswith("watch")} == {"watch secrets demo", "watch secrets prod"}
    assert not any(request.endswith("*") for request in cluster.requests)
    names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("kubernaut-index"))
    assert names == ["kubernaut-index-demo", "kubernaut-index-prod", "kubernaut-index-reader"]


def test_stop_returns_at_once_and_can_be_repeated(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin(namespaces=("demo", "prod"))
    began = time.monotonic()
    index.stop()
    assert time.monotonic() - began < 1
    index.stop()


def test_broken_watch_resumes_without_a_list(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin()
    cluster.requests.clear()
    cluster.fail("watch secrets", ClusterUnreachable("gone"), times=3)
    cluster.changes.cut()
    write(cluster, record_secret(2, "deployed"))
    shows(index, ("demo.hello.v2", "deployed"))
    assert cluster.requests.count("watch secrets *") == 4
    assert "list secrets *" not in cluster.requests
    eventually(index.check)


def test_expired_watch_lists_again(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    write(cluster, record_secret(1, "deployed", name="goes"))
    index = begin()
    cluster.fail("watch secrets", ClusterUnreachable("gone"), times=2)
    cluster.changes.cut()
    write(cluster, record_secret(2, "deployed"))
    cluster.delete_secret("demo", "sh.helm.release.v1.goes.v1")
    cluster.forget()
    shows(index, ("demo.hello.v2", "deployed"))
    write(cluster, record_secret(3, "failed"))
    shows(index, ("demo.hello.v3", "failed"))


def test_name_published_during_a_list_keeps_no_earlier_state(
    cluster: FakeCluster, begin: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list reads an operation whose event has expired while the fetcher publishes the name without it."""
    cluster.delete_secret("demo", "sh.helm.release.v1.hello.v1")
    index = begin()
    contents_listed, fetched, published = threading.Event(), threading.Event(), threading.Event()
    answered_late(cluster, monkeypatch, "list_objects", contents_listed, published)
    answered_late(cluster, monkeypatch, "get_secret", fetched, contents_listed)
    cluster.create_secret("demo", record_secret(1, "deployed", labels={OPERATION_LABEL: "op", REVISION_LABEL: "1"}))
    assert fetched.wait(10)
    cluster.fail("watch secrets", ClusterUnreachable("gone"), times=None)
    cluster.changes.cut()
    cluster.create_secret("demo", operation_secret(operation("op")))
    cluster.forget()
    cluster.heal()
    shows(index, ("demo.hello.v1", "deployed"))
    published.set()
    lists_what_the_store_lists(index, cluster)


def test_silent_watch_is_replaced(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin(Timings(watch=1, ping=60, stale=30, first_pause=0.01, longest_pause=0.05))
    cluster.changes.silent = True
    write(cluster, record_secret(2, "deployed"))

    def noticed() -> None:
        assert cluster.requests.count("watch secrets *") > 1

    eventually(noticed)
    assert listed(index) == [("demo.hello.v1", "deployed")]
    cluster.changes.silent = False
    shows(index, ("demo.hello.v2", "deployed"))


def test_unreachable_server_makes_the_index_stale(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin(QUICK)
    assert index.age() < 0.3
    cluster.fail("", ClusterUnreachable("The cluster does not answer."), times=None)

    becomes_stale(index, r"\b\d+ s\b.*The cluster does not answer\.")
    age = index.age()
    assert age >= 0.3
    assert listed(index) == [("demo.hello.v1", "deployed")], "the last known state is still served"
    cluster.heal()
    eventually(index.check)
    assert index.age() < age


def test_pending_reads_make_the_index_stale(
    cluster: FakeCluster, begin: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the reads are done, the earlier state of the whole name is served."""
    index = begin(Timings(watch=60, ping=60, stale=0.1))
    proceed = held(cluster, monkeypatch, "get_secret")
    cluster.create_secret("demo", record_secret(2, "deployed"))

    becomes_stale(index, r"\b\d+ s\b")
    assert listed(index, all=True) == [("demo.hello.v1", "deployed")]
    proceed.set()
    shows(index, ("demo.hello.v2", "deployed"))
    eventually(index.check)


def test_denied_list_is_reported(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    cluster.fail("list secrets", ClusterDenied('User "eve" cannot list resource "secrets"'), times=None)
    index = begin(QUICK, ready=False)

    becomes_stale(index, r'^(?!.*\d+ s\b).*User "eve" cannot list')
    with pytest.raises(IndexStale):
        index.page(Query())
    cluster.heal()
    eventually(index.check)
    assert listed(index) == [("demo.hello.v1", "deployed")]


def test_denied_watch_makes_the_index_stale(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    cluster.fail("watch secrets", ClusterDenied('User "eve" cannot watch resource "secrets"'), times=None)
    index = begin(QUICK, ready=False)

    becomes_stale(index, r'\b\d+ s\b.*User "eve" cannot watch')


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_defect_in_a_thread_is_reported(cluster: FakeCluster, begin: Callable[..., Index], monkeypatch: pytest.MonkeyPatch) -> None:
    index = begin(QUICK)
    monkeypatch.setattr(index._cache, "apply", lambda change: 1 // 0)
    write(cluster, record_secret(2, "deployed"))
    becomes_stale(index, "kubernaut-index-all.*ZeroDivisionError")


# read-your-writes


def test_refresh_reads_own_writes(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin()
    cluster.changes.silent = True
    write(cluster, record_secret(1, "superseded"))
    write(cluster, record_secret(2, "deployed"))
    cluster.requests.clear()
    index.refresh("demo", "hello")
    assert cluster.requests == ["list secrets demo"]
    assert listed(index, all=True) == [("demo.hello.v2", "deployed"), ("demo.hello.v1", "superseded")]
    assert index.release(ReleaseId("demo", "hello")).serving == 2


def test_late_events_do_not_undo_a_refresh(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    """Not what was made and is gone, not what was changed, and not what was deleted."""
    write(cluster, record_secret(1, "deployed", name="goes"))
    index = begin()
    cluster.changes.silent = True
    write(cluster, record_secret(1, "failed"))
    write(cluster, record_secret(1, "deployed"))
    write(cluster, record_secret(1, "deployed", name="brief"))
    for name in ("goes", "brief"):
        cluster.delete_secret("demo", f"sh.helm.release.v1.{name}.v1")
    for name in ("hello", "goes", "brief"):
        index.refresh("demo", name)
    seen: list[list[tuple[str, str]]] = [listed(index)]
    known = index._cache.apply

    def record_change(change: Any) -> None:
        known(change)
        seen.append(listed(index))

    index._cache.apply = record_change  # type: ignore[method-assign]
    cluster.changes.silent = False
    write(cluster, record_secret(1, "deployed", name="last"))
    shows(index, ("demo.hello.v1", "deployed"), ("demo.last.v1", "deployed"))
    assert len(seen) > 6
    assert all(one[0] == ("demo.hello.v1", "deployed") and len(one) <= 2 for one in seen)
    assert {id for one in seen for id, _ in one} <= {"demo.hello.v1", "demo.last.v1"}


def test_late_read_does_not_undo_a_refresh(
    cluster: FakeCluster, begin: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = begin()
    answered, proceed = threading.Event(), threading.Event()
    answered_late(cluster, monkeypatch, "get_secret", answered, proceed)
    patch(cluster, record_secret(1, "failed"))
    assert answered.wait(10)
    patch(cluster, record_secret(1, "deployed", description="done"))
    index.refresh("demo", "hello")
    assert index.release(ReleaseId("demo", "hello")).description == "done"
    proceed.set()
    write(cluster, record_secret(1, "deployed", name="last"))
    shows(index, ("demo.hello.v1", "deployed"), ("demo.last.v1", "deployed"))
    assert index.release(ReleaseId("demo", "hello")) == HistoryStore(cluster).release(ReleaseId("demo", "hello"))  # type: ignore[arg-type]


def test_concurrent_changes_are_all_published(cluster: FakeCluster, begin: Callable[..., Index]) -> None:
    index = begin()

    def writes(writer: int) -> None:
        for number in range(30):
            write(cluster, record_secret(1 + number % 3, "deployed", name=f"app-{writer}-{number % 5}"))
            index.refresh("demo", f"app-{writer}-{number % 5}")

    writers = [threading.Thread(target=writes, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    lists_what_the_store_lists(index, cluster)
