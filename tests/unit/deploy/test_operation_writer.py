"""The writes of an accepted operation while it is executed; nothing waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.deploying import World

from kubernaut.deploy.operations import OperationWriter, update_operation
from kubernaut.errors import ClusterUnreachable
from kubernaut.events import Journal, Notice
from kubernaut.history.operations import Operation, Outcome, decode_operation, now, numbered_events
from kubernaut.testing.cluster import FakeCluster

QUICK = 0.01


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.002)


def begun(world: World, cluster: Any = None) -> tuple[OperationWriter, Operation, Journal]:
    """Begin an accepted operation."""
    operation, _ = world.accept()
    journal = Journal()
    writer = OperationWriter(lambda: cluster or world.cluster, journal, operation, every=QUICK)
    running = operation.model_copy(update={"waits_until": None})
    writer.begin(running)
    return writer, running, journal


def texts(world: World, operation: Operation) -> list[str]:
    return [event.text for event in world.find(operation).events]


def ended(operation: Operation) -> Operation:
    return operation.model_copy(update={"finished_at": now(), "outcome": Outcome(reason="succeeded", message="")})


def test_events_are_written_while_the_operation_runs(world: World) -> None:
    writer, running, journal = begun(world)
    for line in ("one", "two", "three"):
        journal(Notice("deploy", line))
        until(lambda line=line: line in texts(world, running))
    assert world.find(running).state == "running"
    assert [(seq, event.text) for seq, event in numbered_events(world.find(running))] == [(1, "one"), (2, "two"), (3, "three")]
    writer.close()


def test_no_events_are_written_without_news(world: World) -> None:
    writer, running, journal = begun(world)
    journal(Notice("deploy", "one"))
    until(lambda: texts(world, running) == ["one"])
    looks = len(world.cluster.writes)
    passed = threading.Event()
    waited = writer._closed.wait

    def counted(seconds: float) -> bool:
        passed.set()
        return waited(seconds)

    writer._closed.wait = counted  # type: ignore[method-assign]
    for _ in range(3):
        passed.clear()
        assert passed.wait(10)
    assert len(world.cluster.writes) == looks
    writer.close()


def test_no_events_are_written_after_the_outcome(world: World) -> None:
    writer, running, journal = begun(world)
    journal(Notice("deploy", "one"))
    writer.write(writer.with_events(ended(running)))
    version = world.find(running).resource_version
    journal(Notice("deploy", "too late"))
    until(lambda: not [one for one in threading.enumerate() if one.name == f"operation {running.id}"])
    assert world.find(running).resource_version == version
    assert texts(world, running) == ["one"]


def test_last_events_are_written_unless_the_secret_has_changed(world: World) -> None:
    for others in (False, True):
        writer, running, journal = begun(world)
        writer.write(writer.with_events(ended(running)))
        if others:
            world.cluster.patch_secret("demo", running.secret, {"metadata": {"annotations": {"by": "somebody"}}})
        journal(Notice("deploy", "that was it"))
        writer.write_last_events()
        assert texts(world, running) == ([] if others else ["that was it"])
        assert world.find(running).state == "succeeded"


def test_explanation_stays_while_events_are_written(world: World) -> None:
    writer, running, journal = begun(world)
    writer.write(running.model_copy(update={"outcome": Outcome(reason="deploy_failed", message="a pod crashes")}))
    journal(Notice("rollback", "back to v1"))
    until(lambda: "back to v1" in texts(world, running))
    outcome = world.find(running).outcome
    assert outcome is not None
    assert outcome.message == "a pod crashes"
    writer.close()


def test_failed_write_of_events_is_tried_again(world: World) -> None:
    writer, running, journal = begun(world)
    world.cluster.fail("patch secret", ClusterUnreachable("away"), times=3)
    journal(Notice("deploy", "one"))
    until(lambda: texts(world, running) == ["one"])
    writer.close()


def test_events_do_not_overwrite_another_write(world: World) -> None:
    writer, running, journal = begun(world)
    theirs = ended(running).model_copy(update={"note": "settled by another"})
    update_operation(world.cluster, theirs)  # type: ignore[arg-type]
    journal(Notice("deploy", "one"))
    until(lambda: not [one for one in threading.enumerate() if one.name == f"operation {running.id}"])
    assert world.find(running).note == "settled by another"
    writer.close()


class Hanging(FakeCluster):
    """A cluster whose first live write hangs until it is let go, and lands then."""

    def __init__(self, world: World) -> None:
        super().__init__("demo")
        self._secrets, self._leases = world.cluster._secrets, world.cluster._leases
        self._version = 1000
        self.hangs, self.go = threading.Event(), threading.Event()
        self.landed: list[BaseException | None] = []

    def patch_secret(self, namespace: str, name: str, patch: Any) -> dict[str, Any]:
        live = threading.current_thread().name.startswith("operation ")
        if not live:
            return super().patch_secret(namespace, name, patch)
        self.hangs.set()
        assert self.go.wait(30)
        try:
            answer = super().patch_secret(namespace, name, patch)
        except BaseException as error:
            self.landed.append(error)
            raise
        self.landed.append(None)
        return answer


def test_hanging_write_delays_the_outcome_briefly_and_does_not_undo_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.deploy.operations._MAX_WRITE_WAIT", 0.05)
    world.cluster = Hanging(world)
    writer, running, journal = begun(world)
    journal(Notice("deploy", "one"))
    assert world.cluster.hangs.wait(10)
    journal(Notice("deploy", "two"))
    writer.write(writer.with_events(ended(running)))
    assert world.find(running).state == "succeeded"
    world.cluster.go.set()
    until(lambda: world.cluster.landed)
    assert world.cluster.landed[0] is not None
    assert (world.find(running).state, texts(world, running)) == ("succeeded", ["one", "two"])


def test_accepted_deploy_shows_events_while_helm_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OperationWriter.__init__.__kwdefaults__, "every", QUICK)
    operation, _ = world.accept()
    seen: list[Operation] = []
    upgrade = world.helm.upgrade

    def slow(*arguments: Any, **how: Any) -> None:
        how["log"]("Helm says this")
        until(lambda: "Helm says this" in texts(world, operation))
        seen.append(world.find(operation))
        upgrade(*arguments, **how)

    monkeypatch.setattr(world.helm, "upgrade", slow)
    world.serve(operation)
    assert [one.state for one in seen] == ["running"]
    assert world.find(operation).state == "succeeded"


def test_plain_deploy_writes_no_events_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.enumerate()
    upgrade = world.helm.upgrade

    def looked(*arguments: Any, **how: Any) -> None:
        others = {one.name.split()[0] for one in threading.enumerate() if one not in before}
        assert others <= {"lock"}
        upgrade(*arguments, **how)

    monkeypatch.setattr(world.helm, "upgrade", looked)
    world.deploy()
    assert world.operation.state == "succeeded"


def test_written_events_are_redacted_and_decodable(world: World) -> None:
    writer, running, journal = begun(world)
    journal(Notice("deploy", "token=hunter2 \ud800"))
    until(lambda: texts(world, running))
    secret = world.cluster.get_secret("demo", running.secret)
    assert secret is not None
    found = decode_operation(secret)
    assert found is not None
    assert found.unread is None
    assert "hunter2" not in found.events[0].text
    writer.close()
