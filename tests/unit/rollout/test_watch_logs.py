"""The logs that `RolloutWatch` reads: the last lines, safe to show, and why a log cannot be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kubernaut.errors import BadInput, ClusterDenied, ClusterUnreachable, KubernautError
from kubernaut.rollout.logs import UNREADABLE, LogSource
from kubernaut.rollout.pod_logs import read_logs
from kubernaut.rollout.watch import RolloutWatch
from kubernaut.testing.cluster import FakeCluster

APP = LogSource("demo", "web-1", "app")
PREVIOUS = LogSource("demo", "web-1", "app", previous=True)
SIDE = LogSource("demo", "web-1", "side")
MEGABYTE = 1 << 20


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster("demo")


def read(cluster: FakeCluster, *sources: LogSource, **options: Any) -> dict[LogSource, tuple[str, ...]]:
    return read_logs(cluster, sources, **options)  # type: ignore[arg-type]


def replace_log(cluster: FakeCluster, log: Any) -> None:
    cluster.pod_log = log  # type: ignore[method-assign]


def test_last_fifty_lines_of_each_log_are_read(cluster: FakeCluster) -> None:
    cluster.logs["demo", "web-1", "app"] = [f"line {number}" for number in range(80)]
    cluster.logs["demo", "web-1", "side"] = []
    with RolloutWatch(cluster, "demo") as watch:  # type: ignore[arg-type]
        found = watch.logs([APP, SIDE])
    assert list(found) == [APP, SIDE]
    assert list(found[APP]) == [f"line {number}" for number in range(30, 80)]
    assert list(found[SIDE]) == []
    assert watch.logs([]) == {}


def test_previous_run_is_read(cluster: FakeCluster) -> None:
    def log(*_: Any, previous: bool, **__: Any) -> Iterator[str]:
        yield "before" if previous else "now"

    replace_log(cluster, log)
    assert read(cluster, PREVIOUS, APP) == {PREVIOUS: ("before",), APP: ("now",)}


@pytest.mark.parametrize(
    "answer",
    [
        "unable to retrieve container logs for containerd://0a1b2c",
        'failed to try resolving symlinks in path "/var/log/pods/demo_web-1/app/3.log": lstat /var/log/pods: no such file',
    ],
)
def test_answer_of_the_kubelet_for_a_missing_log_is_not_the_log(cluster: FakeCluster, answer: str) -> None:
    cluster.logs["demo", "web-1", "app"] = [answer]
    (line,) = read(cluster, APP)[APP]
    assert line.startswith(UNREADABLE)
    assert "symlinks" not in line


def test_request_is_bounded(cluster: FakeCluster) -> None:
    asked: list[dict[str, Any]] = []

    def log(*_: Any, **options: Any) -> Iterator[str]:
        asked.append(options)
        yield from ()

    replace_log(cluster, log)
    read(cluster, APP, seconds=3)
    (options,) = asked
    assert (options["tail"], options["limit_bytes"], options["timeout"], options["follow"]) == (50, MEGABYTE, 3, False)


def test_long_line_is_cut_and_the_lines_after_it_are_read(cluster: FakeCluster) -> None:
    cluster.logs["demo", "web-1", "app"] = ["x" * MEGABYTE, *(f"line {number}" for number in range(20))]
    lines = read(cluster, APP)[APP]
    assert list(lines) == [f"line {number}" for number in range(10, 20)], "the limit would have cut them off"


def test_last_line_of_a_megabyte_is_cut(cluster: FakeCluster) -> None:
    cluster.logs["demo", "web-1", "app"] = ["before", "x" * 2 * MEGABYTE]
    (line,) = read(cluster, APP)[APP]
    assert 100 < len(line) <= 500
    assert line.startswith("xxx")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("a\x00b\x9bc\x7f", "abc"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\ufffd\ufffd PNG", "\ufffd\ufffd PNG"),
        ("password=hunter22", "password=***"),
        ("pass\x1b[0mword=hunter22", "password=***"),
        ("the canary-9 sings", "the *** sings"),
        ("tab\there", "tab here"),
    ],
)
def test_line_is_safe_to_show(cluster: FakeCluster, line: str, shown: str) -> None:
    cluster.logs["demo", "web-1", "app"] = [line]
    assert read(cluster, APP, secrets=["canary-9"])[APP] == (shown,)


def test_key_over_several_lines_is_masked(cluster: FakeCluster) -> None:
    key = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA", "-----END RSA PRIVATE KEY-----"]
    cluster.logs["demo", "web-1", "app"] = ["before", *key, "after"]
    assert read(cluster, APP)[APP] == ("before", "***", "after")


NAME = "The cluster of the context 'here' (https://c)"


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (ClusterDenied(f"{NAME} refuses: pods is forbidden."), "no right"),
        (BadInput(f"{NAME} refuses: container app is waiting to start: ContainerCreating."), "container app is waiting to start"),
        (
            BadInput(f'{NAME} refuses: previous terminated container "app" in pod "web-1" not found.'),
            'previous terminated container "app"',
        ),
        (ClusterUnreachable(f"{NAME} does not answer."), "does not answer"),
        (RuntimeError("defect"), "RuntimeError"),
    ],
)
def test_log_that_cannot_be_read_is_named_beside_the_others(cluster: FakeCluster, error: KubernautError, fact: str) -> None:
    cluster.logs["demo", "web-1", "app"] = cluster.logs["demo", "web-1", "side"] = ["fine"]
    read_log = cluster.pod_log

    def log(namespace: str, pod: str, *, container: str, **options: Any) -> Iterator[str]:
        if container == "app":
            raise error
        return read_log(namespace, pod, container=container, **options)

    replace_log(cluster, log)
    found = read(cluster, APP, SIDE)
    (why,) = found[APP]
    assert why.startswith("cannot read logs: ")
    assert fact in why
    assert NAME not in why or isinstance(error, ClusterUnreachable)
    assert found[SIDE] == ("fine",)


def test_expired_credentials_are_named(cluster: FakeCluster) -> None:
    error = ClusterDenied("no")
    error.unauthenticated = True
    cluster.fail("get log", error)
    assert "credentials" in read(cluster, APP)[APP][0]


def test_pod_that_is_gone_is_named(cluster: FakeCluster) -> None:
    assert read(cluster, APP)[APP] == ("cannot read logs: the pod does not exist",)


def test_log_that_does_not_come_is_not_waited_for(cluster: FakeCluster) -> None:
    go_on = threading.Event()

    def hang(*_: Any, **__: Any) -> Iterator[str]:
        go_on.wait(10)
        yield "late"

    replace_log(cluster, hang)
    began = time.monotonic()
    found = read(cluster, APP, SIDE, seconds=0.1)
    assert time.monotonic() - began < 5
    assert all("0.1 s" in lines[0] for lines in found.values())
    go_on.set()


def test_endless_log_ends_at_the_deadline(cluster: FakeCluster) -> None:
    def endless(*_: Any, **__: Any) -> Iterator[str]:
        while True:
            yield "again"

    replace_log(cluster, endless)
    began = time.monotonic()
    read(cluster, APP, seconds=0.1)
    assert time.monotonic() - began < 5
