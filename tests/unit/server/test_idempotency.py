"""Repeated requests: at once, later, after a restart, at another server; and concurrent writes to one release."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.backend import HELLO, SOON, Backend, deployed, ended, operation_of
from support.in_process_server import HEALTHY, TEAM, InProcessServer, problem
from support.waiting import until
from werkzeug.test import TestResponse

from kubernaut.errors import ClusterUnreachable, DeadlineExceeded, RequestInvalid
from kubernaut.history.records import Status
from kubernaut.server.auth.access import Caller, Role
from kubernaut.server.operations.execution import fingerprint, idempotency_key
from kubernaut.server.routes.writes import DeleteQuery, DryRunQuery, NewRelease, RollbackOptions
from kubernaut.server.routing import Request

KEYED = {"Idempotency-Key": "k-1", "Prefer": "wait=20"}


def deploys(backend: Backend) -> int:
    return len([start for start in backend.helm.starts if start[0] in ("upgrade", "install")])


def at_once(*calls: Callable[[], TestResponse]) -> list[TestResponse]:
    """Send requests at the same time."""
    answers: list[TestResponse | None] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def send(index: int) -> None:
        start.wait()
        answers[index] = calls[index]()

    threads = [threading.Thread(target=send, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert None not in answers
    return [answer for answer in answers if answer is not None]


# the key and what is asked for


@pytest.mark.parametrize(
    ("header", "key"),
    [(None, None), ("abc", "abc"), ('"abc"', "abc"), ('"', '"'), ("x" * 255, "x" * 255)],
)
def test_a_key_may_be_quoted(header: str | None, key: str | None) -> None:
    assert idempotency_key(header) == key


@pytest.mark.parametrize("header", ["", "x" * 256, "ä", "a\tb", '"a b"', '""'])
def test_invalid_keys_are_refused(header: str) -> None:
    with pytest.raises(RequestInvalid, match="Idempotency-Key"):
        idempotency_key(header)


def request(method: str = "POST", path: str = "/api/releases", body: Any = None, query: Any = None) -> Request:
    return Request("r", method, path, {}, query or DryRunQuery(), body, {}, Caller("ada", Role.DEPLOY))


def test_equivalent_requests_have_one_fingerprint() -> None:
    spelt = [
        NewRelease.model_validate_json(text)
        for text in (
            '{"name":"hello","namespace":"demo","values":{"a":1,"b":[1,{"c":null}]}}',
            '{"namespace":"demo", "values":{"b":[1,{"c":null}],"a":1}, "name":"hello", "pre":false, "note":null, "set":[]}',
        )
    ]
    prints = {fingerprint(request(body=body)) for body in spelt}
    assert len(prints) == 1
    assert len(prints.pop()) == 64
    assert fingerprint(request(body=None)) == fingerprint(request(body=RollbackOptions()))


def test_different_requests_have_different_fingerprints() -> None:
    one = NewRelease(name="hello", namespace="demo", values={"a": 1})
    different = [
        request(body=one),
        request(body=one.model_copy(update={"values": {"a": "1"}})),
        request(body=one.model_copy(update={"values": {"a": True}})),
        request(body=one.model_copy(update={"note": "x"})),
        request(body=one.model_copy(update={"timeout": 5.0})),
        request(method="DELETE", path="/api/releases/demo.hello.v1", query=DeleteQuery()),
        request(method="DELETE", path="/api/releases/demo.hello.v1", query=DeleteQuery(note="x")),
        request(method="DELETE", path="/api/releases/demo.hello.v2", query=DeleteQuery()),
        request(path="/api/releases/demo.hello.v1/rollback"),
    ]
    assert len({fingerprint(each) for each in different}) == len(different)
    assert fingerprint(request(query=DryRunQuery(dry_run=True))) == fingerprint(request(query=DryRunQuery()))


# the same request again


def test_a_repeated_request_returns_the_same_operation(backend: Backend, server: InProcessServer) -> None:
    first = server.post("/api/releases", HELLO, headers=KEYED)
    assert first.status_code == 201, first.text
    for headers in (KEYED, {"Idempotency-Key": '"k-1"'}):
        again = server.post("/api/releases", HELLO, headers=headers)
        assert again.status_code == 201, again.text
        assert again.json == first.json
        assert operation_of(again) == operation_of(first)
    assert deploys(backend) == 1
    assert len(server.get("/api/releases?all=true").json["items"]) == 1


def test_a_repeated_request_returns_the_same_error(backend: Backend, server: InProcessServer) -> None:
    backend.helm.end_with(Status.FAILED, DeadlineExceeded("timed out waiting for the condition"))
    first = problem(server.post("/api/releases", HELLO, headers=KEYED), 422, "deploy_failed")
    other = backend.server(watching=False)
    for one in (server, other):
        again = problem(one.post("/api/releases", HELLO, headers=KEYED), 422, "deploy_failed")
        for name in ("detail", "operation", "release", "details"):
            assert again.get(name) == first.get(name), name
    assert deploys(backend) == 1


def test_a_repeated_no_op_returns_the_release(backend: Backend, server: InProcessServer) -> None:
    assert server.post("/api/releases", HELLO, headers={"Prefer": "wait=20"}).status_code == 201
    answers = [one.post("/api/releases", HELLO, headers=KEYED) for one in (server, backend.server(watching=False), server)]
    deployed(server, values={"text": "newer"})
    answers.append(backend.server(watching=False).post("/api/releases", HELLO, headers=KEYED))
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    assert {answer.json["id"] for answer in answers} == {"demo.hello.v1"}
    assert len({operation_of(answer) for answer in answers}) == 1


def test_a_key_of_another_request_is_refused(backend: Backend, server: InProcessServer) -> None:
    assert server.post("/api/releases", HELLO, headers=KEYED).status_code == 201
    operation = operation_of(server.post("/api/releases", HELLO, headers=KEYED))
    for response in (
        server.post("/api/releases", {**HELLO, "note": "another"}, headers=KEYED),
        server.post("/api/releases", {**HELLO, "namespace": "prod"}, headers=KEYED),
        server.delete("/api/releases/demo.hello.v1", headers=KEYED),
        server.post("/api/releases/demo.hello.v1/rollback", headers=KEYED),
    ):
        assert problem(response, 422, "idempotency_key_reused")["operation"] == operation
    assert server.get("/api/releases/demo.hello.current").json["status"] == "deployed"


def test_keys_are_separate_per_token(server: InProcessServer) -> None:
    first = server.post("/api/releases", HELLO, headers=KEYED)
    second = server.post("/api/releases", {**HELLO, "values": {"text": "x"}}, headers=KEYED, token=TEAM)
    assert (first.status_code, second.status_code) == (201, 201)
    assert operation_of(first) != operation_of(second)


def test_keys_survive_a_restart(backend: Backend, server: InProcessServer) -> None:
    first = server.post("/api/releases", HELLO, headers=KEYED)
    server.close()
    again = backend.server(watching=False).post("/api/releases", HELLO, headers=KEYED)
    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert operation_of(again) == operation_of(first)
    assert deploys(backend) == 1


def test_a_repeated_request_ignores_its_own_changes(backend: Backend, server: InProcessServer) -> None:
    first = server.post("/api/releases", HELLO, headers={"Prefer": "wait=20"})
    headers = {**KEYED, "If-Match": first.headers["ETag"]}
    body = {**HELLO, "values": {"text": "new"}}
    first = server.post("/api/releases", body, headers=headers)
    again = server.post("/api/releases", body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201), again.text
    gone = server.delete("/api/releases/demo.hello.v2", headers={**KEYED, "Idempotency-Key": "k-2"})
    back = server.post("/api/releases/demo.hello.v2/rollback", headers={**KEYED, "Idempotency-Key": "k-3"})
    assert (gone.status_code, back.status_code) == (201, 201)
    for response, code in (
        (server.delete("/api/releases/demo.hello.v2", headers={**KEYED, "Idempotency-Key": "k-2"}), 201),
        (server.post("/api/releases/demo.hello.v2/rollback", headers={**KEYED, "Idempotency-Key": "k-3"}), 201),
    ):
        assert response.status_code == code, response.text
    assert server.get("/api/releases/demo.hello.current").json["id"] == "demo.hello.v3"


def test_a_refused_request_does_not_use_its_key(backend: Backend, server: InProcessServer) -> None:
    problem(server.post("/api/releases", {**HELLO, "version": "9.9.9"}, headers=KEYED), 404, "version_not_found")
    backend.publisher.publish("9.9.9")
    assert server.post("/api/releases", {**HELLO, "version": "9.9.9"}, headers=KEYED).status_code == 201


def test_a_dry_run_does_not_use_its_key(server: InProcessServer) -> None:
    assert server.post("/api/releases?dryRun=true", {**HELLO, "note": "other"}, headers=KEYED).status_code == 200
    assert server.post("/api/releases", HELLO, headers=KEYED).status_code == 201


def test_a_repeated_request_to_a_running_operation_returns_202(backend: Backend, server: InProcessServer) -> None:
    backend.helm.may_end.clear()
    first = server.post("/api/releases", HELLO, headers={"Idempotency-Key": "k-1"})
    assert backend.helm.begun.wait(SOON)
    again = server.post("/api/releases", HELLO, headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json["id"] == first.json["id"]
    assert again.json["state"] == "running"
    backend.helm.may_end.set()
    ended(server, first.json["id"])
    assert deploys(backend) == 1


def test_a_lost_response_of_the_cluster_is_recovered(backend: Backend, server: InProcessServer) -> None:
    backend.cluster.fail("create secret demo/kubernaut.key-", ClusterUnreachable("the connection broke off."), after=True)
    first = server.post("/api/releases", HELLO, headers=KEYED)
    assert first.status_code == 201, first.text
    again = server.post("/api/releases", HELLO, headers=KEYED)
    assert operation_of(again) == operation_of(first)
    assert deploys(backend) == 1


def test_an_unreachable_cluster_accepts_nothing_and_keeps_the_key_free(backend: Backend, server: InProcessServer) -> None:
    backend.cluster.fail("create secret demo/kubernaut.key-", ClusterUnreachable("The cluster does not answer."))
    problem(server.post("/api/releases", HELLO, headers=KEYED), 503, "cluster_unreachable")
    assert operations(backend) == []
    assert server.context.workers.running() == 0
    assert server.post("/api/releases", HELLO, headers=KEYED).status_code == 201


# at once


@pytest.mark.parametrize("round", range(3))
def test_concurrent_requests_with_one_key_at_two_servers_deploy_once(backend: Backend, round: int) -> None:
    servers = [backend.server(), backend.server()]
    calls = [lambda server=server: server.post("/api/releases", HELLO, headers=KEYED) for server in servers * 3]
    answers = at_once(*calls)
    assert [answer.status_code for answer in answers] == [201] * 6, [answer.text for answer in answers]
    assert len({operation_of(answer) for answer in answers}) == 1
    assert all(answer.json == answers[0].json for answer in answers)
    assert deploys(backend) == 1


def test_a_client_waiting_at_another_server_gets_the_release(backend: Backend) -> None:
    one, other = backend.server(), backend.server()
    backend.helm.may_end.clear()
    first = one.post("/api/releases", HELLO, headers={"Idempotency-Key": "k-1"})
    assert backend.helm.begun.wait(SOON)
    assert other.post("/api/releases", HELLO, headers={"Idempotency-Key": "k-1", "Prefer": "wait=0"}).status_code == 202
    waiting: list[TestResponse] = []
    thread = threading.Thread(target=lambda: waiting.append(other.post("/api/releases", HELLO, headers=KEYED)))
    thread.start()
    until(lambda: other.context.workers.waiters.count() == 1, "it waits")
    backend.helm.may_end.set()
    thread.join(SOON)
    [answer] = waiting
    assert answer.status_code == 201, answer.text
    assert operation_of(answer) == operation_of(first)
    assert answer.json | {"health": HEALTHY} == one.get("/api/releases/demo.hello.v1").json


def test_of_two_concurrent_writes_to_a_release_one_is_refused_as_locked(backend: Backend) -> None:
    backend.helm.may_end.clear()
    server = backend.server(workers=4)
    bodies = [{**HELLO, "values": {"text": str(number)}} for number in range(2)]
    answers = at_once(*(lambda body=body: server.post("/api/releases", body) for body in bodies))  # type: ignore[misc]
    assert backend.helm.begun.wait(SOON)
    accepted = [answer for answer in answers if answer.status_code == 202]
    until(lambda: server.context.workers.running() == 1, "one of them is done")
    backend.helm.may_end.set()
    ends = [ended(server, operation_of(answer)) for answer in accepted]
    refused = [answer.json["code"] for answer in answers if answer.status_code == 409]
    refused += [end["outcome"]["reason"] for end in ends if end["state"] == "failed"]
    assert refused == ["release_locked"]
    assert [end["state"] for end in ends if end["state"] != "failed"] == ["succeeded"]
    assert deploys(backend) == 1


def test_a_locked_release_is_refused_with_its_holder_unless_lock_timeout_is_set(backend: Backend) -> None:
    server = backend.server()
    backend.helm.may_end.clear()
    first = server.post("/api/releases", HELLO)
    assert backend.helm.begun.wait(SOON)
    other = {**HELLO, "values": {"text": "other"}}
    payload = problem(server.post("/api/releases", other), 409, "release_locked")
    assert "ada" in payload["detail"]
    assert backend.cluster.writes[-1] != "create secret"
    patient = server.post("/api/releases", {**other, "lockTimeout": 20})
    assert patient.status_code == 202, patient.text
    backend.helm.may_end.set()
    assert ended(server, operation_of(first))["state"] == "succeeded"
    assert ended(server, operation_of(patient))["state"] == "succeeded"
    assert server.get("/api/releases/demo.hello.current").json["revision"] == 2


# a server that is busy, or about to end


def operations(backend: Backend) -> list[str]:
    return [name for (_, name) in backend.cluster._secrets if name.startswith("kubernaut.")]


def test_a_busy_server_sends_retry_after_and_accepts_nothing(backend: Backend) -> None:
    backend.publisher.publish("1.0.0", "other")
    server = backend.server(workers=1, watching=False)
    backend.helm.may_end.clear()
    first = server.post("/api/releases", HELLO, headers={"Idempotency-Key": "k-1"})
    assert backend.helm.begun.wait(SOON)
    before = operations(backend)
    response = server.post("/api/releases", {**HELLO, "name": "other"}, headers={"Idempotency-Key": "k-2"})
    problem(response, 503, "server_busy")
    assert int(response.headers["Retry-After"]) > 0
    assert operations(backend) == before
    again = server.post("/api/releases", HELLO, headers={"Idempotency-Key": "k-1"})
    assert again.status_code == 202, "a known operation does not need a worker"
    backend.helm.may_end.set()
    ended(server, operation_of(first))
    until(lambda: server.context.workers.running() == 0, "the worker is free")
    assert server.post("/api/releases", {**HELLO, "name": "other"}, headers={**KEYED, "Idempotency-Key": "k-2"}).status_code == 201


def test_a_stopping_server_refuses_writes_and_finishes_running_ones(backend: Backend) -> None:
    server = backend.server(watching=False)
    backend.helm.may_end.clear()
    first = server.post("/api/releases", HELLO)
    assert backend.helm.begun.wait(SOON)
    stopping = threading.Thread(target=server.context.workers.stop, args=(SOON,))
    stopping.start()
    until(lambda: server.context.workers.stopping, "it stops")
    problem(server.post("/api/releases", {**HELLO, "namespace": "prod"}), 503, "server_stopping")
    backend.helm.may_end.set()
    stopping.join(SOON)
    assert ended(server, operation_of(first))["state"] == "succeeded"


def test_an_operation_stopped_after_the_grace_is_recorded_as_interrupted(backend: Backend) -> None:
    server = backend.server(watching=False)
    backend.helm.may_end.clear()
    first = server.post("/api/releases", HELLO)
    assert backend.helm.begun.wait(SOON)
    server.context.workers.stop(0.05)
    end = ended(backend.server(watching=False), operation_of(first))
    assert (end["state"], end["outcome"]["reason"]) == ("failed", "interrupted")


def test_a_wait_beyond_the_waiter_limit_is_not_applied(backend: Backend) -> None:
    server = backend.server(waiting=0, watching=False)
    response = server.post("/api/releases", HELLO, headers={"Prefer": "wait=20"})
    assert response.status_code in (201, 202)
    assert "Preference-Applied" not in response.headers
    ended(server, operation_of(response))
