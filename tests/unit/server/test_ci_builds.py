"""The CI build of a client: sent in a header, recorded with the operation, never the server's own."""

from __future__ import annotations

from typing import Any

import pytest
from support.backend import HELLO, WAIT, Backend, deployed, nothing_was_written, operation_of
from support.backend import backend as backend
from support.clients import listening, token_file
from support.in_process_server import InProcessServer, problem

from kubernaut.ci import HEADER, CiBuild, build_header
from kubernaut.client import Client

BUILD = CiBuild(url="https://ci/job/ü/7/", job='team/grün & "x"', number=7, tag="jenkins-7", change="31")
RECORDED = BUILD.model_dump(mode="json")
NONE = dict.fromkeys(RECORDED)


def of(server: InProcessServer, response: Any) -> Any:
    return server.get(f"/api/operations/{operation_of(response)}").json["build"]


def test_every_write_records_the_ci_build(server: InProcessServer) -> None:
    headers = {**WAIT, **build_header(BUILD)}
    for response in (
        server.post("/api/releases", HELLO, headers=headers),
        server.post("/api/releases", {**HELLO, "version": "1.1.0"}, headers=headers),
        server.post("/api/releases/demo.hello.v1/rollback", headers=headers),
        server.delete("/api/releases/demo.hello.current", headers=headers),
    ):
        assert response.status_code == 201, response.text
        assert (of(server, response), response.json["build"]) == (RECORDED, RECORDED)


def test_a_url_alone_is_a_build_and_a_missing_header_is_not(server: InProcessServer) -> None:
    first = server.post("/api/releases", HELLO, headers={**WAIT, HEADER: "url=https://ci.example.com/job/x/7/&number="})
    assert first.json["build"] == {**NONE, "url": "https://ci.example.com/job/x/7/"}
    second = server.post("/api/releases", {**HELLO, "version": "1.1.0"}, headers=WAIT)
    assert (second.json["build"], of(server, second)) == (NONE, None)


@pytest.mark.parametrize("value", ["", "nonsense", "url=javascript:alert(1)", "number=x&job=", "&&&==&%ff=%ff", "more=1"])
def test_invalid_build_values_are_omitted(server: InProcessServer, value: str) -> None:
    assert server.post("/api/releases", HELLO, headers={**WAIT, HEADER: value}).json["build"] == NONE


@pytest.mark.parametrize("value", ["x" * 4001, "url=é", "url=\t"])
def test_an_invalid_build_header_is_refused(backend: Backend, server: InProcessServer, value: str) -> None:
    response = server.post("/api/releases", HELLO, headers={HEADER: value})
    problem(response, 422, "request_invalid")
    assert nothing_was_written(backend)


def test_the_build_does_not_change_the_fingerprint(server: InProcessServer) -> None:
    key = {**WAIT, "Idempotency-Key": "order-7"}
    first = server.post("/api/releases", HELLO, headers={**key, **build_header(BUILD)})
    again = server.post("/api/releases", HELLO, headers={**key, **build_header(CiBuild(url="https://ci/8"))})
    assert operation_of(first) == operation_of(again)
    assert again.json["build"] == RECORDED, "the build that was first"


def test_the_servers_own_build_is_never_recorded(backend: Backend) -> None:
    server = backend.server(watching=False)
    environment = {"BUILD_URL": "https://ci/server/1", "JOB_NAME": "server", "BUILD_NUMBER": "1"}
    own = server.context.kubernaut.settings
    object.__setattr__(own, "build", CiBuild(url=environment["BUILD_URL"]))
    assert deployed(server)["build"] == NONE


def test_the_client_sends_its_build(backend: Backend, server: InProcessServer) -> None:
    with listening(server) as url:
        client = Client(url, token_file=token_file(backend.folder), build=BUILD)
        assert client.deploy("hello", namespace="demo", version="1.0.0").release.build == BUILD  # type: ignore[union-attr]
        assert client.delete("hello", namespace="demo").release.build == BUILD  # type: ignore[union-attr]
        assert Client(url, token_file=token_file(backend.folder)).restore("hello", namespace="demo").release.build == CiBuild()  # type: ignore[union-attr]


def test_the_build_header_is_limited_to_4000_characters() -> None:
    huge = CiBuild(url="https://ci/7", job="ü" * 500, number=7, tag="😀" * 500, change="x" * 500)
    header = build_header(huge)[HEADER]
    assert len(header) <= 4000
    assert header.startswith("url=https%3A%2F%2Fci%2F7")
    assert build_header(None) == {}
    assert build_header(CiBuild()) == {}


def test_a_different_chart_digest_is_a_conflict(backend: Backend, server: InProcessServer) -> None:
    digest = backend.publisher.publish("2.0.0")
    other = server.post("/api/releases", {**HELLO, "version": "2.0.0", "digest": "sha256:" + "0" * 64}, headers=WAIT)
    assert digest in problem(other, 409, "version_conflict")["detail"]
    assert nothing_was_written(backend)
    made = server.post("/api/releases", {**HELLO, "version": "2.0.0", "digest": digest}, headers=WAIT)
    assert (made.status_code, made.json["chart"]["digest"]) == (201, digest)
    problem(server.post("/api/releases", {**HELLO, "digest": "latest"}), 422, "request_invalid")
