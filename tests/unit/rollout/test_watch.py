"""`RolloutWatch` against the cluster in memory: what it reads, and how it survives faults of the API server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fake_api_server import FakeApiServer, config

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_resources import Resource
from kubernaut.errors import ClusterDenied, ClusterUnreachable
from kubernaut.rollout.objects import Expected, ObjectKey, expected_objects
from kubernaut.rollout.reflector import Timings
from kubernaut.rollout.store import SERVICE_NAME, Snapshot
from kubernaut.rollout.watch import RolloutWatch
from kubernaut.testing.cluster import FakeCluster

SOON = 10.0
FAST = Timings(denied=0.05, poll=0.02, settled=0.02, first_pause=0.01, longest_pause=0.05)
GONE = ClusterUnreachable("The cluster does not answer.")
DENIED = ClusterDenied("no")
EXPIRED = ClusterDenied("The cluster does not accept the credentials.")
EXPIRED.unauthenticated = True
WIDGETS = Resource("Widget", "example.com/v1", "widgets")
GADGETS = Resource("Gadget", "example.com/v1", "gadgets", namespaced=False)


def thing(kind: str, name: str, api_version: str = "v1", *, owner: str = "", **fields: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if owner:
        owner_kind, _, owner_name = owner.partition("/")
        metadata["ownerReferences"] = [{"kind": owner_kind, "name": owner_name, "uid": f"uid-{owner_name}"}]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


DEPLOYMENT = thing("Deployment", "web", "apps/v1")
SERVICE = thing("Service", "web", spec={"selector": {"app": "web"}})
HELLO = (DEPLOYMENT, SERVICE, thing("ConfigMap", "web"))


def pod(name: str, owner: str = "ReplicaSet/web-7f9", **status: Any) -> dict[str, Any]:
    return thing("Pod", name, owner=owner, status=status)


def event(name: str, about: str) -> dict[str, Any]:
    return {**thing("Event", name), "involvedObject": {"name": about, "uid": f"uid-{about}"}, "reason": "Pulling"}


def names(snapshot: Snapshot, kind: str) -> list[str]:
    return sorted(key.name for key in snapshot.objects if key.kind == kind)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds."""
    pause, deadline = threading.Event(), time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, what
        pause.wait(0.005)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster("demo", "other")


@contextmanager
def watching(
    cluster: FakeCluster, objects: Sequence[dict[str, Any]] = HELLO, *, timings: Timings = FAST, synced: bool = True, **options: Any
) -> Iterator[RolloutWatch]:
    """Watch a release with these objects, once everything has been read."""
    before = threading.active_count()
    with RolloutWatch(cluster, "demo", timings=timings, **options) as watch:  # type: ignore[arg-type]
        watch.expect(expected(*objects))
        assert not synced or watch.is_synced(SOON)
        yield watch
    until(lambda: threading.active_count() <= before, "all threads have ended")


def expected(*objects: dict[str, Any]) -> tuple[Expected, ...]:
    return expected_objects(objects, "demo")


def requests(cluster: FakeCluster, verb: str) -> set[str]:
    return {request.removeprefix(f"{verb} ") for request in cluster.requests if request.startswith(f"{verb} ")}


# what is read


def test_nothing_is_read_before_the_objects_are_known(cluster: FakeCluster) -> None:
    with RolloutWatch(cluster, "demo", timings=FAST) as watch:  # type: ignore[arg-type]
        assert watch.is_synced()
        assert watch.snapshot().objects == {}
    assert cluster.requests == []


def test_only_kinds_of_the_release_and_what_belongs_to_them_are_read(cluster: FakeCluster) -> None:
    with watching(cluster):
        pass
    kinds = ["deployments", "endpointslices", "events", "pods", "replicasets", "services"]
    assert sorted(requests(cluster, "list")) == [f"{kind} demo" for kind in kinds]
    assert cluster.writes == []


@pytest.mark.parametrize(
    ("item", "kinds"),
    [
        (thing("StatefulSet", "db", "apps/v1"), "events pods statefulsets"),
        (
            thing("StatefulSet", "db", "apps/v1", spec={"volumeClaimTemplates": [{}]}),
            "events persistentvolumeclaims pods statefulsets",
        ),
        (thing("DaemonSet", "agent", "apps/v1"), "daemonsets events pods"),
        (thing("Job", "migrate", "batch/v1"), "events jobs pods"),
        (thing("Pod", "one"), "events pods"),
        (thing("ReplicationController", "old"), "events pods replicationcontrollers"),
        (thing("PersistentVolumeClaim", "data"), "events persistentvolumeclaims"),
        (thing("Service", "out", spec={"type": "ExternalName", "selector": {"a": "b"}}), "events services"),
        (thing("Service", "headless"), "events services"),
        (thing("ConfigMap", "settings"), ""),
        (thing("Ingress", "web", "networking.k8s.io/v1"), ""),
    ],
)
def test_kind_decides_what_is_read(cluster: FakeCluster, item: dict[str, Any], kinds: str) -> None:
    with watching(cluster, [item]):
        pass
    assert sorted(requests(cluster, "list")) == [f"{kind} demo" for kind in kinds.split()]


def test_hooks_are_watched(cluster: FakeCluster) -> None:
    hook = thing("Job", "migrate", "batch/v1")
    hook["metadata"]["annotations"] = {"helm.sh/hook": "pre-upgrade"}
    with RolloutWatch(cluster, "demo", timings=FAST) as watch:  # type: ignore[arg-type]
        watch.expect(expected_objects([], "demo", [hook]))
        assert watch.is_synced(SOON)
        cluster.put(pod("migrate-x", owner="Job/migrate"), "demo")
        until(lambda: names(watch.snapshot(), "Pod") == ["migrate-x"], "the hook's pod is known")


def test_namespaces_of_the_manifest_are_watched(cluster: FakeCluster) -> None:
    there = thing("Deployment", "web", "apps/v1")
    there["metadata"]["namespace"] = "other"
    cluster.put(DEPLOYMENT, "demo")
    with watching(cluster, [DEPLOYMENT, there]) as watch:
        assert ObjectKey("Deployment", "other", "web") not in watch.snapshot().objects
        cluster.put(there)
        until(lambda: len(watch.snapshot().of_kind("Deployment")) == 2, "both are known")
        cluster.fail("list deployments other", DENIED, times=None)
        watch.refresh()
        assert [str(key) for key in watch.snapshot().objects] == ["Deployment web"], "the other namespace is not affected"
        assert watch.snapshot().unreadable == {"Deployment": "cannot read deployments in other: no right to list deployments"}


def test_listed_and_changed_objects_are_in_the_snapshot(cluster: FakeCluster) -> None:
    for item in (
        DEPLOYMENT,
        pod("web-7f9-a"),
        pod("api-1", owner="ReplicaSet/api"),
        event("e1", "web-7f9-a"),
        event("e2", "api-1"),
    ):
        cluster.put(item, "demo")
    slice_ = thing("EndpointSlice", "web-x", "discovery.k8s.io/v1")
    slice_["metadata"]["labels"] = {SERVICE_NAME: "web"}
    with watching(cluster) as watch:
        first = watch.snapshot()
        assert (names(first, "Deployment"), names(first, "Pod"), list(first.events)) == (["web"], ["web-7f9-a"], ["uid-web-7f9-a"])
        assert first.of_kind("Pod")[0]["apiVersion"] == "v1", "listed objects have their kind"
        made = cluster.put(pod("web-7f9-b"), "demo")
        cluster.put(slice_, "demo")
        cluster.put(pod("web-7f9-a", phase="Running"), "demo")
        cluster.put(pod("api-2", owner="ReplicaSet/api"), "demo")
        until(lambda: len(watch.snapshot().of_kind("Pod")) == 2, "the new pod is known")
        until(lambda: watch.snapshot().of_kind("Pod")[0]["status"], "the change is known")
        until(lambda: names(watch.snapshot(), "EndpointSlice") == ["web-x"], "the endpoints are known")
        cluster.remove(made)
        until(lambda: names(watch.snapshot(), "Pod") == ["web-7f9-a"], "the deletion is known")
        assert names(first, "Pod") == ["web-7f9-a"], "a snapshot does not change"


def test_long_lists_are_read_in_pages(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.rollout.reflector._PAGE_SIZE", 2)
    for number in range(5):
        cluster.put(pod(f"web-7f9-{number}"), "demo")
    with watching(cluster) as watch:
        assert len(watch.snapshot().of_kind("Pod")) == 5


def test_objects_expected_later_are_read_and_known_ones_stay(cluster: FakeCluster) -> None:
    cluster.put(DEPLOYMENT, "demo")
    with watching(cluster, [DEPLOYMENT]) as watch:
        cluster.put(thing("StatefulSet", "db", "apps/v1"), "demo")
        cluster.put(pod("db-0", owner="StatefulSet/db"), "demo")
        watch.expect(expected(DEPLOYMENT, thing("StatefulSet", "db", "apps/v1")))
        assert names(watch.snapshot(), "Deployment") == ["web"]
        until(lambda: names(watch.snapshot(), "Pod") == ["db-0"], "its pods are known")
        assert names(watch.snapshot(), "Deployment") == ["web"]


def test_same_kinds_and_names_are_not_read_again(cluster: FakeCluster) -> None:
    with watching(cluster) as watch:
        until(lambda: len(requests(cluster, "watch")) == 6, "all watches are open")
        before = len(cluster.requests)
        watch.expect(expected({**DEPLOYMENT, "spec": {"replicas": 2}}, SERVICE, thing("ConfigMap", "web")))
        assert watch.is_synced()
        assert len(cluster.requests) == before


def test_objects_expected_before_the_start_are_read_then(cluster: FakeCluster) -> None:
    watch = RolloutWatch(cluster, "demo", timings=FAST)  # type: ignore[arg-type]
    watch.expect(expected(*HELLO))
    assert cluster.requests == []
    with watch:
        assert watch.is_synced(SOON)


# objects of other groups


def test_custom_resource_is_read_by_name(cluster: FakeCluster) -> None:
    cluster.resources += [WIDGETS, GADGETS]
    widget, gadget = thing("Widget", "w", "example.com/v1"), thing("Gadget", "g", "example.com/v1")
    with watching(cluster, [widget, gadget]) as watch:
        assert watch.snapshot().objects == {}
        cluster.put(widget, "demo")
        until(lambda: names(watch.snapshot(), "Widget") == ["w"], "it is known")
        made = cluster.put({**widget, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "demo")
        key = ObjectKey("Widget", "demo", "w", "example.com")
        until(lambda: "status" in watch.snapshot().objects[key], "its condition is known")
        cluster.put(gadget)
        key = ObjectKey("Gadget", "demo", "g", "example.com")
        until(lambda: key in watch.snapshot().objects, "an object of the cluster has the manifest's identity")
        cluster.remove(made)
        until(lambda: names(watch.snapshot(), "Widget") == [], "the deletion is known")
    assert requests(cluster, "list") == set()


def test_kind_that_is_not_served_is_named_until_it_is(cluster: FakeCluster) -> None:
    with watching(cluster, [thing("Widget", "w", "example.com/v1")]) as watch:
        why = watch.snapshot().unreadable["Widget"]
        assert "Widget w" in why
        assert "example.com/v1" in why
        cluster.resources.append(WIDGETS)
        cluster.put(thing("Widget", "w", "example.com/v1"), "demo")
        until(lambda: names(watch.snapshot(), "Widget") == ["w"], "it is known")
        assert watch.snapshot().unreadable == {}


def test_definition_of_a_kind_is_read_by_name(cluster: FakeCluster) -> None:
    definition = thing("CustomResourceDefinition", "widgets.example.com", "apiextensions.k8s.io/v1")
    cluster.put(definition)
    with watching(cluster, [definition]) as watch:
        assert names(watch.snapshot(), "CustomResourceDefinition") == ["widgets.example.com"]
    assert requests(cluster, "list") == set()


def test_custom_kind_called_like_a_known_one_is_no_reason_to_watch_that(cluster: FakeCluster) -> None:
    cluster.resources.append(Resource("Service", "serving.example.com/v1", "services"))
    with watching(cluster, [thing("Service", "web", "serving.example.com/v1")]):
        pass
    assert requests(cluster, "list") == set()


def test_denied_custom_resource_is_named_and_its_sibling_read(cluster: FakeCluster) -> None:
    cluster.resources.append(WIDGETS)
    items = [thing("Widget", name, "example.com/v1") for name in ("a", "b")]
    for item in items:
        cluster.put(item, "demo")
    cluster.fail("get widget demo/a", DENIED, times=None)
    with watching(cluster, items) as watch:
        until(lambda: names(watch.snapshot(), "Widget") == ["b"], "the other one is read")
        cluster.heal()
        until(lambda: names(watch.snapshot(), "Widget") == ["a", "b"], "both are read")
        assert watch.snapshot().unreadable == {}


def test_object_that_cannot_be_read_does_not_delay_another(cluster: FakeCluster) -> None:
    cluster.resources.append(WIDGETS)
    items = [thing("Widget", name, "example.com/v1") for name in ("a", "b")]
    for item in items:
        cluster.put(item, "demo")
    cluster.fail("get widget demo/a", GONE, times=None)
    with watching(cluster, items, synced=False) as watch:
        until(lambda: names(watch.snapshot(), "Widget") == ["b"], "the other one is read")
        assert watch.snapshot().disconnected == GONE.message
        cluster.heal()
        until(lambda: names(watch.snapshot(), "Widget") == ["a", "b"], "both are read")
        assert watch.snapshot().disconnected == ""


def test_object_whose_name_is_invalid_is_named(tmp_path: Path) -> None:
    reader = Cluster(config(tmp_path, "http://127.0.0.1:9"))
    definition = thing("CustomResourceDefinition", "..", "apiextensions.k8s.io/v1")
    with RolloutWatch(reader, "demo", timings=FAST) as watch:
        watch.expect(expected(definition, thing("Widget", "", "example.com/v1")))
        assert watch.is_synced(SOON)
        assert list(watch.snapshot().unreadable) == ["CustomResourceDefinition"]
        assert watch.snapshot().disconnected == ""


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


# bounds


def test_pods_are_bounded(cluster: FakeCluster) -> None:
    for number in range(230):
        cluster.put(pod(f"web-7f9-{number:03}"), "demo")
    with watching(cluster) as watch:
        snapshot = watch.refresh()
        assert len(snapshot.of_kind("Pod")) == 200
        assert snapshot.left_out == {"Pod": 30}
        assert not snapshot.knows_all("Pod")


def test_watches_are_bounded(cluster: FakeCluster) -> None:
    items = []
    for number in range(30):
        items.append(thing("Deployment", "web", "apps/v1"))
        items[-1]["metadata"]["namespace"] = f"n{number}"
    with watching(cluster, items) as watch:
        assert len(requests(cluster, "list")) == 60
        assert set(watch.snapshot().unreadable) == {"Deployment", "ReplicaSet", "Pod", "Event"}


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
