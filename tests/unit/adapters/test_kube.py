"""The HTTP requests of `Cluster`, against a small API server in this process."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.fake_api_server import Answer, FakeApiServer, config
from support.messages import facts

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NamespaceNotFound, NotFound


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    made = FakeApiServer()
    yield made
    made.close()


@pytest.fixture
def cluster(api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr("kubernaut.adapters.kube_http._PAUSES", (0.0, 0.0, 0.0))
    made = Cluster(config(tmp_path, api.url), timeout=2.0)
    yield made
    made.close()


def test_list_takes_one_request(api: FakeApiServer, cluster: Cluster) -> None:
    cluster.list_secrets("demo", {"name": "a", "owner": ("helm", "kubernaut")}, metadata_only=True)
    ((method, path, headers, _),) = api.asked
    assert (method, path) == ("GET", "/api/v1/namespaces/demo/secrets?labelSelector=name%3Da%2Cowner+in+%28helm%2Ckubernaut%29")
    assert "as=PartialObjectMetadataList" in headers["Accept"]


def test_loopback_cluster_is_not_reached_through_a_proxy(
    api: FakeApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert list(cluster.list_secrets("demo", {})) == []


def test_names_are_quoted_in_paths(api: FakeApiServer, cluster: Cluster) -> None:
    cluster.get_secret("a/b", "../x?y")
    assert api.asked[0][1] == "/api/v1/namespaces/a%2Fb/secrets/..%2Fx%3Fy"
    cluster.get_through_service("n", "s", "http", "/a b/../c?d=e", timeout=1)
    assert api.asked[1][1].startswith("/api/v1/namespaces/n/services/s:http/proxy/")


@pytest.mark.parametrize("busy", [429, 502, 503, 504, 0])
def test_read_is_repeated_when_the_server_is_busy(api: FakeApiServer, cluster: Cluster, busy: int) -> None:
    api.say(busy, (busy, {}, {"Retry-After": "0"}), 200)
    assert cluster.list_pods("demo", {}) == []
    assert len(api.asked) == 3


def test_read_is_repeated_three_times_at_most(api: FakeApiServer, cluster: Cluster) -> None:
    api.say(503)
    with pytest.raises(ClusterUnreachable, match=facts("503")):
        cluster.list_pods("demo", {})
    assert len(api.asked) == 4


LEASE = {"metadata": {"name": "x", "uid": "u", "resourceVersion": "7"}, "spec": {"holderIdentity": "ada"}}
WRITES: dict[str, Callable[[Cluster], object]] = {
    "create secret": lambda cluster: cluster.create_secret("demo", {"metadata": {"name": "x"}}),
    "patch secret": lambda cluster: cluster.patch_secret("demo", "x", {}),
    "delete secret": lambda cluster: cluster.delete_secret("demo", "x", resource_version="7"),
    "create lease": lambda cluster: cluster.create_lease("demo", LEASE),
    "replace lease": lambda cluster: cluster.replace_lease("demo", LEASE),
    "delete lease": lambda cluster: cluster.delete_lease("demo", "x", resource_version="7"),
}


@pytest.mark.parametrize("busy", [429, 500, 503, 0])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_write_is_never_repeated(api: FakeApiServer, cluster: Cluster, write: Callable[[Cluster], object], busy: int) -> None:
    api.say(busy, 200)
    with pytest.raises(ClusterUnreachable):
        write(cluster)
    assert len(api.asked) == 1


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_write_on_a_broken_connection_is_not_repeated(
    api: FakeApiServer, cluster: Cluster, write: Callable[[Cluster], object]
) -> None:
    api.say(200, 0, 200)
    cluster.list_pods("demo", {})
    with pytest.raises(ClusterUnreachable):
        write(cluster)
    assert len(api.asked) == 2


def test_leases_use_their_api_group(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, {}, {}))
    cluster.get_lease("demo", "x")
    for name in ("create lease", "replace lease", "delete lease"):
        WRITES[name](cluster)
    leases = "/apis/coordination.k8s.io/v1/namespaces/demo/leases"
    assert [asked[:2] for asked in api.asked] == [
        ("GET", f"{leases}/x"),
        ("POST", leases),
        ("PUT", f"{leases}/x"),
        ("DELETE", f"{leases}/x"),
    ]
    whole = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **LEASE}
    assert [json.loads(asked[3]) for asked in api.asked[1:3]] == [whole, whole]
    assert json.loads(api.asked[3][3])["preconditions"] == {"resourceVersion": "7"}


def test_delete_without_a_version_has_no_precondition(api: FakeApiServer, cluster: Cluster) -> None:
    cluster.delete_secret("demo", "x")
    cluster.delete_lease("demo", "x")
    assert [asked[3] for asked in api.asked] == ["", ""]


def test_lease_requests_have_a_short_timeout(api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.adapters.kube._LEASE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = Cluster(config(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout=60.0)
        for name in ("create lease", "replace lease", "delete lease"):
            with pytest.raises(ClusterUnreachable, match=facts("0 s")):
                WRITES[name](slow)
        with pytest.raises(ClusterUnreachable, match=facts("0 s")):
            slow.get_lease("demo", "x")
        slow.close()


def test_server_time_is_that_of_the_last_response(api: FakeApiServer, cluster: Cluster) -> None:
    assert cluster.server_time is None
    api.say((200, {}, {"Date": "Sun, 22 Nov 2026 20:26:15 GMT"}))
    cluster.list_pods("demo", {})
    assert cluster.server_time == datetime(2026, 11, 22, 20, 26, 15, tzinfo=UTC)
    api.say((403, {}, {"Date": "Sun, 22 Nov 2026 20:26:17 GMT"}))
    with pytest.raises(ClusterDenied):
        cluster.list_pods("demo", {})
    assert cluster.server_time == datetime(2026, 11, 22, 20, 26, 17, tzinfo=UTC)
    api.say((200, {}, {"Date": "yesterday"}))
    cluster.list_pods("demo", {})
    assert cluster.server_time == datetime(2026, 11, 22, 20, 26, 17, tzinfo=UTC)


def test_response_through_a_service_does_not_set_the_server_time(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, "hello", {"Date": "Sun, 22 Nov 2026 20:26:15 GMT"}))
    cluster.get_through_service("demo", "s", 80, "/", timeout=2)
    assert cluster.server_time is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (400, BadInput),
        (401, ClusterDenied),
        (403, ClusterDenied),
        ((403, {"message": 'namespace "x" because it is being terminated'}, {}), Conflict),
        (404, NotFound),
        ((404, {"message": 'namespaces "x" not found'}, {}), NamespaceNotFound),
        (409, Conflict),
        (422, BadInput),
        (500, ClusterUnreachable),
        ((500, "<html>", {"Content-Type": "text/html"}), ClusterUnreachable),
        ((200, "<html>a proxy's page", {"Content-Type": "text/html"}), ClusterUnreachable),
    ],
)
def test_failed_response_is_converted_to_its_error(
    api: FakeApiServer, cluster: Cluster, answer: int | Answer, error: type[KubernautError]
) -> None:
    api.say(answer)
    with pytest.raises(error) as caught:
        cluster.patch_secret("demo", "x", {})
    assert type(caught.value) is error


def test_error_names_the_context(api: FakeApiServer, cluster: Cluster) -> None:
    api.say(401)
    with pytest.raises(ClusterDenied, match=facts("'here'", api.url)):
        cluster.list_pods("demo", {})


def test_namespace_exists_for_a_user_without_the_right(api: FakeApiServer, cluster: Cluster) -> None:
    for status, there in ((200, True), (403, True), (404, False)):
        api.say(status)
        assert cluster.namespace_exists("demo") is there
    api.say(401)
    with pytest.raises(ClusterDenied):
        cluster.namespace_exists("demo")


def test_closed_port_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnreachable, match=facts("http://127.0.0.1:9")):
        Cluster(config(tmp_path, "http://127.0.0.1:9")).list_pods("demo", {})


def test_slow_server_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = Cluster(config(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout=0.2)
        with pytest.raises(ClusterUnreachable, match=facts("0 s")):
            slow.list_pods("demo", {})


def test_log_is_read_line_by_line(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, "one\ntwo\n", {"Content-Type": "text/plain"}))
    assert list(cluster.pod_log("demo", "p", container="c", tail=5, follow=True, previous=True)) == ["one", "two"]
    assert api.asked[0][1] == "/api/v1/namespaces/demo/pods/p/log?follow=true&previous=true&container=c&tailLines=5"


def test_response_through_a_service_is_limited(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((500, "x" * 200_000, {"Content-Type": "text/plain"}))
    status, body = cluster.get_through_service("demo", "s", 80, "/", timeout=2)
    assert (status, len(body)) == (500, 65_536)


def test_request_to_a_service_without_the_right_is_denied(api: FakeApiServer, cluster: Cluster) -> None:
    """A refusal by the API server is not the application's answer."""
    refused = {"kind": "Status", "message": 'User "ada" cannot get resource "services/proxy" in API group ""', "code": 403}
    api.say((403, json.dumps(refused, separators=(",", ":")), {}), (403, "no entry", {"Content-Type": "text/plain"}))
    with pytest.raises(ClusterDenied, match="services/proxy"):
        cluster.get_through_service("demo", "s", 80, "/", timeout=2)
    assert cluster.get_through_service("demo", "s", 80, "/", timeout=2) == (403, "no entry")


# credentials


@pytest.mark.parametrize("version", ["client.authentication.k8s.io/v1beta1", "client.authentication.k8s.io/v1"])
def test_credential_plugin_supplies_the_token(api: FakeApiServer, tmp_path: Path, version: str) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        '#!/bin/sh\nprintf "%s" "$KUBERNETES_EXEC_INFO" > ' + str(tmp_path / "info") + '\necho \'{"status": {"token": "t0ken"}}\'\n'
    )
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": version, "command": "./plugin", "env": [{"name": "A", "value": "b"}]}}
    with_plugin = Cluster(config(tmp_path, api.url, user))
    with_plugin.list_pods("demo", {})
    with_plugin.close()
    assert api.asked[0][2]["Authorization"] == "Bearer t0ken"
    assert json.loads((tmp_path / "info").read_text())["apiVersion"] == version


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("#!/bin/sh\necho your session has expired >&2; exit 1\n", "plugin"),
        ("#!/bin/sh\necho '{}'\n", "plugin .* token"),
        ("#!/bin/sh\necho nonsense\n", "plugin .* token"),
        (None, "plugin"),
        ("#!/no/such/interpreter\n", "plugin"),
        ("neither a script nor a program\n", f"plugin .*{os.strerror(errno.ENOEXEC)}"),
    ],
)
def test_failing_credential_plugin_is_denied(api: FakeApiServer, tmp_path: Path, body: str | None, words: str) -> None:
    plugin = tmp_path / "plugin"
    if body is not None:
        plugin.write_text(body)
        plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(plugin)}}
    failing = Cluster(config(tmp_path, api.url, user))
    with pytest.raises(ClusterDenied, match=words) as caught:
        failing.list_pods("demo", {})
    failing.close()
    if body and "expired" in body:
        assert "your session has expired" in "".join(caught.value.details)


def test_invalid_certificates_are_unreachable(tmp_path: Path) -> None:
    for more in (
        {"certificate-authority": "nowhere.pem"},
        {"certificate-authority-data": "bm9uc2Vuc2U="},
        {"certificate-authority-data": "!"},
    ):
        broken = Cluster(config(tmp_path, "https://127.0.0.1:9", **more))
        with pytest.raises(ClusterUnreachable, match=facts("certificates")):
            broken.list_pods("demo", {})


def test_service_account_is_used_in_a_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(ClusterUnreachable, match="serviceaccount"):
        Cluster().server()


def test_missing_kubeconfig_is_unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ClusterUnreachable, match=r"kubeconfig .*/\.kube/config"):
        Cluster().server()


def test_threads_share_a_client(api: FakeApiServer, cluster: Cluster) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda number: cluster.list_pods(f"n{number}", {}), range(16)))
    assert answers == [[]] * 16
    assert len(api.asked) == 16
