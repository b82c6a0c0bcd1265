"""Watches a release while it rolls out: the objects of its manifest, what belongs to them, and the events about them.

Each kind and namespace is read by its own thread: a kind that may not be read costs only its own evidence, and an API server that
is gone leaves what was known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kubernaut.adapters.kube_resources import EVENTS, SERVICES
from kubernaut.errors import ClusterUnreachable
from kubernaut.rollout.live import LiveStore, Source
from kubernaut.rollout.logs import LogSource
from kubernaut.rollout.needs import kinds_to_watch, objects_to_read
from kubernaut.rollout.objects import Expected
from kubernaut.rollout.pod_logs import read_logs
from kubernaut.rollout.reading import at_once
from kubernaut.rollout.reflector import ObjectReader, Reflector, Timings
from kubernaut.rollout.store import LONGEST_STEM, Snapshot

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_STOP_SECONDS = 1.0
_MOST_WATCHES = 60  # each holds a connection, and the lock's renewals need some of the client's hundred


class RolloutWatch:
    """Keeps the state of a release's objects current; a context manager.

    Nothing is read before :meth:`expect` has named the objects. No method raises because the cluster cannot be reached, except
    :meth:`refresh`: snapshots say what could not be read, and since when the cluster is not heard.

    Args:
        cluster: The cluster.
        namespace: The release's namespace.
        clock: The monotonic clock.
        on_change: Called after each change, by the thread that noticed it; it must return soon and not raise.
        timings: Intervals.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
        timings: Timings | None = None,
    ) -> None:
        self.namespace = namespace
        self._cluster = cluster
        self._timings = timings or Timings()
        self._live = LiveStore(clock, on_change)
        self._readers: list[Reflector | ObjectReader] = []
        self._replaced: list[Reflector | ObjectReader] = []
        self._plan: object = None
        self._running = False

    def __enter__(self) -> Self:
        """Start to watch the objects that are expected already."""
        self._running = True
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the watches and close their connections; a thread that waits for a response after a second is abandoned.

        Snapshots keep what was known.
        """
        self._running = False
        self._live.close()
        for reader in self._readers:
            reader.stop()
        until = time.monotonic() + _STOP_SECONDS
        for reader in (*self._readers, *self._replaced):
            if reader.is_alive():
                reader.join(max(0.0, until - time.monotonic()))

    def expect(self, expected: Sequence[Expected]) -> None:
        """Set what the release consists of, and watch it; return at once.

        May be called again, as for the objects of a rollback; objects that were read already are kept.
        """
        names = frozenset(one.key.name[:LONGEST_STEM] for one in expected)
        kinds, objects = kinds_to_watch(expected), objects_to_read(expected)
        old = self._readers
        if self._plan != (names, kinds, objects):
            self._plan = (names, kinds, objects)
            self._readers = [Reflector(self._cluster, self._live, need, names, self._timings) for need in kinds[:_MOST_WATCHES]]
            if objects:
                self._readers.append(ObjectReader(self._cluster, self._live, objects, self._timings))
        skipped = [Source(need.resource.kind, need.namespace) for need in kinds[_MOST_WATCHES:]]
        self._live.expect(expected, [*(source for reader in self._readers for source in reader.sources), *skipped])
        for source in skipped:
            why = f"the release needs more than {_MOST_WATCHES} watches"
            self._live.deny(source, f"cannot read {source.kind} objects in {source.namespace}: {why}")
        for reader in old:
            if reader not in self._readers:
                reader.stop()
                self._replaced.append(reader)
        if self._running:
            for reader in self._readers:
                if reader not in old:
                    reader.start()

    def snapshot(self) -> Snapshot:
        """Return the objects as they are known now."""
        return self._live.snapshot()

    def wait(self, seconds: float) -> bool:
        """Wait until something has changed since the last snapshot; return whether it has."""
        return self._live.wait(seconds)

    def is_synced(self, seconds: float = 0.0) -> bool:
        """Return whether every kind has been read once, or found to be unreadable; wait so many seconds for it."""
        return self._live.is_synced(seconds)

    def refresh(self, *, services: bool = False) -> Snapshot:
        """Read everything except events anew, several kinds at a time, and return the fresh snapshot.

        Args:
            services: Whether to read Services too, which no controller changes.

        Raises:
            ClusterUnreachable: Not everything could be read.
            ClusterDenied: The credentials have expired.
        """
        skipped = (EVENTS.kind,) if services else (EVENTS.kind, SERVICES.kind)
        readers = [reader for reader in self._readers if reader.sources[0].kind not in skipped]
        if len(at_once([reader.refresh for reader in readers], self._timings.request)) < len(readers):
            raise ClusterUnreachable(f"The cluster did not answer within {self._timings.request:g} s.")
        return self.snapshot()

    def logs(self, wanted: Sequence[LogSource], secrets: Sequence[str] = ()) -> Mapping[LogSource, Sequence[str]]:
        """Return the last lines of each log, for one that cannot be read why not; ``secrets`` are masked."""
        return read_logs(self._cluster, wanted, secrets)
