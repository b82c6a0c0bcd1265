"""The server on a real cluster: killed in the middle, two side by side, stopped while it deploys, and plain Helm beside it."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest
from support.fault_chart import NAME
from support.faults import FaultScenario, Subject
from support.server_process import ServerProcess, listening
from support.waiting import until

from kubernaut.deploy.accepting import RENEWED_FOR
from kubernaut.history.store import HistoryStore

pytestmark = pytest.mark.platform


def serve(subject: Subject) -> ServerProcess:
    """Start a server behind the subject's proxy."""
    return listening(subject.start("serve", "--port", "0"))


def deploy_request(scenario: FaultScenario, text: str = "a", **values: object) -> dict[str, Any]:
    """A request that deploys."""
    return {
        "name": NAME,
        "namespace": scenario.namespace,
        "version": "1.0.0",
        "values": {"text": text, **values},
        "createNamespace": True,
        "timeout": 60,
    }


def slowly(scenario: FaultScenario, text: str, seconds: int = 8) -> dict[str, Any]:
    """A request whose deploy takes its time, in a hook."""
    return deploy_request(scenario, text, slow=seconds)


def state(server: ServerProcess, location: str) -> str:
    return str(server.get(location)["state"])


def event_texts(events: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    return [(event["seq"], event["kind"], event["text"]) for event in events["items"]]


def renewed_until(scenario: FaultScenario, operation: str) -> datetime:
    """Until when an operation that was accepted has been renewed; waits for the server that executes it to begin with that."""
    found: list[datetime] = []

    def is_renewed() -> bool:
        known = HistoryStore(scenario.cluster).operation(operation).waits_until
        now = scenario.cluster.server_time
        if known is not None and now is not None and known <= now + RENEWED_FOR:
            found.append(known)
        return bool(found)

    until(is_renewed, "its server renews it", 10)
    return found[-1]


def ended(server: ServerProcess, location: str) -> Mapping[str, Any]:
    until(lambda: state(server, location) not in ("accepted", "running"), "the operation has an end", 60)
    operation: Mapping[str, Any] = server.get(location)
    return operation


def test_release_lifecycle_over_http(scenario: FaultScenario) -> None:
    server = serve(scenario.subject())
    made = server.post("/api/releases", {**deploy_request(scenario), "note": "by hand"}, status=201, Prefer="wait=60")
    assert (made["id"], made["status"], made["createdBy"], made["note"]) == (
        f"{scenario.namespace}.app.v1",
        "deployed",
        "admin",
        "by hand",
    )
    again = server.post("/api/releases", deploy_request(scenario), status=200, Prefer="wait=60")
    assert again["id"] == made["id"]
    current = f"/api/releases/{scenario.namespace}.app.current"
    deleted = server.ask("DELETE", current, status=201, headers={"Prefer": "wait=60"}).json()
    assert deleted["status"] == "uninstalled"
    assert deleted["deletedAt"]
    assert server.get(f"/api/releases?namespace={scenario.namespace}")["items"] == []
    assert server.get(f"/api/releases?namespace={scenario.namespace}&all=true")["count"] == 1
    assert server.ask("DELETE", current, headers={"Prefer": "wait=60"}).json()["id"] == made["id"]
    back = server.post(f"{current}/rollback", {}, status=201, Prefer="wait=60")
    assert (back["revision"], back["status"]) == (2, "deployed")
    assert [item["revision"] for item in server.get(f"/api/releases/{back['id']}/history")["items"]] == [2, 1]
    assert scenario.statuses() == ["uninstalled", "deployed"]
    assert server.stop().status == 0


def test_one_idempotency_key_at_two_servers_is_one_release(scenario: FaultScenario) -> None:
    first, second = serve(scenario.subject()), serve(scenario.subject())
    one = first.post("/api/releases", slowly(scenario, "a", 3), Idempotency_Key="k-1")
    other = second.post("/api/releases", slowly(scenario, "a", 3), status=None, Idempotency_Key="k-1", Prefer="wait=60")
    assert other["operation" if "operation" in other else "id"] == one["id"]
    assert ended(first, f"/api/operations/{one['id']}")["state"] == "succeeded"
    for path in (f"/api/operations/{one['id']}", f"/api/releases?all=true&namespace={scenario.namespace}"):
        shown = first.get(path)
        until(lambda path=path, shown=shown: second.get(path) == shown, f"the other server shows {path} too", 5)  # type: ignore[misc]
    assert scenario.statuses() == ["deployed"]
    reused = second.post("/api/releases", deploy_request(scenario, "b"), status=422, Idempotency_Key="k-1")
    assert reused["code"] == "idempotency_key_reused"


def test_operation_of_a_killed_server_is_resolved_by_the_next(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    server = serve(subject)
    server.post("/api/releases", deploy_request(scenario, "a"), status=201, Prefer="wait=60")
    begun = server.ask("POST", "/api/releases", status=202, json=slowly(scenario, "b"), headers={"Idempotency-Key": "k-2"})
    until(lambda: "pending-upgrade" in scenario.statuses(), "Helm is at work")
    server.running.kill()
    restarted = serve(subject)
    operation = ended(restarted, begun.headers["Location"])
    assert operation["outcome"]["reason"] == "interrupted"
    assert scenario.statuses() == ["deployed", "failed"]
    until(lambda: scenario.look().lease is None, "who has put it in order has let go of it")
    replayed = restarted.ask("POST", "/api/releases", status=None, json=slowly(scenario, "b"), headers={"Idempotency-Key": "k-2"})
    assert replayed.headers["Location"] == begun.headers["Location"]
    restarted.post("/api/releases", deploy_request(scenario, "b"), status=201, Prefer="wait=60")
    scenario.check(recovered=True)
    assert scenario.text() == "b"


def test_operation_of_a_server_that_was_killed_before_it_began_is_ended_within_seconds(scenario: FaultScenario) -> None:
    """It waits for a lock that another server holds, as long as its client named; nothing waits for that."""
    holder, killed = serve(scenario.subject()), serve(scenario.subject())
    holder.post("/api/releases", deploy_request(scenario, "a"), status=201, Prefer="wait=60")
    working = holder.ask("POST", "/api/releases", status=202, json=slowly(scenario, "b", 25))
    until(lambda: "pending-upgrade" in scenario.statuses(), "Helm is at work")
    body = {**deploy_request(scenario, "c"), "lockTimeout": 3600}
    accepted = killed.ask("POST", "/api/releases", status=202, json=body, headers={"Idempotency-Key": "k-7"})
    location = accepted.headers["Location"]
    assert accepted.json()["state"] == "accepted"
    until(lambda: state(holder, location) == "accepted", "the other server knows it", 5)
    first = renewed_until(scenario, accepted.json()["id"])
    beyond = first + 2 * RENEWED_FOR  # without renewals, the other server would have ended it by then
    until(lambda: renewed_until(scenario, accepted.json()["id"]) > beyond, "its server renews it", 20)
    assert state(holder, location) == "accepted", "its server lives"
    killed.running.kill()
    until(lambda: state(holder, location) == "failed", "it is ended while the lock is held", 7)
    assert holder.get(location)["outcome"]["reason"] == "interrupted"
    assert state(holder, working.headers["Location"]) == "running"
    again = holder.ask("POST", "/api/releases", status=202, json=body, headers={"Idempotency-Key": "k-7"})
    assert again.headers["Location"] != location
    assert ended(holder, again.headers["Location"])["state"] == "succeeded"
    assert scenario.text() == "c"
    assert holder.get(location)["outcome"]["reason"] == "interrupted", "it is kept"


def test_sigterm_finishes_running_deploys_and_refuses_new_ones(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    server = serve(subject)
    subject.proxy.hold("mid-apply")
    begun = server.ask("POST", "/api/releases", status=202, json=deploy_request(scenario, "a"))
    subject.proxy.wait_for("mid-apply")
    assert scenario.statuses() == ["pending-install"]
    server.running.signal(signal.SIGTERM)
    until(lambda: server.ask("GET", "/readyz", status=None).status_code == 503, "it says that it is about to end", 5)
    refused = server.ask("POST", "/api/releases", status=503, json={**deploy_request(scenario), "name": "other"}).json()
    assert refused["code"] == "server_stopping"
    assert state(server, begun.headers["Location"]) == "running"
    subject.proxy.release("mid-apply")
    assert server.running.wait(60).status == 0
    assert scenario.statuses() == ["deployed"]
    scenario.check(recovered=True)


def test_changes_by_plain_helm_show_within_a_second(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    server = serve(subject)
    server.post("/api/releases", deploy_request(scenario, "a"), status=201, Prefer="wait=60")
    assert subject.plain_upgrade("b").wait().status == 0
    done = time.monotonic()
    until(lambda: server.get(f"/api/releases/{scenario.namespace}.app.current")["revision"] == 2, "the new release shows", 5)
    assert time.monotonic() - done < 1
    shown = server.get(f"/api/releases/{scenario.namespace}.app.current")
    assert (shown["managedBy"], shown["createdBy"], shown["operation"]) == ("helm", None, None)


def test_locked_release_names_its_holder(scenario: FaultScenario) -> None:
    subject = scenario.subject()
    first, second = serve(subject), serve(scenario.subject())
    first.post("/api/releases", deploy_request(scenario, "a"), status=201, Prefer="wait=60")
    subject.proxy.hold("mid-apply")
    begun = first.post("/api/releases", deploy_request(scenario, "b"))
    subject.proxy.wait_for("mid-apply")
    refused = second.post("/api/releases", deploy_request(scenario, "c"), status=409)
    assert refused["code"] == "release_locked"
    assert refused["holder"]["operation"] == begun["id"]
    subject.proxy.release("mid-apply")
    assert ended(second, f"/api/operations/{begun['id']}")["state"] == "succeeded"
    path = f"/api/operations/{begun['id']}/events"
    assert second.get(path)["finished"]
    until(lambda: event_texts(second.get(path)) == event_texts(first.get(path)), "both servers return the same events", 5)
