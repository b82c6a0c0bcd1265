"""What the store keeps of a cluster's objects."""

from __future__ import annotations

from support.kube_objects import (
    NAMESPACE,
    Json,
    changed,
    claim,
    deployment,
    endpoint_slice,
    event,
    manifest,
    metadata,
    moment,
    ordinal_pod,
    owned_pod,
    pod,
    replica_set,
    service,
    stateful_set,
)

from kubernaut.rollout.objects import ObjectKey, expected_objects, key_of
from kubernaut.rollout.store import MOST_EVENTS, MOST_PODS, Store

WEB = deployment()
NEWEST = replica_set(WEB)


def store_of(*wanted: Json) -> Store:
    return Store(expected_objects([manifest(item) for item in wanted], NAMESPACE))


def versioned(item: Json, version: int) -> Json:
    return changed(item, metadata={"resourceVersion": str(version)})


def names(store: Store, kind: str) -> list[str]:
    return [item["metadata"]["name"] for item in store.snapshot(moment(0)).of_kind(kind)]


def test_objects_of_the_release_belong_to_it() -> None:
    db, live = stateful_set(), service()
    store = store_of(WEB, db, live)
    own = [WEB, NEWEST, owned_pod(NEWEST, "a"), ordinal_pod(db, 0), claim("data-db-0"), live, endpoint_slice(live, True)]
    assert all(store.belongs(item) for item in own)
    assert all(store.belongs(event(item, "Any")) for item in (WEB, NEWEST, owned_pod(NEWEST, "a")))


def test_other_objects_do_not_belong_to_it() -> None:
    store, other = store_of(WEB), deployment("shop")
    set_of_other = replica_set(other)
    foreign = [other, set_of_other, owned_pod(set_of_other, "a"), pod("webber"), service("api"), event(other, "Any"), claim("data")]
    assert not any(store.apply("ADDED", item) for item in foreign)
    assert store.snapshot(moment(0)).objects == {}


def test_events_of_a_pod_with_a_cut_name_belong() -> None:
    long = deployment("a" * 40 + "-" + "b" * 22)
    item = pod(long["metadata"]["name"][:58] + "x7k2p", owner=replica_set(long))
    assert store_of(long).belongs(event(item, "Failed"))


def test_changes_are_applied() -> None:
    store = store_of(WEB)
    store.apply("ADDED", WEB)
    store.apply("MODIFIED", changed(WEB, spec={"replicas": 3}))
    assert store.snapshot(moment(0)).objects[key_of(WEB)]["spec"]["replicas"] == 3
    store.apply("DELETED", WEB)
    assert names(store, "Deployment") == []


def test_older_states_are_left_out() -> None:
    store = store_of(WEB)
    store.apply("ADDED", versioned(changed(WEB, spec={"replicas": 3}), 100))
    store.apply("MODIFIED", versioned(WEB, 99))
    store.apply("DELETED", versioned(WEB, 98))
    assert store.snapshot(moment(0)).objects[key_of(WEB)]["spec"]["replicas"] == 3
    store.apply("DELETED", versioned(WEB, 101))
    assert names(store, "Deployment") == []


def test_list_replaces_all_objects_of_its_kind_only() -> None:
    store = store_of(WEB)
    for item in (WEB, NEWEST, owned_pod(NEWEST, "a")):
        store.apply("ADDED", item)
    listed = {name: part for name, part in owned_pod(NEWEST, "b").items() if name != "kind"}
    store.replace("Pod", [listed])
    assert names(store, "Pod") == ["web-7f1-b"]
    assert names(store, "ReplicaSet") == ["web-7f1"]


def test_kinds_of_the_same_name_are_kept_apart() -> None:
    foreign = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": metadata("web"), "spec": {}}
    store = store_of(service(), foreign)
    store.apply("ADDED", service())
    store.apply("ADDED", foreign)
    assert len(store.snapshot(moment(0)).objects) == 2
    assert names(store, "Service") == ["web"]
    store.replace("Service", [])
    assert list(store.snapshot(moment(0)).objects) == [ObjectKey("Service", NAMESPACE, "web", "serving.knative.dev")]
    store.replace("Service", [], group="serving.knative.dev")
    assert store.snapshot(moment(0)).objects == {}


def test_newest_pods_are_kept() -> None:
    store = store_of(WEB)
    for number in range(MOST_PODS + 50):
        store.apply("ADDED", owned_pod(NEWEST, str(number), created=number))
    snapshot = store.snapshot(moment(0))
    assert len(snapshot.of_kind("Pod")) == MOST_PODS
    assert (snapshot.left_out, snapshot.knows_all("Pod")) == ({"Pod": 50}, False)
    assert key_of(owned_pod(NEWEST, "249")) in snapshot.objects
    assert key_of(owned_pod(NEWEST, "0")) not in snapshot.objects


def test_pods_that_were_left_out_and_deleted_no_longer_count() -> None:
    store = store_of(WEB)
    for _ in range(2):
        for number in range(MOST_PODS + 1):
            store.apply("ADDED", owned_pod(NEWEST, str(number), created=number))
    assert store.snapshot(moment(0)).left_out == {"Pod": 1}
    store.apply("DELETED", owned_pod(NEWEST, "0"))
    assert store.snapshot(moment(0)).knows_all("Pod")


def test_newest_events_are_kept() -> None:
    store = store_of(WEB)
    for number in range(MOST_EVENTS + 1):
        store.apply("ADDED", event(WEB, "Any", at=number))
    found = store.snapshot(moment(0)).events_about(WEB)
    assert (len(found), found[0]["count"]) == (MOST_EVENTS, 1)
    assert found[0]["lastTimestamp"] == "2026-03-01T12:00:01Z"


def test_events_are_in_order_and_may_expire() -> None:
    store, first, second = store_of(WEB), event(WEB, "First", at=5), event(WEB, "Second", at=5)
    store.apply("ADDED", versioned(second, 8))
    store.apply("ADDED", versioned(first, 7))
    store.apply("MODIFIED", versioned(changed(first, count=4), 7))
    assert [one["reason"] for one in store.snapshot(moment(0)).events_about(WEB)] == ["First", "Second"]
    store.apply("DELETED", second)
    assert [one["count"] for one in store.snapshot(moment(0)).events_about(WEB)] == [4]


def test_unreadable_kind_is_forgotten_until_it_is_read_again() -> None:
    store = store_of(WEB)
    store.apply("ADDED", WEB)
    store.set_unreadable("Deployment", "no right")
    snapshot = store.snapshot(moment(0))
    assert (dict(snapshot.objects), snapshot.unreadable, snapshot.knows_all("Deployment")) == (
        {},
        {"Deployment": "no right"},
        False,
    )
    store.replace("Deployment", [WEB])
    assert store.snapshot(moment(0)).knows_all("Deployment")


def test_snapshot_stays_as_it_was() -> None:
    store = store_of(WEB)
    store.apply("ADDED", WEB)
    snapshot = store.snapshot(moment(0))
    store.apply("DELETED", WEB)
    assert key_of(WEB) in snapshot.objects


def test_owned_objects_are_found_by_uid_and_not_by_name() -> None:
    store, earlier = store_of(WEB), replica_set(changed(WEB, metadata={"uid": "earlier"}), 2)
    for item in (WEB, NEWEST, earlier):
        store.apply("ADDED", item)
    assert [item["metadata"]["name"] for item in store.snapshot(moment(0)).owned_by(WEB, "ReplicaSet")] == ["web-7f1"]
