"""Typed progress: what the rooms say while they work.

A room opens a step with :meth:`Progress.step`, adds lines to it, and closes it with what came of it. Nothing here prints: the
command line renders the events, the REST door streams them, an operation keeps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class StepOutcome(StrEnum):
    """What came of a step."""

    DONE = "done"
    UNCHANGED = "unchanged"
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
class StepFinished:
    """A step ended; ``detail`` is a line for a person, ``seconds`` its wall time."""

    kind: ClassVar[str] = "stepFinished"
    step: str
    outcome: StepOutcome
    detail: str
    seconds: float


Event = StepStarted | LogLine | StepFinished
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""


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

    def done(self, detail: str) -> None:
        """Say what the step did."""
        self.outcome, self.detail = StepOutcome.DONE, detail

    def unchanged(self, detail: str) -> None:
        """Say why the step had nothing to do."""
        self.outcome, self.detail = StepOutcome.UNCHANGED, detail


class Progress:
    """Opens steps and tells a listener of them."""

    def __init__(self, listener: Listener = ignore, clock: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._clock = clock

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
