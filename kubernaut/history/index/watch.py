"""The index's threads: a reflector for each selection, which lists and watches, and a fetcher, which reads what has changed.

A watch that breaks resumes at its last resource version; where that has expired, everything is listed again, with a growing pause
between attempts. A silent connection is noticed because the server ends every watch after a while and is pinged in between.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernaut.adapters.kube_http import ResourceExpired, Watch
from kubernaut.adapters.kube_threads import FAILURES, SHORTEST_WATCH, OpenWatch, repeat
from kubernaut.errors import ClusterUnreachable, IndexStale, KubernautError
from kubernaut.history.index.cache import IndexCache, SecretSource

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Timings:
    """Intervals in seconds.

    Attributes:
        watch: After which the server ends a watch.
        ping: Between two pings of the server.
        stale: The age from which the index is stale.
        first_pause: Before the first retry; it doubles with each retry, and a random part is added.
        longest_pause: The longest such pause.
    """

    watch: int = 25
    ping: float = 5.0
    stale: float = 30.0
    first_pause: float = 0.2
    longest_pause: float = 5.0


class _Loop(threading.Thread):
    """A daemon thread that repeats :meth:`step`, with growing pauses after failures.

    Attributes:
        current: Whether it keeps its part of the cache current; ``current_at`` is the monotonic time when it last did.
        why: The last failure.
    """

    current = False

    def __init__(self, name: str, source: SecretSource, cache: IndexCache, namespace: str | None, timings: Timings) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self.current_at = time.monotonic()
        self.why: str | None = None
        self._source = source
        self._cache = cache
        self._namespace = namespace
        self._timings = timings

    def step(self) -> None:
        """Run once; a failure that is raised is retried after a pause."""
        raise NotImplementedError

    def stop(self) -> None:
        """Ask the thread to end."""
        self.stopping.set()

    def run(self) -> None:
        """Repeat the step until stopped."""
        timings = self._timings
        try:
            repeat(self.step, self.stopping, first_pause=timings.first_pause, longest_pause=timings.longest_pause)
        except BaseException as defect:
            self.why = f"the thread {self.name} has ended: {type(defect).__name__} {defect}"
            raise
        finally:
            self.current = False


class Reflector(_Loop):
    """Lists and watches a namespace, or all, into the cache."""

    def __init__(self, source: SecretSource, cache: IndexCache, namespace: str | None, timings: Timings) -> None:
        super().__init__(f"kubernaut-index-{namespace or 'all'}", source, cache, namespace, timings)
        self.listed = False
        self._version = ""
        self._watch = OpenWatch(self.stopping)

    def relist(self) -> None:
        """List everything. Raises: ClusterUnreachable, ClusterDenied."""
        began = time.monotonic()
        try:
            self._version = self._cache.relist(self._namespace)
        except KubernautError as error:
            self.why = error.message
            raise
        self.listed, self.current_at = True, began

    def step(self) -> None:
        """Watch until the server ends it, after a list where no resource version is known."""
        began, heard = time.monotonic(), False
        try:
            if not self._version:
                self.relist()
            for event in self._open():
                self._cache.apply(event)
                self._version = event.resource_version or self._version
                self.current_at, heard = time.monotonic(), True
            if not heard and time.monotonic() - began < SHORTEST_WATCH and not self.stopping.is_set():
                raise ClusterUnreachable("The cluster ends each watch at once.")
        except FAILURES as error:
            self.current, self.why = False, str(error)
            if isinstance(error, ResourceExpired):
                self._version = ""
            if isinstance(error, ResourceExpired) or not heard:
                raise

    def stop(self) -> None:
        """Ask the thread to end, and close its watch."""
        self._watch.stop()

    def _open(self) -> Watch:
        watch = self._source.watch(self._namespace, self._version, self._timings.watch)
        self._watch.hold(watch)
        self.current, self.why, self.current_at = True, None, time.monotonic()
        return watch


class Fetcher(_Loop):
    """Reads the content of pending names, and pings the server when there are none."""

    current = True  # until a request fails

    def step(self) -> None:
        """Wait for a pending name and read it, or ping the server when that is due."""
        due = self.current_at + self._timings.ping
        with self._cache.lock:
            self._cache.lock.wait_for(self._has_work, max(due - time.monotonic(), 0) if self.current else None)
        try:
            if self.stopping.is_set():
                return
            if self._cache.pending_since() is None:
                self._source.ping(self._namespace)
            elif not self._cache.fetch_pending():
                self.stopping.wait(self._timings.first_pause)
        except FAILURES as error:
            self.current, self.why = False, str(error)
            raise
        self.current, self.current_at, self.why = True, time.monotonic(), None

    def stop(self) -> None:
        """Ask the thread to end, and wake it."""
        super().stop()
        with self._cache.lock:
            self._cache.lock.notify_all()

    def _has_work(self) -> bool:
        return self.stopping.is_set() or not self.current or self._cache.pending_since() is not None


class Informer:
    """Keeps a cache of the releases of a cluster current, and knows how current it is.

    Args:
        cluster: The cluster, or a function that opens it when it is first needed.
        namespaces: The namespaces to list and watch, each separately; none for all at once.
        timings: Intervals.
    """

    def __init__(
        self, cluster: Cluster | Callable[[], Cluster], *, namespaces: Sequence[str] = (), timings: Timings | None = None
    ) -> None:
        timings = timings or Timings()
        self._namespaces: Sequence[str | None] = tuple(namespaces) or (None,)
        self._source = source = SecretSource(cluster if callable(cluster) else lambda: cluster)
        self._cache = cache = IndexCache(source)
        self._stale_seconds = timings.stale
        self._made_at = time.monotonic()
        self._reflectors = [Reflector(source, cache, namespace, timings) for namespace in self._namespaces]
        self._fetcher = Fetcher("kubernaut-index-reader", source, cache, self._namespaces[0], timings)

    @property
    def _threads(self) -> Sequence[_Loop]:
        return *self._reflectors, self._fetcher

    def start(self) -> None:
        """Start to list and watch in background threads; return at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the background threads; one that still waits for an answer after two seconds is abandoned."""
        for thread in self._threads:
            thread.stop()
        until = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(until - time.monotonic(), 0.0))

    def load(self) -> None:
        """List everything once, in the calling thread, without a watch. Raises: ClusterUnreachable, ClusterDenied."""
        for reflector in self._reflectors:
            reflector.relist()

    def age(self) -> float:
        """Return how many seconds ago everything was current."""
        now = time.monotonic()
        if not all(reflector.listed for reflector in self._reflectors):
            return now - self._made_at
        since = [now, *(thread.current_at for thread in self._threads if not thread.current)]
        pending = self._cache.pending_since()
        return now - min(since if pending is None else [*since, pending])

    def check_listed(self) -> None:
        """Return if everything has been listed. Raises: IndexStale, with the reason."""
        for reflector in self._reflectors:
            if not reflector.listed:
                raise IndexStale(f"The release index is not ready: {reflector.why or 'the first list is in progress'}")

    def check(self) -> None:
        """Return if everything is current. Raises: IndexStale, with the reason."""
        self.check_listed()
        age = self.age()
        if age > self._stale_seconds:
            why = next((thread.why for thread in self._threads if thread.why), "no watch is open")
            raise IndexStale(f"The release index is stale (last synced {age:.0f} s ago): {why}")
