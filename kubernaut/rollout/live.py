"""The store that the watching threads fill: the objects of a release, and how current they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kubernaut.adapters.kube_http import WatchEvent
from kubernaut.rollout.needs import ObjectNeed
from kubernaut.rollout.objects import Expected, Object, metadata_of
from kubernaut.rollout.store import Snapshot, Store

_JUMP_SECONDS = 2.0


class ServerClock:
    """The API server's clock, as precise as the whole seconds in its responses allow.

    Args:
        clock: The monotonic clock of this process.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._offset: float | None = None

    def note(self, time: datetime | None) -> None:
        """Note the time of a response that has just arrived."""
        if time is None:
            return
        offset = time.timestamp() - self._clock()
        # The server cut off up to a second: the greatest offset is the nearest. A much smaller one means that its clock was set.
        if self._offset is None or offset > self._offset or offset < self._offset - _JUMP_SECONDS:
            self._offset = offset

    def at(self, moment: float) -> datetime:
        """Return the server's time at a moment of the monotonic clock; this machine's before the first response."""
        if self._offset is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(moment + self._offset, UTC)


@dataclass(eq=False)
class Source:
    """One of the threads' subjects: a kind in a namespace, or an object.

    Attributes:
        kind: The kind.
        namespace: The namespace.
        group: The API group of a kind that is not one of Kubernetes' own.
        version: The resource version up to which it is known.
        listed: Whether it has been read, or found to be unreadable.
        denied: Why it cannot be read; empty if it can.
        lost: Why the cluster is not heard; empty while it is.
        heard_at: The monotonic time when the cluster was heard last.
    """

    kind: str
    namespace: str
    group: str = ""
    version: int = 0
    listed: bool = False
    denied: str = ""
    lost: str = ""
    heard_at: float | None = None


class LiveStore:
    """A :class:`Store` for several threads.

    Calls for a source that is not in use any more are ignored.

    Args:
        clock: The monotonic clock.
        on_change: Called after each change, by the thread that made it.
    """

    def __init__(self, clock: Callable[[], float], on_change: Callable[[], None]) -> None:
        self.server_clock = ServerClock(clock)
        self._clock = clock
        self._on_change = on_change
        self._changed = threading.Condition()
        self._store = Store()
        self._sources: list[Source] = []
        self._changes = 0
        self._seen = 0
        self._snapshot: Snapshot | None = None
        self._closed_at: float | None = None

    def expect(self, expected: Iterable[Expected], sources: Sequence[Source]) -> None:
        """Set the release's objects and the sources in use."""
        with self._changed:
            self._store.expect(expected)
            self._sources = list(sources)
            self._count()

    def close(self) -> None:
        """Ignore all further calls for sources; the objects are kept."""
        with self._changed:
            self._closed_at = self._clock()
            self._changed.notify_all()

    def relevant(self, kind: str, api_version: str, items: Iterable[Object]) -> list[Object]:
        """Return the listed objects that belong to the release, with their kind."""
        typed = ({"apiVersion": api_version, "kind": kind, **item} for item in items)
        with self._changed:
            return [item for item in typed if self._store.belongs(item)]

    def replace(self, source: Source, items: Iterable[Object], version: str) -> None:
        """Set all objects of a source, as a list of this version showed them; newer changes stay."""
        with self._changed:
            if not self._is_in_use(source):
                return
            if _number(version) >= source.version or source.denied:
                self._store.replace(source.kind, items, source.namespace, source.group)
                source.version = _number(version)
            self._heard(source)
            source.listed, source.denied = True, ""
            self._count()
        self._on_change()

    def apply(self, source: Source, event: WatchEvent) -> None:
        """Apply an event of a watch, unless a newer list contains it already."""
        version = _number(event.resource_version)
        with self._changed:
            if not self._is_in_use(source):
                return
            self._heard(source)
            if 0 < version <= source.version:
                return
            source.version = version or source.version
            if event.type == "BOOKMARK" or not self._store.apply(event.type, event.object):
                return
            self._count()
        self._on_change()

    def put(self, source: Source, need: ObjectNeed, item: Object | None) -> None:
        """Set an object that was read by its name, under the manifest's identity; ``None`` if it does not exist."""
        found = item or {}
        version = _number(str(metadata_of(found).get("resourceVersion")))
        metadata = {**metadata_of(found), "namespace": need.key.namespace, "name": need.key.name}
        known = {**found, "apiVersion": need.api_version, "kind": need.key.kind, "metadata": metadata}
        with self._changed:
            if not self._is_in_use(source):
                return
            self._heard(source)
            is_new = version != source.version or not source.listed or bool(source.denied)
            if source.denied:
                self._store.set_readable(source.kind, source.namespace)
            self._store.apply("DELETED" if item is None else "MODIFIED", known)
            self._snapshot = None
            source.version, source.listed, source.denied = version, True, ""
            if is_new:
                self._count()
        if is_new:
            self._on_change()

    def deny(self, source: Source, why: str) -> None:
        """Note that a source cannot be read."""
        with self._changed:
            if not self._is_in_use(source):
                return
            self._heard(source)
            is_new = source.denied != why
            source.denied, source.listed, source.version = why, True, 0
            if is_new:
                self._store.set_unreadable(source.kind, why, source.namespace, source.group)
                self._count()
        if is_new:
            self._on_change()

    def lose(self, source: Source, why: str) -> None:
        """Note that the cluster is not heard; what is known stays."""
        with self._changed:
            is_new = self._is_in_use(source) and source.lost != why
            if is_new:
                source.lost = why
                self._count()
        if is_new:
            self._on_change()

    def hear(self, source: Source) -> None:
        """Note that the cluster is heard."""
        with self._changed:
            was_lost = source.lost
            if self._is_in_use(source):
                self._heard(source)
            if was_lost:
                self._count()
        if was_lost:
            self._on_change()

    def restart(self, source: Source) -> None:
        """Forget up to which version a source is known: the cluster does not know that version any more."""
        with self._changed:
            source.version = 0

    def snapshot(self) -> Snapshot:
        """Return the objects as they are known now; :meth:`wait` waits for changes after it."""
        now = self._clock()
        with self._changed:
            at = self.server_clock.at(now)
            self._seen = self._changes
            if self._snapshot is None:
                self._snapshot = self._store.snapshot(at)
            heard = now if self._closed_at is None else self._closed_at
            times = [heard if not one.lost else one.heard_at for one in self._sources if one.heard_at is not None]
            contact = min((time for time in times if time is not None), default=None)
            lost = next((one.lost for one in self._sources if one.lost), "")
            return replace(
                self._snapshot,
                at=at,
                contact=None if contact is None else self.server_clock.at(contact),
                disconnected=lost,
            )

    def wait(self, seconds: float) -> bool:
        """Wait until something has changed since the last snapshot; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._changes != self._seen, seconds)

    def is_synced(self, seconds: float) -> bool:
        """Return whether every source has been read once, or found to be unreadable; wait so many seconds for it."""
        with self._changed:
            return self._changed.wait_for(lambda: all(one.listed for one in self._sources), seconds)

    def _is_in_use(self, source: Source) -> bool:
        return self._closed_at is None and source in self._sources

    def _heard(self, source: Source) -> None:
        source.heard_at, source.lost = self._clock(), ""

    def _count(self) -> None:
        self._changes += 1
        self._snapshot = None
        self._changed.notify_all()


def _number(version: str) -> int:
    """Return a resource version as a number; 0 if it is not one."""
    return int(version) if version.isdecimal() else 0
