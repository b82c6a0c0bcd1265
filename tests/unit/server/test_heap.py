"""What is set apart from the collector, and when."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from support.faults import until

from kubernaut.history.index import Index
from kubernaut.server.heap import Heap
from kubernaut.testing.cluster import FakeCluster


@pytest.fixture
def heap_of() -> Iterator[list[Heap]]:
    started: list[Heap] = []
    yield started
    for heap in started:
        heap.stop()


def test_what_is_there_once_the_index_is_stays_apart_until_the_end(heap_of: list[Heap]) -> None:
    index, before = Index(FakeCluster()), gc.get_freeze_count()
    heap = Heap(index)
    heap.start()
    heap_of.append(heap)
    assert gc.get_freeze_count() == before  # nothing was listed yet
    index.load()
    until(lambda: gc.get_freeze_count() > before, "it is set apart")
    heap.stop()
    assert gc.get_freeze_count() == 0


def test_a_server_that_never_knew_anything_ends_all_the_same(heap_of: list[Heap]) -> None:
    heap = Heap(Index(FakeCluster()))
    heap.start()
    heap.stop()
    assert gc.get_freeze_count() == 0
