"""SIGINT, SIGTERM and SIGHUP raise :class:`Terminated` in the main thread, once, so that the work is stopped and cleaned up.

Later signals do nothing, so that they cannot interrupt the cleanup. If the exception is lost on its way, it is raised again. A
server that shuts down in its own time calls :func:`acknowledge`; then the second signal raises too. During the work no signal is
set to SIG_IGN: child processes would inherit it, and nothing could stop them.
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

_SIGHUP = getattr(signal, "SIGHUP", signal.SIGTERM)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, _SIGHUP)
_RESEND_SECONDS = 0.05
_POLL_SECONDS = 0.5

Handler = Callable[[int, FrameType | None], None]


class Terminated(KeyboardInterrupt):
    """A signal that asks kubernaut to end.

    It is a ``KeyboardInterrupt``, which asyncio and the standard library pass on at once, and on which they stop child processes.

    Args:
        number: The signal.
        on_lost: Called with the number when the exception is freed without :meth:`acknowledged`.
    """

    def __init__(self, number: int, on_lost: Callable[[int], None] | None = None) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"Stopped by {name}.")
        self.number = number
        self.exit_status = 128 + number
        self._on_lost = on_lost

    def acknowledged(self) -> None:
        """Do not raise the signal again."""
        self._on_lost = None

    def __del__(self) -> None:
        if self._on_lost is not None:
            self._on_lost(self.number)


class _SignalState:
    """The signals of one command.

    Attributes:
        stop: The exception of the first signal.
        queue: Receives ``True`` on the first signal.
        finished: Whether the work has ended.
    """

    def __init__(self) -> None:
        self.stop: Terminated | None = None
        self.queue: SimpleQueue[bool] | None = None
        self.finished = False
        self._armed = True
        self._previous_hook = sys.unraisablehook

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: the first one raises."""
        if not self._armed:
            return
        self._armed = False
        self.stop = Terminated(number)
        if self.queue is not None:
            self.queue.put(True)  # a SimpleQueue, because put() must be reentrant
        raise Terminated(number, self.resend)

    def arm(self) -> None:
        """Let the next signal raise too."""
        self._armed = True

    def resend(self, number: int) -> None:
        """Send a signal again whose exception was dropped by a finalizer, a library, or C code such as that of ``input``."""
        if not self.finished:
            threading.Timer(_RESEND_SECONDS, self._send, (number,)).start()

    def _send(self, number: int) -> None:
        main = threading.main_thread().ident
        if not self.finished and main is not None:
            self._armed = True
            signal.pthread_kill(main, number)

    def unraisable(self, ignored: sys.UnraisableHookArgs) -> None:
        """Report an exception that a finalizer could not raise, except a signal, which is sent again."""
        if not isinstance(ignored.exc_value, Terminated):
            self._previous_hook(ignored)


_state: _SignalState | None = None


def received_signal() -> Terminated | None:
    """Return the exception of the signal that stopped the work; ``None`` if none did."""
    return _state.stop if _state is not None else None


def finish() -> None:
    """Mark the work as ended: a signal has nothing left to stop, and is not sent again."""
    if _state is not None:
        _state.finished = True


def acknowledge(stop: BaseException) -> None:
    """Accept a signal by shutting down in one's own time: it is not raised again, and the next one raises."""
    if isinstance(stop, Terminated):
        stop.acknowledged()
    if _state is not None:
        _state.arm()


def wait_for_signal() -> None:
    """Block until a signal raises.

    The system may deliver a signal to any thread, but Python runs handlers in the main thread only: it must wake up now and then.
    """
    while True:
        time.sleep(_POLL_SECONDS)


@contextmanager
def handle_signals() -> Iterator[None]:
    """Convert signals to :class:`Terminated` while the block runs.

    Signals that are ignored at the start (nohup, background jobs) stay without effect; child processes inherit that for SIGHUP
    only, as nohup intends. After a signal has ended the block, all of them are ignored until the process exits: Python restores the
    default handlers while it shuts down, and a repeated Ctrl-C would replace the exit status.
    """
    global _state
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    state, outer, hook = _SignalState(), _state, sys.unraisablehook
    _state, sys.unraisablehook = state, state.unraisable
    previous = {number: signal.signal(number, handler) for number, handler in _handlers(state).items()}
    try:
        yield
    finally:
        if state.stop is None:
            _state, sys.unraisablehook = outer, hook
        for number, handler in previous.items():
            signal.signal(number, handler if state.stop is None else signal.SIG_IGN)


@contextmanager
def on_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Call a function when a signal stops the block.

    It is called at once, during the cleanup, and in another thread: the signal may have interrupted the main thread while it held a
    lock or wrote to a stream that the function needs.
    """
    if _state is None:
        yield
        return
    state, queue = _state, SimpleQueue[bool]()

    def run() -> None:
        if queue.get():
            callback()

    thread = threading.Thread(target=run, name="kubernaut-signal", daemon=True)
    state.queue = queue
    thread.start()
    try:
        yield
    finally:
        state.queue = None
        queue.put(False)
        thread.join()


def _handlers(state: _SignalState) -> dict[signal.Signals, Handler]:
    handlers: dict[signal.Signals, Handler] = {}
    for number in _SIGNALS:
        current = signal.getsignal(number)
        if current in (signal.SIG_DFL, signal.default_int_handler):
            handlers[number] = state.handle
        elif current is signal.SIG_IGN and number != _SIGHUP:
            handlers[number] = _ignore
    return handlers


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Ignore a signal without SIG_IGN, which child processes would inherit."""
