"""GitHub: commit statuses of published and deployed versions, ``kubernaut/release`` and ``kubernaut/deploy/NAMESPACE``.

A daemon thread sends them, in order: each is a POST to the address in the settings, with two tries within three seconds and no
redirects. The end of a verb waits for it at most :data:`WAIT` seconds; a status that cannot be sent is a warning and changes
neither the verb nor its exit status.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal, Self
from urllib.parse import quote, urlsplit

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_fixed

from kubernaut.adapters.http import HttpClient, RequestError, Response, checked_address
from kubernaut.adapters.secret_files import TokenSource
from kubernaut.errors import KubernautError, SettingInvalid
from kubernaut.events import Listener, Notice
from kubernaut.redact import environment_secrets, redact
from kubernaut.settings import Settings, parse_repository

State = Literal["pending", "success", "failure"]

WAIT = 3.0
MAX_DESCRIPTION = 140
"""Characters that GitHub accepts."""
_SECONDS = 3.0
_HEADERS = {"Accept": "application/vnd.github+json", "Content-Type": "application/json", "X-GitHub-Api-Version": "2022-11-28"}
_FIELDS = ("state", "context", "description", "target_url")
_EXAMPLE = "https://api.github.com or https://github.example.com/api/v3"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SCP_URL = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]+):(?P<path>\S+)")
_PORTS = {"http": 80, "https": 443}


class CommitStatusReporter:
    """Reports what a verb does to commits. A context manager, whose end waits until the statuses are sent.

    Args:
        client: Sends the statuses; without one nothing is reported.
        settings: The GitHub repository, and the CI build to link to.
        listener: Receives the warnings.
    """

    def __init__(self, client: StatusClient | None, settings: Settings, listener: Listener) -> None:
        self.client, self.settings, self._listener = client, settings, listener
        self._queue: SimpleQueue[Status | None] = SimpleQueue()
        self._failures: dict[Status, str] = {}  # by status, in order; empty once it is set
        self._thread: threading.Thread | None = None
        self._ended = False
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        try:
            if self._thread is not None:
                self._thread.join(WAIT)
        finally:
            self._ended = True
            self._warn_of_failures()

    def publishing(self) -> CommitStatus:
        """Report the version that the block publishes."""
        return CommitStatus(self, "kubernaut/release", "is being published", "is published")

    def deploying(self, namespace: str) -> CommitStatus:
        """Report the version that the block deploys."""
        return CommitStatus(self, f"kubernaut/deploy/{namespace}", f"is being deployed to {namespace}", f"runs in {namespace}")

    def send(self, status: Status) -> None:
        """Send a status from the thread, after those before."""
        self._failures[status] = "no answer in time"
        self._queue.put(status)
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="kubernaut-github", daemon=True)
            with suppress(RuntimeError):  # the process has no more threads: a warning at the end
                thread.start()
                self._thread = thread

    def warn(self, text: str) -> None:
        """Send a notice, each text once; a listener that fails is ignored."""
        if text not in self._warned:
            self._warned.add(text)
            with suppress(Exception):
                self._listener(Notice("github", text))

    def _run(self) -> None:
        for status in iter(self._queue.get, None):
            if self._ended or self.client is None:
                return
            try:
                self.client.set_status(status)
                self._failures[status] = ""
            except RequestError as failure:
                self._failures[status] = str(failure)
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is a warning
                self._failures[status] = f"internal error ({type(failure).__name__})"

    def _warn_of_failures(self) -> None:
        failed: dict[str, list[str]] = {}
        for context, newest in {status.context: status for status in self._failures}.items():
            failed.setdefault(self._failures[newest], []).append(f"{context} ({newest.state})")
        for reason, statuses in failed.items():
            if reason:
                self.warn(f"Could not set {' and '.join(statuses)} on GitHub: {reason}.")


class CommitStatus:
    """The status of one context and version. A context manager, whose end reports the result of the block.

    Nothing is reported before :meth:`begin`.
    """

    def __init__(self, reporter: CommitStatusReporter, context: str, doing: str, done: str) -> None:
        self._reporter, self._context, self._doing, self._done = reporter, context, doing, done
        self._place: tuple[str, str] | None = None
        self._version = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, failure: BaseException | None, _traceback: object) -> None:
        if failure is None:
            self._report("success", f"{self._version} {self._done}")
        else:
            self._report("failure", _cause(failure))

    def begin(self, version: str, commit: str | None, source: str | None) -> None:
        """Report ``pending`` on the commit of a version; warn if it has none on this GitHub."""
        self._version = version
        if self._reporter.client is not None:
            try:
                self._place = find_commit(commit, source, self._reporter.settings)
            except NoCommit as reason:
                self._reporter.warn(f"No commit status for {version}: {reason}.")
        self._report("pending", f"{version} {self._doing}")

    def set_release(self, id: str, *, changed: bool) -> None:
        """Name the release in the description of a success."""
        self._done += f"{'' if changed else ' already,'} as {id}"

    def _report(self, state: State, text: str) -> None:
        if self._place is not None:
            settings = self._reporter.settings
            description = description_of(redact(text, environment_secrets(settings.environment)))
            url = settings.build.url if settings.build else None
            self._reporter.send(Status(*self._place, self._context, state, description, url))


def _cause(failure: BaseException) -> str:
    if isinstance(failure, KubernautError):
        return failure.message
    if isinstance(failure, KeyboardInterrupt):
        return str(failure) or "Stopped by Ctrl-C."
    return f"Internal error ({type(failure).__name__})."


class NoCommit(Exception):
    """A version that has no commit on this GitHub; the text is the reason, a clause."""


def description_of(text: str) -> str:
    """Return a text as a description that GitHub accepts: one line, at most :data:`MAX_DESCRIPTION` characters of the BMP."""
    words = "".join(char if char.isprintable() else " " for char in text).split()
    line = "".join(char if ord(char) <= 0xFFFF else "\ufffd" for char in " ".join(words))
    return line if len(line) <= MAX_DESCRIPTION else line[: MAX_DESCRIPTION - 1].rstrip() + "…"


def repository_at(github_url: str, source: str) -> str | None:
    """Return the repository, ``OWNER/NAME``, of a git URL on the GitHub with this API; ``None`` for other hosts."""
    scp = None if "://" in source else _SCP_URL.fullmatch(source)
    try:
        api, parts = urlsplit(github_url), urlsplit(f"ssh://{scp['host']}/{scp['path']}" if scp else source)
        ports = [None if url.port == _PORTS.get(url.scheme) else url.port for url in (api, parts)]
        same_port = parts.scheme not in _PORTS or ports[0] == ports[1]
        known = parts.scheme in ("https", "http", "ssh", "git", "git+ssh") and (parts.hostname or "") in _hosts(api.hostname or "")
        return parse_repository(parts.path.strip("/").removesuffix(".git")) if known and same_port else None
    except ValueError:  # an invalid port or repository name
        return None


def _hosts(api: str) -> tuple[str, ...]:
    if api == "api.github.com":
        return ("github.com", "www.github.com", "ssh.github.com")
    return (api, api.removeprefix("api.")) if api.endswith(".ghe.com") else (api,)


def find_commit(commit: str | None, source: str | None, settings: Settings) -> tuple[str, str]:
    """Return the repository, ``OWNER/NAME``, and the commit that a version was built from. Raises: NoCommit."""
    if commit is None:
        raise NoCommit("its commit is unknown")
    if not _COMMIT.fullmatch(commit):
        raise NoCommit("it includes uncommitted changes" if commit.endswith("-dirty") else "its commit is not a full SHA")
    found = settings.github_repository or (source and repository_at(settings.github_url, source))
    if not found:
        why = "is unknown" if source is None else f"is not on {settings.github_url}"
        raise NoCommit(f"its repository {why}; set `github_repository`")
    return found, commit


@dataclass(frozen=True)
class Status:
    """A commit status: ``repository`` is ``OWNER/NAME``, ``commit`` the full SHA, ``target_url`` the page to link to."""

    repository: str
    commit: str
    context: str
    state: State
    description: str
    target_url: str | None = None


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
        """Set a commit status, within three seconds. Raises: RequestError, with the reason of a refusal."""
        deadline = time.monotonic() + _SECONDS
        retry = retry_if_exception(lambda error: isinstance(error, RequestError) and error.retryable)
        stop = stop_after_attempt(2) | stop_before_delay(_SECONDS)
        Retrying(retry=retry, stop=stop, wait=wait_fixed(0.25), reraise=True)(self._post, status, deadline)

    def _post(self, status: Status, deadline: float) -> None:
        path = f"/repos/{quote(status.repository)}/statuses/{quote(status.commit, safe='')}"
        body = {name: getattr(status, name) for name in _FIELDS if getattr(status, name) is not None}
        try:
            url = checked_address(self._url, self._plain_http, example=_EXAMPLE, server="GitHub") + path
            if (token := self._token()) is None:
                raise RequestError("no token", retryable=False)
            headers = {**_HEADERS, "Authorization": f"Bearer {token}"}
            left = max(deadline - time.monotonic(), 0.1)
            answer = self._http.send("POST", url, limit=1 << 20, headers=headers, body=json.dumps(body).encode(), timeout=left)
        except SettingInvalid as error:
            raise RequestError(error.message.rstrip("."), retryable=False) from error
        if not (200 <= answer.status < 300 and "state" in (answer.json_object or {})):
            raise RequestError(_refusal(answer, status, token), retryable=answer.status >= 500 or answer.status == 408)


def _refusal(answer: Response, status: Status, token: str) -> str:
    """Return why GitHub has not accepted a status, with its own message."""
    code, repository = answer.status, status.repository
    if 200 <= code < 300:
        return f"{urlsplit(answer.url).hostname} does not answer like GitHub's API; check `github_url`"
    if answer.redirect_url is not None:
        return f"redirect to {urlsplit(answer.redirect_url).hostname} not followed (HTTP {code}); was {repository} renamed?"
    reason = {
        401: "invalid token (HTTP 401)",
        403: f"setting statuses in {repository} is denied (HTTP 403)",
        404: f"{repository} does not exist, or the token has no access to it (HTTP 404)",
        422: f"commit {status.commit[:12]} of {repository} is not accepted (HTTP 422)",
    }.get(code, f"HTTP {code}")
    message = (answer.json_object or {}).get("message")
    text = redact(message, (token,)) if isinstance(message, str) else ""
    printable = "".join(char for char in text if char.isprintable())[:200].rstrip(" .")
    return f"{reason}: {printable}" if printable else reason
