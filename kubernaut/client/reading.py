"""What the server says, as the library's own types. Pure.

A newer server may tell more than is known here: what is not known is passed over, in one place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from kubernaut.errors import Unreachable
from kubernaut.events import Event, LogLine, Notice, StepFinished, StepOutcome, StepStarted
from kubernaut.history.operations import Operation, OperationEvent
from kubernaut.models import Model

M = TypeVar("M", bound=Model)

_OUTCOMES = {outcome.value: outcome for outcome in StepOutcome}
_STATES = {"succeeded": StepOutcome.DONE, "unchanged": StepOutcome.UNCHANGED}


class SaidEvent(OperationEvent):
    """Something that was said on the way; ``seq`` is its number, from 1."""

    seq: int


def read(model: type[M], content: Mapping[str, Any]) -> M:
    """Return what was told; fields that are not known are passed over.

    Raises:
        Unreachable: It is not what it should be.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        unknown = [found["loc"] for found in error.errors() if found["type"] == "extra_forbidden"]
    known = copy.deepcopy(dict(content))
    for where in unknown:
        _drop(known, where)
    try:
        return model.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Unreachable(
            f"The server tells of {model.__name__.lower()} what is not understood here ({place}: {first['msg']}).",
            hint="Is it a newer kubernaut? Use the same version here.",
        ) from error


def _drop(content: Any, where: tuple[int | str, ...]) -> None:
    for step in where[:-1]:
        content = content[step]
    del content[where[-1]]


class Retelling:
    """Turns what an operation keeps back into the events that were heard."""

    def __init__(self) -> None:
        self._open: dict[str, datetime] = {}

    def __call__(self, said: OperationEvent) -> Event:
        """Return the event; one of a kind that is not known here is told as a notice."""
        if said.kind == StepStarted.kind:
            self._open[said.step] = said.at
            return StepStarted(said.step, said.text)
        if said.kind == StepFinished.kind:
            word, _, detail = said.text.partition(" ")
            outcome = _OUTCOMES.get(word, StepOutcome.DONE)
            return StepFinished(said.step, outcome, detail, self._took(said.step, said.at))
        return LogLine(said.step, said.text) if said.kind == LogLine.kind else Notice(said.step, said.text)

    def rest(self, operation: Operation) -> Iterator[StepFinished]:
        """Yield the ends of the steps that no end was told of: they ended with the operation."""
        outcome = _STATES.get(operation.state, StepOutcome.FAILED)
        detail = operation.outcome.message.partition("\n")[0] if operation.outcome else ""
        for step, begun in reversed(tuple(self._open.items())):
            yield StepFinished(step, outcome, detail, self._took(step, operation.finished_at or begun))

    def _took(self, step: str, at: datetime) -> float:
        return max((at - self._open.pop(step, at)).total_seconds(), 0.0)
