"""What the index tells of random histories is what the history tells, when it comes to them and while they are made."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from support.histories import NAMESPACES, STEPS, Step, compare

from kubernaut.errors import IndexStale
from kubernaut.history.index import Index
from kubernaut.history.store import History
from kubernaut.testing.cluster import FakeCluster


def eventually(check: Callable[[], None], seconds: float = 10) -> None:
    """Check again and again until it holds; what fails at the end is raised."""
    until = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, IndexStale):
            if time.monotonic() > until:
                raise
            time.sleep(0.002)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_what_is_there_is_told_as_the_history_tells_it(steps: list[Step]) -> None:
    cluster = FakeCluster(*NAMESPACES)
    for step in steps:
        step.take(cluster)  # type: ignore[arg-type]
    index = Index(cluster)  # type: ignore[arg-type]
    index.load()
    compare(index, History(cluster))  # type: ignore[arg-type]
    cluster.requests.clear()


@settings(max_examples=50, deadline=None)
@given(st.lists(STEPS, max_size=15), st.lists(STEPS, min_size=1, max_size=15), st.integers(0, 15))
def test_what_changes_is_told_as_the_history_tells_it(before: list[Step], after: list[Step], forgotten: int) -> None:
    cluster = FakeCluster(*NAMESPACES)
    for step in before:
        step.take(cluster)  # type: ignore[arg-type]
    index = Index(cluster)  # type: ignore[arg-type]
    index.start()
    try:
        for number, step in enumerate(after):
            step.take(cluster)  # type: ignore[arg-type]
            if number == forgotten:
                cluster.changes.cut()
                cluster.forget()
        eventually(index.check)
        eventually(lambda: compare(index, History(cluster)))  # type: ignore[arg-type]
    finally:
        index.stop()
