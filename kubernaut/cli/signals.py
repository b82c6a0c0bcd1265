"""SIGINT, SIGTERM and SIGHUP stop the work by an exception in the main thread, so that everything is put in order; once.

The first of them raises; should that exception be lost on its way, it is raised again. Those that follow do nothing, whichever they
are: they must not disturb the tidying up. Only where the first one was answered (:func:`answer`), by a server that ends in its own
time, does the second one raise. They are caught, not *ignored*: a program that is started meanwhile would inherit "ignored", and
nobody could stop it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

_HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)
_STOPPING = (signal.SIGINT, signal.SIGTERM, _HANGUP)
_AGAIN = 0.05
_LOOK = 0.5


class Terminated(KeyboardInterrupt):
    """A signal asked kubernaut to end.

    A ``KeyboardInterrupt``, because asyncio and the standard library let that one pass through at once, and because whoever stops
    children on Ctrl-C thereby stops them on SIGTERM too.

    Args:
        number: The signal.
        lost: Is called when nobody holds the exception any more, whether it was dealt with or dropped.
    """

    def __init__(self, number: int, lost: Callable[[int], None] | None = None) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"Stopped by {name}.")
        self.number = number
        self.exit_status = 128 + number
        self._lost = lost

    def answered(self) -> None:
        """Take note that somebody deals with it: nobody misses it any more."""
        self._lost = None

    def __del__(self) -> None:
        if self._lost is not None:
            self._lost(self.number)


class _Watch:
    """The signals of one command line.

    Attributes:
        stop: The one that stopped the work, once there is one.
        told: Where somebody waits to be told of it.
        over: Whether the work has ended, in whatever way.
    """

    def __init__(self) -> None:
        self.stop: Terminated | None = None
        self.told: SimpleQueue[bool] | None = None
        self.over = False
        self._armed = True
        self._other_hook = sys.unraisablehook

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: the first one raises."""
        if not self._armed:
            return
        self._armed = False
        self.stop = Terminated(number)
        if self.told is not None:
            self.told.put(True)  # a SimpleQueue, because its put may interrupt itself
        raise Terminated(number, self.lost)

    def arm(self) -> None:
        """Let the next signal raise as well."""
        self._armed = True

    def lost(self, number: int) -> None:
        """Send a signal again when its exception was dropped: by a finaliser, a library, or C code such as that of ``input``.

        The main thread would go on as if nothing had been, and no further signal would stop it.
        """
        if not self.over:
            threading.Timer(_AGAIN, self._again, (number,)).start()

    def _again(self, number: int) -> None:
        main = threading.main_thread().ident
        if not self.over and main is not None:
            self._armed = True
            signal.pthread_kill(main, number)

    def ignore(self, ignored: sys.UnraisableHookArgs) -> None:
        """Say nothing of a stop that a finaliser could not raise: it is raised again."""
        if not isinstance(ignored.exc_value, Terminated):
            self._other_hook(ignored)


_watch: _Watch | None = None


def received() -> Terminated | None:
    """Return what a signal stopped the work with; ``None`` when none has."""
    return _watch.stop if _watch is not None else None


def over() -> None:
    """Say that the work has ended, in whatever way: there is nothing any more that a signal should stop."""
    if _watch is not None:
        _watch.over = True


def answer(stop: BaseException) -> None:
    """Say that a stop is answered, by ending in one's own time: it is not raised again, and the next signal raises."""
    if isinstance(stop, Terminated):
        stop.answered()
    if _watch is not None:
        _watch.arm()


def wait() -> None:
    """Wait for a signal, and for nothing else.

    The system hands a signal to any thread, and Python deals with it in the main thread, as soon as that one runs: so it runs now
    and then, and does not only sleep.
    """
    while True:
        time.sleep(_LOOK)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn the signals into :class:`Terminated` while the block runs.

    One that is ignored (nohup, a background job) stays without effect. SIGHUP stays so for what is started too: that is what nohup
    is for. After a signal the handlers stay: the process is about to end, and a further one must not hurry it.
    """
    global _watch
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watch, others, hook = _Watch(), _watch, sys.unraisablehook
    _watch, sys.unraisablehook = watch, watch.ignore
    before = {number: signal.signal(number, handler) for number, handler in _handlers(watch).items()}
    try:
        yield
    finally:
        if watch.stop is None:
            _watch, sys.unraisablehook = others, hook
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def when_stopped(tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` when a signal stops the work while the block runs.

    It is called at once, while the main thread tidies up; and from a thread of its own, because the signal may have interrupted the
    main thread inside the very stream, or with the very lock, that ``tell`` needs.
    """
    if _watch is None:
        yield
        return
    watch, told = _watch, SimpleQueue[bool]()

    def wait() -> None:
        if told.get():
            tell()

    waiting = threading.Thread(target=wait, name="kubernaut-stopping", daemon=True)
    watch.told = told
    waiting.start()
    try:
        yield
    finally:
        watch.told = None
        told.put(False)
        waiting.join()


def _handlers(watch: _Watch) -> dict[signal.Signals, Callable[[int, FrameType | None], None]]:
    found: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {}
    for number in _STOPPING:
        handler = signal.getsignal(number)
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            found[number] = watch.hear
        elif handler is signal.SIG_IGN and number != _HANGUP:
            found[number] = _nothing
    return found


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Do what an ignored signal does; what is started does not inherit it."""
