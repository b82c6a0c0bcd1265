"""The store that the watching threads fill, and the API server's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubernaut.adapters.kube_http import WatchEvent
from kubernaut.rollout.live import LiveStore, ServerClock, Source
from kubernaut.rollout.objects import ObjectKey, expected_objects
from kubernaut.rollout.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)


def pod(name: str, version: int = 0, namespace: str = "demo", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(version), "uid": name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, **fields}


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# the clock


def test_server_time_is_the_latest_that_whole_seconds_prove(clock: Clock) -> None:
    server = ServerClock(clock)
    for now, seconds in ((100.9, 0), (101.1, 1), (101.8, 1), (102.05, 2)):  # the server is 0.95 to 1 s ahead of 100.0
        clock.now = now
        server.note(START + timedelta(seconds=seconds))
    assert server.at(103.0) == START + timedelta(seconds=2.95)
    assert server.at(101.0) == START + timedelta(seconds=0.95)


def test_server_clock_that_was_set_back_is_followed(clock: Clock) -> None:
    server = ServerClock(clock)
    server.note(START)
    server.note(START - timedelta(hours=1))
    assert server.at(clock.now) == START - timedelta(hours=1)


def test_this_machines_clock_counts_before_the_first_response(clock: Clock) -> None:
    server = ServerClock(clock)
    server.note(None)
    assert abs(server.at(clock.now) - datetime.now(UTC)) < timedelta(minutes=1)


# versions


@pytest.fixture
def source() -> Source:
    return Source("Pod", "demo")


@pytest.fixture
def live(clock: Clock, source: Source) -> LiveStore:
    made = LiveStore(clock, lambda: None)
    made.expect(expected_objects([pod("a"), pod("b")], "demo"), [source])
    return made


def versions(live: LiveStore) -> dict[str, str]:
    return {key.name: str(item["metadata"]["resourceVersion"]) for key, item in live.snapshot().objects.items()}


def test_list_that_is_older_than_the_watch_changes_nothing(live: LiveStore, source: Source) -> None:
    live.replace(source, [pod("a", 3)], "5")
    live.apply(source, WatchEvent("ADDED", pod("b", 9)))
    live.replace(source, [pod("a", 3)], "7")
    assert versions(live) == {"a": "3", "b": "9"}
    live.replace(source, [pod("a", 3)], "9")
    assert versions(live) == {"a": "3"}


def test_event_that_the_list_contains_already_changes_nothing(live: LiveStore, source: Source) -> None:
    live.replace(source, [pod("b", 8)], "10")
    for event in (WatchEvent("MODIFIED", pod("b", 7)), WatchEvent("ADDED", pod("a", 9)), WatchEvent("DELETED", pod("b", 10))):
        live.apply(source, event)
    assert versions(live) == {"b": "8"}
    live.apply(source, WatchEvent("DELETED", pod("b", 11)))
    assert versions(live) == {}


def test_bookmark_moves_the_version_and_is_no_change(live: LiveStore, source: Source) -> None:
    live.snapshot()
    live.apply(source, WatchEvent("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "20"}}))
    assert not live.wait(0)
    live.apply(source, WatchEvent("ADDED", pod("a", 15)))
    assert versions(live) == {}


def test_version_that_the_cluster_has_forgotten_is_not_compared(live: LiveStore, source: Source) -> None:
    live.replace(source, [pod("a", 900)], "1000")
    live.restart(source)
    live.replace(source, [pod("b", 2)], "5")
    assert versions(live) == {"b": "2"}


def test_versions_that_are_no_numbers_are_not_compared(live: LiveStore, source: Source) -> None:
    live.replace(source, [], "x")
    live.apply(source, WatchEvent("ADDED", {**pod("a"), "metadata": {"name": "a", "namespace": "demo", "resourceVersion": "y"}}))
    assert versions(live) == {"a": "y"}


def test_source_that_is_not_in_use_changes_nothing(live: LiveStore, source: Source) -> None:
    other = Source("Pod", "demo")
    live.replace(other, [pod("a", 1)], "5")
    live.apply(other, WatchEvent("ADDED", pod("b", 6)))
    live.deny(other, "no")
    live.lose(other, "gone")
    live.hear(other)
    snapshot = live.snapshot()
    assert (snapshot.objects, snapshot.unreadable, snapshot.disconnected, snapshot.contact) == ({}, {}, "", None)
    live.replace(source, [pod("a", 1)], "5")
    live.close()
    live.replace(source, [pod("b", 6)], "7")
    assert versions(live) == {"a": "1"}


def test_contact_is_the_time_of_the_source_that_is_not_heard_longest(clock: Clock) -> None:
    first, second = Source("Pod", "demo"), Source("Event", "demo")
    live = LiveStore(clock, lambda: None)
    live.expect(expected_objects([pod("a")], "demo"), [first, second])
    live.server_clock.note(START)
    for seconds, one in ((0, first), (3, second)):
        clock.now = 100.0 + seconds
        live.replace(one, [], "5")
    assert live.snapshot().contact == START + timedelta(seconds=3)
    live.lose(second, "gone")
    clock.now = 110.0
    assert (live.snapshot().contact, live.snapshot().disconnected) == (START + timedelta(seconds=3), "gone")
    live.lose(first, "gone too")
    assert live.snapshot().contact == START
    live.hear(first)
    live.hear(second)
    assert (live.snapshot().contact, live.snapshot().disconnected) == (START + timedelta(seconds=10), "")


# several namespaces


def test_list_of_a_namespace_replaces_only_its_objects() -> None:
    store = Store(expected_objects([pod("a"), pod("b", namespace="other")], "demo"))
    store.replace("Pod", [pod("a", 1)], "demo")
    store.replace("Pod", [pod("b", 2, "other")], "other")
    assert {key.name for key in store.snapshot(START).objects} == {"a", "b"}
    store.replace("Pod", [], "demo")
    assert list(store.snapshot(START).objects) == [ObjectKey("Pod", "other", "b")]


def test_namespace_that_cannot_be_read_does_not_hide_another() -> None:
    store = Store(expected_objects([pod("a"), pod("b", namespace="other")], "demo"))
    store.replace("Pod", [pod("b", 2, "other")], "other")
    store.set_unreadable("Pod", "no right in demo", "demo")
    store.replace("Pod", [pod("b", 3, "other")], "other")
    snapshot = store.snapshot(START)
    assert (snapshot.unreadable, [key.name for key in snapshot.objects]) == ({"Pod": "no right in demo"}, ["b"])
    assert not snapshot.knows_all("Pod")
    store.replace("Pod", [], "demo")
    assert store.snapshot(START).knows_all("Pod")


def test_events_of_a_namespace_are_replaced_alone() -> None:
    store = Store(expected_objects([pod("a"), pod("a", namespace="other")], "demo"))

    def event(namespace: str) -> dict[str, Any]:
        metadata = {"name": "e", "namespace": namespace, "uid": f"e-{namespace}"}
        return {"kind": "Event", "metadata": metadata, "involvedObject": {"name": "a", "uid": namespace}}

    store.replace("Event", [event("demo")], "demo")
    store.replace("Event", [event("other")], "other")
    store.replace("Event", [], "demo")
    assert list(store.snapshot(START).events) == ["other"]
