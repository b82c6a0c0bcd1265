"""The contract of `Cluster` for objects of any kind, for the fake in memory and for the real one."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from itertools import islice
from typing import Any

import pytest

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_resources import CHART_RESOURCES, LEASES, NAMESPACES, PODS, RESOURCES, SECRETS, Resource
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, NotFound
from kubernaut.testing.cluster import FakeCluster

WIDGET = Resource("Widget", "example.com/v1", "widgets")

KNOWN = {**RESOURCES, **CHART_RESOURCES}


def lease(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"holderIdentity": "ada", "leaseDurationSeconds": 30}}


def secret(name: str) -> dict[str, Any]:
    data = {"key": base64.b64encode(b"value").decode()}
    return {"metadata": {"name": name}, "type": "kubernaut/test", "data": data}


class ClusterObjectsContract:
    """The contract; a subclass provides ``cluster``."""

    @pytest.fixture
    def cluster(self) -> Cluster:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self, cluster: Cluster) -> str:
        name = f"o-{uuid.uuid4().hex[:8]}"
        cluster.create_namespace(name)
        return name

    def test_list_returns_whole_objects_with_a_version(self, cluster: Cluster, namespace: str) -> None:
        for name in ("one", "two"):
            cluster.create_lease(namespace, lease(name, app=name))
        page = cluster.list_objects(LEASES, namespace)
        assert [item["metadata"]["name"] for item in page.items] == ["one", "two"]
        assert page.items[0]["spec"]["holderIdentity"] == "ada"
        assert page.resource_version.isdigit()
        assert page.continue_token == ""
        (two,) = cluster.list_objects(LEASES, namespace, {"app": "two"}).items
        assert two["metadata"]["name"] == "two"
        (bare,) = cluster.list_objects(LEASES, namespace, {"app": "two"}, metadata_only=True).items
        assert "spec" not in bare

    def test_object_is_deleted_by_its_uid(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_lease(namespace, lease("one"))
        with pytest.raises(Conflict):
            cluster.delete_object(LEASES, namespace, "one", uid=str(uuid.uuid4()))
        assert cluster.get_object(LEASES, namespace, "one") is not None
        cluster.delete_object(LEASES, namespace, "one", uid=made["metadata"]["uid"])
        assert cluster.get_object(LEASES, namespace, "one") is None
        cluster.delete_object(LEASES, namespace, "one", uid=made["metadata"]["uid"])

    @pytest.mark.parametrize("kind", sorted(KNOWN))
    def test_known_kind_is_listed(self, cluster: Cluster, namespace: str, kind: str) -> None:
        resource = KNOWN[kind]
        page = cluster.list_objects(resource, namespace if resource.namespaced else None, limit=1)
        assert page.resource_version.isdigit()

    @pytest.mark.parametrize("kind", sorted(KNOWN))
    def test_known_kind_is_found(self, cluster: Cluster, kind: str) -> None:
        assert cluster.find_resource(KNOWN[kind].api_version, kind) == KNOWN[kind]

    def test_list_in_a_missing_namespace_is_empty(self, cluster: Cluster, namespace: str) -> None:
        assert list(cluster.list_objects(PODS, f"{namespace}-not").items) == []

    def test_watch_events_carry_whole_objects_with_their_kind(self, cluster: Cluster, namespace: str) -> None:
        version = cluster.list_objects(LEASES, namespace).resource_version
        made = cluster.create_lease(namespace, lease("one"))
        cluster.create_secret(namespace, secret("other"))
        taken = cluster.replace_lease(namespace, {**made, "spec": {**made["spec"], "holderIdentity": "eve"}})
        cluster.delete_lease(namespace, "one")
        watch = cluster.watch_objects(LEASES, namespace, resource_version=version, seconds=20)
        seen = list(islice(watch, 3))
        assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
        assert [event.object["spec"]["holderIdentity"] for event in seen] == ["ada", "eve", "eve"]
        assert {(event.object["kind"], event.object["apiVersion"]) for event in seen} == {("Lease", "coordination.k8s.io/v1")}
        assert seen[1].resource_version == taken["metadata"]["resourceVersion"]
        assert {event.metadata["uid"] for event in seen} == {made["metadata"]["uid"]}

    def test_watch_reports_every_object_that_mentions_a_word(self, cluster: Cluster, namespace: str) -> None:
        version = cluster.list_objects(LEASES, namespace).resource_version
        for name in ("web-1", "other", "web-2"):
            cluster.create_lease(namespace, lease(name))
        watch = cluster.watch_objects(LEASES, namespace, resource_version=version, seconds=20, mentioning=["web-"])
        names = (str(event.metadata["name"]) for event in watch if event.type == "ADDED")
        found = [next(names)]
        while found[-1] != "web-2":
            found.append(next(names))
        assert [name for name in found if name != "other"] == ["web-1", "web-2"]

    def test_object_is_read_by_name(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))
        assert cluster.get_object(SECRETS, namespace, "one") == cluster.get_secret(namespace, "one")
        assert cluster.get_object(SECRETS, namespace, "two") is None
        assert made["metadata"]["name"] == "one"

    def test_object_is_deleted_unless_it_is_another(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))
        with pytest.raises(Conflict):
            cluster.delete_object(SECRETS, namespace, "one", uid=str(uuid.uuid4()))
        assert cluster.get_secret(namespace, "one") is not None
        cluster.delete_object(SECRETS, namespace, "one", uid=made["metadata"]["uid"])
        assert cluster.get_secret(namespace, "one") is None
        cluster.delete_object(SECRETS, namespace, "one", uid=made["metadata"]["uid"])  # repeating it is not an error

    @pytest.mark.parametrize("merges_lists", [True, False])
    def test_object_as_it_would_be_with_a_manifest(self, cluster: Cluster, namespace: str, *, merges_lists: bool) -> None:
        made = cluster.create_lease(namespace, lease("one", app="x"))
        manifest = {"apiVersion": LEASES.api_version, "kind": "Lease", "spec": {"leaseDurationSeconds": 60}, "status": {"a": "b"}}
        of_team = {**manifest, "metadata": {"name": "one", "labels": {"team": "a"}, "annotations": None}}
        found = cluster.with_applied(LEASES, namespace, of_team, merges_lists=merges_lists)
        assert found["metadata"]["labels"] == {"app": "x", "team": "a"}
        assert (found["spec"]["holderIdentity"], found["spec"]["leaseDurationSeconds"]) == ("ada", 60)
        assert cluster.get_lease(namespace, "one") == made, "nothing is changed"
        with pytest.raises(NotFound):
            cluster.with_applied(LEASES, namespace, {**manifest, "metadata": {"name": "two"}}, merges_lists=merges_lists)

    def test_kind_that_is_not_served_is_not_found(self, cluster: Cluster) -> None:
        for api_version, kind in (("example.com/v1", "Widget"), ("apps/v1", "Widget"), ("apps/v0", "Deployment")):
            with pytest.raises(NotFound, match=kind):
                cluster.find_resource(api_version, kind)


class TestFakeCluster(ClusterObjectsContract):
    @pytest.fixture
    def cluster(self) -> FakeCluster:
        return FakeCluster()

    def test_put_and_remove_are_reported_to_watches(self, cluster: FakeCluster) -> None:
        cluster.resources.append(WIDGET)
        widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
        watch = cluster.watch_objects(WIDGET, "demo", resource_version="0", seconds=20)
        made = cluster.put(widget, "demo")
        changed = cluster.put({**widget, "status": {"ready": True}}, "demo")
        cluster.remove(changed)
        seen = list(islice(watch, 3))
        assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
        assert {event.metadata["uid"] for event in seen} == {made["metadata"]["uid"]}
        assert seen[1].object == changed
        assert list(cluster.list_objects(cluster.find_resource("example.com/v1", "Widget"), "demo").items) == []

    def test_object_of_the_cluster_has_no_namespace(self, cluster: FakeCluster) -> None:
        made = cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blue"}})
        assert "namespace" not in made["metadata"]
        assert cluster.get_object(NAMESPACES, None, "blue") == made

    def test_simple_pods_and_events_are_listed(self, cluster: FakeCluster) -> None:
        cluster.pods["demo"] = [{"metadata": {"name": "p", "labels": {"app": "a"}}}]
        cluster.events["demo"] = [{"reason": "Old"}]
        assert [pod["metadata"]["name"] for pod in cluster.list_pods("demo", {"app": "a"})] == ["p"]
        assert cluster.list_pods("demo", {"app": "b"}) == []
        assert [event["reason"] for event in cluster.list_events("demo")] == ["Old"]

    @pytest.mark.parametrize("error", [ClusterDenied("no"), ClusterUnreachable("gone")])
    def test_faults_apply_to_any_kind(self, cluster: FakeCluster, error: Exception) -> None:
        cluster.fail("list pods demo", error)
        with pytest.raises(type(error)):
            cluster.list_objects(PODS, "demo")
        cluster.fail("watch pods demo", error)
        with pytest.raises(type(error)):
            cluster.watch_objects(PODS, "demo", resource_version="0", seconds=1)
        cluster.fail("get pod demo/p", error)
        with pytest.raises(type(error)):
            cluster.get_object(PODS, "demo", "p")


@pytest.mark.platform
class TestRealCluster(ClusterObjectsContract):
    @pytest.fixture
    def cluster(self, platform: Mapping[str, str]) -> Cluster:
        return Cluster(platform["KUBECONFIG"])
