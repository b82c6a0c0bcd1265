"""HTTP to one server: addresses, tokens, repetition, the errors that a failed request means, and following an operation.

Every request may be repeated: a read changes nothing, and a write carries an Idempotency-Key. So a request is sent again when its
response is lost, or when the server, or a proxy before it, answers 502 or 503.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.stop import stop_base

from kubernaut.adapters.http import HttpClient, RequestError, Response, ResponseTooLarge, checked_address
from kubernaut.adapters.secret_files import TokenSource
from kubernaut.errors import (
    DeadlineExceeded,
    KubernautError,
    OperationNotFound,
    Unauthorized,
    Unreachable,
    ValuesInvalid,
    from_problem,
)
from kubernaut.events import Events, Listener, Notice, NumberedEvent
from kubernaut.history.operations import Operation, is_operation_id, longest_duration
from kubernaut.history.replay import EventDecoder, WatchPage
from kubernaut.models import Model

M = TypeVar("M", bound=Model)

DEFAULT_STOP = stop_after_attempt(4) | stop_after_delay(30)
"""When a repeated request gives up."""
PATIENT_STOP = stop_after_delay(120)
"""The same for a running operation, which goes on while its server restarts."""
NO_RETRY = stop_after_attempt(1)

MAX_PAUSE = 10.0
MAX_RESPONSE_BYTES = 64 << 20
PROBLEM_JSON = "application/problem+json"
_MAX_PROBLEM_BYTES = 4 << 20
_RETRIED_STATUSES = frozenset({502, 503})
_HINT = "Check the `server` setting (`kubernaut config`) and that the server runs: `curl URL/healthz`."

LONG_POLL = 20
"""Seconds for which the server holds a response back until there are new events."""
_MIN_POLL = 0.5


@dataclass(frozen=True)
class JSONResponse:
    """A successful response; ``headers`` by their names in any case."""

    headers: Mapping[str, str]
    content: dict[str, Any]


class Transport:
    """HTTP to one server; safe to use from several threads.

    Args:
        url: The server's URL.
        token: Returns the token for each request, if any.
        timeout: Seconds to wait for a response.
        plain_http: Whether ``http://`` is allowed for a host, ``HOST[:PORT]``.

    Raises:
        SettingInvalid: The URL is invalid, or it sends the token unencrypted to another machine.
    """

    def __init__(self, url: str, *, token: TokenSource, timeout: float, plain_http: Callable[[str], bool]) -> None:
        self.url = checked_address(url, plain_http, example="https://kubernaut.example.com or http://127.0.0.1:8080")
        self._token = token
        self._timeout = timeout
        self._http = HttpClient(timeout=timeout, error_limit=_MAX_PROBLEM_BYTES)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._http.close()

    def get(
        self, path: str, query: Mapping[str, Any] | None = None, *, wait: float = 0.0, stop: stop_base = DEFAULT_STOP
    ) -> JSONResponse:
        """Send a GET request.

        Args:
            path: The path, such as ``/api/releases``.
            query: The parameters; those that are ``None`` are left out.
            wait: Seconds for which the server may hold the response back.
            stop: When to give up repeating it.

        Raises:
            Unreachable: The server does not answer, or is not a kubernaut server.
            KubernautError: The server's problem.
        """
        return self._repeat(lambda: self._send("GET", path, query, timeout=self._timeout + wait), stop)

    def write(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        """Send a write; ``headers`` hold its Idempotency-Key. Raises: as :meth:`get`."""
        return self._repeat(lambda: self._send(method, path, query, body=_json(body), headers=headers), DEFAULT_STOP)

    def _repeat(self, send: Callable[[], JSONResponse], stop: stop_base) -> JSONResponse:
        try:
            return Retrying(stop=stop, wait=_pause, retry=retry_if_exception_type(_RetryableError), reraise=True)(send)
        except _RetryableError as last:
            raise last.failure from last.__cause__

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> JSONResponse:
        token = self._token()
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            response = self._http.send(
                method, self.url + path, limit=MAX_RESPONSE_BYTES, headers=sent, query=_query(query), body=body, timeout=timeout
            )
        except ResponseTooLarge as error:
            raise Unreachable(f"{self.url} answers with {error.reason}.", hint=_HINT) from error
        except RequestError as error:
            failure = Unreachable(f"{self.url} does not answer: {error.reason}.", hint=_HINT)
            raise (_RetryableError(failure) if error.retryable else failure) from error
        return self._checked(response, anonymous=token is None)

    def _checked(self, response: Response, *, anonymous: bool) -> JSONResponse:
        content = response.json_object
        if 200 <= response.status < 300 and content is not None:
            return JSONResponse(response.headers, content)
        failure = self._failure(response, content)
        if anonymous and isinstance(failure, Unauthorized):
            failure.hint = "Set the `token_file` setting (KUBERNAUT_TOKEN_FILE) to the file with the server's token."
        if response.status in _RETRIED_STATUSES:
            raise _RetryableError(failure, _seconds(response.headers.get("Retry-After")))
        raise failure

    def _failure(self, response: Response, content: dict[str, Any] | None) -> KubernautError:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind == PROBLEM_JSON and content is not None and "code" in content:
            return from_problem(content)
        if response.redirect_url is not None:
            target = urlsplit(response.redirect_url)
            return Unreachable(
                f"{self.url} redirects to {target.scheme}://{target.netloc.rpartition('@')[2]}; redirects are not followed.",
                hint="If that is the server's address, set `server` to it.",
            )
        what = f"HTTP {response.status}, {kind or 'no Content-Type'}"
        return Unreachable(f"{self.url} does not answer like a kubernaut server: {what}.", hint=_HINT)


class _RetryableError(Exception):
    """A failure that may pass; ``after`` is the number of seconds to wait, if the server sent one."""

    def __init__(self, failure: KubernautError, after: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after = after


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait before the next attempt: the server's number, else exponential; at most ``MAX_PAUSE``."""
    failure = state.outcome.exception() if state.outcome else None
    after = failure.after if isinstance(failure, _RetryableError) else None
    return min(after if after is not None else 0.2 * 2 ** min(state.attempt_number - 1, 10), MAX_PAUSE)


def parse(model: type[M], content: Mapping[str, Any]) -> M:
    """Return a response's JSON as a model; unknown fields, which a newer server may send, are ignored.

    Raises:
        Unreachable: The content does not fit the model.
    """
    try:
        return model.model_validate(content, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Unreachable(
            f"The server's {model.__name__} is not valid: {place}: {first['msg']}.",
            hint="If the server runs a newer kubernaut, install the same version here.",
        ) from error


def _seconds(header: str | None) -> float | None:
    """Return the number of a ``Retry-After`` header; ``None`` for a date."""
    return float(header) if header is not None and header.isascii() and header.isdigit() and len(header) < 10 else None


def _json(body: Mapping[str, Any] | None) -> bytes | None:
    try:
        return None if body is None else json.dumps(body, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ValuesInvalid(f"The values cannot be sent as JSON: {error}.") from error


def _query(query: Mapping[str, Any] | None) -> dict[str, str]:
    texts = {True: "true", False: "false"}
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return {key: texts[value] if isinstance(value, bool) else str(value) for key, value in given.items()}


# operations


def get_operation(transport: Transport, id: str) -> Operation:
    """Return an operation, without its events. Raises: OperationNotFound."""
    return parse(Operation, transport.get(_operation_path(id), stop=PATIENT_STOP).content)


def iter_events(transport: Transport, id: str, after: int = 0) -> Iterator[NumberedEvent]:
    """Yield the events of an operation as they come, until it is finished.

    Raises:
        DeadlineExceeded: The operation is not finished long after its timeout.
        KubernautError: The server's problem.
    """
    operation = get_operation(transport, id)
    deadline = time.monotonic() + longest_duration(operation)
    while True:
        asked = time.monotonic()
        query = {"after": after, "wait": LONG_POLL}
        page = parse(Events, transport.get(f"{_operation_path(id)}/events", query, wait=LONG_POLL, stop=PATIENT_STOP).content)
        yield from page.items
        if page.finished:
            return
        if operation.state == "accepted" and not page.items:  # it waits for its lock, for as long as its client named
            operation = get_operation(transport, id)
            deadline = time.monotonic() + longest_duration(operation)
        if asked > deadline:
            raise DeadlineExceeded(f"Operation {id} is not finished long after its timeout.")
        if page.next <= after:  # a server that does not hold responses back is not polled without a pause
            time.sleep(max(_MIN_POLL - (time.monotonic() - asked), 0))
        after = max(page.next, after)


def follow(transport: Transport, id: str, listener: Listener) -> Operation:
    """Send an operation's events to a listener, and return the operation when it is finished.

    Raises:
        KubernautError: The operation's failure, or the server does not answer any more.
    """
    decoder = EventDecoder()
    try:
        for event in iter_events(transport, id):
            listener(decoder.decode(event))
        operation = get_operation(transport, id)
    except KeyboardInterrupt:
        listener(Notice("server", f"operation {id} continues on {transport.url}"))
        raise
    except Unreachable as failure:
        failure.members.setdefault("operation", id)
        failure.hint = f"Operation {id} may still be running; run the same command again: it does not repeat finished work."
        raise
    for end in decoder.finish(operation):
        listener(end)
    if operation.state not in ("succeeded", "unchanged"):
        raise operation.failure
    return operation


def follow_release(transport: Transport, path: str, timeout: float | None, listener: Listener) -> WatchPage:
    """Send the events of a watched release to a listener; return the last page, with the result.

    Args:
        transport: The server.
        path: The path of the watch.
        timeout: Seconds that the release may take to become ready.
        listener: Receives the events.

    Raises:
        KubernautError: The failure of the operation or the release, or the server does not answer any more.
    """
    decoder, seen = EventDecoder(), set[tuple[str, str, str]]()
    watch, after = None, 0
    while True:
        asked = time.monotonic()
        query = {"timeout": timeout, "watch": watch, "after": after, "wait": LONG_POLL}
        page = parse(WatchPage, transport.get(path, query, wait=LONG_POLL, stop=PATIENT_STOP).content)
        again = watch is not None and page.watch != watch  # of another server, or one that was started again
        for event in page.items:
            content = (event.step, event.kind, event.text)
            if not again or content not in seen:
                listener(decoder.decode(event))
            seen.add(content)
        if page.problem is not None:
            raise from_problem(page.problem)
        if page.finished:
            return page
        if not page.items:  # a server that does not hold responses back is not polled without a pause
            time.sleep(max(_MIN_POLL - (time.monotonic() - asked), 0))
        watch, after = page.watch, page.next


def _operation_path(id: str) -> str:
    if not is_operation_id(id):
        raise OperationNotFound(f"{id!r} is not a valid operation ID.")
    return f"/api/operations/{id}"
