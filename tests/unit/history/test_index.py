"""Tests of the index over a cluster in memory: lists, filters, cursors, releases, operations, and the number of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.records import STARTED, operation, record_secret

from kubernaut.adapters.kube_http import WatchEvent
from kubernaut.errors import ClusterUnreachable, IndexStale, OperationNotFound, ReleaseNotFound
from kubernaut.history.index import Index, Query
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.releases import Release, ReleaseId
from kubernaut.history.store import HistoryStore
from kubernaut.testing.cluster import FakeCluster

ID = "01jd0000000000000000000000"


def write(cluster: FakeCluster, *secrets: dict[str, Any]) -> None:
    for secret in secrets:
        cluster.create_secret(secret["metadata"]["namespace"], secret)


def release(cluster: FakeCluster, namespace: str, name: str, *statuses: str, **fields: Any) -> None:
    """Write a name's records, the oldest first."""
    for revision, status in enumerate(statuses, 1):
        write(cluster, record_secret(revision, status, name=name, namespace=namespace, **fields))


def loaded(cluster: FakeCluster, namespaces: Sequence[str] = ()) -> Index:
    index = Index(cluster, namespaces=namespaces)  # type: ignore[arg-type]
    index.load()
    cluster.requests.clear()
    return index


def ids(index: Index, **query: Any) -> list[str]:
    return [Release.model_validate_json(item).id for item in index.page(Query(**query)).items]


@pytest.fixture
def cluster() -> FakeCluster:
    cluster = FakeCluster("demo", "prod", "test")
    release(cluster, "demo", "a", "superseded", "deployed")
    release(cluster, "demo", "b", "deployed", "failed")
    release(cluster, "demo", "gone", "superseded", "uninstalled")
    release(cluster, "prod", "a", "pending-install")
    release(cluster, "test", "c", "superseded")
    cluster.requests.clear()
    return cluster


def test_list_filters_by_namespace_name_status_and_visibility(cluster: FakeCluster) -> None:
    index = loaded(cluster)
    assert ids(index) == ["demo.a.v2", "demo.b.v2", "prod.a.v1", "test.c.v1"]
    assert ids(index, namespace="demo") == ["demo.a.v2", "demo.b.v2"]
    assert ids(index, name="a") == ["demo.a.v2", "prod.a.v1"]
    assert ids(index, name="a", namespace="demo") == ["demo.a.v2"]
    assert ids(index, status="failed") == ["demo.b.v2"]
    assert ids(index, status="uninstalled") == []
    assert ids(index, status="uninstalled", all=True) == ["demo.gone.v2"]
    assert ids(index, namespace="demo", all=True) == [
        "demo.a.v2",
        "demo.a.v1",
        "demo.b.v2",
        "demo.b.v1",
        "demo.gone.v2",
        "demo.gone.v1",
    ]
    assert ids(index, visible=frozenset({"prod", "test"})) == ["prod.a.v1", "test.c.v1"]
    assert ids(index, visible=frozenset({"prod"}), namespace="demo") == []
    assert ids(index, visible=frozenset()) == []
    assert ids(index, namespace="dem") == []


def test_version_filter_searches_all_records(cluster: FakeCluster) -> None:
    index = loaded(cluster)
    assert ids(index, version="1.0.0", all=True, namespace="demo") == [
        "demo.a.v2",
        "demo.a.v1",
        "demo.b.v2",
        "demo.b.v1",
        "demo.gone.v2",
        "demo.gone.v1",
    ]
    cluster.requests.clear()
    assert ids(index, version="2.0.0", all=True, namespace="demo") == []
    assert ids(index, version="1.0.0") == ["demo.a.v2", "demo.b.v2", "prod.a.v1", "test.c.v1"]
    assert cluster.requests == [], "contents are read once"


@pytest.mark.parametrize("all", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 50])
def test_pages_join_to_the_whole_list(cluster: FakeCluster, all: bool, limit: int) -> None:
    index = loaded(cluster)
    whole = index.page(Query(all=all, limit=500))
    found, query = [], Query(all=all, limit=limit)
    while True:
        page = index.page(query)
        assert page.count == whole.count == len(whole.items)
        found += page.items
        if page.next is None:
            break
        assert len(page.items) == limit
        query = Query(all=all, limit=limit, after=page.next)
    assert found == [*whole.items]


_CHANGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=6)


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(_CHANGES, min_size=1, max_size=8), st.booleans(), st.integers(1, 3))
def test_paging_never_skips_or_repeats_during_changes(changes: list[list[tuple[str, bool]]], all: bool, limit: int) -> None:
    """Releases come and go; one that stays is listed exactly once."""
    cluster = FakeCluster("demo", "prod")
    for name in "abcdefgh":
        release(cluster, "demo", f"{name}-stays", "superseded", "deployed")
    index = loaded(cluster)
    shown: list[str] = []
    query = Query(all=all, limit=limit)
    for turn in range(100):
        page = index.page(query)
        shown += [Release.model_validate_json(item).id for item in page.items]
        if page.next is None:
            break
        query = Query(all=all, limit=limit, after=page.next)
        for name, comes in changes[turn % len(changes)]:
            secret = f"sh.helm.release.v1.{name}.v1"
            if comes and cluster.get_secret("demo", secret) is None:
                release(cluster, "demo", name, "deployed")
            elif not comes:
                cluster.delete_secret("demo", secret)
            index.refresh("demo", name)
    stay = sorted(f"demo.{name}-stays.v2" for name in "abcdefgh")
    assert len(shown) == len(set(shown))
    assert [one for one in shown if one.endswith("-stays.v2")] == stay
    if all:
        assert len([one for one in shown if one.endswith("-stays.v1")]) == len(stay)


def test_load_takes_two_lists_and_reads_only_missing_contents(cluster: FakeCluster) -> None:
    index = Index(cluster)  # type: ignore[arg-type]
    index.load()
    assert cluster.requests == ["list secrets *"] * 2 + ["get secret test/sh.helm.release.v1.c.v1"]
    cluster.requests.clear()
    index.load()
    assert cluster.requests == ["list secrets *"], "known contents are not read again"


def test_only_the_given_namespaces_are_requested(cluster: FakeCluster) -> None:
    index = Index(cluster, namespaces=("demo", "test"))  # type: ignore[arg-type]
    index.load()
    assert {request.split()[-1].split("/")[0] for request in cluster.requests} == {"demo", "test"}
    assert ids(index) == ["demo.a.v2", "demo.b.v2", "test.c.v1"]
    cluster.requests.clear()
    index.refresh("prod", "a")
    assert cluster.requests == []
    with pytest.raises(ReleaseNotFound):
        index.release(ReleaseId("prod", "a"))


def test_expired_paged_list_is_restarted(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.history.index.cache._METADATA_LIMIT", 2)
    page, left = cluster.list_objects, [2]

    def forgetful(*arguments: Any, **named: Any) -> Any:
        if named.get("continue_token") and left[0]:
            left[0] -= 1
            cluster.forget()
        return page(*arguments, **named)

    cluster.list_objects = forgetful  # type: ignore[method-assign]
    index = loaded(cluster)
    assert ids(index) == ["demo.a.v2", "demo.b.v2", "prod.a.v1", "test.c.v1"]
    left[0] = 1000
    with pytest.raises(ClusterUnreachable, match="expired"):
        index.load()


WARM: dict[str, Callable[[Index], object]] = {
    "page": lambda index: index.page(Query()),
    "page of all": lambda index: index.page(Query(all=True)),
    "filtered": lambda index: index.page(Query(status="failed", name="b", version="1.0.0")),
    "release": lambda index: index.release(ReleaseId("demo", "a")),
    "superseded": lambda index: index.release(ReleaseId("demo", "a", 1)),
    "history": lambda index: index.history("demo", "gone"),
    "active": lambda index: index.active("a"),
    "operation": lambda index: index.operation(ID),
    "unfinished": lambda index: index.unfinished(),
}


@pytest.mark.parametrize("ask", WARM.values(), ids=WARM)
def test_repeated_queries_make_no_request(cluster: FakeCluster, ask: Callable[[Index], object]) -> None:
    cluster.create_secret("demo", operation_secret(operation(ID, finished_at=STARTED)))
    index = loaded(cluster)
    first = ask(index)
    cluster.requests.clear()
    assert ask(index) == first
    assert cluster.requests == []


@pytest.mark.parametrize("ask", ["page", "filtered", "release", "active", "operation", "unfinished"])
def test_queries_of_current_releases_make_no_request(cluster: FakeCluster, ask: str) -> None:
    cluster.create_secret("demo", operation_secret(operation(ID)))
    index = loaded(cluster)
    WARM[ask](index)
    assert cluster.requests == []


def test_superseded_records_are_read_on_demand(cluster: FakeCluster) -> None:
    index = loaded(cluster)
    assert index.release(ReleaseId("demo", "a", 1)).description == "revision 1"
    assert cluster.requests == ["get secret demo/sh.helm.release.v1.a.v1"]
    cluster.requests.clear()
    for number in range(3):
        release(cluster, "prod", f"long-{number}", *["superseded"] * 5, "deployed")
    index.load()
    cluster.requests.clear()
    assert index.page(Query(all=True, namespace="prod")).count == 19
    assert cluster.requests == ["list secrets prod"], "many of a namespace are read at once"


def test_release_shortened_in_lists_is_complete_on_its_own(cluster: FakeCluster) -> None:
    release(cluster, "prod", "long", "deployed", description="x" * 10_000)
    index = loaded(cluster)
    (item,) = index.page(Query(name="long")).items
    assert len(item) <= 2048
    assert Release.model_validate_json(item).description.endswith("…")
    whole = HistoryStore(cluster).release(ReleaseId("prod", "long"))  # type: ignore[arg-type]
    cluster.requests.clear()
    assert index.release(ReleaseId("prod", "long")) == whole
    assert index.history("prod", "long").items == (whole,)
    assert len(cluster.requests) <= 1
    assert [one.id for one in index.active("long")] == ["prod.long.v1"]


def test_corrupt_record_is_listed_as_damaged(cluster: FakeCluster) -> None:
    write(cluster, record_secret(1, "deployed", name="corrupt", payload="!!!"))
    index = loaded(cluster)
    (item,) = index.page(Query(name="corrupt")).items
    assert Release.model_validate_json(item).description.startswith("damaged: its content cannot be decoded")


@pytest.mark.parametrize("id", ["demo.a.v7", "demo.none", "nowhere.a"])
def test_missing_releases_raise_the_same_error_as_the_store(cluster: FakeCluster, id: str) -> None:
    index = loaded(cluster)
    release_id = ReleaseId.parse(id)
    with pytest.raises(ReleaseNotFound) as raised:
        index.release(release_id)
    with pytest.raises(ReleaseNotFound) as known:
        HistoryStore(cluster).release(release_id)  # type: ignore[arg-type]
    assert (raised.value.message, raised.value.hint) == (known.value.message, known.value.hint)
    if release_id.name != "a" or release_id.namespace != "demo":
        with pytest.raises(ReleaseNotFound):
            index.history(release_id.namespace, release_id.name)


def test_unknown_operation_is_looked_up_in_the_cluster(cluster: FakeCluster) -> None:
    index = loaded(cluster)
    with pytest.raises(OperationNotFound, match=ID):
        index.operation(ID)
    assert cluster.requests == ["list secrets *"]
    cluster.create_secret("demo", operation_secret(operation(ID)))
    assert index.operation(ID).id == ID
    cluster.requests.clear()
    index.operation(ID)
    with pytest.raises(OperationNotFound):
        index.operation("no id")
    assert cluster.requests == []


def test_secret_with_operation_labels_but_another_type_is_ignored(cluster: FakeCluster) -> None:
    cluster.create_secret("demo", {**operation_secret(operation(ID)), "type": "Opaque"})
    index = loaded(cluster)
    with pytest.raises(OperationNotFound):
        index.operation(ID)
    assert index.unfinished() == set()
    assert index.release(ReleaseId("demo", "a")).operation is None


def test_unfinished_lists_operations_without_an_end(cluster: FakeCluster) -> None:
    """Those that were written before ends were labelled are looked at."""
    old = operation_secret(operation("old", finished_at=STARTED))
    del old["metadata"]["labels"]["kubernaut/outcome"]
    cluster.create_secret("demo", old)
    cluster.create_secret("prod", operation_secret(operation("new").model_copy(update={"name": "a", "namespace": "prod"})))
    unread = operation_secret(operation("unread"))
    cluster.create_secret("test", {**unread, "data": {"operation": "!!!"}})
    index = loaded(cluster)
    assert index.unfinished() == {("prod", "a")}
    ended = operation_secret(operation("new", finished_at=STARTED))
    cluster.patch_secret(
        "prod", "kubernaut.new", {"metadata": {"labels": ended["metadata"]["labels"] | {"name": "a"}}, "data": ended["data"]}
    )
    index.refresh("prod", "a")
    assert index.unfinished() == set()


def test_queries_before_the_first_list_raise_index_stale() -> None:
    cluster = FakeCluster("demo")
    index = Index(cluster)  # type: ignore[arg-type]
    asks: list[Callable[[], object]] = [
        lambda: index.page(Query()),
        lambda: index.release(ReleaseId("demo", "a")),
        lambda: index.history("demo", "a"),
        lambda: index.active(),
        lambda: index.operation(ID),
        index.check,
    ]
    for ask in asks:
        with pytest.raises(IndexStale):
            ask()
    index.load()
    index.check()
    assert index.page(Query()).items == ()
    assert index.age() < 5


def test_a_page_of_a_thousand_releases_takes_less_than_a_millisecond() -> None:
    cluster = FakeCluster("demo", "prod")
    for number in range(1000):
        release(cluster, ("demo", "prod")[number % 2], f"app-{number:04}", "deployed")
    index = loaded(cluster)
    page = index.page(Query(limit=100))
    assert (page.count, len(page.items), page.next) == (1000, 100, ("demo", "app-0198", 1))

    def fastest(query: Query) -> float:
        began = [time.perf_counter()]
        for _ in range(50):
            index.page(query)
            began.append(time.perf_counter())
        return min(after - before for before, after in pairwise(began))

    assert fastest(Query(limit=100)) < 0.001
    assert fastest(Query(limit=100, after=page.next, visible=frozenset({"demo", "prod"}))) < 0.001


def test_result_of_a_finished_operation_is_in_every_list(cluster: FakeCluster) -> None:
    begun = operation(ID, reason=None).model_copy(update={"name": "a"})
    write(cluster, operation_secret(begun))
    index = loaded(cluster)
    assert index.operation(ID).finished_at is None
    release(cluster, "demo", "d", "deployed")  # the release of another name keeps its place
    write(cluster, record_secret(3, "deployed", name="a", namespace="demo"))
    ended = operation_secret(operation(ID, finished_at=STARTED).model_copy(update={"name": "a"}))
    cluster.patch_secret("demo", begun.secret, {"data": ended["data"], "metadata": {"labels": ended["metadata"]["labels"]}})
    for name in ("sh.helm.release.v1.a.v3", begun.secret):  # heard of, and not read yet
        secret = cluster.get_secret("demo", name)
        assert secret is not None
        index._cache.apply(WatchEvent("MODIFIED", secret))
    assert ids(index, name="a", namespace="demo") == ["demo.a.v2"]
    assert index.operation(ID).finished_at is not None
    assert ids(index, name="a", namespace="demo") == ["demo.a.v3"]


def test_deleted_records_leave_the_cache(cluster: FakeCluster) -> None:
    index = loaded(cluster)
    before = index._cache.contents.currsize
    release(cluster, "demo", "z", "deployed")
    index.refresh("demo", "z")
    assert index._cache.contents.currsize > before
    secret = cluster.get_secret("demo", "sh.helm.release.v1.z.v1")
    assert secret is not None
    cluster.delete_secret("demo", "sh.helm.release.v1.z.v1")
    index._cache.apply(WatchEvent("DELETED", secret))
    assert index._cache.contents.currsize == before
    assert ids(index, name="z", all=True) == []
