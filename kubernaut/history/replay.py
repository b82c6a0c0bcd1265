"""The events of an operation or a watch, as its listener received them, from those that are stored or sent. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pydantic import Field

from kubernaut.events import (
    Event,
    LogLine,
    Notice,
    NumberedEvent,
    OperationEvent,
    StepFinished,
    StepOutcome,
    StepStarted,
    WorkloadProgress,
)
from kubernaut.history.operations import Operation
from kubernaut.history.releases import Release
from kubernaut.models import Model, Plan

_OUTCOMES = {outcome.value: outcome for outcome in StepOutcome}
_STATES = {"succeeded": StepOutcome.DONE, "unchanged": StepOutcome.UNCHANGED}


class WatchPage(Model):
    """The events of a watched release after a given one, and the result once the watch has finished.

    Attributes:
        watch: Identifies the watch; a different one than before has other events, all of which are returned.
        next: The number to pass as ``after`` in the next request.
        finished: Whether the operation has ended, or the release is ready or has failed.
        changed: Whether an operation ended that has changed the release.
        plan: The plan of the operation, or why none was followed.
        release: The release afterwards.
        problem: The failure, as an RFC 9457 problem.
    """

    watch: str
    items: tuple[NumberedEvent, ...] = ()
    next: int = Field(ge=0)
    finished: bool
    changed: bool = False
    plan: Plan | None = None
    release: Release | None = None
    problem: dict[str, Any] | None = None


class EventDecoder:
    """Turns the events of an operation back into those that its listener received."""

    def __init__(self) -> None:
        self._open: dict[str, datetime] = {}

    def decode(self, event: OperationEvent) -> Event:
        """Return the event; one of an unknown kind becomes a notice."""
        if event.kind == StepStarted.kind:
            self._open[event.step] = event.at
            return StepStarted(event.step, event.text)
        if event.kind == StepFinished.kind:
            word, _, detail = event.text.partition(" ")
            outcome = _OUTCOMES.get(word, StepOutcome.DONE)
            return StepFinished(event.step, outcome, detail, self._close(event.step, event.at))
        if event.kind == WorkloadProgress.kind:
            word, _, state = event.text.partition(" ")
            workload, _, text = state.partition(": ")
            return WorkloadProgress(event.step, workload, text, ready=word == "ready")
        return LogLine(event.step, event.text) if event.kind == LogLine.kind else Notice(event.step, event.text)

    def finish(self, operation: Operation) -> Iterator[StepFinished]:
        """Yield the end of each open step: it ended with the operation."""
        outcome = _STATES.get(operation.state, StepOutcome.FAILED)
        detail = operation.outcome.message.partition("\n")[0] if operation.outcome else ""
        for step, started in reversed(tuple(self._open.items())):
            yield StepFinished(step, outcome, detail, self._close(step, operation.finished_at or started))

    def _close(self, step: str, at: datetime) -> float:
        """Return the seconds that a step took."""
        return max((at - self._open.pop(step, at)).total_seconds(), 0.0)
