"""Accepted operations whose server was killed before they began: ended within seconds, and only those."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import DeployHarness
from support.waiting import until

from kubernaut.deploy.accepting import accepted_before
from kubernaut.errors import ClusterUnreachable, Conflict, IndexStale
from kubernaut.history.operations import Operation
from kubernaut.server.audit import Audit
from kubernaut.server.operations.abandoned import AbandonedOperations

ACTOR = "kubernaut-server@workshop"


class Fixture:
    """The operations of a cluster in memory, and one server that looks at them."""

    def __init__(self, folder: Path) -> None:
        self.harness = DeployHarness(folder)
        self.cluster = self.harness.cluster
        self.lines: list[dict[str, Any]] = []
        self.running: set[str] = set()
        self.stale = False
        self.refreshed: list[tuple[str, str]] = []

    def check(self) -> None:
        if self.stale:
            raise IndexStale("not listed yet")

    def accepted(self) -> tuple[Operation, ...]:
        return tuple(one for one in self.harness.history.operations if one.state == "accepted")

    def refresh(self, namespace: str, name: str) -> None:
        self.refreshed.append((namespace, name))

    def server(self, **times: float) -> AbandonedOperations:
        audit = Audit(lambda line: self.lines.append(json.loads(line)))
        index: Any = self
        running = self.running.__contains__
        return AbandonedOperations(lambda: self.cluster, index, audit, actor=ACTOR, is_running=running, **times)  # type: ignore[arg-type, return-value]

    def later(self, seconds: float = 10.0) -> None:
        self.cluster.server_time = self.cluster.server_time + timedelta(seconds=seconds)


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def accept(fixture: Fixture, key: str | None = None, seconds: float = 5.0) -> Operation:
    operation, new = fixture.harness.accept(key=key, fingerprint="f", patience=seconds - 120.0)
    assert new
    return operation


def test_abandoned_operation_is_ended_at_the_second_look(fixture: Fixture) -> None:
    operation, server = accept(fixture), fixture.server()
    server.check()
    server.check()
    assert fixture.harness.find(operation).state == "accepted"
    fixture.later()
    server.check()
    assert fixture.harness.find(operation).state == "accepted"
    server.check()
    ended = fixture.harness.find(operation)
    assert ended.outcome is not None
    assert (ended.state, ended.outcome.reason, ended.never_began) == ("failed", "interrupted", True)
    assert fixture.refreshed == [("demo", "hello")]
    assert [(line["event"], line["operation"], line["outcome"]) for line in fixture.lines] == [
        ("recovery", operation.id, "interrupted")
    ]


def test_lock_of_another_operation_does_not_matter(fixture: Fixture) -> None:
    operation, server = accept(fixture), fixture.server()
    fixture.cluster.fail("create lease", Conflict("held"), times=None)
    fixture.later()
    server.check()
    server.check()
    assert fixture.harness.find(operation).state == "failed"
    assert not [request for request in fixture.cluster.requests if "lease" in request]


def test_operation_that_is_renewed_between_two_looks_stays(fixture: Fixture) -> None:
    operation, server = accept(fixture), fixture.server()
    for _ in range(3):
        fixture.later()
        server.check()
        secret = fixture.cluster.get_secret("demo", operation.secret)
        assert secret is not None
        fixture.cluster.patch_secret(
            "demo", operation.secret, {"metadata": {"annotations": {"renewed": str(fixture.cluster.server_time)}}}
        )
    assert fixture.harness.find(operation).state == "accepted"


def test_operation_of_this_server_and_one_that_has_begun_stay(fixture: Fixture) -> None:
    own, server = accept(fixture), fixture.server()
    fixture.running.add(own.id)
    fixture.later()
    for _ in range(3):
        server.check()
    assert fixture.harness.find(own).state == "accepted"
    fixture.running.clear()
    seen = fixture.accepted()
    server.check()
    fixture.harness.serve(own)
    fixture.accepted = lambda: seen  # type: ignore[method-assign]  # the index may lag
    server.check()
    server.check()
    assert fixture.harness.find(own).state == "succeeded"


def test_stale_index_and_silent_cluster_are_waited_for(fixture: Fixture) -> None:
    operation, server = accept(fixture), fixture.server()
    fixture.later()
    fixture.stale = True
    server.check()
    fixture.stale = False
    fixture.cluster.fail("get secret", ClusterUnreachable("away"))
    server.check()
    server.check()
    assert fixture.harness.find(operation).state == "accepted"
    server.check()
    assert fixture.harness.find(operation).state == "failed"


def test_it_looks_again_and_again_until_it_is_stopped(fixture: Fixture) -> None:
    operation = accept(fixture, seconds=-1.0)
    server = fixture.server(interval=0.01)
    server.start()
    until(lambda: fixture.harness.find(operation).state == "failed", "the operation is ended", 10)
    server.stop()


# the key


def test_key_of_an_operation_that_never_began_starts_a_new_one(fixture: Fixture) -> None:
    first, server = accept(fixture, key="k"), fixture.server()
    fixture.later()
    server.check()
    assert fixture.harness.accept(key="k", fingerprint="f")[0].id == first.id, "it has no end yet"
    server.check()
    assert accepted_before("demo", "ada", "k", "f", fixture.cluster) is None  # type: ignore[arg-type]
    second, new = fixture.harness.accept(key="k", fingerprint="f")
    assert (new, second.id != first.id) == (True, True)
    assert fixture.harness.accept(key="k", fingerprint="f") == (second, False)
    assert fixture.harness.find(first).state == "failed"
    assert fixture.harness.serve(second).changed
    found = accepted_before("demo", "ada", "k", "f", fixture.cluster)  # type: ignore[arg-type]
    assert found is not None
    assert found.id == second.id


def test_key_of_an_operation_that_began_stays_its_own(fixture: Fixture) -> None:
    first, _ = fixture.harness.accept(key="k", fingerprint="f")
    fixture.harness.helm.end_with(None, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fixture.harness.serve(first)
    ended = fixture.harness.find(first)
    assert ended.outcome is not None
    assert (ended.outcome.reason, ended.never_began) == ("interrupted", False)
    assert fixture.harness.accept(key="k", fingerprint="f") == (ended, False)
