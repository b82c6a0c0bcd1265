"""Accepting operations: one operation for each Idempotency-Key, in every namespace."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import DeployHarness
from support.messages import facts

from kubernaut.ci import CiBuild
from kubernaut.deploy.accepting import BEGINS_WITHIN
from kubernaut.errors import (
    BadInput,
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    IdempotencyKeyReused,
    KubernautError,
    NameInvalid,
    NamespaceNotFound,
)
from kubernaut.history.operations import Operation


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


def test_accepted_operation_is_written_and_may_begin(harness: DeployHarness) -> None:
    operation, new = harness.accept(patience=60)
    assert new
    assert operation == harness.find(operation)
    assert (operation.state, operation.actor, operation.build, operation.note, operation.timeout) == (
        "accepted",
        "ada",
        CiBuild(url="http://ci/7"),
        "please",
        9.0,
    )
    assert operation.waits_until is not None
    assert abs(operation.waits_until - harness.cluster.server_time - timedelta(seconds=60 + BEGINS_WITHIN)) < timedelta(seconds=5)
    assert harness.history.unfinished == ()


def test_accept_is_idempotent(harness: DeployHarness) -> None:
    first, new = harness.accept(key="k-7", fingerprint="a")
    again, again_new = harness.accept(key="k-7", fingerprint="a")
    assert (new, again_new, again) == (True, False, first)
    assert len(harness.history.operations) == 1
    assert "k-7" not in str(harness.cluster._secrets)


def test_idempotency_key_is_per_actor(harness: DeployHarness) -> None:
    first, _ = harness.accept(key="k")
    harness.environment["KUBERNAUT_ACTOR"] = "bob"
    second, new = harness.accept(key="k", fingerprint="another")
    assert new
    assert second.secret != first.secret


@pytest.mark.parametrize(
    "other",
    [{"fingerprint": "b"}, {"verb": "rollback"}, {"name": "other"}, {"namespace": "second"}],
    ids=lambda other: next(iter(other)),
)
def test_idempotency_key_belongs_to_one_request(harness: DeployHarness, other: dict[str, Any]) -> None:
    harness.cluster.create_namespace("second")
    first, _ = harness.accept(key="k", fingerprint="a")
    with pytest.raises(IdempotencyKeyReused, match=facts("deploy", "demo.hello")) as caught:
        harness.accept(**{"key": "k", "fingerprint": "a", **other})
    assert caught.value.problem()["operation"] == first.id
    assert len(harness.cluster._secrets) == 1


def test_idempotency_key_without_the_right_to_list_namespaces(harness: DeployHarness) -> None:
    harness.cluster.fail("list secrets *", ClusterDenied("no"), times=None)
    first, _ = harness.accept(key="k")
    assert harness.accept(key="k") == (first, False)


def test_concurrent_accepts_with_one_key_create_one_operation(harness: DeployHarness) -> None:
    start, answers = threading.Barrier(8), list[tuple[Operation, bool]]()

    def ask() -> None:
        start.wait()
        answers.append(harness.accept(key="k", fingerprint="a"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(new for _, new in answers) == 1
    assert len({operation.id for operation, _ in answers}) == 1


@pytest.mark.parametrize("key", [None, "k"])
def test_accept_with_a_lost_answer_keeps_the_operation(harness: DeployHarness, key: str | None) -> None:
    """Otherwise a repetition with the same key would find an operation that is never begun."""
    harness.cluster.fail("create secret", ClusterUnreachable("lost"), after=True)
    operation, new = harness.accept(key=key)
    assert new
    assert harness.serve(operation)[1]


def test_failed_creation_is_not_accepted(harness: DeployHarness) -> None:
    harness.cluster.fail("create secret", ClusterUnreachable("away"))
    with pytest.raises(ClusterUnreachable):
        harness.accept(key="k")
    assert harness.accept(key="k")[1]


def test_accept_creates_the_namespace_on_request_only(harness: DeployHarness) -> None:
    with pytest.raises(NamespaceNotFound):
        harness.accept(namespace="fresh")
    assert not harness.cluster.namespace_exists("fresh")
    operation, new = harness.accept(namespace="fresh", create_namespace=True)
    assert new
    assert operation.namespace == "fresh"


def test_accept_refuses_a_terminating_namespace(harness: DeployHarness) -> None:
    harness.cluster.terminating.add("demo")
    with pytest.raises(Conflict, match="being terminated"):
        harness.accept(key="k")


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"verb": "purge"}, BadInput),
        ({"name": "--hello"}, NameInvalid),
        ({"name": "a..b"}, NameInvalid),
        ({"namespace": "Demo"}, NameInvalid),
    ],
)
def test_accept_refuses_invalid_operations(harness: DeployHarness, bad: dict[str, str], expected: type[KubernautError]) -> None:
    with pytest.raises(expected):
        harness.accept(**bad)  # type: ignore[arg-type]
    assert harness.cluster.requests == []
