"""GitHub's commit statuses, over HTTP: what became of a commit, as its page and its pull request show it.

One call and nothing else. The token stands in one header of a request to the one address that the settings name: no redirect is
followed. What is refused is told in words, with whether it may have another end soon; who asks decides whether to try again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from kubernaut.adapters.address import checked_address
from kubernaut.adapters.http import Answer, Http, NoAnswer
from kubernaut.adapters.token import Token
from kubernaut.errors import SettingInvalid
from kubernaut.redact import redact

State = Literal["pending", "success", "failure"]

VERSION = "2022-11-28"
_LIMIT = 1 << 20
_SAID = 200
_REQUEST_SECONDS = 5.0
_SECONDARY_SECONDS = 60.0
"""How long GitHub asks those to wait who did too much at once, where it does not say how long."""
_LONGEST = 24 * 3600.0
_EXAMPLE = "https://api.github.com or https://github.example.com/api/v3"


@dataclass(frozen=True)
class CommitStatus:
    """What is told of a commit.

    Attributes:
        repository: ``OWNER/NAME``.
        commit: The commit, in full.
        context: What it is about: of each, the newest state is shown.
        description: A line for a person.
        target_url: Where more is to be seen.
    """

    repository: str
    commit: str
    context: str
    state: State
    description: str
    target_url: str | None = None


class NotTold(Exception):
    """GitHub did not take a status.

    Args:
        reason: Why, in words that follow a colon.
        passing: Whether the same request may have another end soon.
        wait: After how many seconds at the earliest, where GitHub says so.
    """

    def __init__(self, reason: str, *, passing: bool = False, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing
        self.wait = wait


class GitHub:
    """Tells GitHub; may be used by several threads at once.

    Args:
        url: Its API: ``https://api.github.com``, or an Enterprise server's ``https://HOST/api/v3``.
        token: Says what the token is.
        plain_http: Says of a host, ``HOST[:PORT]``, whether it may be spoken to without TLS.
    """

    def __init__(self, url: str, *, token: Token, plain_http: Callable[[str], bool]) -> None:
        self._url = url
        self._token = token
        self._plain_http = plain_http
        self._http = Http(timeout=_REQUEST_SECONDS)

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        self._http.close()

    def set_status(self, status: CommitStatus, *, timeout: float = _REQUEST_SECONDS) -> None:
        """Set a commit's status: one request.

        Args:
            status: The status.
            timeout: Seconds to wait for the answer.

        Raises:
            NotTold: It was not taken.
        """
        try:
            url = checked_address(self._url, self._plain_http, example=_EXAMPLE, server="GitHub")
            token = self._token()
        except SettingInvalid as error:
            raise NotTold(error.message.rstrip(".")) from error
        if token is None:
            raise NotTold("there is no token")
        try:
            answer = self._http.send(
                "POST",
                f"{url}/repos/{quote(status.repository)}/statuses/{quote(status.commit, safe='')}",
                limit=_LIMIT,
                headers={
                    "Accept": "application/vnd.github+json",
                    "Authorization": f"Bearer {token}",
                    "Content-Type": "application/json",
                    "X-GitHub-Api-Version": VERSION,
                },
                body=json.dumps(_body(status)).encode(),
                timeout=timeout,
            )
        except NoAnswer as error:
            raise NotTold(error.reason, passing=error.passing) from error
        refusal = _refusal(answer, status, token)
        if refusal is not None:
            raise refusal


def _body(status: CommitStatus) -> dict[str, str]:
    body = {"state": status.state, "context": status.context, "description": status.description}
    return body if status.target_url is None else {**body, "target_url": status.target_url}


def _refusal(answer: Answer, status: CommitStatus, token: str) -> NotTold | None:
    content = _content(answer)
    if 200 <= answer.status < 300:
        return None if "state" in content else NotTold(f"{_host(answer.url)} does not answer like GitHub's API; see `github_url`")
    said = _said(content, token)
    wait = _wait(answer, said)
    if wait is not None:
        return NotTold(f"its rate limit is reached (HTTP {answer.status}){said}", passing=True, wait=wait)
    if answer.status >= 500 or answer.status == 408:
        return NotTold(f"it answers HTTP {answer.status}{said}", passing=True)
    return NotTold(_why(answer, status) + said)


def _why(answer: Answer, status: CommitStatus) -> str:
    code = f"(HTTP {answer.status})"
    if answer.status == 401:
        return f"it does not know the token {code}"
    if answer.status == 403:
        return f"the token may not set statuses in {status.repository} {code}"
    if answer.status == 404:
        return f"there is no {status.repository}, or the token may not see it {code}"
    if answer.status == 422:
        return f"it does not take it for {status.commit[:12]} of {status.repository} {code}"
    if answer.sent_to is not None:
        return f"it sends us on to {_host(answer.sent_to)}, and is not followed {code}; was {status.repository} renamed?"
    return f"it answers HTTP {answer.status}"


def _wait(answer: Answer, said: str) -> float | None:
    """Return after how many seconds to come again; ``None`` where it is no matter of how often we come."""
    if answer.status not in (403, 429):
        return None
    after = _number(answer.headers.get("Retry-After"))
    if after is not None:
        return min(after, _LONGEST)
    reset = _number(answer.headers.get("X-RateLimit-Reset"))
    if answer.headers.get("X-RateLimit-Remaining") == "0" and reset is not None:
        return min(max(reset - time.time(), 0.0) + 1.0, _LONGEST)
    return _SECONDARY_SECONDS if answer.status == 429 or "rate limit" in said.lower() else None


def _number(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() and len(header) < 12 else None


def _content(answer: Answer) -> dict[str, Any]:
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _said(content: dict[str, Any], token: str) -> str:
    """Return GitHub's own words, if it has some: a message, and what is wrong in the request."""
    errors = content.get("errors")
    more = [one.get("message") if isinstance(one, dict) else one for one in errors] if isinstance(errors, list) else []
    words = [str(word) for word in (content.get("message"), *more) if word and isinstance(word, str)]
    text = "".join(char for char in redact("; ".join(words), (token,)) if char.isprintable())[:_SAID].rstrip(" .")
    return f": {text}" if text else ""


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
