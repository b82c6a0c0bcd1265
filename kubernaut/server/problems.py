"""Errors as HTTP responses: an RFC 9457 problem, redacted, and the headers that belong to its status. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import ConfigDict, ValidationError

from kubernaut.errors import KubernautError, MethodNotAllowed, RequestInvalid, ServerBusy, Unauthorized
from kubernaut.models import Model
from kubernaut.redact import redact_data

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds after which a client may repeat a request to a busy server."""
MAX_FAULTS = 20
"""The number of faults that one problem lists."""


class Fault(Model):
    """One invalid part of a request: a JSON pointer to it, and what it should be."""

    pointer: str
    detail: str


class Problem(Model):
    """An error response (RFC 9457), with kubernaut's error code, a hint and the request ID."""

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


def problem_json(
    error: KubernautError,
    *,
    request_id: str,
    instance: str | None = None,
    secrets: tuple[str, ...] = (),
    status: int | None = None,
) -> bytes:
    """Return an error's problem as a line of JSON.

    Args:
        error: The error.
        request_id: The request ID, which is also in the log.
        instance: The requested path, percent-encoded, where it could be read.
        secrets: Secret values to mask.
        status: The HTTP status, where it differs from the error's own.
    """
    data = {**error.problem(), "requestId": request_id}
    if instance is not None:
        data["instance"] = instance
    if status is not None:
        data["status"] = status
    return json.dumps(redact_data(data, secrets), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def status_phrase(status: int) -> str:
    """Return the reason phrase of an HTTP status; ``Unknown`` for one that HTTP does not define, such as 499."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def problem_headers(error: KubernautError) -> Mapping[str, str]:
    """Return the headers that belong to an error's status, besides the content type."""
    match error:
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case MethodNotAllowed():
            return {"Allow": ", ".join(error.members["allow"])}
        case ServerBusy():
            return {"Retry-After": str(RETRY_AFTER)}
    return {}


def invalid_model(error: ValidationError, part: str) -> RequestInvalid:
    """Return the error for a part of the request, such as ``body``, that does not match its model; it repeats no sent value."""
    faults = [_fault(found) for found in error.errors(include_url=False, include_input=False, include_context=False)]
    return invalid_part(part, faults)


def invalid_part(part: str, faults: list[Fault]) -> RequestInvalid:
    """Return the error for a part of the request with these faults."""
    first = faults[0]
    return RequestInvalid(
        f"The request's {part} is invalid: {first.pointer.lstrip('/') or part}: {first.detail}.",
        members={"errors": [fault.model_dump() for fault in faults[:MAX_FAULTS]]},
    )


def _fault(found: Any) -> Fault:
    pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in found["loc"])
    return Fault(pointer=pointer, detail=found["msg"].removeprefix("Value error, ").rstrip("."))
