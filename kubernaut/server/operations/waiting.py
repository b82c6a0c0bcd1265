"""Seats for those who wait: each holds one of the server's threads, and others need some too."""

from __future__ import annotations

import threading

from kubernaut.errors import ServerBusy


class Seat:
    """A seat that is taken; leaving it twice is leaving it once."""

    def __init__(self, seats: WaiterLimit) -> None:
        self._seats: WaiterLimit | None = seats

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let somebody else have it."""
        seats, self._seats = self._seats, None
        if seats is not None:
            seats._left()


class WaiterLimit:
    """A bounded number of requests that wait at once: event streams, long polls, writes that wait for their end.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()

    def take(self) -> Seat:
        """Take a seat. Raises: ServerBusy."""
        with self._lock:
            if self._taken >= self._most:
                raise ServerBusy(f"{self._most} requests wait at once for what operations say, and as many do already.")
            self._taken += 1
        return Seat(self)

    def taken(self) -> int:
        """Return how many wait."""
        return self._taken

    def _left(self) -> None:
        with self._lock:
            self._taken -= 1
