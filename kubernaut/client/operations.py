"""Operations on the server: their state, their events, and waiting for their end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from pydantic import Field

from kubernaut.client.transport import PATIENT_STOP, Transport, parse
from kubernaut.errors import DeadlineExceeded, OperationNotFound, Unreachable
from kubernaut.events import Event, Listener, LogLine, Notice, StepFinished, StepOutcome, StepStarted
from kubernaut.history.operations import Operation, OperationEvent, is_operation_id
from kubernaut.models import Model

LONG_POLL = 20
"""Seconds for which the server holds a response back until there are new events."""
MAX_DURATION = 2 * 3600.0
"""Seconds to wait for an operation that has no timeout."""
_MARGIN = 600.0
_MIN_POLL = 0.5

_OUTCOMES = {outcome.value: outcome for outcome in StepOutcome}
_STATES = {"succeeded": StepOutcome.DONE, "unchanged": StepOutcome.UNCHANGED}


class NumberedEvent(OperationEvent):
    """An event of an operation; ``seq`` is its number, from 1."""

    seq: int


class EventPage(Model):
    """The events after a number; ``next`` is the number to continue after, ``finished`` that no more will follow."""

    items: tuple[NumberedEvent, ...] = ()
    next: int = Field(ge=0)
    finished: bool


def get_operation(transport: Transport, id: str) -> Operation:
    """Return an operation, without its events. Raises: OperationNotFound."""
    return parse(Operation, transport.get(_path(id), stop=PATIENT_STOP).content)


def iter_events(transport: Transport, id: str, after: int = 0) -> Iterator[NumberedEvent]:
    """Yield the events of an operation as they come, until it is finished.

    Raises:
        DeadlineExceeded: The operation is not finished long after its timeout.
        KubernautError: The server's problem.
    """
    deadline = time.monotonic() + _max_duration(get_operation(transport, id))
    while True:
        asked = time.monotonic()
        query = {"after": after, "wait": LONG_POLL}
        page = parse(EventPage, transport.get(f"{_path(id)}/events", query, wait=LONG_POLL, stop=PATIENT_STOP).content)
        yield from page.items
        if page.finished:
            return
        if asked > deadline:
            raise DeadlineExceeded(f"Operation {id} is not finished long after its timeout.")
        if page.next <= after:  # a server that does not hold responses back is not polled without a pause
            time.sleep(max(_MIN_POLL - (time.monotonic() - asked), 0))
        after = max(page.next, after)


def follow(transport: Transport, id: str, listener: Listener) -> Operation:
    """Send an operation's events to a listener, and return the operation when it is finished.

    Raises:
        KubernautError: The operation's failure, or the server does not answer any more.
    """
    decoder = _EventDecoder()
    try:
        for event in iter_events(transport, id):
            listener(decoder.decode(event))
        operation = get_operation(transport, id)
    except KeyboardInterrupt:
        listener(Notice("server", f"operation {id} continues on {transport.url}"))
        raise
    except Unreachable as failure:
        failure.members.setdefault("operation", id)
        failure.hint = f"Operation {id} may still be running; run the same command again: it does not repeat finished work."
        raise
    for end in decoder.finish(operation):
        listener(end)
    if operation.state not in ("succeeded", "unchanged"):
        raise operation.failure
    return operation


class _EventDecoder:
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


def _path(id: str) -> str:
    if not is_operation_id(id):
        raise OperationNotFound(f"{id!r} is not a valid operation ID.")
    return f"/api/operations/{id}"


def _max_duration(operation: Operation) -> float:
    """Return the seconds that an operation may take: its timeout, the same for a rollback, its wait for the lock, and a margin."""
    lock = (operation.waits_until - operation.started_at).total_seconds() if operation.waits_until else 0.0
    return 2 * operation.timeout + lock + _MARGIN if operation.timeout else MAX_DURATION
