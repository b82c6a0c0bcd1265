"""Reads a request against the route that it is for: its headers, its body, its query, its path. Knows no web framework.

What a route does not declare is not accepted. The caller comes first: whoever has no right learns nothing of what he sent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernaut.errors import RequestMalformed
from kubernaut.server.auth.authenticator import Gate
from kubernaut.server.auth.caller import Caller, Role
from kubernaut.server.http.body import check_media_type, read_body, read_model
from kubernaut.server.http.incoming import check_site, headers_of, nothing_at, raw_path, request_id
from kubernaut.server.http.query import query_reader
from kubernaut.server.http.routing import Request, Response, Route
from kubernaut.server.problems import Fault, faulty

NOBODY = Caller("nobody", Role.READ, frozenset())
"""Who calls a route that is open to everybody."""


@dataclass
class Exchange:
    """A request and what becomes of it, for the metrics and the audit.

    Attributes:
        id: The request's id.
        path: As it was sent, percent-encoded.
        headers: By their names in lower case.
        client: The address that it comes from.
        route: The route that it is for, once it is known.
        caller: Who sends it, once it is known.
        about: What the audit line says besides: the release, the operation.
        outcome: The code of the failure, if it failed.
        status: The status of the response, once it is known.
    """

    id: str
    method: str
    path: str
    headers: Mapping[str, str]
    client: str
    began: float = field(default_factory=time.monotonic)
    route: Route | None = None
    caller: Caller | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    outcome: str | None = None
    status: int = 0

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Exchange:
        """Begin an exchange with a WSGI request."""
        headers = headers_of(environ)
        client = environ.get("REMOTE_ADDR", "")
        return cls(request_id(headers.get("x-request-id")), environ["REQUEST_METHOD"], raw_path(environ), headers, client)


class Call:
    """A route, made ready to read requests.

    Args:
        route: The route.
        gate: Knows the callers.
    """

    def __init__(self, route: Route, gate: Gate) -> None:
        self.route = route
        self._gate = gate
        self._read_query = query_reader(route.query)
        self._patterns = {parameter.name: re.compile(parameter.pattern or ".+") for parameter in route.parameters}
        self._headers = {header.name.lower(): re.compile(header.pattern) for header in route.headers if header.pattern}

    def answer(self, exchange: Exchange, environ: Mapping[str, Any], parameters: Mapping[str, str]) -> Response:
        """Read the request and let the route's handler answer it.

        Args:
            exchange: What is known of the request.
            environ: The WSGI request.
            parameters: What stands in the path, by name.

        Raises:
            KubernautError: The request is refused, or the handler failed.
        """
        exchange.route = self.route
        caller = self._let_in(exchange)
        response = self.route.handler(self._read(exchange, environ, parameters, caller))
        exchange.about = response.about
        return response

    def _let_in(self, exchange: Exchange) -> Caller:
        if self.route.role is None:
            return NOBODY
        caller = exchange.caller = self._gate.caller(exchange.headers)
        caller.require(self.route.role)
        check_site(exchange.method, exchange.headers)
        return caller

    def _read(self, exchange: Exchange, environ: Mapping[str, Any], parameters: Mapping[str, str], caller: Caller) -> Request:
        body = self._body(environ)
        query = self._read_query(environ.get("QUERY_STRING", ""))
        self._check_headers(exchange.headers)
        self._check_parameters(exchange.path, parameters)
        return Request(exchange.id, exchange.method, exchange.path, parameters, query, body, exchange.headers, caller)

    def _body(self, environ: Mapping[str, Any]) -> Any:
        content_type = environ.get("CONTENT_TYPE") or ""
        if self.route.body is None:
            return self._no_body(environ)
        # A form of a page in a browser says its type even when it is empty, so it never passes for a request without a body.
        if content_type:
            check_media_type(content_type)
        body = read_body(environ)
        if body:
            check_media_type(content_type)
            return read_model(body, self.route.body)
        if self.route.body_required:
            raise RequestMalformed("The request has no body.")
        return None

    def _no_body(self, environ: Mapping[str, Any]) -> None:
        if read_body(environ):
            raise RequestMalformed("The request has a body, and the call takes none.", hint="Send the request without a body.")
        content_type = environ.get("CONTENT_TYPE") or ""
        if content_type and self.route.method != "GET":
            check_media_type(content_type)

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        faults = [
            Fault(pointer=f"/{name}", detail=f"It must match {pattern.pattern}")
            for name, pattern in self._headers.items()
            if name in headers and not pattern.fullmatch(headers[name])
        ]
        if faults:
            raise faulty("headers", faults)

    def _check_parameters(self, path: str, parameters: Mapping[str, str]) -> None:
        for parameter in self.route.parameters:
            text = parameters[parameter.name]
            if not self._patterns[parameter.name].fullmatch(text):
                if parameter.check is not None:
                    parameter.check(text)
                raise nothing_at(path, f"{{{parameter.name}}} is {parameter.description[:1].lower()}{parameter.description[1:]}")
