"""`RolloutWatch` without rights, through faults of the API server, and at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fake_api_server import FakeApiServer, config
from support.watching import (
    DENIED,
    DEPLOYMENT,
    EXPIRED,
    FAST,
    GONE,
    HELLO,
    SOON,
    expected,
    names,
    pod,
    requests,
    thing,
    until,
    watching,
)

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_resources import Resource
from kubernaut.errors import ClusterDenied, ClusterUnreachable
from kubernaut.rollout.reflector import Timings
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.watch import RolloutWatch
from kubernaut.testing.cluster import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster("demo", "other")


# rights


@pytest.mark.parametrize("plural", ["pods", "events", "replicasets", "deployments", "services", "endpointslices"])
def test_kind_that_may_not_be_listed_costs_only_itself(cluster: FakeCluster, plural: str) -> None:
    kinds = {"pods": "Pod", "events": "Event", "replicasets": "ReplicaSet", "deployments": "Deployment", "services": "Service"}
    cluster.put(DEPLOYMENT, "demo")
    cluster.put(pod("web-7f9-a"), "demo")
    cluster.fail(f"list {plural}", DENIED, times=None)
    with watching(cluster) as watch:
        snapshot = watch.refresh()
        kind = kinds.get(plural, "EndpointSlice")
        assert snapshot.unreadable == {kind: f"cannot read {plural} in demo: no right to list {plural}"}
        assert snapshot.disconnected == ""
        known = {"Deployment": ["web"], "Pod": ["web-7f9-a"]} | {kind: []}
        assert {one: names(snapshot, one) for one in known} == known
        cluster.heal()
        until(lambda: watch.snapshot().unreadable == {}, "it is tried again")
        assert names(watch.snapshot(), "Pod") == ["web-7f9-a"]


def test_lost_right_is_one_change(cluster: FakeCluster) -> None:
    changes: list[int] = []
    cluster.fail("list pods", DENIED, times=None)
    with watching(cluster, on_change=lambda: changes.append(1)) as watch:
        until(lambda: len([one for one in cluster.requests if one == "list pods demo"]) >= 3, "it is tried several times")
        watch.snapshot()
        assert not watch.wait(0.1)


def test_kind_that_may_not_be_watched_is_listed_again_and_again(cluster: FakeCluster) -> None:
    cluster.fail("watch pods", DENIED, times=None)
    with watching(cluster) as watch:
        cluster.put(pod("web-7f9-a"), "demo")
        until(lambda: names(watch.snapshot(), "Pod") == ["web-7f9-a"], "the next list shows it")
        assert watch.snapshot().unreadable == {}


def test_refused_credentials_are_named(cluster: FakeCluster) -> None:
    cluster.fail("list pods", EXPIRED, times=None)
    with watching(cluster) as watch:
        assert "credentials" in watch.snapshot().unreadable["Pod"]


def test_credentials_that_expire_leave_the_known_state(cluster: FakeCluster) -> None:
    cluster.put(pod("web-7f9-a"), "demo")
    with watching(cluster) as watch:
        cluster.fail("", EXPIRED, times=None)
        cluster.changes.cut()
        until(lambda: watch.snapshot().disconnected, "it is noticed")
        with pytest.raises(ClusterDenied):
            watch.refresh()
        snapshot = watch.snapshot()
        assert (names(snapshot, "Pod"), snapshot.unreadable) == (["web-7f9-a"], {})
        cluster.heal()
        cluster.put(pod("web-7f9-b"), "demo")
        until(lambda: len(watch.snapshot().of_kind("Pod")) == 2, "it goes on with new credentials")
        until(lambda: not watch.snapshot().disconnected, "the cluster is heard")


# faults


def test_cut_watches_resume(cluster: FakeCluster) -> None:
    with watching(cluster) as watch:
        until(lambda: len(requests(cluster, "watch")) == 6, "all watches are open")
        for number in range(3):
            cluster.changes.cut()
            cluster.put(pod(f"web-7f9-{number}"), "demo")
            until(lambda number=number: len(watch.snapshot().of_kind("Pod")) == number + 1, "the pod is known")
    assert len([one for one in cluster.requests if one == "list pods demo"]) == 1, "nothing was listed again"


def test_expired_watch_begins_with_a_new_list(cluster: FakeCluster) -> None:
    made = cluster.put(pod("web-7f9-a"), "demo")
    with watching(cluster) as watch:
        cluster.remove(made)
        cluster.put(pod("web-7f9-b"), "demo")
        cluster.forget()
        until(lambda: names(watch.snapshot(), "Pod") == ["web-7f9-b"], "the list replaces what was known")
        until(lambda: len([one for one in cluster.requests if one == "list pods demo"]) >= 2, "it is listed again")


def test_expired_list_is_read_again(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.rollout.reflector._PAGE_SIZE", 1)
    for number in range(3):
        cluster.put(pod(f"web-7f9-{number}"), "demo")
    read, left = cluster.list_objects, [3]

    def forgetful(*arguments: Any, **named: Any) -> Any:
        if named["continue_token"] and left[0]:
            left[0] -= 1
            cluster.forget()
        return read(*arguments, **named)

    cluster.list_objects = forgetful  # type: ignore[method-assign]
    with watching(cluster) as watch:
        assert len(watch.snapshot().of_kind("Pod")) == 3


def test_silent_connection_is_noticed_and_opened_again(cluster: FakeCluster) -> None:
    timings = Timings(watch=0, first_pause=0.01, longest_pause=0.05)
    with watching(cluster, timings=timings) as watch:
        cluster.changes.silent = True
        until(lambda: watch.snapshot().disconnected, "the silence is noticed")
        cluster.put(pod("web-7f9-a"), "demo")
        cluster.changes.silent = False
        until(lambda: names(watch.snapshot(), "Pod") == ["web-7f9-a"], "the watch is open again")


def test_state_stays_while_the_api_server_is_gone(cluster: FakeCluster) -> None:
    now = [1000.0]
    cluster.server_time = datetime(2026, 1, 1, tzinfo=UTC)
    cluster.put(pod("web-7f9-a"), "demo")
    with watching(cluster, clock=lambda: now[0]) as watch:
        until(lambda: len(requests(cluster, "watch")) == 6, "all watches are open")
        heard = watch.snapshot()
        assert heard.contact == heard.at == cluster.server_time
        cluster.fail("", GONE, times=None)
        cluster.changes.cut()
        until(lambda: watch.snapshot().disconnected == GONE.message, "it is noticed")
        now[0] += 7
        gone = watch.snapshot()
        assert names(gone, "Pod") == ["web-7f9-a"]
        assert gone.contact == heard.at
        assert gone.at == heard.at + timedelta(seconds=7), "the clock goes on"
        with pytest.raises(ClusterUnreachable):
            watch.refresh()
        cluster.heal()
        cluster.put(pod("web-7f9-b"), "demo")
        until(lambda: len(watch.snapshot().of_kind("Pod")) == 2, "it goes on")
        until(lambda: not watch.snapshot().disconnected, "the cluster is heard")
        assert watch.snapshot().contact == watch.snapshot().at


def test_api_server_that_is_gone_at_first_is_waited_for(cluster: FakeCluster) -> None:
    cluster.fail("", GONE, times=None)
    cluster.put(DEPLOYMENT, "demo")
    with watching(cluster, synced=False) as watch:
        until(lambda: watch.snapshot().disconnected == GONE.message, "it is named")
        assert watch.snapshot().contact is None
        assert not watch.is_synced()
        cluster.heal()
        assert watch.is_synced(SOON)
        assert names(watch.snapshot(), "Deployment") == ["web"]


def test_watches_that_end_at_once_are_not_opened_in_a_loop(cluster: FakeCluster) -> None:
    with watching(cluster, timings=Timings(watch=0, first_pause=0.05, longest_pause=0.05)):
        threading.Event().wait(0.3)
    assert len([one for one in cluster.requests if one == "watch pods demo"]) <= 10


def test_defect_in_a_thread_is_shown_and_not_raised(cluster: FakeCluster) -> None:
    cluster.fail("watch pods", RuntimeError("broken"))
    with watching(cluster) as watch:
        until(lambda: "broken" in watch.snapshot().disconnected, "it is shown")


# refresh


def test_refresh_shows_changes_that_no_watch_has_reported(cluster: FakeCluster) -> None:
    with watching(cluster) as watch:
        until(lambda: len(requests(cluster, "watch")) == 6, "all watches are open")
        cluster.changes.silent = True
        cluster.put(DEPLOYMENT, "demo")
        made = cluster.put(pod("web-7f9-a"), "demo")
        assert names(watch.snapshot(), "Pod") == []
        cluster.requests.clear()
        fresh = watch.refresh()
        assert (names(fresh, "Deployment"), names(fresh, "Pod")) == (["web"], ["web-7f9-a"])
        assert "events demo" not in requests(cluster, "list")
        cluster.remove(made)
        assert names(watch.refresh(), "Pod") == []
        cluster.changes.silent = False
        cluster.changes.cut()  # the watches resume before what the refresh has shown
        cluster.put(pod("web-7f9-b"), "demo")
        until(lambda: names(watch.snapshot(), "Pod") == ["web-7f9-b"], "old events do not undo the refresh")


def test_slow_list_does_not_undo_what_a_watch_has_reported(cluster: FakeCluster) -> None:
    read, began, go_on = cluster.list_objects, threading.Event(), threading.Event()

    def slow(resource: Resource, *arguments: Any, **named: Any) -> Any:
        page = read(resource, *arguments, **named)
        if resource.kind == "Pod":
            began.set()
            assert go_on.wait(SOON)
        return page

    with watching(cluster) as watch:
        cluster.list_objects = slow  # type: ignore[method-assign]
        refreshed: list[Snapshot] = []
        thread = threading.Thread(target=lambda: refreshed.append(watch.refresh()))
        thread.start()
        assert began.wait(SOON)
        cluster.put(pod("web-7f9-a"), "demo")
        until(lambda: names(watch.snapshot(), "Pod") == ["web-7f9-a"], "the watch has reported it")
        go_on.set()
        thread.join(SOON)
        assert names(refreshed[0], "Pod") == ["web-7f9-a"]


def test_refresh_has_a_deadline(cluster: FakeCluster) -> None:
    with watching(cluster, timings=Timings(request=0.1)) as watch, hanging(cluster), pytest.raises(ClusterUnreachable):
        watch.refresh()


# changes and the end


def test_wait_returns_when_something_has_changed_since_the_snapshot(cluster: FakeCluster) -> None:
    changed = threading.Event()
    with watching(cluster, on_change=changed.set) as watch:
        until(lambda: len(requests(cluster, "watch")) == 6, "all watches are open")
        watch.snapshot()
        assert not watch.wait(0.01)
        changed.clear()
        timer = threading.Timer(0.05, cluster.put, (pod("web-7f9-a"), "demo"))
        timer.start()
        assert watch.wait(SOON)
        assert changed.wait(SOON)
        assert watch.wait(0), "until the next snapshot"
        assert names(watch.snapshot(), "Pod") == ["web-7f9-a"]
        assert not watch.wait(0)
        timer.join()


def test_what_belongs_to_others_is_no_change(cluster: FakeCluster) -> None:
    with watching(cluster) as watch:
        watch.snapshot()
        for number in range(20):
            cluster.put(pod(f"api-{number}", owner="ReplicaSet/api"), "demo")
        assert not watch.wait(0.1)


@contextmanager
def hanging(cluster: FakeCluster) -> Iterator[None]:
    """Let each list wait until the end of the block."""
    read, go_on = cluster.list_objects, threading.Event()

    def hang(*arguments: Any, **named: Any) -> Any:
        go_on.wait(SOON)
        return read(*arguments, **named)

    cluster.list_objects = hang  # type: ignore[method-assign]
    try:
        yield
    finally:
        cluster.list_objects = read  # type: ignore[method-assign]
        go_on.set()


def test_end_does_not_wait_for_a_hanging_request(cluster: FakeCluster) -> None:
    before = threading.active_count()
    watch = RolloutWatch(cluster, "demo", timings=FAST)  # type: ignore[arg-type]
    with hanging(cluster):
        with watch:
            watch.expect(expected(*HELLO))
            cluster.put(DEPLOYMENT, "demo")
            began = time.monotonic()
        assert time.monotonic() - began < 2
    until(lambda: threading.active_count() <= before, "abandoned threads end with their request")
    assert watch.snapshot().objects == {}, "a late answer changes nothing"


def test_end_is_quick_and_keeps_the_last_state(cluster: FakeCluster) -> None:
    cluster.put(pod("web-7f9-a"), "demo")
    with watching(cluster) as watch:
        until(lambda: len(requests(cluster, "watch")) == 6, "all watches are open")
        began = time.monotonic()
        watch.__exit__(None, None, None)
        assert time.monotonic() - began < 1
    cluster.put(pod("web-7f9-b"), "demo")
    assert names(watch.snapshot(), "Pod") == ["web-7f9-a"]


def test_end_while_a_kind_is_denied_and_the_server_gone_is_quick(cluster: FakeCluster) -> None:
    cluster.fail("list pods", DENIED, times=None)
    cluster.fail("", GONE, times=None)
    with watching(cluster, timings=Timings(first_pause=60, longest_pause=60), synced=False) as watch:
        until(lambda: watch.snapshot().unreadable and watch.snapshot().disconnected, "all threads pause")
        began = time.monotonic()
        watch.__exit__(None, None, None)
        assert time.monotonic() - began < 1


# a real connection


def test_end_closes_silent_connections(tmp_path: Path) -> None:
    api, before = FakeApiServer(), threading.active_count()
    cluster = Cluster(config(tmp_path, api.url))
    try:
        with RolloutWatch(cluster, "demo", timings=FAST) as watch:
            watch.expect(expected(thing("Pod", "web")))
            assert watch.is_synced(SOON)
            api.speaks.clear()
            until(lambda: len({path.split("?")[0] for _, path, _, _ in api.asked if "watch=true" in path}) == 2, "both are silent")
            until(lambda: not watch.snapshot().disconnected, "both are open")
            began = time.monotonic()
        assert time.monotonic() - began < 1
        until(
            lambda: not [one for one in threading.enumerate() if one.name.startswith("kubernaut-rollout")], "the threads have ended"
        )
    finally:
        api.speaks.set()
        api.close()
        cluster.close()
    until(lambda: threading.active_count() <= before, "the server has ended")
