"""How far an operation is, wherever it runs: on this server it tells so itself, of another server's the cluster tells.

The other server writes down every few seconds what was said so far; the index hears of it, and whoever waits here looks there, in
memory. No request to the API server is made by waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field

from kubernaut.ci import CiBuild
from kubernaut.errors import KubernautError
from kubernaut.history.operations import (
    Operation,
    OperationChart,
    OperationEvent,
    Outcome,
    ReleaseReference,
    State,
    numbered_events,
)
from kubernaut.models import Model, Plan
from kubernaut.server.operations.workers import Numbered, Running

if TYPE_CHECKING:
    from kubernaut.server.service import Service

LOOK_AGAIN_SECONDS = 0.25
_UNFINISHED = frozenset({"accepted", "running"})


class OperationStatus(Model):
    """One attempt to write, without what was said on the way.

    Attributes:
        state: How far it is; once it has ended, ``outcome`` says what came of it.
        waits_until: Until when it may begin, if it has not.
        made: The releases that it made or ended, in order.
    """

    id: str
    state: State
    verb: str
    namespace: str
    name: str
    actor: str | None = None
    build: CiBuild | None = None
    note: str | None = None
    environment: str | None = None
    commit: str | None = None
    chart: OperationChart | None = None
    plan: Plan = Plan()
    timeout: float | None = None
    started_at: datetime
    waits_until: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    made: tuple[ReleaseReference, ...] = ()


class NumberedEvent(OperationEvent):
    """Something that was said on the way; ``seq`` counts from 1 over all that was said, whether it was kept or not."""

    seq: int


class Events(Model):
    """What was said after an event's number.

    Attributes:
        next: The number to ask after next.
        finished: Whether the operation has ended: then nothing comes after ``next``.
    """

    items: tuple[NumberedEvent, ...]
    next: int = Field(ge=0)
    finished: bool


class Followed:
    """An operation that somebody wants to know the progress of.

    Args:
        service: What the routes work with.
        known: What is known of the operation already.
        look_again: Seconds between two looks at what another server has written.
    """

    def __init__(self, service: Service, known: Operation, *, look_again: float = LOOK_AGAIN_SECONDS) -> None:
        self._service = service
        self._look_again = look_again
        self.running: Running | None = service.workers.find(known.id)
        self._known = self.running.operation if self.running and self._is_early(known) else known

    @property
    def operation(self) -> Operation:
        """The operation, as the cluster tells of it."""
        if self._known.state in _UNFINISHED:
            with suppress(KubernautError):  # it is gone, or the cluster does not answer: nobody knows more than is known already
                found = self._service.index.operation(self._known.id)
                self._known = self._known if self._is_early(found) else found
        return self._known

    @property
    def given_up(self) -> bool:
        """Whether waiting here makes no sense any more: the server is about to end, and the operation is not its own."""
        return self.running is None and self._service.workers.stopping

    @property
    def status(self) -> OperationStatus:
        """The operation as the door tells of it; what runs here is not behind what the cluster knows."""
        operation = self.operation
        told = {name: getattr(operation, name) for name in OperationStatus.model_fields if name != "state"}
        return OperationStatus(**told, state=self._state(operation))

    def wait_done(self, seconds: float) -> bool:
        """Wait until the operation has ended, or the time is over; say whether it has."""
        if self.running is not None:
            return self.running.wait_done(seconds)
        return self._wait(lambda: self.operation.state not in _UNFINISHED, seconds)

    def events(self, after: int, seconds: float = 0.0) -> Events:
        """Return what was said after an event's number; where nothing was, wait until something is, or the end, or time is over."""
        said, finished = self._wait_for(after, seconds)
        items = tuple(NumberedEvent(seq=seq, **dict(event)) for seq, event in said)
        return Events(items=items, next=items[-1].seq if items else after, finished=finished)

    def _is_early(self, found: Operation) -> bool:
        """Say whether it ends in the cluster before it ends here: only with the latter is all told, and found in every list."""
        return self.running is not None and not self.running.done and found.state not in _UNFINISHED

    def _state(self, operation: Operation) -> State:
        if self.running is None or operation.state not in _UNFINISHED:
            return operation.state
        result = self.running.result if self.running.done else None
        if result is None:
            return "running"
        return "failed" if isinstance(result, KubernautError) else "succeeded" if result.changed else "unchanged"

    def _wait_for(self, after: int, seconds: float) -> tuple[tuple[Numbered, ...], bool]:
        if self.running is not None:
            return self.running.wait_for(after, seconds)
        self._wait(lambda: bool(self._said(after)) or self.operation.state not in _UNFINISHED, seconds)
        finished = self.operation.state not in _UNFINISHED  # first: what is said until then, the line below has
        return self._said(after), finished

    def _said(self, after: int) -> tuple[Numbered, ...]:
        return tuple(one for one in numbered_events(self.operation) if one[0] > after)

    def _wait(self, ended: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not ended():
            left = until - time.monotonic()
            if left <= 0 or self.given_up:
                return False
            time.sleep(min(self._look_again, left))
        return True
