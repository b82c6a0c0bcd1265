"""The routes that write: the operations that they execute, and their answers."""

from __future__ import annotations

import json

import pytest
from support.backend import HELLO, WAIT, Backend, deployed, ended, nothing_was_written, operation_of
from support.hooked_charts import with_hook
from support.in_process_server import HEALTHY, InProcessServer, problem
from werkzeug.test import TestResponse

from kubernaut.errors import DeadlineExceeded
from kubernaut.history.records import Status

CANARY = "canary-8f3a-secret"


# answers


def test_a_deploy_is_accepted_and_executed(backend: Backend, server: InProcessServer) -> None:
    response = server.post("/api/releases", {**HELLO, "note": "first", "values": {"text": "hi"}})
    assert response.status_code == 202, response.text
    payload = response.json
    assert payload["id"] == operation_of(response)
    assert (payload["verb"], payload["namespace"], payload["name"], payload["actor"]) == ("deploy", "demo", "hello", "ada")
    assert payload["state"] in ("accepted", "running", "succeeded")
    assert "fingerprint" not in payload
    assert "Preference-Applied" not in response.headers
    end = ended(server, payload["id"])
    assert (end["state"], end["note"]) == ("succeeded", "first")
    release = server.get("/api/releases/demo.hello.current").json
    assert release["id"] == "demo.hello.v1"
    assert (release["createdBy"], release["note"], release["operation"]) == ("ada", "first", payload["id"])
    assert release["source"]["commit"] or release["chart"]["digest"]


def test_a_waiting_client_gets_the_release(server: InProcessServer) -> None:
    response = server.post("/api/releases", HELLO, headers=WAIT)
    assert response.status_code == 201
    assert response.json["id"] == "demo.hello.v1"
    assert response.json["status"] == "deployed"
    assert response.headers["Content-Location"] == "/api/releases/demo.hello.v1"
    assert response.headers["Preference-Applied"] == "wait=20"
    assert response.headers["ETag"] == server.get("/api/releases/demo.hello.v1").headers["ETag"]
    assert operation_of(response) == response.json["operation"]


def test_a_no_op_returns_200_with_the_release(backend: Backend, server: InProcessServer) -> None:
    first = deployed(server)
    response = server.post("/api/releases", HELLO, headers=WAIT)
    assert response.status_code == 200
    assert response.json == first
    assert response.headers["Content-Location"] == "/api/releases/demo.hello.v1"
    assert ended(server, operation_of(response))["state"] == "unchanged"
    assert len([start for start in backend.helm.starts if start[0] == "upgrade"]) == 1


def test_an_operation_longer_than_the_wait_returns_202(backend: Backend, server: InProcessServer) -> None:
    backend.helm.may_end.clear()
    response = server.post("/api/releases", HELLO, headers={"Prefer": "wait=0"})
    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "wait=0"
    assert response.json["state"] in ("accepted", "running")
    backend.helm.may_end.set()
    assert ended(server, operation_of(response))["state"] == "succeeded"


def test_a_failure_is_a_problem_with_the_release_and_the_operation(backend: Backend, server: InProcessServer) -> None:
    backend.helm.end_with(Status.FAILED, DeadlineExceeded("timed out waiting for the condition"))
    response = server.post("/api/releases", HELLO, headers=WAIT)
    payload = problem(response, 422, "deploy_failed")
    assert payload["operation"] == operation_of(response)
    assert payload["release"] == "demo.hello.v1"
    assert payload["instance"] == "/api/releases"
    assert response.headers["Preference-Applied"] == "wait=20"
    assert ended(server, payload["operation"])["outcome"]["reason"] == "deploy_failed"
    assert server.get("/api/releases/demo.hello.v1").json["status"] == "failed"


def test_a_rolled_back_failure_has_its_own_code(backend: Backend, server: InProcessServer) -> None:
    deployed(server)
    backend.publisher.publish("1.1.0")
    backend.helm.end_with(Status.FAILED, DeadlineExceeded("timed out waiting for the condition"))
    response = server.post("/api/releases", {**HELLO, "version": "1.1.0"}, headers=WAIT)
    payload = problem(response, 422, "deploy_rolled_back")
    assert payload["release"] == "demo.hello.v2"
    assert server.get("/api/releases/demo.hello.current").json["id"] == "demo.hello.v3"


def test_lists_include_a_finished_write(server: InProcessServer) -> None:
    for round in range(1, 6):
        release = deployed(server, values={"text": str(round)})
        assert release["revision"] == round
        [listed] = server.get("/api/releases").json["items"]
        assert listed == release
        assert server.get("/api/releases/demo.hello.current").json == release | {"health": HEALTHY}


def test_values_of_all_sources_are_merged(backend: Backend, server: InProcessServer) -> None:
    backend.publisher.publish("2.0.0", environment="text: production\nkept: 1\n")
    body = {**HELLO, "version": "2.0.0", "environment": "production", "values": {"text": "mine", "n": None}, "set": ["a.b=1"]}
    deployed(server, **body)
    config = backend.cluster  # read as plain Helm would
    record = server.context.kubernaut.values("demo.hello.v1")
    assert record == {"text": "mine", "kept": 1, "n": None, "a": {"b": 1}}
    assert config.requests


def test_set_arguments_have_the_precedence_of_helm(server: InProcessServer) -> None:
    sets = {"set": ["a=1,b=1,c=1"], "setString": ["b=2"], "setJson": ["a=[0],c=[0],d=[0]", '{"e": {"f": null}}'], "skipCrds": True}
    deployed(server, values={"a": 0, "v": 1}, **sets)
    assert server.context.kubernaut.values("demo.hello.v1") == {"a": 1, "v": 1, "b": "2", "c": 1, "d": [0], "e": {"f": None}}


def test_the_default_version_is_the_newest_stable_or_with_pre_the_newest(backend: Backend, server: InProcessServer) -> None:
    backend.publisher.publish("1.2.0")
    backend.publisher.publish("2.0.0-rc.1")
    unnamed = {"name": "hello", "namespace": "demo"}
    first = server.post("/api/releases", unnamed, headers=WAIT).json
    second = server.post("/api/releases", {**unnamed, "pre": True}, headers=WAIT).json
    assert (first["chart"]["version"], second["chart"]["version"]) == ("1.2.0", "2.0.0-rc.1")


# hooks


def test_failing_hook_of_a_delete_is_left_out_on_request(backend: Backend, server: InProcessServer) -> None:
    backend.publisher.publish("1.1.0", template=with_hook("pre-delete"))
    deployed(server, version="1.1.0")
    failure = problem(server.delete("/api/releases/demo.hello.v1", headers=WAIT), 422, "deploy_failed")
    assert failure["cause"] == "hook_failed"
    assert "`noHooks`" in failure["hint"]
    again = server.post("/api/releases/demo.hello.v1/rollback", {}, headers=WAIT)
    assert "`noHooks`" in problem(again, 422, "deploy_failed")["hint"]
    assert server.delete("/api/releases/demo.hello.v1?noHooks=true", headers=WAIT).status_code == 201
    assert server.get("/api/releases/demo.hello.v1").json["status"] == "uninstalled"
    assert server.post("/api/releases/demo.hello.v1/rollback", {"noHooks": True}, headers=WAIT).status_code == 201


def test_failing_hook_of_a_deploy_is_left_out_on_request(backend: Backend, server: InProcessServer) -> None:
    backend.publisher.publish("1.1.0", template=with_hook("pre-install"))
    body = {**HELLO, "version": "1.1.0"}
    assert "`noHooks`" in problem(server.post("/api/releases", body, headers=WAIT), 422, "deploy_failed")["hint"]
    assert server.post("/api/releases", {**body, "noHooks": True}, headers=WAIT).status_code == 201


# a dry run


def test_a_dry_run_returns_the_plan_and_writes_nothing(backend: Backend, server: InProcessServer) -> None:
    response = server.post("/api/releases?dryRun=true", HELLO)
    assert response.status_code == 200
    assert [action["kind"] for action in response.json["actions"]] == ["helm-install"]
    assert nothing_was_written(backend)
    assert "Location" not in response.headers
    deployed(server)
    backend.cluster.requests.clear()
    backend.publisher.publish("1.1.0")
    for method, path, body in (
        ("POST", "/api/releases", {**HELLO, "version": "1.1.0"}),
        ("DELETE", "/api/releases/demo.hello.v1", None),
        ("POST", "/api/releases/demo.hello.v1/rollback", {}),
    ):
        response = server.ask(method, f"{path}?dryRun=true", **({} if body is None else {"json": body}))
        assert response.status_code == 200, response.text
        compared = {"difference"} if method == "POST" and response.json["actions"] else set()
        assert set(response.json) == {"actions", "reason"} | compared
    assert nothing_was_written(backend)


# delete, rollback, restore


def test_a_soft_delete_and_its_repetition(backend: Backend, server: InProcessServer) -> None:
    deployed(server)
    for status in (201, 200, 200):
        response = server.delete("/api/releases/demo.hello.v1", headers=WAIT)
        assert response.status_code == status, response.text
        assert response.json["id"] == "demo.hello.v1"
        assert response.json["status"] == "uninstalled"
        assert response.json["deletedAt"]
        assert response.json["active"] is False
    assert server.delete("/api/releases/demo.hello.v1").status_code == 202
    assert server.get("/api/releases").json["items"] == []


def test_deleting_another_release_names_the_current_one(server: InProcessServer) -> None:
    deployed(server)
    deployed(server, values={"text": "more"})
    payload = problem(server.delete("/api/releases/demo.hello.v1"), 409, "release_not_current")
    assert payload["current"] == "demo.hello.v2"
    assert server.get("/api/releases/demo.hello.current").json["status"] == "deployed"


def test_an_unknown_release_cannot_be_deleted(server: InProcessServer) -> None:
    problem(server.delete("/api/releases/demo.hello.v1"), 404, "release_not_found")
    deployed(server)
    assert server.delete("/api/releases/demo.hello.v7").status_code == 409


@pytest.mark.parametrize("id", ["demo.hello.v1", "demo.hello.current", "demo.hello"])
def test_rolling_back_to_a_deleted_release_restores_it(server: InProcessServer, id: str) -> None:
    deployed(server, values={"text": "kept"})
    assert server.delete("/api/releases/demo.hello.current", headers=WAIT).status_code == 201
    response = server.post(f"/api/releases/{id}/rollback", headers=WAIT)
    assert response.status_code == 201, response.text
    assert (response.json["id"], response.json["status"]) == ("demo.hello.v2", "deployed")
    assert ended(server, operation_of(response))["verb"] == "restore"
    assert server.context.kubernaut.values("demo.hello.v2") == {"text": "kept"}


def test_a_rollback_creates_a_new_release(server: InProcessServer) -> None:
    deployed(server, values={"text": "one"})
    deployed(server, values={"text": "two"})
    response = server.post("/api/releases/demo.hello.v1/rollback", {"note": "two was bad"}, headers=WAIT)
    assert response.status_code == 201, response.text
    assert response.json["id"] == "demo.hello.v3"
    assert response.json["note"] == "two was bad"
    assert server.context.kubernaut.values("demo.hello.v3") == {"text": "one"}
    assert ended(server, operation_of(response))["verb"] == "rollback"


def test_a_rollback_to_the_running_release_is_a_no_op(server: InProcessServer) -> None:
    deployed(server)
    response = server.post("/api/releases/demo.hello.v1/rollback", headers=WAIT)
    assert response.status_code == 200
    assert response.json["id"] == "demo.hello.v1"


def test_a_rollback_of_current_goes_to_the_previous_release(server: InProcessServer) -> None:
    deployed(server, values={"text": "one"})
    problem(server.post("/api/releases/demo.hello.current/rollback"), 404, "release_not_found")
    deployed(server, values={"text": "two"})
    response = server.post("/api/releases/demo.hello.current/rollback", headers=WAIT)
    assert response.status_code == 201, response.text
    assert server.context.kubernaut.values("demo.hello.v3") == {"text": "one"}


def test_a_failed_restore_is_repeated_by_another_rollback(backend: Backend, server: InProcessServer) -> None:
    deployed(server, values={"text": "kept"})
    assert server.delete("/api/releases/demo.hello.v1", headers=WAIT).status_code == 201
    backend.helm.end_with(Status.FAILED, DeadlineExceeded("timed out waiting for the condition."))
    problem(server.post("/api/releases/demo.hello.v1/rollback", headers=WAIT), 422, "deploy_failed")
    response = server.post("/api/releases/demo.hello.v1/rollback", headers=WAIT)
    assert response.status_code == 201, response.text
    assert server.context.kubernaut.values(response.json["id"]) == {"text": "kept"}


# secrets


def test_secret_values_appear_in_no_response(backend: Backend, server: InProcessServer) -> None:
    backend.helm.says = [f"password: {CANARY}"]
    backend.helm.end_with(Status.FAILED, DeadlineExceeded(f"it said token={CANARY}"))
    answers: list[TestResponse] = []
    body = {**HELLO, "values": {"password": CANARY}, "set": [f"db.password={CANARY}"]}
    answers.append(server.post("/api/releases", body, headers={**WAIT, "Idempotency-Key": "k1"}))
    id = operation_of(answers[0])
    answers.append(server.get(f"/api/operations/{id}"))
    answers.append(server.get(f"/api/operations/{id}/events"))
    answers.append(server.get(f"/api/operations/{id}/events", headers={"Accept": "text/event-stream"}))
    answers.append(server.post("/api/releases", body, headers={**WAIT, "Idempotency-Key": "k1"}))
    answers.append(server.post("/api/releases", {**body, "set": [f"a[{CANARY}]=1"], "version": None}))
    assert [answer.status_code for answer in answers] == [422, 200, 200, 200, 422, 422]
    assert len(answers[2].json["items"]) > 1
    for answer in answers[:5]:
        assert CANARY not in answer.text
    payload = server.context.kubernaut.operation(id).model_dump_json()
    assert CANARY not in payload
    assert all(CANARY not in json.dumps(line) for line in server.audited)
