"""Recovery of unfinished operations: one at a time, without disturbing others, with each failure audited once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.waiting import until

from kubernaut.errors import ClusterDenied, ClusterUnreachable, IndexStale, KubernautError, ReleaseLocked
from kubernaut.interface import Deployed
from kubernaut.models import Plan
from kubernaut.server.audit import Audit
from kubernaut.server.operations.recovery import Recovery

ACTOR = "kubernaut-server@workshop"
SETTLED = Deployed(Plan(reason="its holder is gone"), True, None)
Settle = Callable[[str, str], Deployed]


class Cluster:
    """An index and a Kubernaut in one, with the unfinished operations and the result of their recovery."""

    def __init__(self, *names: str) -> None:
        self.left = {("demo", name) for name in names}
        self.asked: list[tuple[str, str]] = []
        self.fails: dict[str, BaseException] = {}
        self.stale = False
        self.at_once = self.most_at_once = 0
        self.actor = ""
        self.stopped: Callable[[], bool] = lambda: False
        self.block = threading.Event()
        self.block.set()

    def acting(self, actor: str, *, stopped: Callable[[], bool]) -> Cluster:
        self.actor, self.stopped = actor, stopped
        return self

    def check(self) -> None:
        if self.stale:
            raise IndexStale("not listed yet")

    def unfinished(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.left)

    def recover(self, name: str, *, namespace: str) -> Deployed:
        self.asked.append((namespace, name))
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            while not self.block.wait(0.01):
                if self.stopped():
                    raise KubernautError("stopped")
            if name in self.fails:
                raise self.fails[name]
        finally:
            self.at_once -= 1
        self.left.discard((namespace, name))
        return SETTLED


@pytest.fixture
def lines() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def make(lines: list[dict[str, Any]]) -> Callable[..., Recovery]:
    def make(cluster: Any, *, busy: Callable[[str, str], bool] = lambda *_: False, **times: float) -> Recovery:
        audit = Audit(lambda line: lines.append(json.loads(line)))
        return Recovery(cluster, cluster, audit, actor=ACTOR, busy=busy, **times)

    return make


def test_unfinished_operations_are_recovered_and_audited(make: Callable[..., Recovery], lines: list[dict[str, Any]]) -> None:
    cluster = Cluster("shop", "app")
    make(cluster).check()
    assert cluster.asked == [("demo", "app"), ("demo", "shop")]
    assert cluster.actor == ACTOR
    assert [(line["event"], line["caller"], line["release"], line["outcome"]) for line in lines] == [
        ("recovery", ACTOR, "demo.app", "recovered"),
        ("recovery", ACTOR, "demo.shop", "recovered"),
    ]


def test_busy_and_locked_releases_are_skipped(make: Callable[..., Recovery], lines: list[dict[str, Any]]) -> None:
    cluster = Cluster("app", "other", "shop")
    cluster.fails["other"] = ReleaseLocked("held by ada")
    recovery = make(cluster, busy=lambda namespace, name: (namespace, name) == ("demo", "app"))
    recovery.check()
    recovery.check()
    assert cluster.asked == [("demo", "other"), ("demo", "shop"), ("demo", "other")]
    assert [line["release"] for line in lines] == ["demo.shop"]


def test_a_failure_is_audited_once_and_retried_with_back_off(
    make: Callable[..., Recovery], lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("kubernaut.server.operations.recovery.time.monotonic", lambda: clock[0])
    cluster = Cluster("app")
    cluster.fails["app"] = ClusterDenied("may not write, password=hunter22")
    recovery = make(cluster, interval=10.0, max_delay=60.0)
    tried = []
    for second in range(0, 400, 10):
        clock[0] = float(second)
        recovery.check()
        if len(cluster.asked) > len(tried):
            tried.append(second)
    assert tried == [0, 10, 30, 70, 130, 190, 250, 310, 370]
    assert [line["outcome"] for line in lines] == ["cluster_denied"]
    assert "hunter22" not in str(lines)
    cluster.fails["app"] = ClusterDenied("may not read")
    clock[0] = 430.0
    recovery.check()
    assert [line["message"] for line in lines][1:] == ["may not read"]


def test_a_failure_is_forgotten_when_the_release_is_finished(make: Callable[..., Recovery], lines: list[dict[str, Any]]) -> None:
    cluster = Cluster("app")
    cluster.fails["app"] = ClusterDenied("may not write")
    recovery = make(cluster)
    recovery.check()
    cluster.left.clear()
    recovery.check()
    cluster.left.add(("demo", "app"))
    recovery.check()
    assert len(cluster.asked) == 2, "it is another one now, and has to wait for nothing"
    assert len(lines) == 2


def test_an_unreachable_cluster_ends_the_check(make: Callable[..., Recovery]) -> None:
    cluster = Cluster("app", "other", "shop")
    cluster.fails = dict.fromkeys(("app", "other", "shop"), ClusterUnreachable("it does not answer"))
    make(cluster).check()
    assert cluster.asked == [("demo", "app")]


def test_a_check_without_an_index_is_repeated_soon(make: Callable[..., Recovery]) -> None:
    cluster = Cluster("app")
    cluster.stale = True
    recovery = make(cluster, interval=0.01)
    assert not recovery.check()
    assert cluster.asked == []
    recovery.start()
    cluster.stale = False
    until(lambda: not cluster.left, "all are in order")
    recovery.stop()


def test_releases_are_recovered_one_at_a_time_despite_a_defect(
    make: Callable[..., Recovery], caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster("app", "other", "shop")
    cluster.fails["app"] = ZeroDivisionError("password=hunter22")
    recovery = make(cluster, interval=0.01)
    recovery.start()
    until(lambda: len(cluster.asked) > 2, "it goes on")
    del cluster.fails["app"]
    until(lambda: not cluster.left, "all are in order")
    recovery.stop()
    assert cluster.most_at_once == 1
    assert "ZeroDivisionError" in caplog.text
    assert "hunter22" not in caplog.text


def test_stop_interrupts_a_recovery(make: Callable[..., Recovery], lines: list[dict[str, Any]]) -> None:
    cluster = Cluster("app", "shop")
    cluster.block.clear()
    recovery = make(cluster, interval=0.01)
    recovery.start()
    until(lambda: cluster.asked, "it is at the first one")
    recovery.stop()
    assert cluster.at_once == 0
    assert cluster.asked == [("demo", "app")]
    assert lines == [], "a stop is not a failure"
