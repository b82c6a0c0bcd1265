"""Waiting for two things at once: for what comes from the cluster, and for what is made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

Thing = TypeVar("Thing")


def meanwhile(call: Callable[[], Thing]) -> Future[Thing]:
    """Call in a thread of its own, which does not keep the process from ending."""
    called: Future[Thing] = Future()

    def run() -> None:
        try:
            called.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised to whoever asks for the result
            called.set_exception(error)

    threading.Thread(target=run, daemon=True, name="kubernaut-index-list").start()
    return called


def ahead(things: Iterator[Thing]) -> Iterator[Thing]:
    """Yield what an iterator does; while one is worked on, the next is got."""
    coming = meanwhile(lambda: next(things, None))
    while (thing := coming.result()) is not None:
        coming = meanwhile(lambda: next(things, None))
        yield thing
