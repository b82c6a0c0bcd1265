"""Sends statuses to GitHub beside the work: one thread, one status after the other, of each context only the newest.

What may have another end soon is tried again: as long as nothing newer is to be told of the same, not before GitHub says so, and
not beyond the time that whoever waits for it has.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from tenacity import RetryCallState, Retrying, retry_if_exception

from kubernaut.adapters.github import CommitStatus, NotTold

Send = Callable[[CommitStatus, float], None]
"""Sends a status, within as many seconds. Raises: NotTold."""

REQUEST_SECONDS = 5.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_NO_ANSWER = "no answer in time"


class Untold(NamedTuple):
    """A status that GitHub does not know, and why."""

    status: CommitStatus
    reason: str


class _Superseded(Exception):
    """Something newer is to be told, or nobody waits any more."""


class StatusClient:
    """Sends what it is told, until it is told to finish.

    Args:
        send: Sends one.
        clock: Seconds.
    """

    def __init__(self, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._waiting: dict[str, CommitStatus] = {}
        self._sending: CommitStatus | None = None
        self._untold: dict[str, Untold] = {}
        self._limited = ("", -math.inf)
        self._deadline = math.inf
        self._finishing = self._over = False
        self._thread: threading.Thread | None = None
        self._news = threading.Condition()

    @property
    def began(self) -> bool:
        """Whether there was anything to tell."""
        return self._thread is not None or bool(self._untold)

    def tell(self, status: CommitStatus) -> None:
        """Let a status be sent; one of the same context that has not been is not sent any more."""
        with self._news:
            self._waiting.pop(status.context, None)
            self._waiting[status.context] = status
            if self._thread is None:
                self._start()
            self._news.notify_all()

    def finish(self, seconds: float) -> tuple[Untold, ...]:
        """Wait until all is sent, or the time is over; return what was not sent. Nothing is sent afterwards."""
        with self._news:
            self._deadline = min(self._deadline, self._clock() + seconds)
            self._finishing = True
            self._news.notify_all()
            self._news.wait_for(lambda: not self._waiting and self._sending is None, max(self._deadline - self._clock(), 0.0))
            self._over = True
            self._news.notify_all()
            left = [*self._waiting.values(), *filter(None, (self._sending,))]
            why = {untold.status.context: untold.reason for untold in self._untold.values()}
            late = {status.context: Untold(status, why.get(status.context, _NO_ANSWER)) for status in left[::-1]}
            return tuple({**self._untold, **late}.values())

    def _start(self) -> None:
        # A daemon: a GitHub that never answers must not keep the process from ending.
        thread = threading.Thread(target=self._work, name="kubernaut-github", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no more of them
            self._untold |= {context: Untold(status, str(error)) for context, status in self._waiting.items()}
            self._waiting.clear()
        else:
            self._thread = thread

    def _work(self) -> None:
        while (status := self._next()) is not None:
            reason = self._attempts(status)
            with self._news:
                self._sending = None
                self._note(status, reason)
                self._news.notify_all()

    def _next(self) -> CommitStatus | None:
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._finishing or self._over)
            if self._over or not self._waiting:
                return None
            self._sending = self._waiting.pop(next(iter(self._waiting)))
            return self._sending

    def _attempts(self, status: CommitStatus) -> str | None:
        """Send a status; return why it was not, if it was not."""
        again = retry_if_exception(lambda error: isinstance(error, NotTold) and error.passing)
        retrying = Retrying(
            retry=again, wait=_pause, stop=self._is_late, sleep=lambda seconds: self._sleep(seconds, status), reraise=True
        )
        try:
            retrying(self._once, status)
        except _Superseded:
            return None
        except NotTold as failure:
            return failure.reason
        except Exception as defect:  # noqa: BLE001 - it is said like any other reason, and fails nothing
            return f"a defect in kubernaut ({type(defect).__name__})"
        return None

    def _once(self, status: CommitStatus) -> None:
        with self._news:
            if self._is_idle(status):
                raise _Superseded
            now, (reason, not_before) = self._clock(), self._limited
            left = min(REQUEST_SECONDS, max(self._deadline - now, 0.1))
        if not_before > now:
            raise NotTold(reason, passing=True, wait=not_before - now)
        try:
            self._send(status, left)
        except NotTold as failure:
            with self._news:
                self._note(status, failure.reason)
                if failure.wait is not None:
                    self._limited = (failure.reason, self._clock() + failure.wait)
            raise

    def _note(self, status: CommitStatus, reason: str | None) -> None:
        if reason is None:
            self._untold.pop(status.context, None)
        elif not self._over:
            self._untold[status.context] = Untold(status, reason)

    def _is_idle(self, status: CommitStatus) -> bool:
        return self._over or status.context in self._waiting

    def _is_late(self, state: RetryCallState) -> bool:
        return self._clock() + state.upcoming_sleep > self._deadline

    def _sleep(self, seconds: float, status: CommitStatus) -> None:
        """Sleep; not when something newer is to be told, and not beyond the time that there is."""
        until = self._clock() + seconds
        with self._news:
            self._news.wait_for(lambda: self._is_idle(status) or self._deadline < until, seconds)


def _pause(state: RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    wait = failure.wait if isinstance(failure, NotTold) else None
    return min(_FIRST_PAUSE * 2 ** min(state.attempt_number - 1, 10), _LONGEST_PAUSE) if wait is None else wait
