"""Invalid requests: each gets a problem with a code and a hint, and reaches no handler."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from support.in_process_server import InProcessServer, problem
from support.stub_routes import StubRoutes

from kubernaut.server.request import MAX_BODY_BYTES, MAX_DEPTH

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def stub() -> StubRoutes:
    return StubRoutes()


@pytest.fixture
def server(stub: StubRoutes, tmp_path: Path) -> Iterator[InProcessServer]:
    yield InProcessServer(tmp_path, stub.routes)
    assert not stub.requests, "the handler was called"


def send(server: InProcessServer, body: bytes | str, path: str = "/things", **headers: str) -> Any:
    return server.ask("POST", path, data=body, headers={**JSON, **headers})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"name",
        b'{"name": "a"} x',
        b'{"name": "a",}',
        b'{"name": NaN}',
        b'{"name": "a", "size": Infinity}',
        b'{"name": "a", "values": {"x": -Infinity}}',
        b'{"name": "a", "size": 1e999}',
        b'{"name": "a", "values": {"x": 1e400}}',
        b'{"name": "a", "size": 99999999999999999999}',
        b'{"name": "a", "size": -9223372036854775809}',
        b'{"name": "a", "size": ' + b"9" * 10_000 + b"}",
        b'{"name": "a", "name": "b"}',
        b'{"name": "a", "values": {"x": {"y": 1, "y": 2}}}',
        b'{"name": "\xff"}',
        b'{"name": "\xed\xa0\x80"}',
        rb'{"name": "\ud800"}',
        rb'{"name": "a", "values": {"\udc00": 1}}',
        b'\xef\xbb\xbf{"name": "a"}',
        '{"name": "a"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b'{"name": "a", "values": ' + b'{"x":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b"}",
        b'{"name": "a", "values": {"x": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}}",
    ],
)
def test_invalid_and_ambiguous_json_is_malformed(server: InProcessServer, body: bytes) -> None:
    payload = problem(send(server, body), 400, "request_malformed")
    assert len(payload["detail"]) < 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ("text", ""),
        (None, ""),
        ({}, "/name"),
        ({"name": 1}, "/name"),
        ({"name": None}, "/name"),
        ({"name": "a", "size": "1"}, "/size"),
        ({"name": "a", "size": True}, "/size"),
        ({"name": "a", "size": 1.5}, "/size"),
        ({"name": "a", "size": -1}, "/size"),
        ({"name": "a", "tags": "x"}, "/tags"),
        ({"name": "a", "tags": ["x", 1]}, "/tags/1"),
        ({"name": "a", "values": []}, "/values"),
        ({"name": "a", "nonsense": 1}, "/nonsense"),
        ({"name": "a", "a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_an_invalid_body_is_reported_by_pointer_without_values(server: InProcessServer, body: Any, pointer: str) -> None:
    payload = problem(send(server, json.dumps(body)), 422, "request_invalid")
    assert [error["pointer"] for error in payload["errors"]] == [pointer]
    assert payload["errors"][0]["detail"]


def test_secret_values_are_not_repeated(server: InProcessServer) -> None:
    response = send(server, json.dumps({"name": ["hunter2"], "size": "hunter3", "password": "hunter4"}))
    payload = problem(response, 422, "request_invalid")
    assert len(payload["errors"]) == 3
    assert "hunter" not in response.text


def test_the_number_of_reported_faults_is_limited(server: InProcessServer) -> None:
    response = send(server, json.dumps({"name": "a", "tags": [1] * 10_000}))
    assert len(problem(response, 422, "request_invalid")["errors"]) == 20


def test_a_body_may_have_1_mib(server: InProcessServer, stub: StubRoutes) -> None:
    frame = len(b'{"name": ""}')
    payload = problem(send(server, b'{"name": "' + b"x" * (MAX_BODY_BYTES - frame + 1) + b'"}'), 413, "request_too_large")
    assert "1 MiB" in payload["hint"]
    assert send(server, b'{"name": "' + b"x" * (MAX_BODY_BYTES - frame) + b'"}').status_code == 200
    stub.requests.clear()


def test_a_body_that_is_too_large_is_not_read(server: InProcessServer) -> None:
    stream = io.BytesIO(b"x" * 10)
    response = send_stream(server, stream, 10**12)
    problem(response, 413, "request_too_large")
    assert stream.tell() == 0


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", " 5", "٣", "1, 1", "9" * 5000])
def test_an_invalid_content_length_is_refused(server: InProcessServer, length: str) -> None:
    payload = server.ask("POST", "/things", data=b"{}", headers=JSON, environ_overrides={"CONTENT_LENGTH": length})
    assert payload.status_code in {400, 413}
    assert payload.content_type == "application/problem+json"


def test_a_truncated_body_is_malformed(server: InProcessServer) -> None:
    response = send_stream(server, io.BytesIO(b'{"name":'), 100)
    assert "8 of 100 bytes" in problem(response, 400, "request_malformed")["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-7",
        "application/jsonx",
        "application/problem+json",
        "text/plain; application/json",
        "application/json, text/plain",
    ],
)
def test_other_media_types_are_refused(server: InProcessServer, kind: str) -> None:
    problem(send(server, b'{"name": "a"}', **{"Content-Type": kind}), 415, "media_type_unsupported")


@pytest.mark.parametrize("kind", ["application/json", "application/json;charset=UTF-8", 'Application/JSON; charset="utf-8" '])
def test_a_utf8_charset_is_accepted(server: InProcessServer, stub: StubRoutes, kind: str) -> None:
    assert send(server, b'{"name": "\xc3\xa4"}', **{"Content-Type": kind}).status_code == 200
    assert stub.requests.pop().body.name == "ä"


def test_an_empty_form_is_refused(server: InProcessServer, stub: StubRoutes) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    problem(server.ask("POST", "/things/a/turn", headers=form), 415, "media_type_unsupported")
    problem(server.ask("DELETE", "/things/a", headers=form), 415, "media_type_unsupported")
    assert server.ask("POST", "/things/a/turn").status_code == 200
    assert stub.requests.pop().body is None


def test_an_unexpected_body_is_refused(server: InProcessServer) -> None:
    problem(server.ask("DELETE", "/things/a", json={"note": "x"}), 400, "request_malformed")
    problem(server.ask("GET", "/things", data=b"x"), 400, "request_malformed")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("nonsense=1", "/nonsense"),
        ("lock_timeout=1", "/lock_timeout"),
        ("limit=1&limit=1", "/limit"),
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=", "/limit"),
        ("limit", "/limit"),
        ("limit=x", "/limit"),
        ("limit=1.5", "/limit"),
        ("limit=1_0", "/limit"),
        ("limit=%201", "/limit"),
        ("limit=+1", "/limit"),
        ("limit=%D9%A1", "/limit"),
        ("limit=true", "/limit"),
        ("limit=null", "/limit"),
        ("limit=" + "9" * 5000, "/limit"),
        ("all=1", "/all"),
        ("all=yes", "/all"),
        ("all=", "/all"),
        ("lockTimeout=nan", "/lockTimeout"),
        ("lockTimeout=inf", "/lockTimeout"),
        ("lockTimeout=1e99", "/lockTimeout"),
        ("lockTimeout=1e999", "/lockTimeout"),
        ("lockTimeout=null", "/lockTimeout"),
    ],
)
def test_unknown_repeated_and_mistyped_parameters_are_refused(server: InProcessServer, query: str, pointer: str) -> None:
    payload = problem(server.get(f"/things?{query}"), 422, "request_invalid")
    assert {error["pointer"] for error in payload["errors"]} == {pointer}


def test_a_text_parameter_is_never_read_as_a_number(server: InProcessServer, stub: StubRoutes) -> None:
    for text in ("1", "true", "null", "", "{}"):
        assert server.get("/things", query_string={"status": text}).status_code == 200
        assert stub.requests.pop().query.status == text


def test_queries_that_are_not_utf8_or_too_long_are_refused(server: InProcessServer) -> None:
    problem(server.get("/things?status=%ff"), 400, "request_malformed")
    problem(server.get("/things?" + "&".join(f"a{number}=1" for number in range(1000))), 422, "request_invalid")


def test_a_route_without_a_query_refuses_parameters(server: InProcessServer) -> None:
    problem(server.get("/things/a?x=1"), 422, "request_invalid")
    problem(server.post("/things?dryRun=true", {"name": "a"}), 422, "request_invalid")


@pytest.mark.parametrize("tag", ["x", '"X"', '"x', "*", '"x" "y"'])
def test_a_header_must_match_its_pattern(server: InProcessServer, tag: str) -> None:
    response = server.ask("POST", "/things/a/turn", headers={"If-Match": tag})
    assert problem(response, 422, "request_invalid")["errors"][0]["pointer"] == "/if-match"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/things/",
        "/things//a",
        "//things",
        "//things/a",
        "/things/a/",
        "/things/.",
        "/things/..",
        "/things/../things",
        "/things/%2e%2e",
        "/things/%2e%2e/things",
        "/things/.%2e/things",
        "/./things",
        "/things/a%2fturn",
        "/things%2fa",
        "/things/a%2Fb",
        "/things/a%5cb",
        "/things/a%00",
        "/things/%00",
        "/things/a%0a",
        "/things/a%7f",
        "/things/a%20",
        "/things/%ff",
        "/things/a%ffb",
        "/things/a%c0%ae",
        "/things/a%e2%80%ae",
        "/things/a%252fb",
        "/things/A",
        "/things/--help",
        "/things/-n",
        "/things/a..b",
        "/things/a;b",
        "/things/*",
        "/Things",
        "/things/" + "a" * 8000 + "!",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_only_exact_paths_are_routed(server: InProcessServer, method: str, path: str) -> None:
    payload = problem(raw(server, path, method), 404, "route_not_found")
    assert len(payload["detail"]) < 500


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/things/%61", 200),
        ("/th%69ngs/a", 200),
        ("http://127.0.0.1:8080/things/a", 200),
        ("/things/a?x", 422),
        ("*", 400),
        ("things", 400),
        ("", 400),
    ],
)
def test_absolute_and_encoded_targets_are_understood(server: InProcessServer, stub: StubRoutes, path: str, status: int) -> None:
    assert raw(server, path).status_code == status
    stub.requests.clear()


def send_stream(server: InProcessServer, stream: io.BytesIO, length: int) -> Any:
    return server.ask("POST", "/things", input_stream=stream, headers=JSON, environ_overrides={"CONTENT_LENGTH": str(length)})


def raw(server: InProcessServer, target: str, method: str = "GET") -> Any:
    """Send a target exactly as it is, decoded as a WSGI server does it."""
    path, _, query = target.partition("?")
    decoded = unquote_to_bytes(path).decode("latin-1")
    overrides = {"REQUEST_URI": target, "RAW_URI": target, "PATH_INFO": decoded, "QUERY_STRING": query}
    return server.ask(method, "/", environ_overrides=overrides)
