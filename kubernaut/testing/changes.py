"""The change log of the in-memory cluster, and its watches, which can be cut off, expired or silenced."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubernaut.adapters.kube_http import ResourceExpired, WatchEvent
from kubernaut.errors import ClusterUnreachable

_Object = Mapping[str, Any]
_LATE_SECONDS = 0.2


@dataclass(frozen=True)
class _Entry:
    """One change: an object before and after it, or ``None``; ``resource`` is its kind's full name."""

    version: int
    resource: str
    before: _Object | None
    after: _Object | None

    def seen(self, watch: FakeWatch) -> WatchEvent | None:
        """Return the change as a watch sees it: an object that leaves the label selection is deleted there."""
        before = self.before if self.before is not None and watch.selected(self.resource, self.before) else None
        after = self.after if self.after is not None and watch.selected(self.resource, self.after) else None
        if after is not None:
            return WatchEvent("MODIFIED" if before is not None else "ADDED", watch.shown(after))
        if before is not None:
            gone = {**before, "metadata": {**before["metadata"], "resourceVersion": str(self.version)}}
            return WatchEvent("DELETED", watch.shown(gone))
        return None


class Changes:
    """The log of changes.

    Attributes:
        silent: Whether watches receive nothing, not even their end, as over a dead connection.
        version: The version of the last change.
        cuts: The number of times that the connections were broken.
    """

    def __init__(self) -> None:
        self.silent = False
        self.version = 0
        self.cuts = 0
        self._changed = threading.Condition()
        self._log: list[_Entry] = []
        self._oldest = 0

    def note(self, version: int, resource: str, before: _Object | None, after: _Object | None) -> None:
        """Add a change and wake the watches."""
        with self._changed:
            self._log.append(_Entry(version, resource, before, after))
            self.version = version
            self._changed.notify_all()

    def cut(self) -> None:
        """Break the connections of all watches."""
        with self._changed:
            self.cuts += 1
            self._changed.notify_all()

    def forget(self) -> None:
        """Drop all changes so far: a watch that resumes before them expires."""
        with self._changed:
            self._log.clear()
            self._oldest = self.version + 1
            self._changed.notify_all()

    def next(self, watch: FakeWatch) -> WatchEvent | None:
        """Return the next change of a watch, or ``None`` at its end; blocks. Raises: ResourceExpired, ClusterUnreachable."""
        with self._changed:
            while not watch.closed:
                if watch.cuts != self.cuts:
                    raise ClusterUnreachable("The fake cluster broke the connection.")
                if not self.silent and watch.position < self._oldest - 1:
                    raise ResourceExpired("too old resource version")
                found = None if self.silent else self._following(watch)
                if found is not None:
                    return found
                left = watch.until - time.monotonic()
                if left <= 0 and not self.silent:
                    return None
                if left <= -_LATE_SECONDS:
                    raise ClusterUnreachable("The fake cluster did not answer.")
                self._changed.wait(max(left, 0.0) + _LATE_SECONDS if self.silent else left)
        return None

    def close(self, watch: FakeWatch) -> None:
        """End a watch."""
        with self._changed:
            watch.closed = True
            self._changed.notify_all()

    def _following(self, watch: FakeWatch) -> WatchEvent | None:
        for entry in self._log[bisect_right(self._log, watch.position, key=lambda entry: entry.version) :]:
            watch.position = entry.version
            change = entry.seen(watch)
            if change is not None:
                return change
        return None


class FakeWatch:
    """A watch of the changes after a version.

    Attributes:
        selected: Whether it reports an object, by the full name of the kind and the object.
        shown: Returns an object as it reports it.
        position: The version up to which it has received the selected changes.
    """

    def __init__(
        self,
        changes: Changes,
        selected: Callable[[str, _Object], bool],
        shown: Callable[[_Object], _Object],
        after: int,
        seconds: float,
    ) -> None:
        self.selected = selected
        self.shown = shown
        self.position = after
        self.until = time.monotonic() + seconds
        self.cuts = changes.cuts
        self.closed = False
        self._changes = changes

    def __iter__(self) -> Iterator[WatchEvent]:
        """Yield the changes, and a bookmark before the end."""
        while (change := self._changes.next(self)) is not None:
            yield change
        if not self.closed:
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": str(self.position)}})

    def close(self) -> None:
        """End the watch; callable from any thread."""
        self._changes.close(self)
