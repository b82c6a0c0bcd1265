"""Operations on a server, as its client follows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from support.answers import ENDED, ID, OPERATION, RELEASE, RUNNING, URL, accepted, client, event_json, problem

from kubernaut.errors import DeployRolledBack, Interrupted, KubernautError, OperationNotFound, ReleaseNotFound, Unreachable
from kubernaut.events import Event, LogLine, Notice, StepFinished, StepOutcome, StepStarted, WorkloadProgress


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def test_listener_receives_the_events_of_the_operation(http: responses.RequestsMock) -> None:
    accepted(
        http,
        event_json(1, "stepStarted", "hello to demo"),
        event_json(2, "logLine", "creating 1 resource(s)"),
        event_json(3, "notice", "waits for eve"),
        event_json(4, "stepStarted", "probe", 3, "probe"),
        event_json(5, "stepFinished", "unchanged it answers", 5, "probe"),
        event_json(6, "rumour", "of a newer server"),
    )
    events: list[Event] = []
    client(listener=events.append).deploy("hello", namespace="demo")
    assert events == [
        StepStarted("deploy", "hello to demo"),
        LogLine("deploy", "creating 1 resource(s)"),
        Notice("deploy", "waits for eve"),
        StepStarted("probe", "probe"),
        StepFinished("probe", StepOutcome.UNCHANGED, "it answers", 2.0),
        Notice("deploy", "of a newer server"),
        StepFinished("deploy", StepOutcome.DONE, "", 7.0),
    ]


def test_events_are_read_in_pages_each_once(http: responses.RequestsMock) -> None:
    http.get(OPERATION, json=RUNNING)
    pages = [([event_json(1, "logLine", "a")], 1, False), ([], 1, False), ([event_json(2, "logLine", "b")], 2, True)]
    for items, following, finished in pages:
        http.get(f"{OPERATION}/events", json={"items": items, "next": following, "finished": finished})
    assert [(event.seq, event.text) for event in client().events(ID)] == [(1, "a"), (2, "b")]
    asked = [str(call.request.url).partition("?")[2] for call in http.calls][1:]
    assert asked == ["after=0&wait=20", "after=1&wait=20", "after=1&wait=20"]


def test_failure_has_its_operation_and_release(http: responses.RequestsMock) -> None:
    outcome = {"reason": "deploy_rolled_back", "message": "hello failed: no port.", "details": ["pod web-1: CrashLoopBackOff"]}
    accepted(http, ended={**ENDED, "state": "failed", "outcome": outcome})
    with pytest.raises(DeployRolledBack, match="hello failed: no port") as caught:
        client().deploy("hello", namespace="demo")
    assert caught.value.details == ("pod web-1: CrashLoopBackOff",)
    assert (caught.value.operation, caught.value.release) == (ID, "demo.hello.v1")


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ({"reason": "interrupted", "message": "The server was killed."}, Interrupted),
        ({"reason": "of_a_newer_kubernaut", "message": "Odd."}, KubernautError),
        (None, KubernautError),
    ],
)
def test_each_failed_operation_raises(http: responses.RequestsMock, outcome: Any, expected: type[KubernautError]) -> None:
    accepted(http, ended={**ENDED, "state": "failed", "outcome": outcome, "made": []})
    with pytest.raises(expected) as caught:
        client().deploy("hello", namespace="demo")
    assert caught.value.problem()["operation"] == ID
    assert caught.value.exit_status != 1


def test_interrupt_notes_that_the_operation_continues(http: responses.RequestsMock) -> None:
    accepted(http, event_json(1, "stepStarted", "hello to demo"))
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepStarted):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client(listener=listen).deploy("hello", namespace="demo")
    assert isinstance(events[-1], Notice)
    assert events[-1].step == "server"
    assert URL in events[-1].text
    assert ID in events[-1].text


def test_unreachable_server_error_names_the_operation(http: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenacity import stop_after_attempt

    monkeypatch.setattr("kubernaut.client.transport.PATIENT_STOP", stop_after_attempt(2))
    http.post(f"{URL}/api/releases", json=RUNNING, status=202, headers={"Location": f"/api/operations/{ID}"})
    http.get(OPERATION, json=RUNNING)
    http.get(f"{OPERATION}/events", body=requests.ConnectionError("x"))
    with pytest.raises(Unreachable) as caught:
        client().deploy("hello", namespace="demo")
    assert caught.value.members["operation"] == ID
    assert ID in caught.value.hint


def test_write_response_without_an_operation_is_unreachable(http: responses.RequestsMock) -> None:
    http.post(f"{URL}/api/releases", json=RUNNING, status=202)
    with pytest.raises(Unreachable, match=URL):
        client().deploy("hello", namespace="demo")


@pytest.mark.parametrize("id", ["..", "a/b", "", "01KAG"])
def test_invalid_operation_ids_are_not_requested(id: str) -> None:
    with pytest.raises(OperationNotFound):
        client().operation(id)


def test_dry_run_without_a_release_returns_none(http: responses.RequestsMock) -> None:
    http.delete(f"{URL}/api/releases/demo.hello.current", json={"actions": [], "reason": "x"})
    problem(http, "GET", f"{URL}/api/releases/demo.hello.current", 404, ReleaseNotFound.code)
    assert client().delete("hello", namespace="demo", note="a & b", dry_run=True).release is None
    assert str(http.calls[0].request.url).endswith("?note=a+%26+b&dryRun=true")


WATCH = f"{URL}/api/releases/demo.hello.current/watch"


def page(watch: str, *events: Any, finished: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "watch": watch,
        "items": events,
        "next": max((event["seq"] for event in events), default=0),
        "finished": finished,
        **more,
    }


def test_watch_is_read_in_pages_and_goes_on_at_another_server(http: responses.RequestsMock) -> None:
    started = event_json(1, "stepStarted", "hello to demo")
    http.get(WATCH, json=page("one", started, event_json(2, "workloadProgress", "progressing Deployment web: 0 of 1 ready")))
    again = page("other", started, event_json(2, "workloadProgress", "ready Deployment web: 1 of 1 ready"))
    http.get(WATCH, json=again)
    end = event_json(3, "stepFinished", "done demo.hello.v1 is deployed", 3)
    plan = {"actions": [], "reason": "new"}
    http.get(WATCH, json=page("other", end, finished=True, changed=True, plan=plan, release=RELEASE))
    http.get(f"{URL}/api/releases/demo.hello.v1", json=RELEASE, headers={"ETag": '"u1-7"'})
    events: list[Event] = []
    watched = client(listener=events.append).watch("hello", namespace="demo", timeout=60)
    assert events == [
        StepStarted("deploy", "hello to demo"),
        WorkloadProgress("deploy", "Deployment web", "0 of 1 ready", ready=False),
        WorkloadProgress("deploy", "Deployment web", "1 of 1 ready", ready=True),
        StepFinished("deploy", StepOutcome.DONE, "demo.hello.v1 is deployed", 1.0),
    ]
    assert watched.release is not None
    assert (watched.changed, watched.plan.reason, watched.release.etag) == (True, "new", "u1-7")
    asked = [str(call.request.url).partition("?")[2] for call in http.calls][:3]
    assert asked == [
        "timeout=60&after=0&wait=20",
        "timeout=60&watch=one&after=2&wait=20",
        "timeout=60&watch=other&after=2&wait=20",
    ]


def test_failure_of_a_watched_release_is_raised(http: responses.RequestsMock) -> None:
    failure = DeployRolledBack("hello failed: no port.", members={"cause": "container_crashed"}).problem()
    http.get(WATCH, json=page("one", finished=True, problem=failure))
    with pytest.raises(DeployRolledBack, match="no port") as caught:
        client().watch("hello", namespace="demo")
    assert caught.value.members["cause"] == "container_crashed"
