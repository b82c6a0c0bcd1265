"""Property tests: the index gives the same answers as the store for random histories, at rest and during changes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.random_histories import CHANGES, NAMESPACES, Change, compare, eventually

from kubernaut.history.index import Index, Timings
from kubernaut.history.store import HistoryStore
from kubernaut.testing.cluster import FakeCluster


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(CHANGES, max_size=30))
def test_loaded_index_equals_the_store(steps: list[Change]) -> None:
    cluster = FakeCluster(*NAMESPACES)
    for step in steps:
        step.take(cluster)  # type: ignore[arg-type]
    index = Index(cluster)  # type: ignore[arg-type]
    index.load()
    compare(index, HistoryStore(cluster))  # type: ignore[arg-type]


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(CHANGES, max_size=15), st.lists(CHANGES, min_size=1, max_size=15), st.integers(0, 15))
def test_watching_index_equals_the_store_after_changes(before: list[Change], after: list[Change], forgotten: int) -> None:
    cluster = FakeCluster(*NAMESPACES)
    for step in before:
        step.take(cluster)  # type: ignore[arg-type]
    index = Index(cluster, timings=Timings(first_pause=0.005))  # type: ignore[arg-type]
    index.start()
    try:
        for number, step in enumerate(after):
            step.take(cluster)  # type: ignore[arg-type]
            if number == forgotten:
                cluster.changes.cut()
                cluster.forget()
        eventually(index.check)
        eventually(lambda: compare(index, HistoryStore(cluster)))  # type: ignore[arg-type]
    finally:
        index.stop()
