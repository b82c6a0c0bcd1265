"""The contract of `Cluster`, for the fake in memory and for the real one."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_calls import call_api

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, Conflict, NamespaceNotFound, NotFound
from kubernaut.testing.cluster import FakeCluster


def secret(name: str, **labels: str) -> dict[str, object]:
    metadata = {"name": name, "labels": labels}
    return {"metadata": metadata, "type": "kubernaut/test", "data": {"key": base64.b64encode(b"value").decode()}}


def lease(name: str, holder: str = "ada") -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000000Z"}
    return {"metadata": {"name": name, "annotations": {"verb": "deploy"}}, "spec": spec}


def held_by(read: Mapping[str, Any], holder: str) -> dict[str, Any]:
    """Return a Lease that was read, with another holder."""
    return {**read, "spec": {**read["spec"], "holderIdentity": holder}}


def value(text: bytes) -> dict[str, Any]:
    return {"data": {"key": base64.b64encode(text).decode()}}


class ClusterContract:
    """The contract; a subclass provides ``cluster``."""

    @pytest.fixture
    def cluster(self) -> Cluster:
        raise NotImplementedError

    @pytest.fixture
    def namespace(self, cluster: Cluster) -> str:
        name = f"c-{uuid.uuid4().hex[:8]}"
        cluster.create_namespace(name)
        return name

    def test_creating_a_namespace_is_idempotent(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.namespace_exists(namespace)
        assert not cluster.namespace_exists(f"{namespace}-not")
        cluster.create_namespace(namespace)

    def test_secret_is_created_read_and_deleted(self, cluster: Cluster, namespace: str) -> None:
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

    def test_existing_secret_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_secret(namespace, secret("one"))
        with pytest.raises(Conflict, match="already exists"):
            cluster.create_secret(namespace, secret("one"))

    def test_secret_needs_a_namespace(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(NamespaceNotFound):
            cluster.create_secret(f"{namespace}-not", secret("one"))
        assert cluster.list_secrets(f"{namespace}-not", {}) == []

    def test_list_selects_secrets_by_labels(self, cluster: Cluster, namespace: str) -> None:
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

    def test_metadata_only_omits_the_data(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_secret(namespace, secret("one", app="a"))
        (whole,) = cluster.list_secrets(namespace, {"app": "a"})
        (metadata,) = cluster.list_secrets(namespace, {"app": "a"}, metadata_only=True)
        assert "data" in whole
        assert "data" not in metadata
        assert metadata["metadata"]["uid"] == whole["metadata"]["uid"]
        assert metadata["metadata"]["namespace"] == namespace

    def test_patch_merges(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one", app="a", tier="x"))
        patched = cluster.patch_secret(
            namespace, "one", {"metadata": {"labels": {"app": "b", "tier": None}}, "data": {"more": "bW9yZQ=="}}
        )
        assert patched["metadata"]["labels"] == {"app": "b"}
        assert set(patched["data"]) == {"key", "more"}
        assert patched["metadata"]["uid"] == made["metadata"]["uid"]
        assert patched["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
        again = cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"app": "b"}}})
        assert again["metadata"]["resourceVersion"] == patched["metadata"]["resourceVersion"], "nothing has changed"

    def test_patch_of_a_stale_version_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))
        version = made["metadata"]["resourceVersion"]
        cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(Conflict, match="modified"):
            cluster.patch_secret(namespace, "one", {"metadata": {"resourceVersion": version, "labels": {"a": "c"}}})

    def test_patch_of_a_missing_secret_or_of_its_type_fails(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(NotFound):
            cluster.patch_secret(namespace, "none", {"metadata": {"labels": {"a": "b"}}})
        cluster.create_secret(namespace, secret("one"))
        with pytest.raises(BadInput, match="field is immutable"):
            cluster.patch_secret(namespace, "one", {"type": "kubernaut/other"})

    def test_managed_fields_hold_time_and_operation(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))["metadata"]
        (writer,), created = made["managedFields"], datetime.fromisoformat(made["creationTimestamp"])  # it looks at its clock twice
        assert timedelta(0) <= created - datetime.fromisoformat(writer["time"]) <= timedelta(seconds=5)
        assert writer["operation"] == "Update"
        (read,) = cluster.list_secrets(namespace, {}, metadata_only=True)
        assert read["metadata"]["managedFields"][0]["time"] == writer["time"]

    def test_delete_of_a_stale_version_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))
        patched = cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"a": "b"}}})
        with pytest.raises(Conflict):
            cluster.delete_secret(namespace, "one", resource_version=made["metadata"]["resourceVersion"])
        assert cluster.get_secret(namespace, "one") is not None
        for _ in range(2):  # deleting it twice is not an error
            cluster.delete_secret(namespace, "one", resource_version=patched["metadata"]["resourceVersion"])
        assert cluster.get_secret(namespace, "one") is None

    # immutable and too large Secrets

    def test_immutable_secret_keeps_its_data(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))
        fenced = cluster.patch_secret(namespace, "one", {**value(b"last"), "immutable": True})
        assert (fenced["immutable"], fenced["data"]) == (True, value(b"last")["data"])
        forbidden: tuple[dict[str, Any], ...] = (
            value(b"other"),
            {"data": {"more": ""}},
            {"data": None},
            {"immutable": False},
            {"immutable": None},
            {**value(b"other"), "immutable": None},
        )
        for patch in forbidden:
            with pytest.raises(BadInput, match="field is immutable when `immutable` is set"):
                cluster.patch_secret(namespace, "one", patch)
        version = made["metadata"]["resourceVersion"]
        with pytest.raises(Conflict):  # the version is checked before immutability
            cluster.patch_secret(namespace, "one", {"metadata": {"resourceVersion": version}, **value(b"other")})
        labelled = cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"a": "b"}}, **value(b"last")})
        assert (labelled["metadata"]["labels"], labelled["data"]) == ({"a": "b"}, value(b"last")["data"])
        cluster.delete_secret(namespace, "one", resource_version=labelled["metadata"]["resourceVersion"])
        assert "immutable" not in cluster.create_secret(namespace, secret("one"))

    def test_secret_is_limited_to_one_mebibyte(self, cluster: Cluster, namespace: str) -> None:
        large = b"x" * (1 << 20)
        cluster.create_secret(namespace, {**secret("full"), **value(large)})
        with pytest.raises(BadInput, match="may not be more than 1048576 bytes"):
            cluster.patch_secret(namespace, "full", {"data": {"more": "eA=="}})
        with pytest.raises(BadInput, match="may not be more than 1048576 bytes"):
            cluster.create_secret(namespace, {**secret("over"), **value(large + b"x")})
        assert cluster.get_secret(namespace, "over") is None

    # leases

    def test_lease_is_created_read_and_deleted(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.get_lease(namespace, "one") is None
        made = cluster.create_lease(namespace, lease("one"))
        assert made["metadata"]["uid"]
        assert cluster.get_lease(namespace, "one") == made
        assert made["spec"] == lease("one")["spec"]
        assert made["metadata"]["annotations"] == {"verb": "deploy"}
        for _ in range(2):
            cluster.delete_lease(namespace, "one")
        assert cluster.get_lease(namespace, "one") is None

    def test_existing_lease_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        cluster.create_lease(namespace, lease("one"))
        with pytest.raises(Conflict, match="already exists"):
            cluster.create_lease(namespace, lease("one", "eve"))
        with pytest.raises(NamespaceNotFound):
            cluster.create_lease(f"{namespace}-not", lease("one"))
        assert cluster.get_lease(f"{namespace}-not", "one") is None

    def test_replacing_a_stale_lease_is_a_conflict(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_lease(namespace, lease("one"))
        eves = held_by(made, "eve")
        eves["metadata"] = {**made["metadata"], "annotations": {"actor": "eve"}}
        taken = cluster.replace_lease(namespace, eves)
        assert taken["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
        assert (taken["spec"]["holderIdentity"], taken["metadata"]["annotations"]) == ("eve", {"actor": "eve"})
        with pytest.raises(Conflict, match="modified"):
            cluster.replace_lease(namespace, held_by(made, "ada"))
        assert cluster.get_lease(namespace, "one") == taken

    def test_replace_needs_only_uid_and_resource_version(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_lease(namespace, lease("one"))
        metadata = {key: made["metadata"][key] for key in ("name", "uid", "resourceVersion")}
        taken = cluster.replace_lease(namespace, {**lease("one", "eve"), "metadata": metadata})
        assert taken["spec"]["holderIdentity"] == "eve"
        assert "annotations" not in taken["metadata"]
        assert taken["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]

    def test_replace_does_not_recreate_a_deleted_lease(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_lease(namespace, lease("one"))
        cluster.delete_lease(namespace, "one")
        with pytest.raises(NotFound):
            cluster.replace_lease(namespace, held_by(made, "ada"))
        assert cluster.get_lease(namespace, "one") is None
        with pytest.raises(NotFound):
            cluster.replace_lease(f"{namespace}-not", {**made, "metadata": {**made["metadata"], "namespace": f"{namespace}-not"}})
        for missing in ("uid", "resourceVersion"):
            partial = {key: text for key, text in made["metadata"].items() if key != missing}
            with pytest.raises(ValueError, match=missing):
                cluster.replace_lease(namespace, {**made, "metadata": partial})

    def test_recreated_lease_is_not_replaced_or_deleted(self, cluster: Cluster, namespace: str) -> None:
        old = cluster.create_lease(namespace, lease("one"))
        cluster.delete_lease(namespace, "one")
        new = cluster.create_lease(namespace, lease("one", "eve"))
        with pytest.raises(Conflict):
            cluster.replace_lease(namespace, held_by(old, "ada"))
        version = {"resourceVersion": new["metadata"]["resourceVersion"]}
        with pytest.raises(Conflict):
            cluster.replace_lease(namespace, {**held_by(old, "ada"), "metadata": {**old["metadata"], **version}})
        with pytest.raises(Conflict):
            cluster.delete_lease(namespace, "one", resource_version=old["metadata"]["resourceVersion"])
        assert cluster.get_lease(namespace, "one") == new
        for _ in range(2):
            cluster.delete_lease(namespace, "one", resource_version=version["resourceVersion"])
        assert cluster.get_lease(namespace, "one") is None

    @pytest.mark.parametrize(
        "broken", [{"leaseDurationSeconds": 0}, {"renewTime": "2026-01-01T00:00:00Z"}, {"acquireTime": "yesterday"}]
    )
    def test_invalid_lease_is_refused(self, cluster: Cluster, namespace: str, broken: dict[str, Any]) -> None:
        wrong = lease("one")
        wrong["spec"] |= broken
        with pytest.raises(BadInput):
            cluster.create_lease(namespace, wrong)

    # the clock

    def test_server_time_is_the_servers_clock(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.create_secret(namespace, secret("one"))
        now = cluster.server_time
        assert now is not None
        assert now.tzinfo is UTC
        created = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
        assert timedelta(0) <= now - created <= timedelta(seconds=5)

    def test_missing_pods_logs_and_services(self, cluster: Cluster, namespace: str) -> None:
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

    def test_owned_secret_is_deleted_with_its_last_owner(self, cluster: FakeCluster, namespace: str) -> None:
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

    def test_injected_failure_happens_once(self, cluster: FakeCluster) -> None:
        cluster.fail("list secrets", ClusterUnreachable("gone"))
        with pytest.raises(ClusterUnreachable):
            cluster.list_secrets(None, {})
        assert cluster.list_secrets(None, {}) == []
        assert cluster.writes == []

    def test_injected_failure_lasts_until_healed(self, cluster: FakeCluster, namespace: str) -> None:
        cluster.fail("", ClusterUnreachable("gone"), times=None)
        for _ in range(3):
            with pytest.raises(ClusterUnreachable):
                cluster.get_lease(namespace, "one")
            with pytest.raises(ClusterUnreachable):
                cluster.create_lease(namespace, lease("one"))
        cluster.heal()
        assert cluster.get_lease(namespace, "one") is None

    def test_injected_failure_after_the_write(self, cluster: FakeCluster, namespace: str) -> None:
        cluster.fail("create lease", ClusterUnreachable("gone"), after=True)
        with pytest.raises(ClusterUnreachable):
            cluster.create_lease(namespace, lease("one"))
        assert cluster.get_lease(namespace, "one") is not None

    def test_clock_can_be_set(self, cluster: FakeCluster, namespace: str) -> None:
        real = cluster.server_time
        cluster.server_time = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        made = cluster.create_secret(namespace, secret("one"))
        assert made["metadata"]["creationTimestamp"] == made["metadata"]["managedFields"][0]["time"] == "2030-01-02T03:04:05Z"
        cluster.server_time = datetime(2030, 1, 2, 4, tzinfo=UTC)
        patched = cluster.patch_secret(namespace, "one", {"metadata": {"labels": {"a": "b"}}})
        assert patched["metadata"]["managedFields"][0]["time"] == "2030-01-02T04:00:00Z"
        assert patched["metadata"]["creationTimestamp"] == "2030-01-02T03:04:05Z"
        cluster.server_time = None
        assert timedelta(0) <= cluster.server_time - real < timedelta(minutes=1)

    def test_terminating_namespace_refuses_creation(self, cluster: FakeCluster, namespace: str) -> None:
        cluster.create_lease(namespace, lease("old"))
        cluster.terminating.add(namespace)
        for create in (cluster.create_lease, cluster.create_secret):
            with pytest.raises(Conflict, match="being terminated"):
                create(namespace, lease("new"))
        cluster.delete_lease(namespace, "old")


@pytest.mark.platform
class TestRealCluster(ClusterContract):
    @pytest.fixture
    def cluster(self, platform: Mapping[str, str]) -> Cluster:
        return Cluster(platform["KUBECONFIG"])

    def test_server_address_is_known(self, cluster: Cluster) -> None:
        assert cluster.server().startswith("https://127.0.0.1:")

    def test_unknown_context_is_named(self, platform: Mapping[str, str]) -> None:
        with pytest.raises(ClusterUnreachable, match="'nope'"):
            Cluster(platform["KUBECONFIG"], "nope").namespace_exists("default")

    def test_kubeconfigs_are_merged(self, platform: Mapping[str, str], tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_text("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n")
        assert Cluster(f"{other}:{tmp_path / 'missing'}:{platform['KUBECONFIG']}").namespace_exists("default")

    def test_server_time_is_unknown_before_the_first_answer(self, cluster: Cluster) -> None:
        assert cluster.server_time is None
        cluster.namespace_exists("default")
        assert cluster.server_time is not None

    def test_terminating_namespace_refuses_creation(self, cluster: Cluster, namespace: str) -> None:
        kept = secret("kept")
        kept["metadata"] = {"name": "kept", "finalizers": ["kubernaut.test/kept"]}
        cluster.create_secret(namespace, kept)
        call_api(cluster, "DELETE", f"/api/v1/namespaces/{namespace}")
        try:
            for create in (cluster.create_lease, cluster.create_secret):
                with pytest.raises(Conflict, match="being terminated"):
                    create(namespace, lease("new"))
        finally:
            cluster.patch_secret(namespace, "kept", {"metadata": {"finalizers": None}})

    def test_denied_requests_quote_the_api_server(
        self, cluster: Cluster, namespace: str, platform: Mapping[str, str], tmp_path: Path
    ) -> None:
        """A denial quotes the API server's message."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        call_api(cluster, "POST", accounts, body={"metadata": {"name": "unprivileged"}})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = call_api(cluster, "POST", f"{accounts}/unprivileged/token", body=request)["status"]["token"]
        config = yaml.safe_load(Path(platform["KUBECONFIG"]).read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        unprivileged = Cluster(str(tmp_path / "config"))
        made = cluster.create_lease(namespace, lease("one"))
        cannot = f'User "system:serviceaccount:{namespace}:unprivileged" cannot'
        for verb, ask in (
            ("get", lambda: unprivileged.get_lease(namespace, "one")),
            ("create", lambda: unprivileged.create_lease(namespace, lease("two"))),
            ("update", lambda: unprivileged.replace_lease(namespace, held_by(made, "eve"))),
            ("delete", lambda: unprivileged.delete_lease(namespace, "one", resource_version=made["metadata"]["resourceVersion"])),
        ):
            with pytest.raises(ClusterDenied, match=f'{cannot} {verb} resource "leases" in API group "coordination.k8s.io"'):
                ask()
        unprivileged.close()
