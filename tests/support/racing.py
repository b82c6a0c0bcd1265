"""Races for a lock: a room that tells when two are inside, and threads that all start at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kubernaut.errors import ReleaseLocked


class ExclusiveSection:
    """Where there must never be two."""

    def __init__(self) -> None:
        self.entered = 0
        self._door = threading.Lock()

    @contextmanager
    def inside(self) -> Iterator[None]:
        assert self._door.acquire(blocking=False), "two are inside"
        self.entered += 1
        try:
            yield
        finally:
            self._door.release()


def race(attempt: Callable[[int, ExclusiveSection], None], racers: int, *, seconds: float) -> tuple[ExclusiveSection, list[str]]:
    """Let so many threads attempt the same at once; return the room, and what those were told who were refused.

    Args:
        attempt: What each does, with its number, and the room that it has to itself while it holds the lock.
        racers: How many.
        seconds: How long each may take to end.
    """
    section, start = ExclusiveSection(), threading.Barrier(racers)
    refused: list[str] = []
    failures: list[BaseException] = []

    def run(number: int) -> None:
        start.wait()
        try:
            attempt(number, section)
        except ReleaseLocked as error:
            refused.append(error.message)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert failures == []
    return section, refused
