"""What a call of the API is, as data: its route, the request that came, the response that goes. Knows no web framework.

A route declares everything that the OpenAPI document tells of it, and nothing else is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernaut.models import Model
from kubernaut.server.auth.caller import Caller, Role

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Request:
    """A request, read and checked.

    Attributes:
        id: The request's id; the response carries it as ``X-Request-Id``.
        path: As it was asked for, such as ``/api/releases/demo.shop.v3``.
        parameters: What stands in the path where the route has ``{name}``.
        query: An instance of the route's ``query``.
        body: An instance of the route's ``body``; ``None`` where none was sent and none is needed.
        headers: By their names in lower case.
        caller: Who sends it.
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
        body: A model or JSON data; bytes that are JSON already; or what yields the bytes of a stream.
        about: What the audit line says of it besides: ``release``, ``operation``.
    """

    status: int = 200
    body: Model | Mapping[str, Any] | bytes | Iterator[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON
    about: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Answer:
    """What a route may answer with one status.

    Attributes:
        model: The type of the JSON; ``None`` where there is none, or where it is not JSON.
        headers: Names of headers that the answer has, each with what it says.
        media_types: Besides or instead of JSON.
    """

    description: str
    model: type[Model] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True)
class Header:
    """A header of the request that a route honours; ``pattern`` is a regular expression for the whole of its value."""

    name: str
    description: str
    pattern: str | None = None


@dataclass(frozen=True)
class Parameter:
    """A part of a path.

    Attributes:
        pattern: A regular expression for the whole of it.
        check: Raises what is wrong with one that does not fit the pattern; by default there is nothing at such an address.
    """

    name: str
    description: str
    pattern: str | None = None
    example: str = ""
    check: Callable[[str], object] | None = None


@dataclass(frozen=True)
class Route:
    """A call of the API.

    Attributes:
        path: Such as ``/api/releases/{id}``.
        name: The OpenAPI ``operationId``, such as ``listReleases``.
        summary: A line on what it does.
        answers: What it answers when all is well, by status.
        problems: The statuses of the problems that it may answer, beside those that every route may.
        role: What the caller needs; ``None`` for a route that is open to everybody.
        query: The query's parameters, as a model's fields.
        body: The body, if the route takes one.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    answers: Mapping[int, Answer]
    problems: tuple[int, ...] = ()
    role: Role | None = Role.READ
    parameters: tuple[Parameter, ...] = ()
    query: type[Model] | None = None
    body: type[Model] | None = None
    body_required: bool = True
    headers: tuple[Header, ...] = ()
