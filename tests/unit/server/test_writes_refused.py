"""The routes that write: refusals by role, namespace, input, chart and ETag."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.backend import HELLO, WAIT, Backend, deployed, ended, nothing_was_written, operation_of
from support.in_process_server import READER, TEAM, InProcessServer, problem

# who may


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/releases", HELLO),
        ("DELETE", "/api/releases/demo.hello.v1", None),
        ("POST", "/api/releases/demo.hello.v1/rollback", None),
    ],
)
def test_a_read_only_token_cannot_write(backend: Backend, server: InProcessServer, method: str, path: str, body: Any) -> None:
    request = {} if body is None else {"json": body}
    problem(server.ask(method, path, token=READER, **request), 403, "not_allowed")
    problem(server.ask(method, path, token=None, **request), 401, "unauthorized")
    assert nothing_was_written(backend)


def test_a_token_writes_only_in_its_namespaces(backend: Backend, server: InProcessServer) -> None:
    problem(server.post("/api/releases", {**HELLO, "namespace": "prod"}, token=TEAM), 403, "not_allowed")
    problem(server.delete("/api/releases/prod.hello.v1", token=TEAM), 403, "not_allowed")
    problem(server.post("/api/releases/prod.hello.v1/rollback", token=TEAM), 403, "not_allowed")
    assert nothing_was_written(backend)
    assert server.post("/api/releases", HELLO, token=TEAM, headers=WAIT).json["createdBy"] == "team"


def test_a_server_for_some_namespaces_writes_only_there(backend: Backend) -> None:
    server = backend.server(watching=False, namespaces=("demo",))
    problem(server.post("/api/releases", {**HELLO, "namespace": "prod"}), 403, "not_allowed")
    assert nothing_was_written(backend)
    deployed(server)


# refusals before an operation is accepted


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"version": "9.9.9"}, 404, "version_not_found"),
        ({"version": "one"}, 404, "version_not_found"),
        ({"name": "other"}, 404, "version_not_found"),
        ({"namespace": "nowhere"}, 404, "namespace_not_found"),
        ({"environment": "staging"}, 404, "environment_not_found"),
        ({"set": ["a[x]=1"]}, 422, "values_invalid"),
        ({"name": "-n"}, 422, "request_invalid"),
        ({"name": "Hello"}, 422, "request_invalid"),
        ({"namespace": "a/b"}, 422, "request_invalid"),
        ({"version": 1}, 422, "request_invalid"),
        ({"timeout": 0}, 422, "request_invalid"),
        ({"timeout": "5m"}, 422, "request_invalid"),
        ({"onFailure": "ignore"}, 422, "request_invalid"),
        ({"onConflict": "ignore"}, 422, "request_invalid"),
        ({"takeOwnership": "yes"}, 422, "request_invalid"),
        ({"values": ["a"]}, 422, "request_invalid"),
        ({"dryRun": True}, 422, "request_invalid"),
        ({"lock_timeout": 1}, 422, "request_invalid"),
        ({"chart": "oci://r/charts/hello:1.0.0"}, 422, "request_invalid"),
    ],
)
def test_invalid_writes_are_refused_and_write_nothing(
    backend: Backend, server: InProcessServer, more: dict[str, Any], status: int, code: str
) -> None:
    problem(server.post("/api/releases", {**HELLO, **more}), status, code)
    assert nothing_was_written(backend)
    assert server.context.workers.running() == 0


@pytest.mark.parametrize(
    ("chart", "status", "code"),
    [
        ("oci://169.254.169.254/hello:1.0.0", 403, "chart_refused"),
        ("oci://r.example/charts/hello:1.0.0", 403, "chart_refused"),
        ("file:///etc/passwd", 422, "request_invalid"),
        ("oci://user:pass@r.example/hello:1.0.0", 422, "request_invalid"),
        ("/etc", 422, "request_invalid"),
        ("charts/hello", 422, "request_invalid"),
        ("https://charts.example/hello@1.0.0", 422, "request_invalid"),
        ("oci://r.example/charts/hello", 403, "chart_refused"),
        ("--post-renderer=sh", 422, "request_invalid"),
    ],
)
def test_charts_of_other_registries_are_refused(
    backend: Backend, server: InProcessServer, chart: str, status: int, code: str
) -> None:
    asked = len(backend.publisher.registry.requests)
    payload = problem(server.post("/api/releases", {"name": "hello", "namespace": "demo", "chart": chart}), status, code)
    assert "pass" not in json.dumps(payload).replace("passwd", "")
    assert nothing_was_written(backend)
    assert len(backend.publisher.registry.requests) == asked


@pytest.mark.parametrize("by", ["tag", "digest", "both", "newest"])
def test_a_chart_is_deployed_by_reference(backend: Backend, server: InProcessServer, by: str) -> None:
    digest = backend.publisher.publish("1.5.0")
    references = {"tag": ":1.5.0", "digest": f"@{digest}", "both": f":1.5.0@{digest}", "newest": ""}
    ref = f"oci://{backend.publisher.prefix}/charts/hello{references[by]}"
    response = server.post("/api/releases", {"name": "hello", "namespace": "demo", "chart": ref}, headers=WAIT)
    assert response.status_code == 201, response.text
    assert response.json["chart"]["digest"] == digest


def test_values_that_violate_the_schema_are_reported(backend: Backend, server: InProcessServer) -> None:
    schema = json.dumps({"type": "object", "properties": {"replicas": {"type": "integer"}}})
    backend.publisher.publish("3.0.0", values_schema_json=schema)
    body = {**HELLO, "version": "3.0.0", "values": {"replicas": "many"}}
    response = server.post("/api/releases", body, headers=WAIT)
    assert response.status_code == 422
    assert response.json["code"] == "values_invalid"
    assert "replicas" in response.json["detail"]
    assert response.json["operation"] == operation_of(response)
    assert ended(server, operation_of(response))["outcome"]["reason"] == "values_invalid"
    problem(server.get("/api/releases/demo.hello.current"), 404, "release_not_found")


@pytest.mark.parametrize("id", ["hello", "demo.hello.v01", "Demo.hello.v1", "demo..v1"])
def test_invalid_ids_are_refused(backend: Backend, server: InProcessServer, id: str) -> None:
    for response in (server.delete(f"/api/releases/{id}"), server.post(f"/api/releases/{id}/rollback")):
        assert response.status_code in (404, 422), response.text
        problem(response, response.status_code, response.json["code"])
    assert nothing_was_written(backend)


def test_a_namespace_is_created_on_request(server: InProcessServer) -> None:
    assert deployed(server, namespace="fresh", createNamespace=True)["id"] == "fresh.hello.v1"


# If-Match


def etag(server: InProcessServer) -> str:
    return str(server.get("/api/releases/demo.hello.current").headers["ETag"])


def test_a_write_with_another_etag_is_refused(backend: Backend, server: InProcessServer) -> None:
    deployed(server)
    stale = etag(server)
    deployed(server, values={"text": "newer"})
    backend.cluster.requests.clear()
    for response in (
        server.post("/api/releases", {**HELLO, "values": {"text": "mine"}}, headers={"If-Match": stale}),
        server.delete("/api/releases/demo.hello.current", headers={"If-Match": stale}),
        server.delete("/api/releases/demo.hello.v2?dryRun=true", headers={"If-Match": f'"other", W/{etag(server)}'}),
        server.post("/api/releases/demo.hello.v2/rollback", headers={"If-Match": stale}),
    ):
        problem(response, 412, "release_changed")
    assert nothing_was_written(backend)


def test_a_write_with_the_current_etag_is_executed(server: InProcessServer) -> None:
    deployed(server)
    response = server.post(
        "/api/releases", {**HELLO, "values": {"text": "mine"}}, headers={**WAIT, "If-Match": f'"other", {etag(server)}'}
    )
    assert response.status_code == 201, response.text
    response = server.delete("/api/releases/demo.hello.v2", headers={**WAIT, "If-Match": "*"})
    assert response.status_code == 201, response.text
    response = server.post("/api/releases/demo.hello.v2/rollback", headers={**WAIT, "If-Match": etag(server)})
    assert response.status_code == 201, response.text


def test_if_match_on_a_missing_release_is_refused(backend: Backend, server: InProcessServer) -> None:
    for header in ("*", '"x"'):
        problem(server.post("/api/releases", HELLO, headers={"If-Match": header}), 412, "release_changed")
    problem(server.post("/api/releases", HELLO, headers={"If-Match": "unquoted"}), 422, "request_invalid")
    assert nothing_was_written(backend)
