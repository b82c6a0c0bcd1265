"""Reads requests: the ID, headers, path, query and body of a WSGI request, checked against its route.

The caller is checked first, so that a caller without rights learns nothing about the rest of its request. Input that two parsers
could read differently is refused: duplicate keys, NaN, numbers beyond 64 bits, lone surrogates, encoded slashes, dot segments.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from pydantic import BaseModel, ValidationError

from kubernaut.errors import MediaTypeUnsupported, NotAllowed, RequestInvalid, RequestMalformed, RequestTooLarge, RouteNotFound
from kubernaut.models import Model
from kubernaut.server.auth.access import Authenticator, Caller, Role
from kubernaut.server.problems import Fault, invalid_model, invalid_part
from kubernaut.server.routing import Request, RequestContext, Route

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 64
_MAX_INTEGER = 2**63
_MAX_PARAMETERS = 100
_MAX_SHOWN = 200

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ABSOLUTE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_JSON_TYPE = re.compile(r"application/json[ \t]*(;[ \t]*charset=\"?utf-8\"?[ \t]*)?", re.IGNORECASE)
_SCALAR = re.compile(r"true|false|-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?")
_SCALAR_TYPES = {"integer", "number", "boolean"}
_OPEN_ROUTE_CALLER = Caller("nobody", Role.READ, frozenset())

M = TypeVar("M", bound=BaseModel)


class RequestReader:
    """Reads the requests to one route."""

    def __init__(self, route: Route, authenticator: Authenticator) -> None:
        self.route = route
        self._authenticator = authenticator
        self._parse_query = query_parser(route.query)
        self._patterns = {parameter.name: re.compile(parameter.pattern or ".+") for parameter in route.parameters}
        self._headers = {header.name.lower(): re.compile(header.pattern) for header in route.headers if header.pattern}

    def read(self, context: RequestContext, environ: Mapping[str, Any], parameters: Mapping[str, str]) -> Request:
        """Check and parse a request from its WSGI environment and its path parameters; sets the context's route and caller.

        Raises:
            Unauthorized: The route needs a token, and the request has none or an unknown one.
            NotAllowed: The caller lacks the route's role, or another site's page sent a write.
            KubernautError: A part of the request is malformed or does not match the route.
        """
        context.route = self.route
        caller = self._authenticate(context)
        body = self._body(environ)
        query = self._parse_query(environ.get("QUERY_STRING", ""))
        self._check_headers(context.headers)
        self._check_parameters(context.path, parameters)
        return Request(context.id, context.method, context.path, parameters, query, body, context.headers, caller)

    def _authenticate(self, context: RequestContext) -> Caller:
        if self.route.role is None:
            return _OPEN_ROUTE_CALLER
        caller = context.caller = self._authenticator.authenticate(context.headers)
        caller.require(self.route.role)
        check_same_site(context.method, context.headers)
        return caller

    def _body(self, environ: Mapping[str, Any]) -> Any:
        content_type = environ.get("CONTENT_TYPE") or ""
        if self.route.body is None:
            return self._no_body(environ)
        # A browser's form states its type even when it is empty, so it never passes as a request without a body.
        if content_type:
            _check_media_type(content_type)
        body = _read_body(environ)
        if body:
            _check_media_type(content_type)
            return _parse_body(body, self.route.body)
        if self.route.body_required:
            raise RequestMalformed("The request has no body.")
        return None

    def _no_body(self, environ: Mapping[str, Any]) -> None:
        if _read_body(environ):
            raise RequestMalformed("The request has a body, but this route takes none.", hint="Send the request without a body.")
        content_type = environ.get("CONTENT_TYPE") or ""
        if content_type and self.route.method != "GET":
            _check_media_type(content_type)

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        faults = [
            Fault(pointer=f"/{name}", detail=f"It must match {pattern.pattern}")
            for name, pattern in self._headers.items()
            if name in headers and not pattern.fullmatch(headers[name])
        ]
        if faults:
            raise invalid_part("headers", faults)

    def _check_parameters(self, path: str, parameters: Mapping[str, str]) -> None:
        for parameter in self.route.parameters:
            text = parameters[parameter.name]
            if not self._patterns[parameter.name].fullmatch(text):
                if parameter.check is not None:
                    parameter.check(text)
                raise route_not_found(
                    path, f"{{{parameter.name}}} is {parameter.description[:1].lower()}{parameter.description[1:]}"
                )


def request_context(environ: Mapping[str, Any]) -> RequestContext:
    """Return the context of a WSGI request that has just arrived."""
    headers = _headers(environ)
    client = environ.get("REMOTE_ADDR", "")
    return RequestContext(request_id(headers.get("x-request-id")), environ["REQUEST_METHOD"], _raw_path(environ), headers, client)


def request_id(offered: str | None) -> str:
    """Return the client's request ID if it is valid, otherwise a new one."""
    if offered and _REQUEST_ID.fullmatch(offered):
        return offered
    return secrets.token_hex(8)


def check_same_site(method: str, headers: Mapping[str, str]) -> None:
    """Check that a write was not sent by a page of another site.

    Browsers state the origin of a request in ``Sec-Fetch-Site``, older ones in ``Origin``; programs send neither.

    Raises:
        NotAllowed: A page of another site sent it.
    """
    if method in {"GET", "HEAD"}:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site not in {"same-origin", "none"} if site else bool(origin) and _authority(origin or "") != headers.get("host")
    if foreign:
        raise NotAllowed(
            "The request comes from a page of another site.", hint="Send writes from a program, not from a page in a browser."
        )


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    found = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            found[key.replace("_", "-").lower()] = environ[key]
    return found


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


# path


def decode_path(raw: str) -> str:
    """Return a decoded path; it is split before it is decoded, so an encoded slash never leads to another route.

    Raises:
        RequestMalformed: It does not begin with a slash.
        RouteNotFound: A segment is empty, a dot segment, not UTF-8, or contains a slash or an unprintable character.
    """
    if not raw.startswith("/"):
        raise RequestMalformed("The request target is not a path.", hint="Send a path such as /api/releases.")
    if raw == "/":
        return raw
    return "/" + "/".join(_decode_segment(segment, raw) for segment in raw[1:].split("/"))


def route_not_found(raw: str, why: str = "") -> RouteNotFound:
    """Return the error for a path that matches no route."""
    shown = raw if len(raw) <= _MAX_SHOWN else f"{raw[:_MAX_SHOWN]}…"
    return RouteNotFound(f"The path {shown} does not exist{': ' if why else '.'}{why}")


def _raw_path(environ: Mapping[str, Any]) -> str:
    target = environ.get("REQUEST_URI") or quote(environ.get("PATH_INFO", "").encode("latin-1"))
    path = _ABSOLUTE_URL.sub("", target, count=1).partition("#")[0].partition("?")[0]
    return quote(path.encode("latin-1", "replace"), safe="/%:@!$&'()*+,;=~")


def _decode_segment(segment: str, raw: str) -> str:
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise route_not_found(raw, "it is not UTF-8.") from None
    if text in {"", ".", ".."} or "/" in text or "\\" in text or not text.isprintable():
        raise route_not_found(raw)
    return text


# query


def query_parser(model: type[Model] | None) -> Callable[[str], Model | None]:
    """Return the parser of a route's query string; without a model it refuses every parameter.

    The parser raises:
        RequestMalformed: The query is not UTF-8.
        RequestInvalid: A parameter is unknown, repeated or of the wrong type.
    """
    properties: Mapping[str, Any] = model.model_json_schema(by_alias=True)["properties"] if model else {}
    scalars = {name for name, schema in properties.items() if _types(schema) & _SCALAR_TYPES}

    def parse(text: str) -> Model | None:
        found = _parameters(text, properties)
        if model is None:
            return None
        values = {name: _scalar(value) if name in scalars else value for name, value in found.items()}
        try:
            return model.model_validate_json(json.dumps(values), strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            raise invalid_model(error, "query") from None

    return parse


def _parameters(text: str, known: Mapping[str, Any]) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text.encode("latin-1").decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except UnicodeError:
        raise RequestMalformed("The request's query is not UTF-8.", hint="Percent-encode the query in UTF-8.") from None
    except ValueError:
        raise RequestInvalid(f"The request's query has more than {_MAX_PARAMETERS} parameters.") from None
    found = dict(pairs)
    faults = [Fault(pointer=f"/{name}", detail="The parameter does not exist") for name in found if name not in known]
    if len(found) < len(pairs):
        twice = {name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1}
        faults += [Fault(pointer=f"/{name}", detail="The parameter is given more than once") for name in sorted(twice)]
    if faults:
        raise invalid_part("query", faults)
    return found


def _scalar(text: str) -> Any:
    value = json.loads(text) if _SCALAR.fullmatch(text) else text
    return text if value in (math.inf, -math.inf) else value


def _types(schema: Mapping[str, Any]) -> set[str]:
    return {str(choice.get("type")) for choice in (schema, *schema.get("anyOf", ()))}


# body


def _read_body(environ: Mapping[str, Any]) -> bytes:
    """Return the body, at most :data:`MAX_BODY_BYTES`. Raises: RequestTooLarge, RequestMalformed."""
    if environ.get("HTTP_TRANSFER_ENCODING"):
        raise RequestMalformed("The Transfer-Encoding of the request's body is not supported.")
    stated = environ.get("CONTENT_LENGTH") or "0"
    if not (stated.isascii() and stated.isdigit()):
        raise RequestMalformed("The Content-Length header is not a number.")
    if len(stated) > len(str(MAX_BODY_BYTES)) or int(stated) > MAX_BODY_BYTES:
        raise RequestTooLarge(f"The request's body is larger than {MAX_BODY_BYTES} bytes.")
    length = int(stated)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    if len(body) < length:
        raise RequestMalformed(f"The request's body ends after {len(body)} of {length} bytes.")
    return body


def _check_media_type(content_type: str) -> None:
    if not _JSON_TYPE.fullmatch(content_type.strip()):
        raise MediaTypeUnsupported(
            f"The media type of the request's body is {content_type[:100]!r}."
            if content_type
            else "The request has a body, but no Content-Type."
        )


def _parse_body(body: bytes, model: type[M]) -> M:
    """Return a JSON body as its model. Raises: RequestMalformed, RequestInvalid."""
    _check_json(body)
    try:
        return model.model_validate_json(body, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise invalid_model(error, "body") from None


def _check_json(body: bytes) -> None:
    """Check that every JSON parser reads a body alike. Raises: RequestMalformed."""
    try:
        data = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise RequestMalformed("The request's body is not UTF-8.") from None
    except UnicodeEncodeError:
        raise RequestMalformed("The request's body contains a lone surrogate.") from None
    except json.JSONDecodeError as error:
        raise RequestMalformed(
            f"The request's body is not JSON: {error.msg}, in line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if _depth(data) > MAX_DEPTH:
        raise _too_deep()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RequestMalformed("The request's body has an object with a duplicate key.")
    return found


def _constant(name: str) -> NoReturn:
    raise RequestMalformed(f"The request's body is not JSON: {name} is not a JSON number.")


def _integer(digits: str) -> int:
    # int() raises ValueError on thousands of digits, hence the check of the length.
    if len(digits) > len(str(_MAX_INTEGER)) + 1 or not -_MAX_INTEGER <= int(digits) < _MAX_INTEGER:
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
    return RequestMalformed(f"The request's body is nested more than {MAX_DEPTH} levels deep.")
