"""Commit statuses on GitHub of published and deployed versions: ``kubernaut/release`` and ``kubernaut/deploy/NAMESPACE``.

A daemon thread sends them, in order. The end of a verb waits for it at most :data:`WAIT` seconds; a status that cannot be sent is a
warning and changes neither the verb nor its exit status.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from kubernaut.errors import KubernautError
from kubernaut.events import Listener, Notice
from kubernaut.redact import environment_secrets, redact
from kubernaut.settings import Settings, parse_repository

if TYPE_CHECKING:
    from kubernaut.adapters.github import State, Status, StatusClient
    from kubernaut.history.releases import Release

WAIT = 3.0
MAX_DESCRIPTION = 140
"""Characters that GitHub accepts."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SCP_URL = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]+):(?P<path>\S+)")
_PORTS = {"http": 80, "https": 443}


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
            status.report("failure", _reason(failure))
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
        from kubernaut.adapters.github import StatusNotSent

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
        newest = {status.context: (status, _outcome(future)) for status, future in self._sent}
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

    def set_release(self, release: Release | None, *, changed: bool) -> None:
        """Name the release in the outcome."""
        if release is not None:
            self.outcome = f"{'' if changed else ' already,'} as {release.id}"

    def report(self, state: State, text: str) -> None:
        """Report a state and its description, without secrets of the environment."""
        if self._place is None:
            return
        from kubernaut.adapters.github import Status

        settings = self._reporter.settings
        description = description_of(redact(text, environment_secrets(settings.environment)))
        url = settings.build.url if settings.build else None
        self._reporter.send(Status(*self._place, self._context, state, description, url))


def _outcome(future: Future[str]) -> str:
    return "no answer in time" if future.cancel() or not future.done() else future.result()


def _reason(failure: BaseException) -> str:
    if isinstance(failure, KubernautError):
        return failure.message
    if isinstance(failure, KeyboardInterrupt):
        return str(failure) or "Stopped by Ctrl-C."
    return f"Internal error ({type(failure).__name__})."
