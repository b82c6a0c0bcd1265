"""An operation that a server carries out, as it goes: its events, and then what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from pydantic import Field

from kubernaut.client.reading import Retelling, SaidEvent, read
from kubernaut.client.transport import PATIENT, Exchange
from kubernaut.errors import DeadlineExceeded, OperationNotFound, Unreachable
from kubernaut.events import Listener, Notice
from kubernaut.history.operations import Operation, is_operation_id
from kubernaut.models import Model

WAIT = 20
"""Seconds for which the server is asked to hold an answer back until there is more to tell."""
LONGEST = 2 * 3600.0
"""Seconds for which an operation is followed that does not say how long it may take."""
_MARGIN = 600.0
_SHORTEST_ROUND = 0.5


class Page(Model):
    """The events after one; ``next`` is the number to ask after, ``finished`` says that there will be no more."""

    items: tuple[SaidEvent, ...] = ()
    next: int = Field(ge=0)
    finished: bool


def path_of(operation: str) -> str:
    """Return where an operation is found. Raises: OperationNotFound."""
    if not is_operation_id(operation):
        raise OperationNotFound(f"There is no operation {operation!r}: that is no operation's id.")
    return f"/api/operations/{operation}"


def operation_of(exchange: Exchange, operation: str) -> Operation:
    """Return an operation as it is now, without its events."""
    return read(Operation, exchange.get(path_of(operation), stop=PATIENT).content)


def said(exchange: Exchange, operation: str, after: int = 0) -> Iterator[SaidEvent]:
    """Yield what is said by an operation, until it is finished.

    Raises:
        DeadlineExceeded: It is not finished long after it should have been.
        KubernautError: The server's problem.
    """
    until = time.monotonic() + _longest(operation_of(exchange, operation))
    while True:
        asked = time.monotonic()
        reply = exchange.get(f"{path_of(operation)}/events", {"after": after, "wait": WAIT}, wait=WAIT, stop=PATIENT)
        page = read(Page, reply.content)
        yield from page.items
        if page.finished:
            return
        if asked > until:
            raise DeadlineExceeded(f"The operation {operation} is not finished, and should be.")
        if page.next <= after:  # nothing new: a server that holds no answers back is not asked without a pause
            time.sleep(max(_SHORTEST_ROUND - (time.monotonic() - asked), 0))
        after = max(page.next, after)


def follow(exchange: Exchange, operation: str, listener: Listener) -> Operation:
    """Tell a listener what an operation says, and return it when it is finished.

    Raises:
        KubernautError: What it failed with; or the server cannot be asked any more.
    """
    retelling = Retelling()
    try:
        for event in said(exchange, operation):
            listener(retelling(event))
        ended = operation_of(exchange, operation)
    except KeyboardInterrupt:
        listener(Notice("server", f"{exchange.url} goes on with it: the operation {operation}"))
        raise
    except Unreachable as failure:
        failure.members.setdefault("operation", operation)
        failure.hint = (
            f"The operation {operation} may go on; run the same command again, and what is done already is left as it is."
        )
        raise
    for end in retelling.rest(ended):
        listener(end)
    if ended.state not in ("succeeded", "unchanged"):
        raise ended.failure
    return ended


def _longest(operation: Operation) -> float:
    """Return how many seconds an operation may take at most: its own time, once more to go back, and its place in line."""
    line = (operation.waits_until - operation.started_at).total_seconds() if operation.waits_until else 0.0
    return 2 * operation.timeout + line + _MARGIN if operation.timeout else LONGEST
