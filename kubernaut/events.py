"""Typed progress events of running work.

Work opens a step with :meth:`Progress.step`, adds lines to it, and closes it with an outcome. Nothing here prints: the command line
renders the events, the REST API streams them, an operation records them.
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

from pydantic import Field

from kubernaut.models import Model


class StepOutcome(StrEnum):
    """How a step ended; ``planned``: a dry run found something to do and changed nothing."""

    DONE = "done"
    UNCHANGED = "unchanged"
    PLANNED = "planned"
    FAILED = "failed"


@dataclass(frozen=True)
class StepStarted:
    """A step begins; ``step`` is its name, such as ``build``, ``subject`` the object that it works on."""

    kind: ClassVar[str] = "stepStarted"
    step: str
    subject: str


@dataclass(frozen=True)
class LogLine:
    """A line of the output of a step's tool, without its line end."""

    kind: ClassVar[str] = "logLine"
    step: str
    text: str


@dataclass(frozen=True)
class Notice:
    """A message of kubernaut itself during a step, such as which operation it waits for."""

    kind: ClassVar[str] = "notice"
    step: str
    text: str


@dataclass(frozen=True)
class WorkloadProgress:
    """The state of one object of a release while it rolls out, whenever it changes.

    Attributes:
        step: The name of the step.
        workload: The object, such as ``Deployment web``.
        text: What it does: ``2 of 3 ready · web-7f9 pulling image``.
        ready: Whether it no longer has to be waited for.
    """

    kind: ClassVar[str] = "workloadProgress"
    step: str
    workload: str
    text: str
    ready: bool


@dataclass(frozen=True)
class StepFinished:
    """A step ended; ``detail`` is a line for people, ``seconds`` its wall time."""

    kind: ClassVar[str] = "stepFinished"
    step: str
    outcome: StepOutcome
    detail: str
    seconds: float


Event = StepStarted | LogLine | Notice | WorkloadProgress | StepFinished
Listener = Callable[[Event], None]
StopCheck = Callable[[], bool]
"""Returns whether the running work should stop."""


def ignore_event(event: Event) -> None:
    """Ignore an event: the default listener."""


def never_stop() -> bool:
    """Never stop: the default stop check."""
    return False


class Step:
    """An open step: takes lines, notices and an outcome."""

    def __init__(self, name: str, listener: Listener) -> None:
        self.name = name
        self._listener = listener
        self.outcome = StepOutcome.DONE
        self.detail = ""

    def log(self, text: str) -> None:
        """Add a line of the output of the step's tool."""
        self._listener(LogLine(self.name, text.rstrip("\r\n")))

    def notice(self, text: str) -> None:
        """Add a message of kubernaut itself."""
        self._listener(Notice(self.name, text))

    def workload(self, workload: str, text: str, *, ready: bool) -> None:
        """Add the state of an object of the release; see :class:`WorkloadProgress`."""
        self._listener(WorkloadProgress(self.name, workload, text, ready))

    def done(self, detail: str) -> None:
        """Set the outcome to done; ``detail`` describes the result."""
        self.outcome, self.detail = StepOutcome.DONE, detail

    def unchanged(self, detail: str) -> None:
        """Set the outcome to unchanged; ``detail`` gives the reason."""
        self.outcome, self.detail = StepOutcome.UNCHANGED, detail

    def planned(self, detail: str) -> None:
        """Set the outcome to planned, on a dry run; ``detail`` describes the change."""
        self.outcome, self.detail = StepOutcome.PLANNED, detail


class Progress:
    """Opens steps and reports them to its ``listener``."""

    def __init__(self, listener: Listener = ignore_event, clock: Callable[[], float] = time.monotonic) -> None:
        self.listener = listener
        self._clock = clock

    def notice(self, step: str, text: str) -> None:
        """Report a message outside a step; ``step`` names the verb."""
        self.listener(Notice(step, text))

    @contextmanager
    def step(self, name: str, subject: str) -> Iterator[Step]:
        """Open a step that ends with the block; it has failed if the block raises."""
        started = self._clock()
        step = Step(name, self.listener)
        self.listener(StepStarted(name, subject))
        try:
            yield step
        except BaseException as failure:
            self.listener(StepFinished(name, StepOutcome.FAILED, str(failure).split("\n", 1)[0], self._clock() - started))
            raise
        self.listener(StepFinished(name, step.outcome, step.detail, self._clock() - started))


@dataclass(frozen=True)
class RecordedEvent:
    """An event and its time, in UTC."""

    at: datetime
    event: Event


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Journal:
    """A listener that records events and passes them on to the next one; may be called by several threads.

    It keeps the first 50 and the last 500 events, with the clock's time, and counts those between.
    """

    FIRST = 50
    LAST = 500

    def __init__(self, listener: Listener = ignore_event, clock: Callable[[], datetime] = _utc_now) -> None:
        self._listener = listener
        self._clock = clock
        self._first: list[RecordedEvent] = []
        self._last: deque[RecordedEvent] = deque(maxlen=self.LAST)
        self._count = 0
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Record an event and pass it on."""
        with self._lock:
            self._count += 1
            kept = self._first if len(self._first) < self.FIRST else self._last
            kept.append(RecordedEvent(self._clock(), event))
        self._listener(event)

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """The kept events, in order."""
        with self._lock:
            return (*self._first, *self._last)

    @property
    def left_out(self) -> int:
        """The number of events between the first and the last that were not kept."""
        with self._lock:
            return self._count - len(self._first) - len(self._last)


class OperationEvent(Model):
    """An event of an operation: ``kind`` is the event's, ``text`` its subject, line, state or outcome, redacted."""

    at: datetime
    step: str
    kind: str
    text: str


class NumberedEvent(OperationEvent):
    """An event of an operation; ``seq`` counts from 1 over all events, including those that were not kept."""

    seq: int


class Events(Model):
    """The events after a given one.

    Attributes:
        next: The number to pass as ``after`` in the next request.
        finished: Whether the operation has finished: then no events follow ``next``.
    """

    items: tuple[NumberedEvent, ...]
    next: int = Field(ge=0)
    finished: bool
