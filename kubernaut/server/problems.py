"""A failure as the door tells of it: an RFC 9457 problem, redacted, and the headers that belong to it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, ValidationError

from kubernaut.errors import KubernautError, MethodNotAllowed, RequestInvalid, ServerBusy, Unauthorized
from kubernaut.models import Model
from kubernaut.redact import redact_data

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds after which a request that met a busy server may be sent again."""
MOST_ERRORS = 20
"""So many faults of one request are named; whoever sends more has another trouble."""


class Fault(Model):
    """One thing that is wrong with a request: where it stands, and what it should be."""

    pointer: str
    detail: str


class Problem(Model):
    """What the server says of a failure (RFC 9457), and what a program may want to know besides."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    request_id: str
    instance: str = ""
    details: tuple[str, ...] = ()
    errors: tuple[Fault, ...] = ()


def problem(
    failure: KubernautError,
    *,
    request_id: str,
    instance: str | None = None,
    secrets: tuple[str, ...] = (),
    status: int | None = None,
) -> bytes:
    """Return a failure's problem as a line of JSON.

    Args:
        failure: What went wrong.
        request_id: The request's id, which the log has too.
        instance: The path that was asked for, percent-encoded, where it could be read.
        secrets: Values known to be secret.
        status: The HTTP status where it is another than the failure's own.
    """
    told = {**failure.problem(), "requestId": request_id}
    if instance is not None:
        told["instance"] = instance
    if status is not None:
        told["status"] = status
    return json.dumps(redact_data(told, secrets), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def headers_of(failure: KubernautError) -> Mapping[str, str]:
    """Return the headers that belong to a failure's status, beside the content type."""
    match failure:
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case MethodNotAllowed():
            return {"Allow": ", ".join(failure.members["allow"])}
        case ServerBusy():
            return {"Retry-After": str(RETRY_AFTER)}
    return {}


def invalid(error: ValidationError, part: str) -> RequestInvalid:
    """Return the failure for a part of the request that does not fit its model; none of the values that were sent is in it.

    Args:
        error: What pydantic says.
        part: Which part, such as ``body``.
    """
    faults = [_fault(found) for found in error.errors(include_url=False, include_input=False, include_context=False)]
    return faulty(part, faults)


def faulty(part: str, faults: list[Fault]) -> RequestInvalid:
    """Return the failure for a part of the request with these faults."""
    first = faults[0]
    return RequestInvalid(
        f"The request's {part} does not fit: {first.pointer.lstrip('/') or part}: {first.detail}.",
        members={"errors": [fault.model_dump() for fault in faults[:MOST_ERRORS]]},
    )


def _fault(found: Any) -> Fault:
    pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in found["loc"])
    return Fault(pointer=pointer, detail=found["msg"].removeprefix("Value error, ").rstrip("."))
