"""What `Cluster` promises, on the one in memory and on the platform's real one."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from kubernaut.clients.cluster import Cluster
from kubernaut.errors import ClusterUnreachable, Conflict, NamespaceNotFound, NotFound
from kubernaut.testing.cluster import FakeCluster


def secret(name: str, **labels: str) -> dict[str, object]:
    return {
        "metadata": {"name": name, "labels": labels},
        "type": "kubernaut/test",
        "data": {"key": base64.b64encode(b"value").decode()},
    }


class ClusterContract:
    """Subclasses say which cluster."""

    @pytest.fixture
    def cluster(self) -> Cluster:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self, cluster: Cluster) -> str:
        name = f"c-{uuid.uuid4().hex[:8]}"
        cluster.create_namespace(name)
        return name

    def test_a_namespace_is_made_once(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.namespace_exists(namespace)
        assert not cluster.namespace_exists(f"{namespace}-not")
        cluster.create_namespace(namespace)

    def test_a_secret_is_made_read_and_deleted(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one", app="a"))
        assert made["metadata"]["uid"]
        assert made["metadata"]["creationTimestamp"].endswith("Z")
        read = cluster.get_secret(namespace, "one")
        assert read is not None
        assert read["metadata"]["uid"] == made["metadata"]["uid"]
        assert base64.b64decode(read["data"]["key"]) == b"value"
        assert read["type"] == "kubernaut/test"
        cluster.delete_secret(namespace, "one")
        cluster.delete_secret(namespace, "one")
        assert cluster.get_secret(namespace, "one") is None

    def test_a_secret_is_made_once(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_secret(namespace, secret("one"))
        with pytest.raises(Conflict, match="already exists"):
            cluster.create_secret(namespace, secret("one"))

    def test_no_secret_without_a_namespace(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(NamespaceNotFound):
            cluster.create_secret(f"{namespace}-not", secret("one"))
        assert cluster.list_secrets(f"{namespace}-not", {}) == []

    def test_secrets_are_found_by_their_labels(self, cluster: Cluster, namespace: str) -> None:
        for name, app, tier in (("one", "a", "x"), ("two", "b", "x"), ("three", "c", "y")):
            cluster.create_secret(namespace, secret(name, app=app, tier=tier))

        def names(labels: Mapping[str, object], *, metadata_only: bool = False) -> set[str]:
            found = cluster.list_secrets(namespace, labels, metadata_only=metadata_only)  # type: ignore[arg-type]
            return {item["metadata"]["name"] for item in found}

        assert names({"tier": "x"}) == {"one", "two"}
        assert names({"tier": "x", "app": ("a", "c")}) == {"one"}
        assert names({"app": ("a", "c")}, metadata_only=True) == {"one", "three"}
        everywhere = cluster.list_secrets(None, {"app": "a", "tier": "x"})
        assert namespace in {item["metadata"]["namespace"] for item in everywhere}

    def test_metadata_only_saves_the_data(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_secret(namespace, secret("one", app="a"))
        (whole,) = cluster.list_secrets(namespace, {"app": "a"})
        (metadata,) = cluster.list_secrets(namespace, {"app": "a"}, metadata_only=True)
        assert "data" in whole
        assert "data" not in metadata
        assert metadata["metadata"]["uid"] == whole["metadata"]["uid"]
        assert metadata["metadata"]["namespace"] == namespace

    def test_a_patch_merges(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one", app="a", tier="x"))
        patched = cluster.patch_secret(
            namespace, "one", {"metadata": {"labels": {"app": "b", "tier": None}}, "data": {"more": "bW9yZQ=="}}
        )
        assert patched["metadata"]["labels"] == {"app": "b"}
        assert set(patched["data"]) == {"key", "more"}
        assert patched["metadata"]["uid"] == made["metadata"]["uid"]
        assert patched["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]

    def test_a_patch_of_another_version_is_refused(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))
        version = made["metadata"]["resourceVersion"]
        cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(Conflict, match="modified"):
            cluster.patch_secret(namespace, "one", {"metadata": {"resourceVersion": version, "labels": {"a": "c"}}})

    def test_a_patch_of_nothing_is_an_error(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(NotFound):
            cluster.patch_secret(namespace, "none", {"metadata": {"labels": {"a": "b"}}})

    def test_what_is_not_there(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.list_pods(namespace, {"app": "none"}) == []
        with pytest.raises(NotFound):
            list(cluster.pod_log(namespace, "none", container=None, tail=5, follow=False, previous=False))
        status, body = cluster.get_through_service(namespace, "none", 80, "/", timeout=5)
        assert status in (404, 503)
        assert body


class TestFakeCluster(ClusterContract):
    @pytest.fixture
    def cluster(self) -> FakeCluster:
        return FakeCluster()

    def test_what_has_an_owner_goes_with_it(self, cluster: FakeCluster, namespace: str) -> None:
        owner = cluster.create_secret(namespace, secret("owner"))
        other = cluster.create_secret(namespace, secret("other"))
        owned = secret("owned")
        cluster.create_secret(namespace, owned)
        reference = [
            {"apiVersion": "v1", "kind": "Secret", "name": item["metadata"]["name"], "uid": item["metadata"]["uid"]}
            for item in (owner, other)
        ]
        cluster.patch_secret(namespace, "owned", {"metadata": {"ownerReferences": reference}})
        cluster.delete_secret(namespace, "owner")
        assert cluster.get_secret(namespace, "owned") is not None
        cluster.delete_secret(namespace, "other")
        assert cluster.get_secret(namespace, "owned") is None

    def test_it_fails_when_told_to(self, cluster: FakeCluster) -> None:
        cluster.fail("list secrets", ClusterUnreachable("gone"))
        with pytest.raises(ClusterUnreachable):
            cluster.list_secrets(None, {})
        assert cluster.list_secrets(None, {}) == []
        assert cluster.writes == []


@pytest.mark.platform
class TestRealCluster(ClusterContract):
    @pytest.fixture
    def cluster(self, platform: Mapping[str, str]) -> Cluster:
        return Cluster(platform["KUBECONFIG"])

    def test_it_knows_its_server(self, cluster: Cluster) -> None:
        assert cluster.server().startswith("https://127.0.0.1:")

    def test_an_unknown_context(self, platform: Mapping[str, str]) -> None:
        with pytest.raises(ClusterUnreachable, match="'nope'"):
            Cluster(platform["KUBECONFIG"], "nope").namespace_exists("default")

    def test_kubeconfigs_are_joined(self, platform: Mapping[str, str], tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_text("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n")
        assert Cluster(f"{other}:{tmp_path / 'missing'}:{platform['KUBECONFIG']}").namespace_exists("default")
