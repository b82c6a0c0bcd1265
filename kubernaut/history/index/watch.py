"""The index's threads: one that lists and watches for each selection, and one that reads what the watches told of.

A watch that breaks is opened again from where it was; where the API server has forgotten that, everything is listed anew. It
backs off between attempts. A connection on which nothing more is heard is noticed since the server ends every watch after a
while, and since the server is asked for next to nothing every few seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set, wait_exponential, wait_random

from kubernaut.adapters.kube_http import ResourceExpired, Watch
from kubernaut.errors import ClusterUnreachable, IndexStale, KubernautError
from kubernaut.history.index.cache import IndexCache, Reader

_FAILURES = (KubernautError, ResourceExpired)
_SHORTEST_WATCH = 0.5
_LONGEST_STOP = 2.0


@dataclass(frozen=True)
class Timings:
    """How often, and how long, in seconds.

    Attributes:
        watch: After how long the server ends a watch.
        ping: How often the server is asked whether it still answers.
        stale: How old what is known may be before it is no longer believed.
        first_pause: Before another attempt, at first; each time twice as long, and some chance.
        longest_pause: The longest.
    """

    watch: int = 25
    ping: float = 5.0
    stale: float = 30.0
    first_pause: float = 0.2
    longest_pause: float = 5.0


class _Repeated:
    """A thread that does something again and again, after a failure with a pause that grows."""

    def __init__(self, name: str, timings: Timings) -> None:
        self.stopping = threading.Event()
        self.why: str | None = None
        self._timings = timings
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()

    def join(self, seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(seconds)

    def once(self) -> None:
        """Do it once; what is raised is repeated."""
        raise NotImplementedError

    def _run(self) -> None:
        pause = wait_exponential(self._timings.first_pause, self._timings.longest_pause) + wait_random(0, self._timings.first_pause)
        attempts = Retrying(
            retry=retry_if_exception_type(_FAILURES),
            wait=pause,
            sleep=sleep_using_event(self.stopping),
            stop=stop_when_event_set(self.stopping),
            reraise=True,
        )
        try:
            while not self.stopping.is_set():
                with suppress(*_FAILURES):  # it is stopping, and what is wrong has been noted
                    attempts(self.once)
        except BaseException as defect:
            self.why = f"the thread that keeps it current has ended: {type(defect).__name__} {defect}"
            raise


class Watcher(_Repeated):
    """Lists and watches one namespace, or all."""

    def __init__(self, reader: Reader, keeper: IndexCache, namespace: str | None, timings: Timings) -> None:
        super().__init__(f"kubernaut-index-{namespace or 'all'}", timings)
        self.listed = False
        self.connected = False
        self.heard_at = time.monotonic()
        self._namespace = namespace
        self._reader = reader
        self._keeper = keeper
        self._version = ""
        self._watch: Watch | None = None
        self._lock = threading.Lock()

    def read_all(self) -> None:
        """Read what there is. Raises: ClusterUnreachable, ClusterDenied."""
        began = time.monotonic()
        try:
            self._version = self._keeper.read_all(self._namespace)
        except KubernautError as error:
            self.why = error.message
            raise
        self.listed, self.heard_at = True, began

    def once(self) -> None:
        """Watch until the server ends it; list before, unless it is known where to go on."""
        began, heard = time.monotonic(), False
        try:
            if not self._version:
                self.read_all()
            for change in self._open():
                self._keeper.heard(change)
                self._version = change.resource_version or self._version
                self.heard_at, heard = time.monotonic(), True
            if not heard and time.monotonic() - began < _SHORTEST_WATCH and not self.stopping.is_set():
                raise ClusterUnreachable("The cluster ends the watch at once.")
        except _FAILURES as error:
            self.connected, self.why = False, str(error)
            if isinstance(error, ResourceExpired):
                self._version = ""
            if isinstance(error, ResourceExpired) or not heard:
                raise

    def stop(self) -> None:
        """End the thread: what it waits for ends."""
        with self._lock:
            super().stop()
            if self._watch is not None:
                self._watch.close()

    def _open(self) -> Watch:
        watch = self._reader.watch(self._namespace, self._version, self._timings.watch)
        with self._lock:
            self._watch = watch
            if self.stopping.is_set():
                watch.close()
        self.connected, self.why, self.heard_at = True, None, time.monotonic()
        return watch

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            self.connected = False


class Follower(_Repeated):
    """Reads what the watchers told of, and asks now and then whether the server answers."""

    def __init__(self, reader: Reader, keeper: IndexCache, namespace: str | None, timings: Timings) -> None:
        super().__init__("kubernaut-index-reader", timings)
        self.answered = True
        self.answered_at = time.monotonic()
        self._reader = reader
        self._keeper = keeper
        self._namespace = namespace

    def once(self) -> None:
        """Wait for something to read, and read it; or else ask."""
        due = self.answered_at + self._timings.ping
        with self._keeper.changed:
            self._keeper.changed.wait_for(self._has_work, max(due - time.monotonic(), 0) if self.answered else None)
        try:
            if self.stopping.is_set():
                return
            if self._keeper.pending_since() is None:
                self._reader.ping(self._namespace)
            elif not self._keeper.read_pending():
                self.stopping.wait(self._timings.first_pause)
        except _FAILURES as error:
            self.answered, self.why = False, str(error)
            raise
        self.answered, self.answered_at, self.why = True, time.monotonic(), None

    def stop(self) -> None:
        """End the thread."""
        super().stop()
        with self._keeper.changed:
            self._keeper.changed.notify_all()

    def _has_work(self) -> bool:
        return self.stopping.is_set() or not self.answered or self._keeper.pending_since() is not None


class Watching:
    """What keeps the index current, and knows how current it is."""

    def __init__(self, reader: Reader, keeper: IndexCache, namespaces: Sequence[str | None], timings: Timings) -> None:
        self._keeper = keeper
        self._timings = timings
        self._made_at = time.monotonic()
        self._watchers = [Watcher(reader, keeper, namespace, timings) for namespace in namespaces]
        self._follower = Follower(reader, keeper, namespaces[0], timings)

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in (*self._watchers, self._follower):
            thread.start()

    def stop(self) -> None:
        """End the threads; one that waits for an answer is left to itself after a moment."""
        threads = (*self._watchers, self._follower)
        for thread in threads:
            thread.stop()
        until = time.monotonic() + _LONGEST_STOP
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def load(self) -> None:
        """List once, in the calling thread."""
        for watcher in self._watchers:
            watcher.read_all()

    def age(self) -> float:
        """Return how many seconds ago all was last known to be current."""
        now = time.monotonic()
        if not all(watcher.listed for watcher in self._watchers):
            return now - self._made_at
        since = [watcher.heard_at for watcher in self._watchers if not watcher.connected]
        since += [] if self._follower.answered else [self._follower.answered_at]
        pending = self._keeper.pending_since()
        return now - min([now, *since] if pending is None else [now, *since, pending])

    def check_listed(self) -> None:
        """Return if everything has been listed. Raises: IndexStale, with the reason."""
        for watcher in self._watchers:
            if not watcher.listed:
                why = watcher.why or "the first list is under way"
                raise IndexStale(f"The releases have not been listed yet: {why}")

    def check(self) -> None:
        """Return if it is current. Raises: IndexStale, with the reason."""
        self.check_listed()
        age = self.age()
        if age > self._timings.stale:
            why = next((one.why for one in (*self._watchers, self._follower) if one.why), "it is not watched")
            raise IndexStale(f"What is in the cluster was last known {age:.0f} s ago: {why}")
