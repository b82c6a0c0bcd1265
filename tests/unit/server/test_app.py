from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.in_process_server import DEPLOYER, HOST, READER, InProcessServer, problem
from support.stub_routes import SECRET, Filter, Item, StubRoutes
from support.waiting import until

from kubernaut.server.routing import EVENT_STREAM


@pytest.fixture
def stub() -> StubRoutes:
    return StubRoutes()


@pytest.fixture
def server(stub: StubRoutes, tmp_path: Path) -> Iterator[InProcessServer]:
    serving = InProcessServer(
        tmp_path, stub.routes, environment={"KUBERNAUT_ACTOR": "s", "KUBERNAUT_REGISTRY": "r", "MY_TOKEN": SECRET}
    )
    yield serving
    serving.context.workers.stop(0)


def test_handlers_receive_parsed_and_validated_requests(server: InProcessServer, stub: StubRoutes) -> None:
    server.post("/things", {"name": "a", "size": 3, "tags": ["x"]}, headers={"X-Request-Id": "mine-1"})
    assert stub.request.body == Item(name="a", size=3, tags=("x",))
    assert stub.request.id == "mine-1"
    assert stub.request.caller.name == "ada"
    assert stub.request.headers["host"] == HOST
    server.get("/things?limit=5&all=true&status=a%20b&lockTimeout=1.5")
    assert stub.request.query == Filter(limit=5, all=True, status="a b", lock_timeout=1.5)
    server.get("/things/a.b")
    assert (stub.request.parameters, stub.request.path) == ({"id": "a.b"}, "/things/a.b")


def test_every_response_has_a_request_id_and_the_common_headers(server: InProcessServer) -> None:
    for response in (
        server.get("/things"),
        server.get("/nothing"),
        server.get("/fail/unforeseen"),
        server.get("/healthz", token=None),
    ):
        assert len(response.headers["X-Request-Id"]) == 16
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in response.headers
        assert not [name for name, _ in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("offered", ["", "a b", "é", "x" * 65, "a/b", "a\tb"])
def test_invalid_request_ids_are_replaced(server: InProcessServer, offered: str) -> None:
    assert server.get("/things", headers={"X-Request-Id": offered}).headers["X-Request-Id"] != offered


def test_other_hosts_are_refused_before_routing(server: InProcessServer) -> None:
    problem(server.get("/healthz", headers={"Host": "evil.example.com"}), 421, "host_refused")
    problem(server.get("/nothing", headers={"Host": "evil.example.com"}), 421, "host_refused")


def test_requests_without_a_valid_token_are_refused(server: InProcessServer, stub: StubRoutes) -> None:
    response = server.post("/things", {"name": "a"}, token=None)
    problem(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    problem(server.get("/things", token="x" * 40), 401, "unauthorized")
    problem(server.post("/things", {"name": "a"}, token=READER), 403, "not_allowed")
    assert not stub.requests


def test_rights_are_checked_before_the_request_is_validated(server: InProcessServer) -> None:
    problem(server.post("/things", {"nonsense": 1}, token=READER), 403, "not_allowed")
    problem(server.get("/things?nonsense=1", token=None), 401, "unauthorized")


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"},
                                     {"Origin": "http://evil.example.com"}, {"Origin": "http://[", "X-Other": "1"}])  # fmt: skip
def test_cross_site_writes_are_refused(stub: StubRoutes, tmp_path: Path, headers: dict[str, str]) -> None:
    server = InProcessServer(tmp_path, stub.routes, tokens=False)
    problem(server.post("/things/a/turn", token=None, headers=headers), 403, "not_allowed")
    assert not stub.requests
    assert server.get("/things/a", token=None, headers=headers).status_code == 200
    assert server.post("/things/a/turn", token=None, headers={"Origin": f"http://{HOST}"}).status_code == 200


def test_head_answers_like_get_without_a_body(server: InProcessServer, stub: StubRoutes) -> None:
    whole, head = server.get("/things"), server.ask("HEAD", "/things")
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(whole.data))
    assert head.headers["ETag"] == '"x"'
    refused = server.ask("HEAD", "/things/a/b/c")
    assert (refused.status_code, refused.data, refused.content_type) == (404, b"", "application/problem+json")
    server.ask("HEAD", "/stream")
    assert len(stub.requests) == 2


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "TRACE", "CONNECT", "ANY", "PROXY", "BREW"])
def test_unsupported_methods_get_405_with_allow(server: InProcessServer, method: str) -> None:
    response = server.ask(method, "/things/a")
    payload = problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "DELETE, GET, HEAD"
    assert payload["allow"] == ["DELETE", "GET", "HEAD"]
    assert server.ask(method, "/things/a/turn").headers["Allow"] == "POST"


def test_errors_become_redacted_problems_with_their_status(server: InProcessServer) -> None:
    response = server.get("/fail/known")
    payload = problem(response, 404, "release_not_found")
    assert payload["instance"] == "/fail/known"
    assert SECRET not in response.text
    assert problem(server.get("/fail/deploy"), 422, "deploy_failed")["hint"]
    assert int(server.get("/fail/busy").headers["Retry-After"]) > 0


def test_unexpected_errors_show_only_the_request_id(server: InProcessServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = server.get("/fail/unforeseen", headers={"X-Request-Id": "look-for-me"})
    payload = problem(response, 500, "internal")
    assert "look-for-me" in payload["detail"]
    assert "broke" not in response.text
    assert "RuntimeError: it broke with ***" in caplog.text
    assert "look-for-me" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("how", ["header", "status", "body", "stream"])
def test_unsendable_responses_become_problems(server: InProcessServer, caplog: pytest.LogCaptureFixture, how: str) -> None:
    response = server.get(f"/fail/{how}")
    problem(response, 500, "internal")
    assert "Set-Cookie" not in response.headers
    assert "Traceback" in caplog.text


def test_an_error_in_a_stream_closes_it_and_aborts_the_connection(
    server: InProcessServer, stub: StubRoutes, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[bytes] = []
    response = server.get("/stream", buffered=False)
    assert response.content_type.startswith(EVENT_STREAM)
    with pytest.raises(ConnectionAbortedError):
        sent.extend(response.response)
    assert sent == [b"one\n", b"two\n"]
    assert stub.closed
    assert SECRET not in caplog.text
    assert "RuntimeError" in caplog.text


def test_an_abandoned_stream_is_closed(server: InProcessServer, stub: StubRoutes) -> None:
    response = server.get("/stream", buffered=False)
    next(iter(response.response))
    response.close()
    assert stub.closed


def test_requests_are_counted_by_route_template(server: InProcessServer) -> None:
    server.get("/things/a.b")
    server.get("/things/%2e%2e")
    server.ask("BREW", "/things/a")
    page = server.get("/metrics").text
    assert 'kubernaut_requests_total{method="GET",route="/things/{id}",status="200"} 1.0' in page
    assert 'kubernaut_requests_total{method="GET",route="other",status="404"} 1.0' in page
    assert 'kubernaut_requests_total{method="other",route="other",status="405"} 1.0' in page
    assert "a.b" not in page


def test_every_write_is_audited_including_refused_ones(server: InProcessServer) -> None:
    server.delete("/things/a", headers={"X-Request-Id": "r-1"}, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    server.delete("/things/a", token=READER)
    server.delete("/things/a", token=None)
    server.delete("/things/stuck")
    server.get("/things/a")
    done, refused, unknown, failed = server.audited
    request = {"event": "request", "caller": "ada", "method": "DELETE", "route": "/things/{id}", "path": "/things/a", "status": 202}
    assert {**done, **request, "release": "demo.hello.v1", "operation": "op-1", "request": "r-1", "client": "192.0.2.1"} == done
    assert (refused["caller"], refused["status"], refused["outcome"]) == ("reader", 403, "not_allowed")
    assert (failed["outcome"], failed["release"], failed["operation"]) == ("deploy_failed", "demo.stuck.v2", "op-2")
    assert (unknown.get("caller"), unknown["status"], unknown["outcome"]) == (None, 401, "unauthorized")


def test_two_apps_in_one_process_are_independent(tmp_path: Path) -> None:
    first, second = StubRoutes(), StubRoutes()
    one, other = InProcessServer(tmp_path, first.routes), InProcessServer(tmp_path, second.routes)
    one.get("/things")
    assert (len(first.requests), len(second.requests)) == (1, 0)
    assert 'route="/things"' not in other.get("/metrics").text


def test_healthz_always_answers_and_metrics_needs_a_token(server: InProcessServer) -> None:
    server.cluster.fail("", ConnectionError("down"), times=None)
    server.context.workers.stop(0)
    assert json.loads(server.get("/healthz", token=None).data) == {"status": "ok"}
    problem(server.get("/metrics", token=None), 401, "unauthorized")
    assert server.get("/metrics", token=DEPLOYER).content_type.startswith("text/plain")


def test_readyz_fails_until_the_index_is_loaded(server: InProcessServer) -> None:
    refused = server.get("/readyz", token=None)
    assert (refused.status_code, refused.json["code"]) == (503, "index_stale")
    assert refused.json["detail"]
    server.context.index.start()
    try:
        until(lambda: server.get("/readyz", token=None).status_code == 200, "the server is ready")
    finally:
        server.context.index.stop()


def test_readyz_fails_while_the_server_stops(server: InProcessServer) -> None:
    server.context.workers.stop(0)
    problem(server.get("/readyz", token=None), 503, "server_stopping")
