"""How `Cluster` speaks list and watch over HTTP: against a small API server in this process, which answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.api import Api, config

from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.kube_http import ResourceExpired, WatchEvent
from kubernaut.errors import ClusterDenied, ClusterUnreachable

LABELS = {"owner": ("helm", "kubernaut")}


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.close()


@pytest.fixture
def cluster(api: Api, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(config(tmp_path, api.url), timeout=2.0)
    yield made
    made.close()


def event(kind: str, **thing: Any) -> str:
    return json.dumps({"type": kind, "object": thing}) + "\n"


def watched(cluster: Cluster) -> list[WatchEvent]:
    return list(cluster.watch_secrets("demo", LABELS, resource_version="7", seconds=9))


def test_a_watch_is_asked_for_metadata_and_bookmarks(api: Api, cluster: Cluster) -> None:
    api.say((200, event("ADDED", metadata={"name": "a", "resourceVersion": "8"}) + event("BOOKMARK", metadata={}), {}))
    assert watched(cluster) == [WatchEvent("ADDED", {"name": "a", "resourceVersion": "8"}), WatchEvent("BOOKMARK", {})]
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


def test_a_list_is_asked_for_part_by_part(api: Api, cluster: Cluster) -> None:
    api.say(
        (200, {"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [{"metadata": {"name": "a"}}]}, {}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": None}, {}),
    )
    first = cluster.page_secrets(None, LABELS, limit=1, metadata_only=True)
    last = cluster.page_secrets(None, LABELS, limit=1, metadata_only=True, continue_token=first.continue_token)
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
        ((0, "", {}), ClusterUnreachable, "does not answer"),
    ],
)
def test_a_watch_that_fails(api: Api, cluster: Cluster, answer: Any, error: type[Exception], words: str) -> None:
    api.say(answer)
    with pytest.raises(error, match=words):
        watched(cluster)


def test_a_list_that_is_forgotten(api: Api, cluster: Cluster) -> None:
    api.say((410, {"message": "The provided continue parameter is too old"}, {}))
    with pytest.raises(ResourceExpired, match="continue parameter"):
        cluster.page_secrets(None, LABELS, limit=1, continue_token="more")


def test_a_connection_that_breaks_in_the_middle(api: Api, cluster: Cluster) -> None:
    api.say((200, event("ADDED", metadata={"name": "a"}), {"Content-Length": "9999", "Connection": "close"}))
    heard = iter(cluster.watch_secrets("demo", LABELS, resource_version="7", seconds=9))
    assert next(heard).metadata == {"name": "a"}
    with pytest.raises(ClusterUnreachable):
        next(heard)


def test_a_connection_on_which_nothing_is_heard(api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error once the server should long have ended it; until then another thread may end it."""
    monkeypatch.setattr("kubernaut.adapters.kube._LATE_SECONDS", 0.3)
    api.speaks.clear()
    try:
        with pytest.raises(ClusterUnreachable, match="did not answer within 0 s"):
            list(cluster.watch_secrets("demo", LABELS, resource_version="7", seconds=0))
        monkeypatch.setattr("kubernaut.adapters.kube._LATE_SECONDS", 30)
        watch = cluster.watch_secrets("demo", LABELS, resource_version="7", seconds=0)
        timer = threading.Timer(0.1, watch.close)
        timer.start()
        began = time.monotonic()
        assert list(watch) == []
        assert time.monotonic() - began < 2
        timer.join()
    finally:
        api.speaks.set()
