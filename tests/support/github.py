"""GitHub's commit statuses in this process: a real HTTP server on a port of its own, as strict as GitHub is where it matters.

Its answers have the form that GitHub publishes (``tests/unit/clients/test_github_openapi.py`` holds them to it). It can be told to
limit the rate, to fail, and to hang.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CANARY = "canary-gh-7c2e-" + "x" * 24
"""The token that is asked for, and looked for where it must not be."""
HANG = 0
"""The status of an answer that never comes."""
VERSION = "2022-11-28"

_ROUTE = re.compile(r"/repos/(?P<owner>[^/]+)/(?P<repo>[^/]+)/statuses/(?P<sha>[^/]+)")
_STATES = ("error", "failure", "pending", "success")
_DOCS = "https://docs.github.com/rest/commits/statuses#create-a-commit-status"


class ReleaseJSON(NamedTuple):
    """A status that GitHub was told: of which repository, of which commit, and the request's JSON."""

    repository: str
    sha: str
    body: dict[str, Any]

    @property
    def line(self) -> str:
        """Its context and its state, ``kubernaut/release pending``."""
        return f"{self.body.get('context')} {self.body['state']}"


class Asked(NamedTuple):
    """A request, as it came: its headers by their names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Answered(NamedTuple):
    """What was answered."""

    status: int
    headers: Mapping[str, str]
    content: Any


@dataclass
class _Fault:
    status: int
    times: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "told to fail"
    content: bytes | None = None


class FakeGitHub:
    """GitHub for tests; use it as a context manager.

    Args:
        token: The token that it wants to see.
        repositories: Those that the token may write to, ``OWNER/NAME``; all by default.
        commits: Those that there are; all by default.
        base: What its paths begin with: an Enterprise server's with ``/api/v3``.

    Attributes:
        statuses: What it was told, in order.
        requests: Every request, also those that it refused.
        answers: What it answered, in the same order; nothing of those that hang.
    """

    def __init__(
        self,
        token: str = CANARY,
        *,
        repositories: Collection[str] | None = None,
        commits: Collection[str] | None = None,
        base: str = "",
    ) -> None:
        self.token = token
        self.repositories = repositories
        self.commits = commits
        self.statuses: list[ReleaseJSON] = []
        self.requests: list[Asked] = []
        self.answers: list[Answered] = []
        self._base = base
        self._faults: list[_Fault] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> FakeGitHub:
        owner = self

        class Handler(_Handler):
            github = owner

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.block_on_close = True, False
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-github", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def url(self) -> str:
        """Its API, for the setting ``github_url``."""
        return f"http://127.0.0.1:{self._port}{self._base}"

    @property
    def lines(self) -> list[str]:
        """What it was told, each as its context and its state."""
        with self._changed:
            return [told.line for told in self.statuses]

    def states(self, sha: str) -> dict[str, str]:
        """Return what a commit shows: the newest state of each context."""
        with self._changed:
            return {told.body["context"]: told.body["state"] for told in self.statuses if told.sha == sha}

    def fail(
        self, status: int, *, times: int | None = None, headers: Mapping[str, str] | None = None, message: str = "told to fail"
    ) -> None:
        """Answer the next requests with a status, as many as are named or all of them."""
        self._add(_Fault(status, times, headers or {}, message))

    def limit(self, status: int = 403, *, times: int | None = None, **headers: str) -> None:
        """Limit the rate: headers as keywords, such as ``retry_after="1"``, ``x_ratelimit_remaining="0"``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._add(_Fault(status, times, named, "You have exceeded a secondary rate limit. Please wait a few minutes."))

    def say(self, status: int, content: bytes, *, times: int | None = None) -> None:
        """Answer with something else than GitHub's JSON, such as a proxy's page."""
        self._add(_Fault(status, times, {"Content-Type": "text/html"}, content=content))

    def hang(self, *, times: int | None = None) -> None:
        """Take the next requests, and answer nothing until :meth:`release`."""
        self._add(_Fault(HANG, times))

    def heal(self) -> None:
        """Forget all faults."""
        with self._changed:
            self._faults.clear()

    def release(self) -> None:
        """End the requests that hang, without an answer."""
        self._released.set()

    def wait_asked(self, count: int, seconds: float = 10.0) -> None:
        """Wait until so many requests have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, seconds), f"{len(self.requests)} requests came"

    def wait_told(self, line: str, seconds: float = 10.0) -> None:
        """Wait until it was told something: a context and a state."""
        with self._changed:
            told = self._changed.wait_for(lambda: any(one.line == line for one in self.statuses), seconds)
            assert told, f"{line!r} was not told, but {[one.line for one in self.statuses]}"

    def _add(self, fault: _Fault) -> None:
        with self._changed:
            self._faults.append(fault)

    def take(self, asked: Asked) -> _Fault | None:
        """Note a request; return how it is to fail."""
        with self._changed:
            self.requests.append(asked)
            self._changed.notify_all()
            for fault in self._faults:
                if fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def note(self, told: ReleaseJSON) -> int:
        """Note what it was told; return the status's number."""
        with self._changed:
            self.statuses.append(told)
            self._changed.notify_all()
            return len(self.statuses)

    def answered(self, answer: Answered) -> None:
        """Note an answer."""
        with self._changed:
            self.answers.append(answer)

    def wait_released(self) -> None:
        """Wait as a request that hangs."""
        self._released.wait(60)


class _Handler(BaseHTTPRequestHandler):
    github: FakeGitHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Answer; a client that is gone meanwhile is no failure of the server's."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_POST(self) -> None:
        """Take a status, or fail as told."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.github.take(Asked(self.command, self.path, headers, body))
        if fault is None:
            self._status(headers, body)
        elif fault.status == HANG:
            self.github.wait_released()
            self.close_connection = True
        elif fault.content is not None:
            self._send(fault.status, fault.headers, fault.content)
        else:
            self._refuse(fault.status, fault.message, fault.headers)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - the names that http.server calls

    def _status(self, headers: Mapping[str, str], body: bytes) -> None:
        path = urlsplit(self.path).path
        match = _ROUTE.fullmatch(path.removeprefix(self.github._base)) if path.startswith(self.github._base) else None
        if headers.get("authorization") != f"Bearer {self.github.token}":
            self._refuse(401, "Bad credentials")
        elif not headers.get("user-agent"):
            self._refuse(403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.")
        elif headers.get("x-github-api-version", VERSION) != VERSION:
            self._refuse(400, "The API version is not supported.")
        elif match is None or self.command != "POST" or not self._known(f"{match['owner']}/{match['repo']}"):
            self._refuse(404, "Not Found")
        else:
            self._take(ReleaseJSON(f"{match['owner']}/{match['repo']}", match["sha"], _json(body)))

    def _known(self, repository: str) -> bool:
        return self.github.repositories is None or repository in self.github.repositories

    def _take(self, told: ReleaseJSON) -> None:
        wrong = _invalid(told.body)
        if self.github.commits is not None and told.sha not in self.github.commits:
            self._refuse(422, f"No commit found for SHA: {told.sha}")
        elif wrong:
            self._refuse(422, "Validation Failed", errors=[wrong])
        else:
            where = f"{self.github.url}/repos/{told.repository}/statuses/{told.sha}"
            number = self.github.note(told)
            self._answer(201, _shown(told.body, where, number), {"Location": where})

    def _refuse(self, status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        self._answer(status, {"message": message, "documentation_url": _DOCS, "status": str(status), **more}, headers or {})

    def _answer(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
        self.github.answered(Answered(status, headers, content))
        named = {"Content-Type": "application/json; charset=utf-8", "X-GitHub-Api-Version-Selected": VERSION, **headers}
        self._send(status, named, json.dumps(content).encode())

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _invalid(body: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what GitHub finds wrong with a status."""
    if body.get("state") not in _STATES:
        return {"resource": "Status", "code": "custom", "field": "state", "message": "state is not included in the list"}
    description = str(body.get("description") or "")
    if len(description) > 140:
        message = "description is too long (maximum is 140 characters)"
        return {"resource": "Status", "code": "custom", "field": "description", "message": message}
    if any(ord(char) > 0xFFFF for char in description):
        message = "description doesn't accept 4-byte Unicode"
        return {"resource": "Status", "code": "custom", "field": "description", "message": message}
    if urlsplit(body.get("target_url") or "https://x").scheme not in ("http", "https"):
        message = "target_url must use http(s) scheme"
        return {"resource": "Status", "code": "custom", "field": "target_url", "message": message}
    return None


def _shown(body: Mapping[str, Any], where: str, number: int) -> dict[str, Any]:
    at = "2026-05-04T03:02:01Z"
    return {
        "url": where,
        "avatar_url": "https://github.com/images/error/octocat_happy.gif",
        "id": number,
        "node_id": f"SC_{number}",
        "state": body["state"],
        "description": body.get("description"),
        "target_url": body.get("target_url"),
        "context": body.get("context", "default"),
        "created_at": at,
        "updated_at": at,
        "creator": _CREATOR,
    }


_USER = "https://api.github.com/users/octocat"
_CREATOR = {
    "login": "octocat",
    "id": 1,
    "node_id": "MDQ6VXNlcjE=",
    "avatar_url": "https://github.com/images/error/octocat_happy.gif",
    "gravatar_id": "",
    "url": _USER,
    "html_url": "https://github.com/octocat",
    "followers_url": f"{_USER}/followers",
    "following_url": f"{_USER}/following{{/other_user}}",
    "gists_url": f"{_USER}/gists{{/gist_id}}",
    "starred_url": f"{_USER}/starred{{/owner}}{{/repo}}",
    "subscriptions_url": f"{_USER}/subscriptions",
    "organizations_url": f"{_USER}/orgs",
    "repos_url": f"{_USER}/repos",
    "events_url": f"{_USER}/events{{/privacy}}",
    "received_events_url": f"{_USER}/received_events",
    "type": "User",
    "site_admin": False,
}
