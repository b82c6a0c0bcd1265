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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
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
_EXAMPLE = "https://api.github.com or https://github.example.com/api/v3"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SCP_URL = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]+):(?P<path>\S+)")
_PORTS = {"http": 80, "https": 443}


# the statuses of a verb


class CommitStatusReporter:
    """Reports what a verb does to commits. A context manager, whose end waits until the statuses are sent.

    Args:
        client: Sends the statuses; without one nothing is reported.
        settings: The GitHub repository, and the CI build to link to.
        listener: Receives the warnings.
    """

    def __init__(self, client: StatusClient | None, settings: Settings, listener: Listener) -> None:
        self.client, self.settings, self._listener = client, settings, listener
        self._queue: SimpleQueue[tuple[Status, Future[str]] | None] = SimpleQueue()
        self._sent: list[tuple[Status, Future[str]]] = []
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        try:
            wait([future for _, future in self._sent], WAIT)
        finally:
            self._warn_of_failures()

    def publishing(self) -> AbstractContextManager[CommitStatus]:
        """Report the version that the block publishes."""
        return self._reporting("kubernaut/release", "is being published", "is published")

    def deploying(self, namespace: str) -> AbstractContextManager[CommitStatus]:
        """Report the version that the block deploys."""
        return self._reporting(f"kubernaut/deploy/{namespace}", f"is being deployed to {namespace}", f"runs in {namespace}")

    @contextmanager
    def _reporting(self, context: str, doing: str, done: str) -> Iterator[CommitStatus]:
        status = CommitStatus(self, context, doing)
        try:
            yield status
        except BaseException as failure:
            status.report("failure", _cause(failure))
            raise
        status.report("success", f"{status.version} {done}{status.outcome}")

    def send(self, status: Status) -> None:
        """Send a status from the thread, after those before."""
        self._sent.append((status, Future()))
        self._queue.put(self._sent[-1])
        if len(self._sent) == 1:
            with suppress(RuntimeError):  # the process has no more threads: a warning at the end
                threading.Thread(target=self._run, name="kubernaut-github", daemon=True).start()

    def warn(self, text: str) -> None:
        """Send a notice, each text once; a listener that fails is ignored."""
        if text not in self._warned:
            self._warned.add(text)
            with suppress(Exception):
                self._listener(Notice("github", text))

    def _run(self) -> None:
        for status, future in iter(self._queue.get, None):
            if self.client is None or not future.set_running_or_notify_cancel():
                continue
            try:
                self.client.set_status(status)
                future.set_result("")
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is a warning
                defect = f"internal error ({type(failure).__name__})"
                future.set_result(str(failure) if isinstance(failure, StatusNotSent) else defect)

    def _warn_of_failures(self) -> None:
        newest = {
            status.context: (status, "no answer in time" if future.cancel() or not future.done() else future.result())
            for status, future in self._sent
        }
        for reason in dict.fromkeys(reason for _, reason in newest.values() if reason):
            failed = [f"{status.context} ({status.state})" for status, why in newest.values() if why == reason]
            self.warn(f"Could not set {' and '.join(failed)} on GitHub: {reason}.")


class CommitStatus:
    """The status of one context and version. Nothing is reported before :meth:`begin`.

    Attributes:
        version: The version; empty until it is known.
        outcome: The end of the description of a success.
    """

    def __init__(self, reporter: CommitStatusReporter, context: str, doing: str) -> None:
        self._reporter, self._context, self._doing = reporter, context, doing
        self._place: tuple[str, str] | None = None
        self.version = self.outcome = ""

    def begin(self, version: str, commit: str | None, source: str | None) -> None:
        """Report ``pending`` on the commit of a version; warn if it has none on this GitHub."""
        self.version = version
        if self._reporter.client is not None:
            try:
                self._place = find_commit(commit, source, self._reporter.settings)
            except NoCommit as reason:
                self._reporter.warn(f"No commit status for {version}: {reason}.")
        self.report("pending", f"{version} {self._doing}")

    def set_release(self, id: str, *, changed: bool) -> None:
        """Name the release in the outcome."""
        self.outcome = f"{'' if changed else ' already,'} as {id}"

    def report(self, state: State, text: str) -> None:
        """Report a state and its description, without secrets of the environment."""
        if self._place is None:
            return
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


# the repository, the commit and the description; pure


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


# HTTP


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
        content = answer.json_object or {}
        if not (200 <= answer.status < 300 and "state" in content):
            text = content["message"] if isinstance(content.get("message"), str) else ""
            message = "".join(char for char in redact(text, (token,)) if char.isprintable())[:200].rstrip(" .")
            raise StatusNotSent(
                _refusal(answer, status) + (message and f": {message}"), retryable=answer.status >= 500 or answer.status == 408
            )


def _refusal(answer: Response, status: Status) -> str:
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
