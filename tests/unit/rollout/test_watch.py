"""What `RolloutWatch` reads of the cluster in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fake_api_server import config
from support.watching import (
    DENIED,
    DEPLOYMENT,
    FAST,
    GADGETS,
    GONE,
    HELLO,
    SERVICE,
    SOON,
    WIDGETS,
    event,
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
from kubernaut.rollout.objects import ObjectKey, expected_objects
from kubernaut.rollout.store import SERVICE_NAME
from kubernaut.rollout.watch import RolloutWatch
from kubernaut.testing.cluster import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster("demo", "other")


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
