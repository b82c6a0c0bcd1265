"""Releases whose name is not that of their application, and charts that kubernaut did not publish, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.backend import HELLO, WAIT, Backend, nothing_was_written
from support.charts import write_chart
from support.clients import client, listening
from support.in_process_server import InProcessServer, problem

from kubernaut.client import Client
from kubernaut.errors import BadInput, NameInvalid
from kubernaut.publish.registry import CHART_LAYER
from kubernaut.testing.chart import load_chart, pack_chart

CANARY = {**HELLO, "name": "canary", "application": "hello"}


def push_foreign(backend: Backend, tag: str, name: str = "hello") -> None:
    """Push a chart as `helm push` does, without the annotations of kubernaut."""
    folder = backend.folder / f"foreign-{tag}"
    package = pack_chart(load_chart(write_chart(folder, name, version=tag.replace("_", "+"))), folder)
    registry, repository = backend.publisher.registry, f"shop/charts/{name}"
    layer = {"mediaType": CHART_LAYER, "digest": registry.put_blob(repository, package.read_bytes())}
    registry.put_manifest(repository, tag, json.dumps({"schemaVersion": 2, "layers": [layer]}).encode())


def test_an_application_has_two_releases_in_a_namespace(backend: Backend, server: InProcessServer) -> None:
    assert server.post("/api/releases", HELLO, headers=WAIT).json["id"] == "demo.hello.v1"
    response = server.post("/api/releases", CANARY, headers=WAIT)
    assert response.status_code == 201, response.text
    assert (response.json["id"], response.json["chart"]["name"]) == ("demo.canary.v1", "hello")
    assert server.post("/api/releases", CANARY, headers=WAIT).status_code == 200
    changed = server.post("/api/releases", {**CANARY, "values": {"text": "bye"}}, headers=WAIT)
    assert changed.json["id"] == "demo.canary.v2"
    back = server.post("/api/releases/demo.canary.current/rollback", {}, headers=WAIT)
    assert (back.status_code, back.json["id"]) == (201, "demo.canary.v3")
    assert server.get("/api/releases/demo.canary.v3/diff").status_code == 200
    assert server.get("/api/releases/demo.canary.current/history").json["count"] == 3


def test_versions_name_the_active_releases_of_any_name(server: InProcessServer) -> None:
    for body in (HELLO, CANARY):
        assert server.post("/api/releases", body, headers=WAIT).status_code == 201
    (item,) = server.get("/api/versions/hello").json["items"]
    assert item["active"] == ["demo.canary.v1", "demo.hello.v1"]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"application": "Hello"}, 422, "request_invalid"),
        ({"application": "a.b"}, 422, "request_invalid"),
        ({"application": "other"}, 404, "version_not_found"),
        ({"name": "web.blue", "application": None}, 422, "name_invalid"),
        ({"name": "web.blue"}, 422, "name_invalid"),
        ({"name": "web..blue"}, 422, "request_invalid"),
        ({"version": None, "chart": "oci://r.example/charts/hello:1.0.0"}, 422, "request_invalid"),
    ],
)
def test_invalid_names_are_refused_and_write_nothing(
    backend: Backend, server: InProcessServer, more: dict[str, Any], status: int, code: str
) -> None:
    problem(server.post("/api/releases", {**CANARY, **more}), status, code)
    assert nothing_was_written(backend)


def test_a_foreign_release_with_dots_is_upgraded_over_http(backend: Backend, server: InProcessServer) -> None:
    plain: dict[str, Any] = {"namespace": "demo", "values": {}, "labels": {}, "description": "", "timeout": 9.0, "history_max": 9}
    package = pack_chart(load_chart(write_chart(backend.folder, "web")), backend.folder)
    backend.helm.upgrade("web.blue", str(package), install=True, log=print, check=lambda: None, **plain)
    server.context.index.load()
    response = server.post("/api/releases", {**CANARY, "name": "web.blue"}, headers=WAIT)
    assert (response.status_code, response.json["id"]) == (201, "demo.web.blue.v2")
    assert server.get("/api/releases/demo.web.blue.current").json["revision"] == 2
    back = server.post("/api/releases/demo.web.blue.v1/rollback", {}, headers=WAIT)
    assert (back.status_code, back.json["id"]) == (201, "demo.web.blue.v3")
    assert server.delete("/api/releases/demo.web.blue.current", headers=WAIT).status_code == 201


@pytest.fixture
def remote(backend: Backend) -> Iterator[Client]:
    with listening(backend.server()) as url:
        yield client(url)


def test_the_client_deploys_under_another_name(remote: Client) -> None:
    made = remote.deploy("canary", application="hello", namespace="demo")
    assert made.release is not None
    assert made.release.id == "demo.canary.v1"
    for chart in ("./charts/web", "https://charts.example.com/web@1.0.0", Path("web.tgz")):
        with pytest.raises(BadInput) as caught:
            remote.deploy("web", namespace="demo", chart=chart)
        assert "helm push" in caught.value.hint
    with pytest.raises(NameInvalid):
        remote.deploy("-n", namespace="demo")


# charts that kubernaut did not publish


def test_foreign_charts_are_listed_beside_the_versions(backend: Backend, server: InProcessServer, remote: Client) -> None:
    for tag in ("2.0.0", "0.1.0_build.5"):
        push_foreign(backend, tag)
    payload = server.get("/api/versions/hello").json
    repository = f"oci://{backend.publisher.prefix}/charts/hello"
    assert payload["foreign"] == [f"{repository}:2.0.0", f"{repository}:0.1.0+build.5"]
    assert [item["version"] for item in payload["items"]] == ["1.0.0"]
    assert remote.versions("hello").foreign == tuple(payload["foreign"])


def test_a_foreign_chart_is_named_where_no_version_is_published(backend: Backend, server: InProcessServer) -> None:
    push_foreign(backend, "2.0.0", "other")
    payload = problem(server.post("/api/releases", {"name": "other", "namespace": "demo"}), 404, "version_not_found")
    reference = f"oci://{backend.publisher.prefix}/charts/other:2.0.0"
    assert reference in payload["hint"]
    assert "kubernaut deploy" not in payload["hint"]
    payload = problem(
        server.post("/api/releases", {"name": "other", "namespace": "demo", "version": "2.0.0"}), 409, "version_conflict"
    )
    assert reference in payload["hint"]
