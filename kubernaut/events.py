"""Typed progress: what the rooms say while they work.

A room opens a step with :meth:`Progress.step`, adds lines to it, and closes it with what came of it. Nothing here prints: the
command line renders the events, the REST door streams them, an operation keeps them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar


class StepOutcome(StrEnum):
    """How a step ended; ``planned``: a dry run found something to do, and changed nothing."""

    DONE = "done"
    UNCHANGED = "unchanged"
    PLANNED = "planned"
    FAILED = "failed"


@dataclass(frozen=True)
class StepStarted:
    """A step begins: ``step`` is its name (one word, such as ``build``), ``subject`` what it works on."""

    kind: ClassVar[str] = "stepStarted"
    step: str
    subject: str


@dataclass(frozen=True)
class LogLine:
    """A line that a step's tool said; without its line end."""

    kind: ClassVar[str] = "logLine"
    step: str
    text: str


@dataclass(frozen=True)
class Notice:
    """What kubernaut itself has to say while a step runs, and a person should hear: for whom it waits, what it puts in order."""

    kind: ClassVar[str] = "notice"
    step: str
    text: str


@dataclass(frozen=True)
class StepFinished:
    """A step ended; ``detail`` is a line for a person, ``seconds`` its wall time."""

    kind: ClassVar[str] = "stepFinished"
    step: str
    outcome: StepOutcome
    detail: str
    seconds: float


Event = StepStarted | LogLine | Notice | StepFinished
Listener = Callable[[Event], None]
Stopped = Callable[[], bool]
"""Is asked while a step runs whether it shall be stopped."""


def ignore(event: Event) -> None:
    """Listen to nothing."""


def never() -> bool:
    """Let what was begun come to its end."""
    return False


class Step:
    """An open step; its room adds lines and says what came of it."""

    def __init__(self, name: str, listener: Listener) -> None:
        self._name = name
        self._listener = listener
        self.outcome = StepOutcome.DONE
        self.detail = ""

    def log(self, text: str) -> None:
        """Add a line that the step's tool said."""
        self._listener(LogLine(self._name, text.rstrip("\r\n")))

    def say(self, text: str) -> None:
        """Say something that a person should hear."""
        self._listener(Notice(self._name, text))

    def done(self, detail: str) -> None:
        """Say what the step did."""
        self.outcome, self.detail = StepOutcome.DONE, detail

    def unchanged(self, detail: str) -> None:
        """Say why the step had nothing to do."""
        self.outcome, self.detail = StepOutcome.UNCHANGED, detail

    def planned(self, detail: str) -> None:
        """Set what the step would do, on a dry run."""
        self.outcome, self.detail = StepOutcome.PLANNED, detail


class Progress:
    """Opens steps and tells a listener of them."""

    def __init__(self, listener: Listener = ignore, clock: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._clock = clock

    @property
    def listener(self) -> Listener:
        """Who is told of the steps."""
        return self._listener

    @contextmanager
    def step(self, name: str, subject: str) -> Iterator[Step]:
        """Open a step; it ends with the block, as failed if the block raises."""
        started = self._clock()
        step = Step(name, self._listener)
        self._listener(StepStarted(name, subject))
        try:
            yield step
        except BaseException as failure:
            self._listener(StepFinished(name, StepOutcome.FAILED, str(failure).split("\n", 1)[0], self._clock() - started))
            raise
        self._listener(StepFinished(name, step.outcome, step.detail, self._clock() - started))


@dataclass(frozen=True)
class RecordedEvent:
    """An event, and when it was heard."""

    at: datetime
    event: Event


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Journal:
    """A listener that keeps what it hears, and passes it on to the next one.

    Of much it keeps the beginning and the end, and counts what was between. Steps may speak from several threads.

    Args:
        listener: The next one.
        clock: The time.
    """

    FIRST = 50
    LAST = 500

    def __init__(self, listener: Listener = ignore, clock: Callable[[], datetime] = _utc_now) -> None:
        self._listener = listener
        self._clock = clock
        self._first: list[RecordedEvent] = []
        self._last: deque[RecordedEvent] = deque(maxlen=self.LAST)
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Keep an event and pass it on."""
        with self._lock:
            self._count += 1
            kept = self._first if len(self._first) < self.FIRST else self._last
            kept.append(RecordedEvent(self._clock(), event))
        self._listener(event)

    @property
    def heard(self) -> tuple[RecordedEvent, ...]:
        """What was heard, in order; the first and the last of it."""
        with self._lock:
            return (*self._first, *self._last)

    @property
    def left_out(self) -> int:
        """How many events were heard and not kept; they were between the first and the last."""
        with self._lock:
            return self._count - len(self._first) - len(self._last)
