"""Watches of releases over HTTP: followed by several clients, in pages, and ended when no client is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.backend import HELLO, WAIT, Backend, deployed, ended, operation_of
from support.backend import backend as backend
from support.clients import client, library, listening
from support.deploy_harness import LATE
from support.in_process_server import READER, TEAM, InProcessServer, problem
from support.messages import facts
from support.waiting import until

from kubernaut.errors import DeployRolledBack, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.events import Event, StepFinished, StepStarted
from kubernaut.history.records import Status
from kubernaut.server.operations import watches

PATH = "/api/releases/demo.hello.current/watch"


@pytest.fixture
def server(backend: Backend) -> InProcessServer:
    return backend.server()


@pytest.fixture
def url(server: InProcessServer) -> Iterator[str]:
    with listening(server) as address:
        yield address


def page(server: InProcessServer, **query: Any) -> dict[str, Any]:
    response = server.get(PATH, query_string={"wait": 20, **query}, token=READER)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json
    return body


def pages(server: InProcessServer, **query: Any) -> list[dict[str, Any]]:
    """Return the pages of a watch until it has finished."""
    found = [page(server, **query)]
    while not found[-1]["finished"]:
        found.append(page(server, **query, watch=found[-1]["watch"], after=found[-1]["next"]))
    return found


def watchers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("watch ")]


def test_current_release_is_watched_until_it_is_ready(server: InProcessServer, backend: Backend) -> None:
    release = deployed(server)
    backend.cluster.requests.clear()
    found = pages(server)
    assert {one["watch"] for one in found} == {found[0]["watch"]}
    events = [event for one in found for event in one["items"]]
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    assert [event["kind"] for event in events] == ["stepStarted", "stepFinished"]
    assert (found[-1]["release"]["id"], found[-1]["changed"], found[-1]["problem"]) == (release["id"], False, None)
    assert not backend.cluster.writes


def test_running_operation_is_followed_by_two_clients(server: InProcessServer, backend: Backend, url: str) -> None:
    backend.helm.may_end.clear()
    response = server.post("/api/releases", HELLO)
    assert backend.helm.begun.wait(20)
    seen: list[list[Event]] = [[], []]
    results: list[Any] = []

    def follow(events: list[Event]) -> None:
        def listen(event: Event) -> None:
            events.append(event)
            if all(seen):
                backend.helm.may_end.set()

        results.append(client(url, listen).watch("hello", namespace="demo"))

    threads = [threading.Thread(target=follow, args=(events,)) for events in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [(one.release.id, one.changed) for one in results] == [("demo.hello.v1", True)] * 2
    for events in seen:
        assert [event.step for event in events if isinstance(event, StepStarted)] == ["deploy"]
        assert [event.step for event in events if isinstance(event, StepFinished)] == ["deploy"]
    assert ended(server, operation_of(response))["state"] == "succeeded"


def test_failure_of_an_operation_elsewhere_is_raised(server: InProcessServer, backend: Backend, url: str) -> None:
    deployed(server)
    backend.helm.may_end.clear()
    backend.helm.begun.clear()
    backend.helm.end_with(Status.FAILED, LATE)
    failures: list[DeployRolledBack] = []

    def deploy() -> None:
        with pytest.raises(DeployRolledBack) as own:
            library(backend).deploy("hello", namespace="demo")
        failures.append(own.value)

    thread = threading.Thread(target=deploy)
    thread.start()
    assert backend.helm.begun.wait(20)
    with pytest.raises(DeployRolledBack, match=facts("v1", "v3")) as seen:
        client(url, lambda _: backend.helm.may_end.set()).watch("hello", namespace="demo")
    thread.join(20)
    assert (seen.value.message, seen.value.operation) == (failures[0].message, failures[0].operation)


def test_operation_is_followed_by_its_id(server: InProcessServer, url: str) -> None:
    id = operation_of(server.post("/api/releases", HELLO, headers=WAIT))
    watched = client(url).watch(id)
    assert watched.release is not None
    assert (watched.changed, watched.release.etag) == (True, client(url).show("hello", namespace="demo").etag)


def test_operation_that_is_not_waited_for_is_returned(backend: Backend, url: str) -> None:
    backend.helm.may_end.clear()
    accepted = client(url).deploy("hello", namespace="demo", wait=False)
    assert accepted.release is None
    assert accepted.operation is not None
    assert accepted.operation.state in ("accepted", "running")
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        backend.helm.may_end.set()

    watched = client(url, listen).watch(accepted.operation.id)
    assert watched.release is not None
    assert watched.release.id == "demo.hello.v1"
    assert [event.step for event in events if isinstance(event, StepFinished)] == ["deploy"]


def test_releases_that_cannot_be_watched_are_refused(server: InProcessServer, url: str) -> None:
    problem(server.get(PATH, query_string={"wait": 5}), 404, "release_not_found")
    with pytest.raises(ReleaseNotFound):
        client(url).watch("hello", namespace="demo")
    deployed(server)
    deployed(server, version="1.1.0")
    with pytest.raises(ReleaseNotCurrent):
        client(url).watch("demo.hello.v1")
    problem(server.get("/api/releases/prod.hello.current/watch", token=TEAM), 403, "not_allowed")


def test_watch_ends_when_no_client_asks(server: InProcessServer, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.helm.may_end.clear()
    server.post("/api/releases", HELLO)
    assert backend.helm.begun.wait(20)
    first = page(server, wait=0)
    assert watchers()
    monkeypatch.setattr(watches, "IDLE_SECONDS", 0.0)
    until(lambda: not watchers(), "the end of the watch")
    monkeypatch.undo()
    second = page(server, watch=first["watch"], after=1)
    assert second["watch"] != first["watch"]
    assert (second["items"][0]["seq"], second["problem"]) == (1, None)


def test_watches_are_limited(server: InProcessServer, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MOST", 0)
    problem(server.get(PATH), 503, "server_busy")


def test_stopping_server_ends_its_watches(server: InProcessServer, backend: Backend) -> None:
    backend.helm.may_end.clear()
    server.post("/api/releases", HELLO)
    assert backend.helm.begun.wait(20)
    first = page(server)
    stopping = threading.Thread(target=server.context.workers.stop, args=(0,))
    stopping.start()
    until(lambda: not watchers(), "the end of the watch")
    problem(server.get(PATH, query_string={"watch": first["watch"], "after": first["next"], "wait": 20}), 503, "server_stopping")
    stopping.join(20)
