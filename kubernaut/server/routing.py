"""Routes, requests, responses and the contexts of handlers as plain data, independent of the web framework.

A route declares everything that the OpenAPI document shows; a request with anything else is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernaut.models import Model
from kubernaut.server.auth.access import Caller, Role

if TYPE_CHECKING:
    from kubernaut.api import Kubernaut
    from kubernaut.history.index import Index
    from kubernaut.server.audit import Audit
    from kubernaut.server.auth.access import Authenticator, ChartPolicy
    from kubernaut.server.metrics import Metrics
    from kubernaut.server.operations.workers import Workers

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Request:
    """A request, parsed and validated.

    Attributes:
        id: The request ID; the response carries it as ``X-Request-Id``.
        path: As sent, percent-encoded, such as ``/api/releases/demo.shop.v3``.
        parameters: The path parameters by name.
        query: An instance of the route's ``query`` model.
        body: An instance of the route's ``body`` model; ``None`` when an optional body is missing.
        headers: By lower-case name.
    """

    id: str
    method: str
    path: str
    parameters: Mapping[str, str]
    query: Any
    body: Any
    headers: Mapping[str, str]
    caller: Caller


@dataclass(frozen=True)
class Response:
    """A response.

    Attributes:
        body: A model or JSON data, encoded JSON, or an iterator over the bytes of a stream.
        audit_fields: Additions to the audit line: ``release``, ``operation``.
    """

    status: int = 200
    body: Model | Mapping[str, Any] | bytes | Iterator[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON
    audit_fields: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class ResponseSpec:
    """The description of a route's response with one status.

    Attributes:
        model: The type of the JSON body; ``None`` without a body or where it is not JSON.
        headers: Descriptions of the response headers by name.
        media_types: The media types of the body.
    """

    description: str
    model: type[Model] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True)
class Header:
    """A request header that a route honours; ``pattern`` is a regular expression for the whole value."""

    name: str
    description: str
    pattern: str | None = None


@dataclass(frozen=True)
class Parameter:
    """A path parameter.

    Attributes:
        pattern: A regular expression for the whole value.
        check: Raises the error for a value that does not match the pattern; without it the response is ``route_not_found``.
    """

    name: str
    description: str
    pattern: str | None = None
    example: str = ""
    check: Callable[[str], object] | None = None


@dataclass(frozen=True)
class Route:
    """One method on one path.

    Attributes:
        path: Such as ``/api/releases/{id}``.
        name: The OpenAPI ``operationId``, such as ``listReleases``.
        summary: One line for the OpenAPI document.
        responses: The successful responses by status.
        problems: The statuses of problems beyond those that every route may answer with.
        role: The role that the caller needs; ``None`` needs no token.
        query: A model with the query parameters as fields.
        body: The model of the body, if the route takes one.
    """

    path: str
    name: str
    summary: str
    handler: Handler
    responses: Mapping[int, ResponseSpec]
    method: str = "GET"
    problems: tuple[int, ...] = ()
    role: Role | None = Role.READ
    parameters: tuple[Parameter, ...] = ()
    query: type[Model] | None = None
    body: type[Model] | None = None
    body_required: bool = True
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True)
class ServerContext:
    """The parts of a server, created once and passed to every route.

    Attributes:
        namespaces: The namespaces that the server shows and changes; all when empty.
    """

    kubernaut: Kubernaut
    index: Index
    workers: Workers
    chart_policy: ChartPolicy
    authenticator: Authenticator
    audit: Audit
    metrics: Metrics
    namespaces: tuple[str, ...] = ()


@dataclass
class RequestContext:
    """One request and its result, for the metrics and the audit log.

    Attributes:
        id: The request ID.
        path: As sent, percent-encoded, without the query.
        headers: By lower-case name.
        client: The client's address.
        started: Seconds on the monotonic clock.
        route: The matched route; ``None`` before that and without a match.
        caller: The authenticated caller; ``None`` before that and on open routes.
        audit_fields: Additions to the audit line: ``release``, ``operation``.
        outcome: The error code of a failed request.
        status: The HTTP status, once the response has started; 0 before.
    """

    id: str
    method: str
    path: str
    headers: Mapping[str, str]
    client: str
    started: float = field(default_factory=time.monotonic)
    route: Route | None = None
    caller: Caller | None = None
    audit_fields: Mapping[str, str] = field(default_factory=dict)
    outcome: str | None = None
    status: int = 0
