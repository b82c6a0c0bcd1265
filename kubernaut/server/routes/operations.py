"""The calls that tell of operations: how far one is, and what it says; as JSON on a long poll, or as server-sent events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from kubernaut.errors import OperationNotFound, Unreachable
from kubernaut.models import Model
from kubernaut.server.auth.caller import Role
from kubernaut.server.auth.scope import require
from kubernaut.server.http.routing import EVENT_STREAM, JSON, Answer, Header, Parameter, Request, Response, Route
from kubernaut.server.metrics import Measured
from kubernaut.server.operations.following import Events, Followed, OperationStatus
from kubernaut.server.operations.prefer import prefers_stream
from kubernaut.server.operations.waiting import Seat, WaiterLimit

if TYPE_CHECKING:
    from kubernaut.history.operations import Operation
    from kubernaut.server.service import Service

LONGEST_POLL = 60
_RETRY_MILLISECONDS = 2000


@dataclass(frozen=True)
class Timing:
    """How long things last, in seconds.

    Attributes:
        heartbeat: The longest silence of a stream, so that nobody on the way takes it for dead.
        longest: How long a stream lasts; then the client connects anew, and goes on where it was.
        look_again: Between two looks at what another server has written.
    """

    heartbeat: float = 15.0
    longest: float = 300.0
    look_again: float = 0.25


class EventsQuery(Model):
    """What is asked of an operation's events."""

    after: int = Field(default=0, ge=0, le=2**53, description="The number of the last event that is known already.")
    wait: int = Field(default=0, ge=0, le=LONGEST_POLL, description="Seconds to wait for an event, where there is none yet.")


def routes(service: Service, timing: Timing = Timing()) -> tuple[Route, ...]:
    """Return the routes."""
    service.metrics.measure(Measured.EVENT_STREAMS, service.workers.waiting.taken)

    def show(request: Request) -> Response:
        return Response(body=_followed(request, service, timing).status)

    def events(request: Request) -> Response:
        followed, seats = _followed(request, service, timing), service.workers.waiting
        if not prefers_stream(request.headers.get("accept")):
            return Response(body=_polled(followed, request.query, seats))
        after = _last_event(request)
        stream = Stream(_frames(followed, after, timing), seats.take())
        return Response(body=stream, headers={"X-Accel-Buffering": "no"}, media_type=EVENT_STREAM)

    return (
        Route(
            method="GET",
            path="/api/operations/{id}",
            name="getOperation",
            summary="Returns an operation: who, what, how far it is, and what came of it.",
            handler=show,
            answers={200: Answer("The operation.", OperationStatus)},
            problems=(404, 503),
            role=Role.READ,
            parameters=(_ID,),
        ),
        Route(
            method="GET",
            path="/api/operations/{id}/events",
            name="getOperationEvents",
            summary="Returns what an operation says: what is new, or all of it as it comes where `text/event-stream` is preferred.",
            handler=events,
            answers={200: Answer("The events.", Events, {"X-Accel-Buffering": "`no`, for a stream."}, (JSON, EVENT_STREAM))},
            problems=(404, 503),
            role=Role.READ,
            parameters=(_ID,),
            query=EventsQuery,
            headers=(Header("Last-Event-ID", "The number of the last event that a broken stream sent.", pattern=r"[0-9]{1,15}"),),
        ),
    )


_ID = Parameter("id", "The operation's id.", pattern=r"[0-9a-z]{26}", example="01kag0000000000000000000zz")


def _followed(request: Request, service: Service, timing: Timing) -> Followed:
    operation = _find(request.parameters["id"], service)
    require(operation.namespace, request.caller, service.namespaces)
    return Followed(service, operation, look_again=timing.look_again)


def _find(id: str, service: Service) -> Operation:
    """Return an operation; one that runs here is known even where the index knows nothing."""
    running = service.workers.find(id)
    try:
        return service.index.operation(id)
    except (OperationNotFound, Unreachable):
        if running is None:
            raise
        return running.operation


# as JSON


def _polled(followed: Followed, query: EventsQuery, seats: WaiterLimit) -> Events:
    said = followed.events(query.after)
    if said.items or said.finished or not query.wait:
        return said
    with seats.take():
        return followed.events(query.after, query.wait)


# as server-sent events


class Stream(Iterator[bytes]):
    """What is sent bit by bit; whoever waits for it keeps a seat until it ends or is closed, begun or not."""

    def __init__(self, frames: Iterator[bytes], seat: Seat) -> None:
        self._frames = frames
        self._seat = seat

    def __next__(self) -> bytes:
        try:
            return next(self._frames)
        except BaseException:
            self._seat.leave()
            raise

    def close(self) -> None:
        """Let somebody else wait."""
        self._seat.leave()


def _last_event(request: Request) -> int:
    """Return the last event that the client has: what a broken stream sent counts more than where it began."""
    query: EventsQuery = request.query
    return int(request.headers.get("last-event-id") or query.after)


def _frames(followed: Followed, after: int, timing: Timing) -> Iterator[bytes]:
    until = time.monotonic() + timing.longest
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    while (left := until - time.monotonic()) > 0 and not followed.given_up:
        said = followed.events(after, min(timing.heartbeat, left))
        for event in said.items:
            yield _frame(event.kind, event, event.seq)
        after = said.next
        if said.finished:
            yield _frame("finished", followed.status)
            return
        if not said.items:
            yield b": still running\n\n"


def _frame(kind: str, data: Model, seq: int | None = None) -> bytes:
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {kind}\ndata: {data.model_dump_json(by_alias=True)}\n\n".encode()
