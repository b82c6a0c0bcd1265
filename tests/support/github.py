"""GitHub's commit statuses in this process: an HTTP server on a free port, as strict as GitHub where it matters.

Its answers have the form that GitHub publishes (``tests/unit/adapters/test_github_openapi.py`` checks it). It can fail and hang.
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
"""The token, which tests search for where it must not be."""
HANG = 0
"""The status of an answer that never comes."""
VERSION = "2022-11-28"

_ROUTE = re.compile(r"/repos/(?P<owner>[^/]+)/(?P<repo>[^/]+)/statuses/(?P<sha>[^/]+)")
_STATES = ("error", "failure", "pending", "success")
_DOCS = "https://docs.github.com/rest/commits/statuses#create-a-commit-status"


class ReceivedStatus(NamedTuple):
    """An accepted status: its repository, its commit, and the request's JSON."""

    repository: str
    sha: str
    body: dict[str, Any]

    @property
    def line(self) -> str:
        """Its context and its state, ``kubernaut/release pending``."""
        return f"{self.body.get('context')} {self.body['state']}"


class ReceivedRequest(NamedTuple):
    """A request; the names of its headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class SentAnswer(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    content: Any


@dataclass
class _Fault:
    status: int
    times: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "injected failure"
    content: bytes | None = None


class FakeGitHub:
    """GitHub for tests; a context manager.

    Args:
        token: The token that it accepts.
        repositories: The repositories that the token may write to, ``OWNER/NAME``; all by default.
        commits: The commits that exist; all by default.
        base: The prefix of its paths: ``/api/v3`` of an Enterprise server.

    Attributes:
        statuses: The accepted statuses, in order.
        requests: Every request, also the refused ones.
        answers: The answers, in the same order; none of requests that hang.
    """

    def __init__(
        self,
        token: str = CANARY,
        *,
        repositories: Collection[str] | None = None,
        commits: Collection[str] | None = None,
        base: str = "",
    ) -> None:
        self.token, self.repositories, self.commits, self.base = token, repositories, commits, base
        self.statuses: list[ReceivedStatus] = []
        self.requests: list[ReceivedRequest] = []
        self.answers: list[SentAnswer] = []
        self._faults: list[_Fault] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> FakeGitHub:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        server.daemon_threads, server.block_on_close = True, False
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-github", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def url(self) -> str:
        """Its API, for the setting ``github_url``."""
        return f"http://127.0.0.1:{self._port}{self.base}"

    @property
    def lines(self) -> list[str]:
        """The accepted statuses, each as its context and its state."""
        return [status.line for status in list(self.statuses)]

    def states(self, sha: str) -> dict[str, str]:
        """Return what a commit shows: the newest state of each context."""
        return {status.body["context"]: status.body["state"] for status in list(self.statuses) if status.sha == sha}

    def fail(
        self, status: int, *, times: int | None = None, headers: Mapping[str, str] | None = None, message: str = "injected failure"
    ) -> None:
        """Answer the next requests, ``times`` of them or all, with a status."""
        self._faults.append(_Fault(status, times, headers or {}, message))

    def send_page(self, status: int, content: bytes) -> None:
        """Answer with something else than GitHub's JSON, such as a proxy's page."""
        self._faults.append(_Fault(status, None, {"Content-Type": "text/html"}, content=content))

    def hang(self) -> None:
        """Never answer the next requests."""
        self._faults.append(_Fault(HANG, None))

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def wait_for(self, line: str, seconds: float = 10.0) -> None:
        """Wait for a status: a context and a state."""
        with self._changed:
            assert self._changed.wait_for(lambda: line in self.lines, seconds), f"{line!r} is not among {self.lines}"

    def receive(self, request: ReceivedRequest) -> _Fault | None:
        """Record a request; return how it is to fail."""
        with self._changed:
            self.requests.append(request)
            for fault in self._faults:
                if fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def accept(self, status: ReceivedStatus) -> int:
        """Record a status; return its number."""
        with self._changed:
            self.statuses.append(status)
            self._changed.notify_all()
            return len(self.statuses)

    def wait_released(self) -> None:
        """Wait as a request that hangs."""
        self._released.wait(60)


class _Handler(BaseHTTPRequestHandler):
    github: FakeGitHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""

    def handle_one_request(self) -> None:
        """Answer; a client that has gone away is not a failure."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_POST(self) -> None:
        """Accept a status, or fail as requested."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.github.receive(ReceivedRequest(self.command, self.path, headers, body))
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
        match = _ROUTE.fullmatch(path.removeprefix(self.github.base)) if path.startswith(self.github.base) else None
        if headers.get("authorization") != f"Bearer {self.github.token}":
            self._refuse(401, "Bad credentials")
        elif not headers.get("user-agent"):
            self._refuse(403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.")
        elif headers.get("x-github-api-version", VERSION) != VERSION:
            self._refuse(400, "The API version is not supported.")
        elif match is None or self.command != "POST" or not self._known(f"{match['owner']}/{match['repo']}"):
            self._refuse(404, "Not Found")
        else:
            self._accept(ReceivedStatus(f"{match['owner']}/{match['repo']}", match["sha"], _json(body)))

    def _known(self, repository: str) -> bool:
        return self.github.repositories is None or repository in self.github.repositories

    def _accept(self, status: ReceivedStatus) -> None:
        wrong = _invalid(status.body)
        if self.github.commits is not None and status.sha not in self.github.commits:
            self._refuse(422, f"No commit found for SHA: {status.sha}")
        elif wrong:
            self._refuse(422, "Validation Failed", errors=[wrong])
        else:
            where = f"{self.github.url}/repos/{status.repository}/statuses/{status.sha}"
            number = self.github.accept(status)
            self._answer(201, _shown(status.body, where, number), {"Location": where})

    def _refuse(self, status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        self._answer(status, {"message": message, "documentation_url": _DOCS, "status": str(status), **more}, headers or {})

    def _answer(self, status: int, content: Any, headers: Mapping[str, str]) -> None:
        self.github.answers.append(SentAnswer(status, headers, content))
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
    """Return the error that GitHub reports for a status."""
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
