"""SIGTERM and SIGHUP stop the work as Ctrl-C does: by an exception in the main thread, so that everything is put in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """A signal asked kubernaut to end.

    A ``KeyboardInterrupt``, because asyncio and the standard library let that one pass through at once, and because whoever stops
    children on Ctrl-C thereby stops them on SIGTERM too.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name}.")
        self.exit_status = 128 + number


def _raise(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: a second one must not disturb the tidying up
    raise Terminated(number)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn the signals into :class:`Terminated` while the block runs; a signal that is ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
