"""The WSGI app: routes requests to handlers and turns results and errors into responses; the only module that imports Bottle.

Bottle matches the route and sends the response. Every error, also Bottle's own, becomes a problem in one place. The traceback of an
unexpected error is logged under the request ID, which is all that the client sees of it.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

import bottle

from kubernaut.errors import KubernautError, MethodNotAllowed
from kubernaut.models import Model
from kubernaut.redact import environment_secrets, redact
from kubernaut.server.openapi import with_document
from kubernaut.server.problems import MEDIA_TYPE, problem_headers, problem_json, status_phrase
from kubernaut.server.request import RequestReader, decode_path, request_context, route_not_found
from kubernaut.server.routing import JSON, RequestContext, Response, Route

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from kubernaut.server.routing import ServerContext

_CONTEXT = "kubernaut.request_context"
_LINE_END = b"\n"  # so that a terminal's prompt starts on a new line
_COMMON_HEADERS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))

_log = logging.getLogger(__name__)


def create_app(context: ServerContext, routes: Sequence[Route] | None = None) -> WSGIApplication:
    """Return the app with these routes, by default all of the API, and ``/openapi.json``."""
    if routes is None:
        from kubernaut.server.routes import all_routes

        routes = all_routes(context)
    return _App(context, with_document(routes))


class _App:
    def __init__(self, context: ServerContext, routes: Sequence[Route]) -> None:
        self._context = context
        self._secrets = environment_secrets(context.kubernaut.settings.environment)
        self._router = _router()
        for route in routes:
            reader = RequestReader(route, context.authenticator)
            rule = route.path.replace("{", "<").replace("}", ">")
            self._router.route(rule, route.method, partial(_handle, reader))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = environ[_CONTEXT] = request_context(environ)
        body = self._respond(request, environ, start_response)
        self._record(request)
        return body

    def _respond(self, request: RequestContext, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            self._context.authenticator.check_host(request.headers.get("host", ""))
            environ["PATH_INFO"] = decode_path(request.path).encode("utf-8").decode("latin-1")
            body = self._router(environ, partial(_start, request, start_response))
            return body if isinstance(body, list) else _Stream(body, partial(self._log_defect, request))
        except KubernautError as error:
            if error.http_status == HTTPStatus.INTERNAL_SERVER_ERROR:
                self._log_defect(request)
            return self._problem(error, request, start_response)
        except Exception:  # noqa: BLE001 - the outermost guard: an unexpected error becomes a problem with the request ID
            self._log_defect(request)
            return self._problem(_unexpected(request), request, start_response)

    def _problem(self, error: KubernautError, request: RequestContext, start_response: StartResponse) -> Iterable[bytes]:
        request.outcome, request.audit_fields = error.code, _audit_fields(error)
        body = problem_json(error, instance=request.path, request_id=request.id, secrets=self._secrets)
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **problem_headers(error)}
        status = f"{error.http_status} {status_phrase(error.http_status)}"
        _start(request, start_response, status, [*headers.items()])
        return [] if request.method == "HEAD" else [body]

    def _record(self, request: RequestContext) -> None:
        """Count the request; write a line to the audit log unless it only reads."""
        route = request.route
        template = route.path if route else ""
        self._context.metrics.count_request(template, request.method, request.status, time.monotonic() - request.started)
        if route and route.method != "GET":
            self._context.audit.write(
                event="request",
                caller=request.caller.name if request.caller else None,
                method=request.method,
                route=route.path,
                path=request.path,
                outcome=request.outcome,
                status=request.status,
                request=request.id,
                client=request.client or None,
                **request.audit_fields,
            )

    def _log_defect(self, request: RequestContext) -> None:
        details = redact(traceback.format_exc(), self._secrets)
        _log.error("Request %s, %s %s, failed:\n%s", request.id, request.method, request.path, details)


def _router() -> bottle.Bottle:
    router = bottle.Bottle()
    router.config["catchall"] = False  # Bottle's own error pages are HTML
    router.default_error_handler = _unrouted
    return router


def _unrouted(error: bottle.HTTPError) -> NoReturn:
    """Raise the error for a request without a route: the path does not exist, or has other methods."""
    request: RequestContext = bottle.request.environ[_CONTEXT]
    if error.status_code == HTTPStatus.NOT_FOUND:
        raise route_not_found(request.path)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = error.get_header("Allow", "").split(",")
        allowed = [*methods, "HEAD"] if "GET" in methods else methods
        raise MethodNotAllowed(f"{request.path} does not support {request.method[:20]}.", members={"allow": sorted(allowed)})
    raise _unexpected(request)


class _Stream:
    """A streamed response; an error in the middle ends the connection, after ``log`` has logged the exception being handled."""

    def __init__(self, body: Iterable[bytes], log: Callable[[], None]) -> None:
        self._body = body
        self._log = log

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception:  # noqa: BLE001 - logged, redacted; the listener only needs to know that the response is incomplete
            self._log()
            raise ConnectionAbortedError("the response is incomplete") from None

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def _audit_fields(error: KubernautError) -> Mapping[str, str]:
    """Return the IDs in an error: a failed operation names itself, and perhaps the release that it made."""
    data = error.problem()
    return {name: data[name] for name in ("release", "operation") if isinstance(data.get(name), str)}


def _handle(reader: RequestReader, **parameters: str) -> bottle.HTTPResponse:
    environ = bottle.request.environ
    context: RequestContext = environ[_CONTEXT]
    response = reader.route.handler(reader.read(context, environ, parameters))
    context.audit_fields = response.audit_fields
    return bottle.HTTPResponse(_body(response), response.status, {"Content-Type": response.media_type, **response.headers})


def _body(response: Response) -> bytes | Iterator[bytes]:
    match response.body:
        case None:
            return b""
        case bytes() as body:
            return body + _LINE_END if response.media_type == JSON else body
        case Model() as model:
            return model.model_dump_json(by_alias=True).encode() + _LINE_END
        case Mapping() as data:
            return json.dumps(data, ensure_ascii=False, allow_nan=False).encode() + _LINE_END
        case stream:
            return stream


def _start(
    context: RequestContext, start_response: StartResponse, status: str, headers: list[tuple[str, str]], exc_info: Any = None
) -> Callable[[bytes], object]:
    context.status = int(status.split(" ", 1)[0])
    own = [(name, value) for name, value in headers if name not in dict(_COMMON_HEADERS)]
    return start_response(status, [*own, *_COMMON_HEADERS, ("X-Request-Id", context.id)], exc_info)


def _unexpected(request: RequestContext) -> KubernautError:
    return KubernautError(f"The server failed unexpectedly; its log has the details under the request ID {request.id}.")
