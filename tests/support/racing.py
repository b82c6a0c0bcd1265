"""Races for a lock: a section that detects two threads inside, and threads that start at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kubernaut.errors import ReleaseLocked


class ExclusiveSection:
    """A section that fails when two threads are inside."""

    def __init__(self) -> None:
        self.entered = 0
        self._lock = threading.Lock()

    @contextmanager
    def inside(self) -> Iterator[None]:
        assert self._lock.acquire(blocking=False), "two are inside"
        self.entered += 1
        try:
            yield
        finally:
            self._lock.release()


def race(attempt: Callable[[int, ExclusiveSection], None], racers: int, *, seconds: float) -> tuple[ExclusiveSection, list[str]]:
    """Let threads attempt the same at once; return the section, and the messages of the refused threads.

    Args:
        attempt: Called by each thread with its number and the section, which it enters while it holds the lock.
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
        except BaseException as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert failures == []
    return section, refused
