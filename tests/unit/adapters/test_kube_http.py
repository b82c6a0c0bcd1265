"""Errors of the Kubernetes API, with the messages of Kubernetes 1.35, and lists and watches against a small API server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.fake_api_server import FakeApiServer, config
from support.messages import facts

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_http import ResourceExpired, WatchEvent, status_error, status_message
from kubernaut.adapters.kube_resources import RESOURCES, SECRETS, Resource
from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, Conflict, KubernautError, NamespaceNotFound, NotFound

UID = 'Operation cannot be fulfilled on leases.coordination.k8s.io "a": StorageError: invalid object, Code: 4, Key: /registry/a, '
UID += "ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: 1a7e, UID in object meta: "
LABELS = {"owner": ("helm", "kubernaut")}


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    made = FakeApiServer()
    yield made
    made.close()


@pytest.fixture
def cluster(api: FakeApiServer, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(config(tmp_path, api.url), timeout=2.0)
    yield made
    made.close()


def event(kind: str, **thing: Any) -> str:
    return json.dumps({"type": kind, "object": thing}) + "\n"


def watched(cluster: Cluster) -> list[WatchEvent]:
    return list(cluster.watch_objects(SECRETS, "demo", LABELS, metadata_only=True, resource_version="7", seconds=9))


def test_watch_requests_metadata_and_bookmarks(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, event("ADDED", metadata={"name": "a", "resourceVersion": "8"}) + event("BOOKMARK", metadata={}), {}))
    assert watched(cluster) == [
        WatchEvent("ADDED", {"metadata": {"name": "a", "resourceVersion": "8"}}),
        WatchEvent("BOOKMARK", {"metadata": {}}),
    ]
    ((_, path, headers, _),) = api.asked
    assert headers["Accept"] == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    assert urlsplit(path).path == "/api/v1/namespaces/demo/secrets"
    assert parse_qs(urlsplit(path).query) == {
        "watch": ["true"],
        "allowWatchBookmarks": ["true"],
        "labelSelector": ["owner in (helm,kubernaut)"],
        "resourceVersion": ["7"],
        "timeoutSeconds": ["9"],
    }


def test_list_is_requested_page_by_page(api: FakeApiServer, cluster: Cluster) -> None:
    api.say(
        (200, {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [{"metadata": {"name": "a"}}]}, {}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": None}, {}),
    )
    first = cluster.list_objects(SECRETS, None, LABELS, limit=1, metadata_only=True)
    last = cluster.list_objects(SECRETS, None, LABELS, limit=1, metadata_only=True, continue_token=first.continue_token)
    assert (len(first.items), first.resource_version, first.continue_token) == (1, "7", "more")
    assert (len(last.items), last.resource_version, last.continue_token) == (0, "7", "")
    assert [parse_qs(urlsplit(path).query).get("continue") for _, path, _, _ in api.asked] == [None, ["more"]]
    assert all("as=PartialObjectMetadataList" in headers["Accept"] for _, _, headers, _ in api.asked)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((410, {"message": "too old"}, {}), ResourceExpired, "too old"),
        ((200, event("ERROR", code=410, message="too old resource version: 7 (9)"), {}), ResourceExpired, "too old"),
        ((200, event("ERROR", code=500, message="storage is on fire"), {}), ClusterUnreachable, "on fire"),
        ((403, {"message": "secrets is forbidden"}, {}), ClusterDenied, "secrets is forbidden"),
        ((401, {}, {}), ClusterDenied, "credentials"),
        ((200, "<html>", {}), ClusterUnreachable, "watch events"),
        ((200, '{"type": "ADDED"}\n', {}), ClusterUnreachable, "watch events"),
        ((200, '{"type": "ADDED", "object": 7}\n', {}), ClusterUnreachable, "watch events"),
        ((0, "", {}), ClusterUnreachable, "http://127"),
    ],
)
def test_failed_watch_is_converted_to_its_error(
    api: FakeApiServer, cluster: Cluster, answer: Any, error: type[Exception], words: str
) -> None:
    api.say(answer)
    with pytest.raises(error, match=words):
        watched(cluster)


def test_expired_continue_token_is_reported(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((410, {"message": "The provided continue parameter is too old"}, {}))
    with pytest.raises(ResourceExpired, match="continue parameter"):
        cluster.list_objects(SECRETS, None, LABELS, limit=1, continue_token="more")


def test_broken_watch_is_unreachable(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, event("ADDED", metadata={"name": "a"}), {"Content-Length": "9999", "Connection": "close"}))
    changes = iter(cluster.watch_objects(SECRETS, "demo", LABELS, metadata_only=True, resource_version="7", seconds=9))
    assert next(changes).metadata == {"name": "a"}
    with pytest.raises(ClusterUnreachable):
        next(changes)


def test_silent_watch_is_unreachable(api: FakeApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error once the server should long have ended it; until then another thread may end it."""
    monkeypatch.setattr("kubernaut.adapters.kube._LATE_SECONDS", 0.3)
    api.speaks.clear()
    try:
        with pytest.raises(ClusterUnreachable, match=facts("0 s")):
            list(cluster.watch_objects(SECRETS, "demo", LABELS, metadata_only=True, resource_version="7", seconds=0))
        monkeypatch.setattr("kubernaut.adapters.kube._LATE_SECONDS", 30)
        watch = cluster.watch_objects(SECRETS, "demo", LABELS, metadata_only=True, resource_version="7", seconds=0)
        timer = threading.Timer(0.1, watch.close)
        timer.start()
        began = time.monotonic()
        assert list(watch) == []
        assert time.monotonic() - began < 2
        timer.join()
    finally:
        api.speaks.set()


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, 'Lease in version "v1" cannot be handled as a Lease: parsing time "x"', BadInput),
        (401, "Unauthorized", ClusterDenied),
        (403, 'leases.coordination.k8s.io is forbidden: User "ada" cannot create resource "leases"', ClusterDenied),
        (403, 'leases "a" is forbidden: unable to create new content in namespace x because it is being terminated', Conflict),
        (404, 'leases.coordination.k8s.io "a" not found', NotFound),
        (404, 'namespaces "x" not found', NamespaceNotFound),
        (409, 'leases.coordination.k8s.io "a" already exists', Conflict),
        (409, 'Operation cannot be fulfilled on secrets "s": the object has been modified; please apply', Conflict),
        (409, 'Operation cannot be fulfilled on Secret "s": the ResourceVersion in the precondition (1) does not match', Conflict),
        (409, UID, NotFound),
        (409, UID + "9f0c", Conflict),
        (413, "Request entity too large: limit is 3145728", BadInput),
        (422, 'Secret "s" is invalid: data: Forbidden: field is immutable when `immutable` is set', BadInput),
        (422, 'Secret "s" is invalid: data: Too long: may not be more than 1048576 bytes', BadInput),
        (429, "Too many requests, please try again later", ClusterUnreachable),
        (500, "etcdserver: leader changed", ClusterUnreachable),
        (503, "apiserver is shutting down", ClusterUnreachable),
        (504, "Timeout: request did not complete within requested timeout", ClusterUnreachable),
    ],
)
def test_status_is_converted_to_its_error(status: int, message: str, error: type[KubernautError]) -> None:
    made = status_error("The cluster", status, message)
    assert type(made) is error
    assert status == 401 or message in made.message, "the API server's own words are kept"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (json.dumps({"kind": "Status", "message": "no"}), "no"),
        (json.dumps({"kind": "Status"}), '{"kind": "Status"}'),
        (json.dumps({"message": None}), '{"message": null}'),
        ("[1]", "[1]"),
        ("<html>" + "x" * 1000, "<html>" + "x" * 494),
        ("[" * 100_000, "[" * 500),
        ("", ""),
    ],
)
def test_status_message(body: str, message: str) -> None:
    assert status_message(body) == message


# objects of any kind

PODS = RESOURCES["Pod"]


def test_watch_of_whole_objects_skips_those_that_mention_no_word(api: FakeApiServer, cluster: Cluster) -> None:
    lines = [f'{{"type":"ADDED","object":{{"metadata":{{"name":"{name}"}}}}}}\n' for name in ("web-1", "other", "web-2")]
    broken = '{"type":"MODIFIED","object":{{{{ never decoded\n'
    bookmark = '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}'
    api.say((200, "".join([*lines, broken, bookmark]), {}))
    watch = cluster.watch_objects(PODS, "demo", resource_version="7", seconds=9, mentioning=["web"])
    assert [(seen.type, seen.metadata.get("name")) for seen in watch] == [
        ("ADDED", "web-1"),
        ("ADDED", "web-2"),
        ("BOOKMARK", None),
    ]
    ((_, path, headers, _),) = api.asked
    assert headers["Accept"] == "application/json"
    assert "labelSelector" not in parse_qs(urlsplit(path).query)


def test_error_event_is_never_skipped(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, '{"type":"ERROR","object":{"code":410,"message":"too old"}}', {}))
    with pytest.raises(ResourceExpired):
        list(cluster.watch_objects(PODS, "demo", resource_version="7", seconds=9, mentioning=["web"]))


def test_watch_updates_the_server_time(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, "", {"Date": "Thu, 01 Jan 2026 10:00:00 GMT"}))
    list(cluster.watch_objects(PODS, "demo", resource_version="7", seconds=9))
    assert cluster.server_time == datetime(2026, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("api_version", "root"),
    [("v1", "/api/v1"), ("apps/v1", "/apis/apps/v1"), ("a?b/v1", "/apis/a%3Fb/v1")],
)
def test_kind_is_looked_up_in_its_version(api: FakeApiServer, cluster: Cluster, api_version: str, root: str) -> None:
    served = [
        {"name": "widgets/status", "kind": "Widget", "namespaced": True},
        {"name": "widgets", "kind": "Widget", "namespaced": False},
    ]
    api.say((200, {"resources": served}, {}))
    assert cluster.find_resource(api_version, "Widget") == Resource("Widget", api_version, "widgets", namespaced=False)
    assert api.asked[0][1] == root


@pytest.mark.parametrize("answer", [(200, {"resources": None}, {}), (404, {"message": "page not found"}, {})])
def test_kind_that_is_not_served_is_not_found(api: FakeApiServer, cluster: Cluster, answer: Any) -> None:
    api.say(answer)
    with pytest.raises(NotFound, match=r"Widget of example\.com/v1"):
        cluster.find_resource("example.com/v1", "Widget")


def test_known_kind_needs_no_request(api: FakeApiServer, cluster: Cluster) -> None:
    assert cluster.find_resource("apps/v1", "Deployment") == RESOURCES["Deployment"]
    assert api.asked == []


def test_expired_credentials_differ_from_a_missing_right(api: FakeApiServer, cluster: Cluster) -> None:
    api.say(401, 403)
    for unauthenticated in (True, False):
        with pytest.raises(ClusterDenied) as denied:
            cluster.list_objects(PODS, "demo")
        assert denied.value.unauthenticated is unauthenticated


def test_log_is_limited(api: FakeApiServer, cluster: Cluster) -> None:
    api.say((200, "one\ntwo\n", {}))
    lines = cluster.pod_log("demo", "p", container="c", tail=5, follow=False, previous=True, limit_bytes=9, timeout=1)
    assert list(lines) == ["one", "two"]
    assert parse_qs(urlsplit(api.asked[0][1]).query)["limitBytes"] == ["9"]


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_name_that_would_change_the_path_is_refused(api: FakeApiServer, cluster: Cluster, name: str) -> None:
    with pytest.raises(BadInput):
        cluster.get_object(PODS, "demo", name)
    with pytest.raises(BadInput):
        cluster.find_resource(f"a/{name}/b", "Widget")
    assert api.asked == []
