"""Errors of the Kubernetes API, with the messages of Kubernetes 1.35, and lists and watches against a small API server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.fake_api_server import FakeApiServer, config
from support.messages import facts

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_http import ResourceExpired, WatchEvent, status_error, status_message
from kubernaut.adapters.kube_resources import SECRETS
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
    heard = iter(cluster.watch_objects(SECRETS, "demo", LABELS, metadata_only=True, resource_version="7", seconds=9))
    assert next(heard).metadata == {"name": "a"}
    with pytest.raises(ClusterUnreachable):
        next(changes)


def test_silent_watch_is_unreachable(api: FakeApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error once the server should long have ended it; until then another thread may end it."""
    monkeypatch.setattr("kubernaut.adapters.kube._LATE_SECONDS", 0.3)
    api.speaks.clear()
    try:
        with pytest.raises(ClusterUnreachable, match="did not answer within 0 s"):
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
