"""A request to the server and its answer: who is asked, with what token, how often, and what a failure means.

Everything that goes through here may be repeated: reading changes nothing, and a write carries a key by which the server knows it
again. So a request whose answer was lost is sent again, and so is one that the server, or what stands before it, put off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.stop import stop_base

from kubernaut.adapters.http import HttpClient, RequestError, Response, ResponseTooLarge, checked_address
from kubernaut.adapters.secret_files import TokenSource
from kubernaut.errors import KubernautError, Unauthorized, Unreachable, ValuesInvalid, from_problem

USUAL = stop_after_attempt(4) | stop_after_delay(30)
"""How long a request is repeated."""
PATIENT = stop_after_delay(120)
"""The same where a server may be starting again, while what was asked for goes on."""
ONCE = stop_after_attempt(1)

LONGEST_PAUSE = 10.0
LIMIT = 64 << 20
PROBLEM = "application/problem+json"
_PASSING = frozenset({502, 503})
_PROBLEM_LIMIT = 4 << 20
_HINT = "Check the `server` setting (`kubernaut config`) and that the server runs: `curl URL/healthz`."


@dataclass(frozen=True)
class Reply:
    """What the server answers when all is well; ``headers`` by their names in any case."""

    status: int
    headers: Mapping[str, str]
    content: dict[str, Any]


class Exchange:
    """Speaks with one server; may be used by several threads at once.

    Args:
        url: Where it is.
        token: Says what the token is.
        timeout: Seconds to wait for an answer.
        plain_http: Says of a host, ``HOST[:PORT]``, whether it may be spoken to without TLS.

    Raises:
        SettingInvalid: The address is none, or what is sent there could be read on the way.
    """

    def __init__(self, url: str, *, token: TokenSource, timeout: float, plain_http: Callable[[str], bool]) -> None:
        self.url = checked_address(url, plain_http, example="https://kubernaut.example.com or http://127.0.0.1:8080")
        self._token = token
        self._timeout = timeout
        self._http = HttpClient(timeout=timeout, error_limit=_PROBLEM_LIMIT)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None, *, wait: float = 0.0, stop: stop_base = USUAL) -> Reply:
        """Read something.

        Args:
            path: Such as ``/api/releases``.
            query: The parameters; those that are ``None`` are left out.
            wait: Seconds for which the server may hold the answer back.
            stop: When to give up.

        Raises:
            Unreachable: There is no answer, or none of a kubernaut server.
            KubernautError: The server's problem.
        """
        return self._repeated(lambda: self._once("GET", path, query, timeout=self._timeout + wait), stop)

    def write(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask for a change; ``headers`` have the key by which it may be repeated. Raises: as :meth:`get`."""
        return self._repeated(lambda: self._once(method, path, query, body=_json(body), headers=headers), USUAL)

    def _repeated(self, send: Callable[[], Reply], stop: stop_base) -> Reply:
        try:
            return Retrying(stop=stop, wait=pause, retry=retry_if_exception_type(_PutOffError), reraise=True)(send)
        except _PutOffError as put_off:
            raise put_off.failure from put_off.__cause__

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        token = self._token()
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            answer = self._http.send(
                method, self.url + path, limit=LIMIT, headers=sent, query=_query(query), body=body, timeout=timeout
            )
        except ResponseTooLarge as error:
            raise Unreachable(f"{self.url} answers with {error.reason}.", hint=_HINT) from error
        except RequestError as error:
            failure = Unreachable(f"{self.url} does not answer: {error.reason}.", hint=_HINT)
            raise (_PutOffError(failure) if error.retryable else failure) from error
        return self._reply(answer, anonymous=token is None)

    def _reply(self, answer: Response, *, anonymous: bool) -> Reply:
        content = _content(answer)
        if 200 <= answer.status < 300 and content is not None:
            return Reply(answer.status, answer.headers, content)
        failure = self._failure(answer, content)
        if anonymous and isinstance(failure, Unauthorized):
            failure.hint = "Set `token_file` (KUBERNAUT_TOKEN_FILE) to the file with the server's token."
        raise _PutOffError(failure, _seconds(answer.headers.get("Retry-After"))) if answer.status in _PASSING else failure

    def _failure(self, answer: Response, content: dict[str, Any] | None) -> KubernautError:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind == PROBLEM and content is not None and "code" in content:
            return from_problem(content)
        if answer.redirect_url is not None:
            target = urlsplit(answer.redirect_url)
            return Unreachable(
                f"{self.url} sends us on to {target.scheme}://{target.netloc.rpartition('@')[2]}; not followed.",
                hint="Set `server` to the address itself, if it is the server's.",
            )
        what = f"HTTP {answer.status} and {kind or 'nothing that says what it is'}"
        return Unreachable(f"{self.url} does not answer like a kubernaut server: {what}.", hint=_HINT)


class _PutOffError(Exception):
    """The same request may have another answer soon: after as many seconds, if the server says so."""

    def __init__(self, failure: KubernautError, after: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after = after


def pause(state: RetryCallState) -> float:
    """Return how many seconds to wait before the next attempt: what the server says, within reason; else each time longer."""
    failure = state.outcome.exception() if state.outcome else None
    after = failure.after if isinstance(failure, _PutOffError) else None
    return min(after if after is not None else 0.2 * 2 ** min(state.attempt_number - 1, 10), LONGEST_PAUSE)


def _seconds(header: str | None) -> float | None:
    """Read ``Retry-After`` where it is a number; as a date it is passed over."""
    return float(header) if header is not None and header.isascii() and header.isdigit() and len(header) < 10 else None


def _content(answer: Response) -> dict[str, Any] | None:
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _json(body: Mapping[str, Any] | None) -> bytes | None:
    try:
        return None if body is None else json.dumps(body, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise ValuesInvalid(f"The values cannot be sent as JSON: {error}.") from error


def _query(query: Mapping[str, Any] | None) -> dict[str, str]:
    texts = {True: "true", False: "false"}
    given = {key: value for key, value in (query or {}).items() if value is not None}
    return {key: texts[value] if isinstance(value, bool) else str(value) for key, value in given.items()}
