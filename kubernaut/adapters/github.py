"""GitHub's commit statuses over HTTP: a POST to the address in the settings, two tries within three seconds, no redirects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_fixed

from kubernaut.adapters.http import HttpClient, RequestError, Response, checked_address
from kubernaut.adapters.secret_files import TokenSource
from kubernaut.errors import SettingInvalid
from kubernaut.redact import redact

State = Literal["pending", "success", "failure"]
_SECONDS = 3.0
_HEADERS = {"Accept": "application/vnd.github+json", "Content-Type": "application/json", "X-GitHub-Api-Version": "2022-11-28"}
_EXAMPLE = "https://api.github.com or https://github.example.com/api/v3"


@dataclass(frozen=True)
class Status:
    """A commit status: ``repository`` is ``OWNER/NAME``, ``commit`` the full SHA, ``target_url`` the page to link to."""

    repository: str
    commit: str
    context: str
    state: State
    description: str
    target_url: str | None = None


class StatusNotSent(Exception):
    """A status that GitHub has not accepted. ``retryable`` means that a second try may succeed."""

    def __init__(self, reason: str, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.retryable = retryable


class StatusClient:
    """Sets commit statuses. Thread-safe.

    Args:
        url: The API: ``https://api.github.com``, or ``https://HOST/api/v3`` of an Enterprise server.
        token: Returns the token.
        plain_http: Whether a host, ``HOST[:PORT]``, may be reached without TLS.
    """

    def __init__(self, url: str, *, token: TokenSource, plain_http: Callable[[str], bool]) -> None:
        self._url, self._token, self._plain_http = url, token, plain_http
        self._http = HttpClient()

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._http.close()

    def set_status(self, status: Status) -> None:
        """Set a commit status, within three seconds. Raises: StatusNotSent."""
        deadline = time.monotonic() + _SECONDS
        retry = retry_if_exception(lambda error: isinstance(error, StatusNotSent) and error.retryable)
        stop = stop_after_attempt(2) | stop_before_delay(_SECONDS)
        retrying = Retrying(retry=retry, stop=stop, wait=wait_fixed(0.25), reraise=True)
        retrying(lambda: self._post(status, max(deadline - time.monotonic(), 0.1)))

    def _post(self, status: Status, timeout: float) -> None:
        body = {key: value for key, value in asdict(status).items() if value is not None}
        path = f"/repos/{quote(body.pop('repository'))}/statuses/{quote(body.pop('commit'), safe='')}"
        try:
            url = checked_address(self._url, self._plain_http, example=_EXAMPLE, server="GitHub") + path
            if (token := self._token()) is None:
                raise StatusNotSent("no token")
            headers = {**_HEADERS, "Authorization": f"Bearer {token}"}
            answer = self._http.send("POST", url, limit=1 << 20, headers=headers, body=json.dumps(body).encode(), timeout=timeout)
        except SettingInvalid as error:
            raise StatusNotSent(error.message.rstrip(".")) from error
        except RequestError as error:
            raise StatusNotSent(error.reason, retryable=error.retryable) from error
        content = _content(answer)
        if not (200 <= answer.status < 300 and "state" in content):
            text = content["message"] if isinstance(content.get("message"), str) else ""
            message = "".join(char for char in redact(text, (token,)) if char.isprintable())[:200].rstrip(" .")
            raise StatusNotSent(
                _reason(answer, status) + (message and f": {message}"), retryable=answer.status >= 500 or answer.status == 408
            )


def _reason(answer: Response, status: Status) -> str:
    code = answer.status
    if 200 <= code < 300:
        return f"{urlsplit(answer.url).hostname} does not answer like GitHub's API; check `github_url`"
    if answer.redirect_url is not None:
        return f"redirect to {urlsplit(answer.redirect_url).hostname} not followed (HTTP {code}); was {status.repository} renamed?"
    reasons = {
        401: "invalid token (HTTP 401)",
        403: f"setting statuses in {status.repository} is denied (HTTP 403)",
        404: f"{status.repository} does not exist, or the token has no access to it (HTTP 404)",
        422: f"commit {status.commit[:12]} of {status.repository} is not accepted (HTTP 422)",
    }
    return reasons.get(code, f"HTTP {code}")


def _content(answer: Response) -> dict[str, Any]:
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
