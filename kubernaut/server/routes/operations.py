"""The routes that report on operations: their progress, and their events as JSON with a long poll or as server-sent events."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from kubernaut.errors import OperationNotFound, Unreachable
from kubernaut.events import Events
from kubernaut.models import Model
from kubernaut.server.auth.access import require_access
from kubernaut.server.metrics import GaugeName
from kubernaut.server.operations.execution import HEADER_ELEMENT
from kubernaut.server.operations.progress import POLL_SECONDS, OperationFollower, OperationStatus
from kubernaut.server.operations.workers import WaiterLimit
from kubernaut.server.routes.releases import MAX_POLL_SECONDS
from kubernaut.server.routing import EVENT_STREAM, JSON, Header, Parameter, Request, Response, ResponseSpec, Route

if TYPE_CHECKING:
    from kubernaut.history.operations import Operation
    from kubernaut.server.routing import ServerContext

_RETRY_MILLISECONDS = 2000
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


@dataclass(frozen=True)
class StreamTiming:
    """The timing of event streams, in seconds.

    Attributes:
        heartbeat: The longest silence, so that proxies keep the connection.
        max_duration: The duration of a stream; the client then reconnects and continues.
        poll: Between two reads of another server's records.
    """

    heartbeat: float = 15.0
    max_duration: float = 300.0
    poll: float = POLL_SECONDS


class EventsQuery(Model):
    """The query of the events route."""

    after: int = Field(default=0, ge=0, le=2**53, description="The number of the last event that the client has.")
    wait: int = Field(default=0, ge=0, le=MAX_POLL_SECONDS, description="Seconds to wait for an event if there is none yet.")


_ID = Parameter("id", "An operation ID.", pattern=r"[0-9a-z]{26}", example="01kag0000000000000000000zz")


def routes(context: ServerContext, timing: StreamTiming = StreamTiming()) -> tuple[Route, ...]:
    """Return the routes."""
    context.metrics.set_gauge(GaugeName.EVENT_STREAMS, context.workers.waiters.count)

    def show(request: Request) -> Response:
        return Response(body=_follower(request, context, timing).status)

    def events(request: Request) -> Response:
        follower, waiters = _follower(request, context, timing), context.workers.waiters
        if not prefers_stream(request.headers.get("accept")):
            return Response(body=_poll(follower, request.query, waiters))
        after = int(request.headers.get("last-event-id") or request.query.after)  # a reconnecting browser repeats the query
        stream = _Stream(_frames(follower, after, timing), waiters.acquire())
        return Response(body=stream, headers={"X-Accel-Buffering": "no"}, media_type=EVENT_STREAM)

    return (
        Route(
            path="/api/operations/{id}",
            name="getOperation",
            summary="Returns an operation: who started it, its plan, its progress and its outcome.",
            handler=show,
            responses={200: ResponseSpec("The operation.", OperationStatus)},
            problems=(404, 503),
            parameters=(_ID,),
        ),
        Route(
            path="/api/operations/{id}/events",
            name="getOperationEvents",
            summary="Returns an operation's events: the new ones as JSON, or all as they come if `text/event-stream` is preferred.",
            handler=events,
            responses={
                200: ResponseSpec("The events.", Events, {"X-Accel-Buffering": "`no`, for a stream."}, (JSON, EVENT_STREAM))
            },
            problems=(404, 503),
            parameters=(_ID,),
            query=EventsQuery,
            headers=(Header("Last-Event-ID", "The number of the last event of an interrupted stream.", pattern=r"[0-9]{1,15}"),),
        ),
    )


def _follower(request: Request, context: ServerContext, timing: StreamTiming) -> OperationFollower:
    operation = _find(request.parameters["id"], context)
    require_access(operation.namespace, request.caller, context.namespaces)
    return OperationFollower(context, operation, poll_seconds=timing.poll)


def _find(id: str, context: ServerContext) -> Operation:
    """Return an operation; one of this server even when the index does not have it."""
    running = context.workers.find(id)
    try:
        return context.index.operation(id)
    except (OperationNotFound, Unreachable):
        if running is None:
            raise
        return running.operation


# as JSON


def _poll(follower: OperationFollower, query: EventsQuery, waiters: WaiterLimit) -> Events:
    events = follower.events(query.after)
    if events.items or events.finished or not query.wait:
        return events
    with waiters.acquire():
        return follower.events(query.after, query.wait)


# as server-sent events


def prefers_stream(accept: str | None) -> bool:
    """Return whether an ``Accept`` header (RFC 9110) prefers server-sent events to JSON."""
    ranges = dict(_media_ranges(accept or "*/*"))
    return _quality(ranges, EVENT_STREAM) > _quality(ranges, JSON)


def _media_ranges(accept: str) -> Iterator[tuple[str, float]]:
    for element in HEADER_ELEMENT.findall(accept):
        media, *parameters = (part.strip() for part in element.split(";"))
        qualities = (match[1] for part in parameters if (match := _QUALITY.fullmatch(part)))
        yield media.lower(), float(next(qualities, 1.0))


def _quality(ranges: dict[str, float], media: str) -> float:
    """Return the quality of a media type, from the most specific matching range."""
    matching = (media, f"{media.partition('/')[0]}/*", "*/*")
    return next((ranges[one] for one in matching if one in ranges), 0.0)


class _Stream(Iterator[bytes]):
    """A stream of frames that holds a waiter's place until it ends or is closed, even if it was never read."""

    def __init__(self, frames: Iterator[bytes], place: ExitStack) -> None:
        self._frames = frames
        self.close = place.close

    def __next__(self) -> bytes:
        try:
            return next(self._frames)
        except BaseException:
            self.close()
            raise


def _frames(follower: OperationFollower, after: int, timing: StreamTiming) -> Iterator[bytes]:
    until = time.monotonic() + timing.max_duration
    yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
    while (left := until - time.monotonic()) > 0 and not follower.abandoned:
        events = follower.events(after, min(timing.heartbeat, left))
        for event in events.items:
            yield _frame(event.kind, event, event.seq)
        after = events.next
        if events.finished:
            yield _frame("finished", follower.status)
            return
        if not events.items:
            yield b": still running\n\n"


def _frame(kind: str, data: Model, seq: int | None = None) -> bytes:
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {kind}\ndata: {data.model_dump_json(by_alias=True)}\n\n".encode()
