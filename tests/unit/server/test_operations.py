"""The routes of operations: progress and events, at the server that runs them and at others."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from support.backend import HELLO, SOON, WAIT, Backend, deployed, ended, operation_of
from support.in_process_server import READER, TEAM, InProcessServer, problem
from support.waiting import until
from werkzeug.test import TestResponse

from kubernaut.errors import ClusterUnreachable
from kubernaut.events import Journal
from kubernaut.history.operations import new_operation_id
from kubernaut.server.routes.operations import StreamTiming

STREAM = {"Accept": "text/event-stream"}


def begun(backend: Backend, server: InProcessServer, *says: str) -> str:
    """Begin a deploy that says something and waits then; return the operation's id."""
    backend.helm.may_end.clear()
    backend.helm.says = list(says)
    response = server.post("/api/releases", HELLO)
    assert response.status_code == 202, response.text
    assert backend.helm.begun.wait(SOON)
    return operation_of(response)


# one operation


def test_an_operation_is_returned_without_events_and_values(backend: Backend, server: InProcessServer) -> None:
    release = deployed(server, note="first")
    response = server.get(f"/api/operations/{release['operation']}", token=READER)
    assert response.status_code == 200, response.text
    payload = response.json
    assert (payload["state"], payload["verb"], payload["actor"], payload["note"]) == ("succeeded", "deploy", "ada", "first")
    assert payload["outcome"]["reason"] == "succeeded"
    assert [made["id"] for made in payload["made"]] == ["demo.hello.v1"]
    assert [action["kind"] for action in payload["plan"]["actions"]] == ["helm-install"]
    assert payload["chart"]["digest"] == release["chart"]["digest"]
    assert payload["finishedAt"]
    assert not {"events", "fingerprint", "key", "resourceVersion"} & set(payload)


def test_a_running_operation_is_running_at_every_server(backend: Backend) -> None:
    server, other = backend.server(), backend.server()
    id = begun(backend, server)
    assert server.get(f"/api/operations/{id}").json["state"] == "running"
    until(lambda: other.get(f"/api/operations/{id}").json["state"] == "running", "the other server hears of it")
    backend.helm.may_end.set()
    for one in (server, other):
        assert ended(one, id)["state"] == "succeeded"


def test_the_location_of_an_accepted_write_exists_at_once(backend: Backend, server: InProcessServer) -> None:
    other = backend.server(watching=False)  # it knows nothing of what comes after its start
    id = begun(backend, server)
    for one in (server, other):
        assert one.get(f"/api/operations/{id}").status_code == 200


def test_the_outcome_is_returned_even_if_it_could_not_be_recorded(backend: Backend, server: InProcessServer) -> None:
    answers: list[TestResponse] = []
    backend.helm.may_end.clear()
    waiting = threading.Thread(target=lambda: answers.append(server.post("/api/releases", HELLO, headers=WAIT)))
    waiting.start()
    assert backend.helm.begun.wait(SOON)
    backend.cluster.fail("", ClusterUnreachable("The cluster does not answer."), times=None)
    backend.helm.may_end.set()
    waiting.join(SOON)
    [answer] = answers
    assert problem(answer, 503, "cluster_unreachable")["operation"] == operation_of(answer)
    assert server.get(f"/api/operations/{operation_of(answer)}").json["state"] == "failed"
    sent = frames(stream(server, operation_of(answer)).text)
    assert (sent[-1].event, sent[-1].data["state"]) == ("finished", "failed")
    backend.cluster.heal()


@pytest.mark.parametrize("rest", ["", "/events"])
def test_an_unknown_operation_is_not_found(server: InProcessServer, rest: str) -> None:
    problem(server.get(f"/api/operations/{new_operation_id()}{rest}"), 404, "operation_not_found")
    assert server.get(f"/api/operations/nothing{rest}").status_code == 404


@pytest.mark.parametrize("rest", ["", "/events"])
def test_an_operation_needs_access_to_its_namespace(backend: Backend, server: InProcessServer, rest: str) -> None:
    release = deployed(server, namespace="prod")
    problem(server.get(f"/api/operations/{release['operation']}{rest}", token=TEAM), 403, "not_allowed")
    problem(server.get(f"/api/operations/{release['operation']}{rest}", token=None), 401, "unauthorized")
    assert server.get(f"/api/operations/{release['operation']}{rest}", token=READER).status_code == 200


def test_a_server_for_some_namespaces_hides_other_operations(backend: Backend, server: InProcessServer) -> None:
    release = deployed(server, namespace="prod")
    small = backend.server(watching=False, namespaces=("demo",))
    assert small.get(f"/api/operations/{release['operation']}").status_code == 404


# its events, as JSON


def texts(items: list[dict[str, Any]]) -> list[str]:
    return [item["text"] for item in items if item["kind"] == "logLine"]


def test_events_are_numbered_and_filtered_by_after(backend: Backend, server: InProcessServer) -> None:
    id = begun(backend, server, "one", "two")
    backend.helm.may_end.set()
    ended(server, id)
    all_of_it = server.get(f"/api/operations/{id}/events").json
    assert [item["seq"] for item in all_of_it["items"]] == list(range(1, len(all_of_it["items"]) + 1))
    assert texts(all_of_it["items"]) == ["one", "two"]
    assert all_of_it["finished"] is True
    assert all_of_it["next"] == all_of_it["items"][-1]["seq"]
    for after in range(all_of_it["next"] + 2):
        rest = server.get(f"/api/operations/{id}/events?after={after}").json
        assert rest["items"] == all_of_it["items"][after:]
        assert rest["next"] == max(after, all_of_it["next"])


def test_a_long_poll_waits_for_the_next_event(backend: Backend, server: InProcessServer) -> None:
    id = begun(backend, server, "one")
    known = server.get(f"/api/operations/{id}/events").json
    assert known["finished"] is False
    assert server.get(f"/api/operations/{id}/events?after={known['next']}").json == {**known, "items": []}
    answers: list[TestResponse] = []
    path = f"/api/operations/{id}/events?after={known['next']}&wait=20"
    waiting = threading.Thread(target=lambda: answers.append(server.get(path)))
    waiting.start()
    until(lambda: server.context.workers.waiters.count() == 1, "it waits")
    backend.helm.may_end.set()
    waiting.join(SOON)
    [answer] = answers
    assert answer.json["items"]
    assert answer.json["items"][0]["seq"] == known["next"] + 1
    assert server.context.workers.waiters.count() == 0


def followed(server: InProcessServer, id: str) -> list[dict[str, Any]]:
    """Poll an operation from its beginning to its end."""
    items: list[dict[str, Any]] = []
    after, finished = 0, False
    while not finished:
        page = server.get(f"/api/operations/{id}/events?after={after}&wait=1").json
        items += page["items"]
        after, finished = page["next"], page["finished"]
    return items


def test_polling_to_the_end_returns_each_event_once(backend: Backend, server: InProcessServer) -> None:
    lines = [f"line {number}" for number in range(300)]
    id = begun(backend, server, *lines)
    seen: list[list[dict[str, Any]]] = []
    readers = [threading.Thread(target=lambda: seen.append(followed(server, id))) for _ in range(3)]
    for reader in readers:
        reader.start()
    backend.helm.may_end.set()
    for reader in readers:
        reader.join(SOON)
    assert len(seen) == 3
    for items in seen:
        assert texts(items) == lines
        assert [item["seq"] for item in items] == list(range(1, len(items) + 1))


def test_recorded_events_are_the_same_at_another_server(backend: Backend) -> None:
    server, other = backend.server(), backend.server()
    lines = [f"line {number}" for number in range(Journal.FIRST + Journal.LAST + 100)]
    id = begun(backend, server, *lines)
    backend.helm.may_end.set()
    ended(server, id)
    until(lambda: other.get(f"/api/operations/{id}/events").json["finished"], "the other server hears of the end")
    here, there = (followed(one, id) for one in (server, other))
    assert len(there) >= Journal.FIRST
    numbered = {item["seq"]: (item["kind"], item["text"]) for item in here}
    for item in there:
        if item["seq"] in numbered:
            assert numbered[item["seq"]] == (item["kind"], item["text"])
    missing = set(range(1, there[-1]["seq"] + 1)) - {item["seq"] for item in there}
    assert min(missing) == Journal.FIRST + 1, "the numbers show the missing events"


def test_waiting_at_another_server_reads_only_changed_records(backend: Backend) -> None:
    server, other = backend.server(), backend.server()
    id = begun(backend, server, "one")
    until(lambda: other.get(f"/api/operations/{id}").json["state"] == "running", "the other server hears of it")
    after = other.get(f"/api/operations/{id}/events").json["next"]
    backend.cluster.requests.clear()
    assert other.get(f"/api/operations/{id}/events?after={after + 1000}&wait=1").json["items"] == []
    rollout = "get secret demo/sh.helm.release.v1.hello.v1"  # the deploy itself looks for the record that its Helm makes
    reads = [request for request in backend.cluster.requests if request.startswith(("get secret", "list secrets"))]
    asked = [request for request in reads if request != rollout]
    assert len(asked) <= 2, "it looks a hundred times, and the other server writes every few seconds"


# its events, as they come


@dataclass
class Frame:
    id: int | None
    event: str
    data: Any


def frames(text: str) -> list[Frame]:
    """Read server-sent events, as the standard has them; comments are passed over."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append(Frame(int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"])))
    return found


def stream(server: InProcessServer, id: str, *, after: int | None = None, **headers: str) -> TestResponse:
    query = "" if after is None else f"?after={after}"
    return server.get(f"/api/operations/{id}/events{query}", headers={**STREAM, **headers}, buffered=False)


def test_a_stream_sends_events_and_then_the_end(backend: Backend, server: InProcessServer) -> None:
    id = begun(backend, server, "one", "two")
    response = stream(server, id)
    assert response.status_code == 200
    assert response.content_type.startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    chunks = response.iter_encoded()
    assert next(chunks).startswith(b"retry: ")
    text = ""
    while "two" not in text:
        text += next(chunks).decode()
    assert backend.helm.begun.is_set()
    assert "event: finished" not in text
    backend.helm.may_end.set()
    text += "".join(chunk.decode() for chunk in chunks)
    sent = frames(text)
    assert [frame.id for frame in sent[:-1]] == list(range(1, len(sent)))
    assert [frame.data["text"] for frame in sent if frame.event == "logLine"] == ["one", "two"]
    assert all(frame.event == frame.data["kind"] for frame in sent[:-1])
    assert (sent[-1].event, sent[-1].data["id"], sent[-1].data["state"]) == ("finished", id, "succeeded")
    assert server.context.workers.waiters.count() == 0


def test_a_stream_resumes_after_last_event_id(backend: Backend, server: InProcessServer) -> None:
    id = begun(backend, server, "one", "two", "three")
    response = stream(server, id)
    chunks, sent = response.iter_encoded(), []
    while len(sent) < 2:
        sent += frames(next(chunks).decode())
    response.close()
    until(lambda: server.context.workers.waiters.count() == 0, "the seat is free")
    backend.helm.may_end.set()
    last = sent[-1].id
    rest = frames(stream(server, id, after=0, **{"Last-Event-ID": str(last)}).text)
    numbers = [frame.id for frame in (*sent, *rest[:-1])]
    assert numbers == list(range(1, len(numbers) + 1))
    assert rest[-1].event == "finished"
    assert frames(stream(server, id, after=last).text) == rest


def test_a_silent_stream_sends_heartbeats(backend: Backend, server: InProcessServer) -> None:
    id = begun(backend, server)
    response = stream(server, id)
    chunks = response.iter_encoded()
    received = [next(chunks) for _ in range(8)]
    assert received[-1] == b": still running\n\n"
    backend.helm.may_end.set()
    response.close()


def test_a_stream_ends_after_its_maximum_duration(backend: Backend) -> None:
    server = backend.server(watching=False, timing=StreamTiming(heartbeat=0.02, max_duration=1.0, poll=0.01))
    id = begun(backend, server, "one")
    first = frames(stream(server, id).text)
    assert first
    assert first[-1].event != "finished"
    backend.helm.may_end.set()
    ended(server, id)
    rest = frames(stream(server, id, **{"Last-Event-ID": str(first[-1].id)}).text)
    assert rest[0].id == (first[-1].id or 0) + 1
    assert rest[-1].event == "finished"


def test_a_stream_of_a_finished_operation_ends_at_once(backend: Backend, server: InProcessServer) -> None:
    release = deployed(server)
    sent = frames(stream(backend.server(watching=False), release["operation"]).text)
    assert sent[0].id == 1
    assert sent[-1].event == "finished"


def test_a_stream_at_another_server_sends_the_same_events(backend: Backend) -> None:
    server, other = backend.server(), backend.server()
    id = begun(backend, server, "one", "two")
    texts: list[str] = []
    reading = threading.Thread(target=lambda: texts.append(stream(other, id).text))
    reading.start()
    until(lambda: other.context.workers.waiters.count() == 1, "it reads")
    backend.helm.may_end.set()
    reading.join(SOON)
    there = frames(texts[0])
    here = frames(stream(server, id).text)
    assert there[-1].event == here[-1].event == "finished"
    numbers = [frame.id for frame in here]
    until(lambda: [frame.id for frame in frames(stream(other, id).text)] == numbers, "the last words are there, too")
    numbered = {frame.id: (frame.event, frame.data["step"], frame.data["text"]) for frame in here[:-1]}
    for frame in there[:-1]:
        assert (frame.event, frame.data["step"], frame.data["text"]) == numbered[frame.id]
    assert [frame.data["text"] for frame in there if frame.event == "logLine"] == ["one", "two"]


# how many


def test_waiters_beyond_the_limit_are_refused(backend: Backend) -> None:
    server = backend.server(waiting=2, watching=False)
    id = begun(backend, server, "one")
    streams = [stream(server, id) for _ in range(2)]
    chunks = [one.iter_encoded() for one in streams]
    for one in chunks:
        assert next(one)
    refused = stream(server, id)
    problem(refused, 503, "server_busy")
    assert refused.headers["Retry-After"]
    problem(server.get(f"/api/operations/{id}/events?after=1000&wait=20"), 503, "server_busy")
    assert server.get(f"/api/operations/{id}/events").status_code == 200, "who does not wait needs no seat"
    streams[0].close()
    again = stream(server, id)
    assert again.status_code == 200
    backend.helm.may_end.set()
    assert frames(again.text)[-1].event == "finished"


def test_a_stream_that_is_never_read_frees_its_place(backend: Backend, server: InProcessServer) -> None:
    id = begun(backend, server)
    for _ in range(20):
        response = stream(server, id)
        assert response.status_code == 200
        response.close()
    assert server.context.workers.waiters.count() == 0


def test_the_number_of_waiters_is_a_metric(backend: Backend, server: InProcessServer) -> None:
    id = begun(backend, server)
    response = stream(server, id)
    assert b"kubernaut_event_streams 1.0" in server.context.metrics.render()
    response.close()
    assert b"kubernaut_event_streams 0.0" in server.context.metrics.render()


def test_a_stopping_server_ends_only_streams_of_other_servers(backend: Backend) -> None:
    server, other = backend.server(), backend.server()
    id = begun(backend, server, "one")
    read: list[str] = []
    reading = [threading.Thread(target=lambda one=one: read.append(stream(one, id).text)) for one in (server, other)]
    for thread in reading:
        thread.start()
    for one in (server, other):
        until(lambda one=one: one.context.workers.waiters.count() == 1, "it reads")  # type: ignore[misc]
    other.context.workers.stop(0)
    reading[1].join(SOON)
    assert not reading[1].is_alive()
    assert reading[0].is_alive()
    assert "event: finished" not in read[0]
    backend.helm.may_end.set()
    reading[0].join(SOON)
    assert frames(read[1])[-1].event == "finished"


@pytest.mark.parametrize(
    ("query", "headers"),
    [("after=-1", {}), ("after=x", {}), ("wait=61", {}), ("wait=0.5", {}), ("since=1", {}), ("", {"Last-Event-ID": "x"})],
)
def test_invalid_event_queries_are_refused(server: InProcessServer, query: str, headers: dict[str, str]) -> None:
    id = deployed(server)["operation"]
    problem(server.get(f"/api/operations/{id}/events?{query}", headers=headers), 422, "request_invalid")
