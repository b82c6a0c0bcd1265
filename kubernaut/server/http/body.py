"""Reads a request's body: at most 1 MiB, one JSON value in strict UTF-8, and in the form that its model wants.

What two readers could understand differently is refused: a key that stands twice, NaN, numbers that no float or 64-bit integer
holds, half a surrogate pair, and nesting that only an attack needs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from kubernaut.errors import MediaTypeUnsupported, RequestMalformed, RequestTooLarge
from kubernaut.server.problems import invalid

LARGEST = 1024 * 1024
DEEPEST = 64
_LARGEST_INTEGER = 2**63

M = TypeVar("M", bound=BaseModel)

_JSON_TYPE = re.compile(r"application/json[ \t]*(;[ \t]*charset=\"?utf-8\"?[ \t]*)?", re.IGNORECASE)


def read_body(environ: Mapping[str, Any]) -> bytes:
    """Read the body of a WSGI request, and no more of it than is allowed.

    Raises:
        RequestTooLarge: It is larger than :data:`LARGEST`.
        RequestMalformed: Its length cannot be understood, or less came than it says.
    """
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise RequestMalformed("The request's body is sent in a Transfer-Encoding that the server does not take.")
    stated = environ.get("CONTENT_LENGTH") or "0"
    if not (stated.isascii() and stated.isdigit()):
        raise RequestMalformed("The header Content-Length is no number.")
    if len(stated) > len(str(LARGEST)) or int(stated) > LARGEST:
        raise RequestTooLarge(f"The request's body is larger than {LARGEST} bytes.")
    length = int(stated)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    if len(body) < length:
        raise RequestMalformed(f"The request's body ends after {len(body)} of {length} bytes.")
    return body


def check_media_type(content_type: str) -> None:
    """Check that a body says it is JSON. Raises: MediaTypeUnsupported."""
    if not _JSON_TYPE.fullmatch(content_type.strip()):
        raise MediaTypeUnsupported(
            f"The request's body is of the type {content_type[:100]!r}."
            if content_type
            else "The request has a body and does not say of what type."
        )


def read_model(body: bytes, model: type[M]) -> M:
    """Read a body as JSON, and its model from that.

    Raises:
        RequestMalformed: It is no JSON.
        RequestInvalid: It is JSON, and not what the model wants.
    """
    check_json(body)
    try:
        return model.model_validate_json(body, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise invalid(error, "body") from None


def check_json(body: bytes) -> None:
    """Check that a body is JSON that everybody reads alike. Raises: RequestMalformed."""
    try:
        data = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise RequestMalformed("The request's body is not UTF-8.") from None
    except UnicodeEncodeError:
        raise RequestMalformed("The request's body has half a surrogate pair in a text.") from None
    except json.JSONDecodeError as error:
        raise RequestMalformed(
            f"The request's body is not JSON: {error.msg}, in line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if _depth(data) > DEEPEST:
        raise _too_deep()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RequestMalformed("The request's body has an object with the same key twice.")
    return found


def _constant(name: str) -> NoReturn:
    raise RequestMalformed(f"The request's body is not JSON: {name} is no JSON number.")


def _integer(digits: str) -> int:
    # Of more digits Python makes no number at all, and says so with a ValueError.
    if len(digits) > len(str(_LARGEST_INTEGER)) + 1 or not -_LARGEST_INTEGER <= int(digits) < _LARGEST_INTEGER:
        raise RequestMalformed("The request's body has a number that does not fit into 64 bits.")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise RequestMalformed("The request's body has a number that is too large.")
    return number


def _depth(data: Any) -> int:
    depth, level = 0, [data]
    while level := [value for value in level if isinstance(value, dict | list)]:
        depth += 1
        level = [child for value in level for child in (value.values() if isinstance(value, dict) else value)]
    return depth


def _too_deep() -> RequestMalformed:
    return RequestMalformed(f"The request's body is nested more than {DEEPEST} deep.")
