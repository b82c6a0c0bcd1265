"""The WSGI app: takes each request through the gate to its route, and its answer or failure back; the only importer of Bottle.

Bottle finds the route and sends the response. Every failure, Bottle's own too, leaves through one place, as a problem; of one that
nobody foresaw the log has the traceback and the client the request's id.
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
from kubernaut.server.http.call import Call, Exchange
from kubernaut.server.http.incoming import checked_path, nothing_at
from kubernaut.server.http.routing import JSON, Response, Route
from kubernaut.server.openapi import with_document
from kubernaut.server.problems import MEDIA_TYPE, headers_of, problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from kubernaut.server.service import Service

_EXCHANGE = "kubernaut.exchange"
_LINE_END = b"\n"  # who reads it on a terminal wants the prompt on a line of its own
_ALWAYS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))

_log = logging.getLogger(__name__)


def create_app(service: Service, routes: Sequence[Route] | None = None) -> WSGIApplication:
    """Return the app.

    Args:
        service: What the routes work with.
        routes: The calls that it has; all of them by default. ``/openapi.json`` comes to them.
    """
    if routes is None:
        from kubernaut.server.routes import all_routes

        routes = all_routes(service)
    return _App(service, with_document(routes))


class _App:
    def __init__(self, service: Service, routes: Sequence[Route]) -> None:
        self._service = service
        self._secrets = environment_secrets(service.kubernaut.settings.environment)
        self._router = _router()
        for route in routes:
            call = Call(route, service.gate)
            self._router.route(_rule(route.path), route.method, partial(_answer, call))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = environ[_EXCHANGE] = Exchange.of(environ)
        sent = self._sent(exchange, environ, start_response)
        self._tell(exchange)
        return sent

    def _sent(self, exchange: Exchange, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            self._service.gate.check_host(exchange.headers.get("host", ""))
            environ["PATH_INFO"] = checked_path(exchange.path).encode("utf-8").decode("latin-1")
            return self._guarded(self._router(environ, partial(_start, exchange, start_response)), exchange)
        except KubernautError as failure:
            if failure.http_status == HTTPStatus.INTERNAL_SERVER_ERROR:
                self._log_defect(exchange)
            return self._refused(failure, exchange, start_response)
        except Exception:  # noqa: BLE001 - the outermost guard: whatever nobody foresaw is a problem with the request's id
            self._log_defect(exchange)
            return self._refused(KubernautError(_defect(exchange)), exchange, start_response)

    def _refused(self, failure: KubernautError, exchange: Exchange, start_response: StartResponse) -> Iterable[bytes]:
        exchange.outcome, exchange.about = failure.code, _about(failure)
        body = problem(failure, instance=exchange.path, request_id=exchange.id, secrets=self._secrets)
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **headers_of(failure)}
        _start(exchange, start_response, _status_line(failure.http_status), [*headers.items()])
        return [] if exchange.method == "HEAD" else [body]

    def _guarded(self, body: Iterable[bytes], exchange: Exchange) -> Iterable[bytes]:
        return body if isinstance(body, list) else _Stream(body, partial(self._log_defect, exchange))

    def _tell(self, exchange: Exchange) -> None:
        route = exchange.route
        template = route.path if route else ""
        self._service.metrics.request(template, exchange.method, exchange.status, time.monotonic() - exchange.began)
        if route and route.method != "GET":
            self._service.audit.write(
                event="request",
                caller=exchange.caller.name if exchange.caller else None,
                method=exchange.method,
                route=route.path,
                path=exchange.path,
                outcome=exchange.outcome,
                status=exchange.status,
                request=exchange.id,
                client=exchange.client or None,
                **exchange.about,
            )

    def _log_defect(self, exchange: Exchange) -> None:
        told = redact(traceback.format_exc(), self._secrets)
        _log.error("Request %s, %s %s, failed:\n%s", exchange.id, exchange.method, exchange.path, told)


def _router() -> bottle.Bottle:
    router = bottle.Bottle()
    router.config["catchall"] = False  # Bottle's own guard would answer in HTML
    router.default_error_handler = _unrouted
    return router


def _unrouted(error: bottle.HTTPError) -> NoReturn:
    """Raise the failure that Bottle found: it has no route, or the route has another method."""
    exchange: Exchange = bottle.request.environ[_EXCHANGE]
    if error.status_code == HTTPStatus.NOT_FOUND:
        raise nothing_at(exchange.path)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = error.get_header("Allow", "").split(",")
        allowed = [*methods, "HEAD"] if "GET" in methods else methods
        raise MethodNotAllowed(f"{exchange.path} is not for {exchange.method[:20]}.", members={"allow": sorted(allowed)})
    raise KubernautError(_defect(exchange))


class _Stream:
    """A response that goes on: what fails in its midst is logged, and breaks the connection off.

    Args:
        body: What yields the bytes.
        log: Logs the exception that is being handled.
    """

    def __init__(self, body: Iterable[bytes], log: Callable[[], None]) -> None:
        self._body = body
        self._log = log

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception:  # noqa: BLE001 - the log has it, redacted; the server that sends the rest needs to know only that there is none
            self._log()
            raise ConnectionAbortedError("the response broke off") from None

    def close(self) -> None:
        """Let go of what the response holds."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def _about(failure: KubernautError) -> Mapping[str, str]:
    """Return what a failure says it is about: an operation that failed has an id, and perhaps made a release."""
    told = failure.problem()
    return {name: told[name] for name in ("release", "operation") if isinstance(told.get(name), str)}


def _answer(call: Call, **parameters: str) -> bottle.HTTPResponse:
    environ = bottle.request.environ
    response = call.answer(environ[_EXCHANGE], environ, parameters)
    return bottle.HTTPResponse(_bytes(response), response.status, {"Content-Type": response.media_type, **response.headers})


def _bytes(response: Response) -> bytes | Iterator[bytes]:
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
    exchange: Exchange, start_response: StartResponse, status: str, headers: list[tuple[str, str]], exc_info: Any = None
) -> Callable[[bytes], object]:
    exchange.status = int(status.split(" ", 1)[0])
    own = [(name, value) for name, value in headers if name not in dict(_ALWAYS)]
    return start_response(status, [*own, *_ALWAYS, ("X-Request-Id", exchange.id)], exc_info)


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"


def _rule(path: str) -> str:
    return path.replace("{", "<").replace("}", ">")


def _defect(exchange: Exchange) -> str:
    return f"The server failed in a way that nobody foresaw; its log says how, under the request's id {exchange.id}."
