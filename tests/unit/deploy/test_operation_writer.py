"""The writes of an accepted operation while it is executed; nothing waits for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import DeployHarness
from support.waiting import until

from kubernaut.deploy.operation_writer import OperationWriter
from kubernaut.deploy.operations import update_operation
from kubernaut.errors import ClusterUnreachable, Conflict
from kubernaut.events import Journal, Notice
from kubernaut.history.operation_codec import decode_operation
from kubernaut.history.operations import Operation, Outcome, now, numbered_events
from kubernaut.testing.cluster import FakeCluster

QUICK = 0.01


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def begun(harness: DeployHarness, cluster: Any = None) -> tuple[OperationWriter, Operation, Journal]:
    """Begin an accepted operation."""
    operation, _ = harness.accept()
    journal = Journal()
    writer = OperationWriter(lambda: cluster or harness.cluster, journal, operation, every=QUICK)
    running = operation.model_copy(update={"waits_until": None})
    writer.begin(running)
    return writer, running, journal


def texts(harness: DeployHarness, operation: Operation) -> list[str]:
    return [event.text for event in harness.find(operation).events]


def ended(operation: Operation) -> Operation:
    return operation.model_copy(update={"finished_at": now(), "outcome": Outcome(reason="succeeded", message="")})


def test_events_are_written_while_the_operation_runs(harness: DeployHarness) -> None:
    writer, running, journal = begun(harness)
    for line in ("one", "two", "three"):
        journal(Notice("deploy", line))
        until(lambda line=line: line in texts(harness, running))
    assert harness.find(running).state == "running"
    assert [(seq, event.text) for seq, event in numbered_events(harness.find(running))] == [(1, "one"), (2, "two"), (3, "three")]
    writer.close()


def test_no_events_are_written_without_news(harness: DeployHarness) -> None:
    writer, running, journal = begun(harness)
    journal(Notice("deploy", "one"))
    until(lambda: texts(harness, running) == ["one"])
    looks = len(harness.cluster.writes)
    passed = threading.Event()
    waited = writer._closed.wait

    def counted(seconds: float) -> bool:
        passed.set()
        return waited(seconds)

    writer._closed.wait = counted  # type: ignore[method-assign]
    for _ in range(3):
        passed.clear()
        assert passed.wait(10)
    assert len(harness.cluster.writes) == looks
    writer.close()


def test_no_events_are_written_after_the_outcome(harness: DeployHarness) -> None:
    writer, running, journal = begun(harness)
    journal(Notice("deploy", "one"))
    writer.write(writer.with_events(ended(running)))
    version = harness.find(running).resource_version
    journal(Notice("deploy", "too late"))
    until(lambda: not [one for one in threading.enumerate() if one.name == f"operation {running.id}"])
    assert harness.find(running).resource_version == version
    assert texts(harness, running) == ["one"]


def test_last_events_are_written_unless_the_secret_has_changed(harness: DeployHarness) -> None:
    for others in (False, True):
        writer, running, journal = begun(harness)
        writer.write(writer.with_events(ended(running)))
        if others:
            harness.cluster.patch_secret("demo", running.secret, {"metadata": {"annotations": {"by": "eve"}}})
        journal(Notice("deploy", "that was it"))
        writer.write_last_events()
        assert texts(harness, running) == ([] if others else ["that was it"])
        assert harness.find(running).state == "succeeded"


def test_explanation_stays_while_events_are_written(harness: DeployHarness) -> None:
    writer, running, journal = begun(harness)
    writer.write(running.model_copy(update={"outcome": Outcome(reason="deploy_failed", message="a pod crashes")}))
    journal(Notice("rollback", "back to v1"))
    until(lambda: "back to v1" in texts(harness, running))
    outcome = harness.find(running).outcome
    assert outcome is not None
    assert outcome.message == "a pod crashes"
    writer.close()


def test_failed_write_of_events_is_tried_again(harness: DeployHarness) -> None:
    writer, running, journal = begun(harness)
    harness.cluster.fail("patch secret", ClusterUnreachable("away"), times=3)
    journal(Notice("deploy", "one"))
    until(lambda: texts(harness, running) == ["one"])
    writer.close()


def test_events_do_not_overwrite_another_write(harness: DeployHarness) -> None:
    writer, running, journal = begun(harness)
    theirs = ended(running).model_copy(update={"note": "settled by another"})
    update_operation(harness.cluster, theirs)  # type: ignore[arg-type]
    journal(Notice("deploy", "one"))
    until(lambda: not [one for one in threading.enumerate() if one.name == f"operation {running.id}"])
    assert harness.find(running).note == "settled by another"
    writer.close()


class Hanging(FakeCluster):
    """A cluster whose first live write hangs until it is let go, and lands then."""

    def __init__(self, harness: DeployHarness) -> None:
        super().__init__("demo")
        self._secrets, self._leases = harness.cluster._secrets, harness.cluster._leases
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


def test_hanging_write_delays_the_outcome_briefly_and_does_not_undo_it(
    harness: DeployHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubernaut.deploy.operation_writer._MAX_WRITE_WAIT", 0.05)
    harness.cluster = Hanging(harness)
    writer, running, journal = begun(harness)
    journal(Notice("deploy", "one"))
    assert harness.cluster.hangs.wait(10)
    journal(Notice("deploy", "two"))
    writer.write(writer.with_events(ended(running)))
    assert harness.find(running).state == "succeeded"
    harness.cluster.go.set()
    until(lambda: harness.cluster.landed)
    assert harness.cluster.landed[0] is not None
    assert (harness.find(running).state, texts(harness, running)) == ("succeeded", ["one", "two"])


def test_accepted_deploy_shows_events_while_helm_runs(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OperationWriter.__init__.__kwdefaults__, "every", QUICK)
    operation, _ = harness.accept()
    seen: list[Operation] = []
    upgrade = harness.helm.upgrade

    def slow(*arguments: Any, **how: Any) -> None:
        how["log"]("Helm says this")
        until(lambda: "Helm says this" in texts(harness, operation))
        seen.append(harness.find(operation))
        upgrade(*arguments, **how)

    monkeypatch.setattr(harness.helm, "upgrade", slow)
    harness.serve(operation)
    assert [one.state for one in seen] == ["running"]
    assert harness.find(operation).state == "succeeded"


def test_plain_deploy_writes_no_events_meanwhile(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.enumerate()
    upgrade = harness.helm.upgrade

    def looked(*arguments: Any, **how: Any) -> None:
        others = {one.name.split()[0] for one in threading.enumerate() if one not in before}
        assert others <= {"lock"}
        upgrade(*arguments, **how)

    monkeypatch.setattr(harness.helm, "upgrade", looked)
    harness.deploy()
    assert harness.operation.state == "succeeded"


def test_written_events_are_redacted_and_decodable(harness: DeployHarness) -> None:
    writer, running, journal = begun(harness)
    journal(Notice("deploy", "token=hunter2 \ud800"))
    until(lambda: texts(harness, running))
    secret = harness.cluster.get_secret("demo", running.secret)
    assert secret is not None
    found = decode_operation(secret)
    assert found is not None
    assert found.unread is None
    assert "hunter2" not in found.events[0].text
    writer.close()


# before it begins


def renewing(harness: DeployHarness) -> tuple[OperationWriter, Operation]:
    operation, _ = harness.accept()
    return OperationWriter(lambda: harness.cluster, Journal(), operation, renew=QUICK), operation  # type: ignore[arg-type, return-value]


def test_accepted_operation_is_renewed_until_it_begins(harness: DeployHarness) -> None:
    writer, operation = renewing(harness)
    with writer.recording_end(operation):
        before = harness.find(operation).resource_version
        until(lambda: harness.find(operation).resource_version != before)
        waiting = harness.find(operation)
        assert waiting.state == "accepted"
        assert waiting.waits_until is not None
        assert operation.waits_until is not None
        assert waiting.waits_until < operation.waits_until, "it holds for seconds"
        writer.begin(operation.model_copy(update={"waits_until": None}))
        begun = harness.find(operation)
        assert begun.state == "running"
        writer.write(writer.with_events(ended(begun)))
    assert harness.find(operation).state == "succeeded"


def test_renewal_with_a_lost_answer_is_continued(harness: DeployHarness) -> None:
    writer, operation = renewing(harness)
    harness.cluster.fail("patch secret", ClusterUnreachable("lost"), after=True)
    with writer.recording_end(operation):
        versions = {harness.find(operation).resource_version}
        until(lambda: len(versions | {harness.find(operation).resource_version}) > 1 and not harness.cluster._faults)
        now_at = harness.find(operation).resource_version
        until(lambda: harness.find(operation).resource_version != now_at)
        writer.begin(operation.model_copy(update={"waits_until": None}))
        assert harness.find(operation).state == "running"
        writer.write(writer.with_events(ended(operation.model_copy(update={"waits_until": None}))))


def test_operation_that_was_ended_elsewhere_is_renewed_no_more(harness: DeployHarness) -> None:
    writer, operation = renewing(harness)
    with writer.recording_end(operation):
        given_up = harness.find(operation).model_copy(
            update={"waits_until": None, "finished_at": now(), "outcome": Outcome(reason="interrupted", message="")}
        )
        update_operation(harness.cluster, given_up)  # type: ignore[arg-type]
        until(lambda: not [one for one in threading.enumerate() if one.name == f"accepted {operation.id}"])
        with pytest.raises(Conflict, match="interrupted"):
            writer.begin(operation.model_copy(update={"waits_until": None}))
    assert harness.find(operation).state == "failed"
