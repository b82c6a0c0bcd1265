"""The index is excluded from garbage collection once it is loaded."""

from __future__ import annotations

import gc

from support.waiting import until

from kubernaut.history.index import Index
from kubernaut.server.serving import frozen_index
from kubernaut.testing.cluster import FakeCluster


def test_objects_are_frozen_once_the_index_is_loaded_and_until_the_end() -> None:
    index, before = Index(FakeCluster()), gc.get_freeze_count()
    with frozen_index(index):
        assert gc.get_freeze_count() == before
        index.load()
        until(lambda: gc.get_freeze_count() > before, "objects are frozen")
    assert gc.get_freeze_count() == 0


def test_a_server_whose_index_never_loads_stops() -> None:
    with frozen_index(Index(FakeCluster())):
        pass
    assert gc.get_freeze_count() == 0
