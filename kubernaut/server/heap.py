"""Keeps Python's collector from walking through the whole index while requests wait.

What the index holds from its first list stays as long as the server runs. A collection that looks at all of it takes tens of
milliseconds, and every request that comes meanwhile waits so long: measured, it was most of the tail.
"""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

from kubernaut.errors import IndexStale

if TYPE_CHECKING:
    from kubernaut.history.index import Index

_SOON = 0.5


class Heap:
    """Sets what is there once the index is, apart from what is collected.

    Args:
        index: What most of it is.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubernaut-heap", daemon=True)

    def start(self) -> None:
        """Wait for the index, in a thread of its own; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Collect everything again, as before."""
        self._stopping.set()
        self._thread.join()
        gc.unfreeze()

    def _run(self) -> None:
        while not self._stopping.wait(_SOON):
            try:
                self._index.check()
            except IndexStale:
                continue
            gc.collect()
            gc.freeze()
            return
