"""What became of a commit, told to GitHub as commit statuses: ``kubernaut/release`` and ``kubernaut/deploy/NAMESPACE``.

Telling is done beside the work, in a thread of its own, and never in its way: a verb waits for it only when all else is done, and
not for long. What GitHub was not told is said, and changes nothing: not what the verb does, nor how it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from kubernaut.errors import Interrupted, KubernautError
from kubernaut.events import Listener, Notice
from kubernaut.redact import environment_secrets, redact
from kubernaut.settings import Settings, repository

if TYPE_CHECKING:
    from kubernaut.adapters.github import CommitStatus, GitHub, State
    from kubernaut.adapters.github_teller import StatusClient, Untold
    from kubernaut.history.releases import Release

RELEASE = "kubernaut/release"
STEP = "github"
LONGEST = 140
"""Characters that GitHub takes of a description."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]+):(?P<path>\S+)")
"""How ssh may be written: ``git@github.com:team/shop.git``."""
_SCHEMES = ("https", "http", "ssh", "git", "git+ssh")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Patience:
    """For how many seconds a verb waits, when all else is done, until GitHub knows.

    Attributes:
        usual: After a verb that came to its end, well or not.
        stopped: After one that a signal stopped: whoever sent it may send a harder one soon.
    """

    usual: float = 10.0
    stopped: float = 2.5


class NotTellable(Exception):
    """There is no commit on this GitHub that something could be told of; the text says why."""


# what is told


def deploy_context(namespace: str) -> str:
    """Return the context of the deploys to a namespace."""
    return f"kubernaut/deploy/{namespace}"


def line(text: str) -> str:
    """Return a text as GitHub takes it for a description: one line, not too long, without characters that it refuses."""
    words = "".join(char if char.isprintable() else " " for char in text).split()
    plain = "".join(char if ord(char) <= 0xFFFF else "\ufffd" for char in " ".join(words))
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1].rstrip() + "…"


def repository_at(github_url: str, source: str) -> str | None:
    """Return which repository of a GitHub a source's URL names, ``OWNER/NAME``; ``None`` for one that lies elsewhere.

    Args:
        github_url: GitHub's API.
        source: As git writes it: ``https://…``, ``ssh://…`` or ``git@HOST:OWNER/NAME.git``.
    """
    short = None if "://" in source else _SHORT.fullmatch(source)
    if short is not None:
        source = f"ssh://{short['host']}/{short['path']}"
    try:
        api, parts = urlsplit(github_url), urlsplit(source)
        foreign_port = parts.scheme in _PORTS and _own_port(parts.scheme, parts.port) != _own_port(api.scheme, api.port)
        fits = parts.scheme in _SCHEMES and not foreign_port and (parts.hostname or "") in _hosts(api.hostname or "")
        return repository(parts.path.strip("/").removesuffix(".git")) if fits else None
    except ValueError:  # no port, or no repository, is called like that
        return None


def _own_port(scheme: str, port: int | None) -> int | None:
    return None if port == _PORTS.get(scheme) else port


def _hosts(api: str) -> tuple[str, ...]:
    """Return the hosts of the repositories that an API is for: only GitHub's own have names apart from it."""
    if api == "api.github.com":
        return ("github.com", "www.github.com", "ssh.github.com")
    return (api, api.removeprefix("api.")) if api.endswith(".ghe.com") else (api,)


def where(commit: str | None, source: str | None, settings: Settings) -> tuple[str, str]:
    """Return the repository on GitHub and the commit that something is told of.

    Args:
        commit: What a version was made of.
        source: The repository that it was made of.
        settings: Which GitHub, and which repository there if it is named.

    Raises:
        NotTellable: There is none.
    """
    if commit is None:
        raise NotTellable("it is not known which commit it was made of")
    if commit.endswith("-dirty"):
        raise NotTellable("it was made of more than its commit: files had been changed")
    if not _COMMIT.fullmatch(commit):
        raise NotTellable("what it was made of is no commit in full")
    if settings.github_repository is not None:
        return settings.github_repository, commit
    if source is None:
        raise NotTellable("its repository is not known; name it by `github_repository`")
    found = repository_at(settings.github_url, source)
    if found is None:
        raise NotTellable(f"its repository is not one of {settings.github_url}; name it by `github_repository`")
    return found, commit


# telling it


class CommitStatusReporter:
    """What a verb tells GitHub; a context manager, whose end waits until it is told, or the patience is over.

    Args:
        github: Who is told; ``None`` for nobody.
        settings: Which GitHub, and the CI build that more is to be seen of.
        listener: Is told what GitHub was not.
        patience: How long the end waits.
    """

    def __init__(self, github: GitHub | None, settings: Settings, listener: Listener, patience: Patience | None = None) -> None:
        self._settings = settings
        self._listener = listener
        self._patience = patience or Patience()
        self._teller = None if github is None else _teller(github)
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._teller is None or not self._teller.began:
            return
        stopped = error is not None and (isinstance(error, Interrupted) or not isinstance(error, Exception))
        untold: tuple[Untold, ...] = ()
        try:
            untold = self._teller.finish(self._patience.stopped if stopped else self._patience.usual)
        except KeyboardInterrupt:  # a signal, while nothing but this is waited for
            untold = self._teller.finish(self._patience.stopped)
            raise
        finally:
            self._complain(untold)

    @contextmanager
    def publishing(self) -> Iterator[Report]:
        """Tell of a version that is published while the block runs."""
        with self._report(RELEASE, "is being published") as report:
            yield report
            report.succeeded("is published")

    @contextmanager
    def deploying(self, namespace: str) -> Iterator[Report]:
        """Tell of a version that is deployed while the block runs."""
        with self._report(deploy_context(namespace), f"is being deployed to {namespace}") as report:
            yield report
            report.succeeded(f"runs in {namespace}{report.outcome}")

    @contextmanager
    def _report(self, context: str, doing: str) -> Iterator[Report]:
        report = Report(self, context, doing)
        try:
            yield report
        except BaseException as failure:
            report.failed(failure)
            raise

    def where(self, version: str, commit: str | None, source: str | None) -> tuple[str, str] | None:
        """Return the repository and the commit; say it once where there is none."""
        if self._teller is None:
            return None
        try:
            return where(commit, source, self._settings)
        except NotTellable as why:
            self.say(f"GitHub is not told of {version}: {why}.")
            return None

    def tell(self, place: tuple[str, str], context: str, state: State, text: str) -> None:
        """Let GitHub be told, beside the work."""
        from kubernaut.adapters.github import CommitStatus

        if self._teller is not None:
            build = self._settings.build
            description = line(redact(text, environment_secrets(self._settings.environment)))
            self._teller.tell(CommitStatus(*place, context, state, description, build.url if build else None))

    def say(self, text: str) -> None:
        """Say something to whoever listens, once; a listener that fails is no reason to fail."""
        if text not in self._said:
            self._said.add(text)
            with suppress(Exception):
                self._listener(Notice(STEP, text))

    def _complain(self, untold: tuple[Untold, ...]) -> None:
        """Say what GitHub was not told, in one line for all that has the same reason."""
        by_reason: dict[str, list[str]] = {}
        for status, reason in untold:
            by_reason.setdefault(reason, []).append(_claim(status))
        for reason, claims in by_reason.items():
            self.say(f"GitHub was not told that {', and that '.join(claims)}: {reason}.")


class _About(Protocol):
    """What a deploy is of."""

    @property
    def version(self) -> str: ...

    @property
    def commit(self) -> str | None: ...

    @property
    def repository(self) -> str | None: ...


A = TypeVar("A", bound=_About)


class Report:
    """What is told of one version and one thing that is done with it; nothing before it is known what it is made of.

    Attributes:
        outcome: What came of it, in words that end a sentence.
    """

    def __init__(self, telling: CommitStatusReporter, context: str, doing: str) -> None:
        self._telling = telling
        self._context = context
        self._doing = doing
        self._place: tuple[str, str] | None = None
        self._version = ""
        self.outcome = ""

    def begin(self, version: str, commit: str | None, source: str | None) -> None:
        """Tell that it is done now."""
        self._version, self._place = version, self._telling.where(version, commit, source)
        self._tell("pending", f"{version} {self._doing}")

    def about(self, wanted: A) -> A:
        """Tell that what is wanted is done now; return it."""
        self.begin(wanted.version, wanted.commit, wanted.repository)
        return wanted

    def made(self, release: Release | None, *, changed: bool) -> None:
        """Note what a deploy made, or left as it was."""
        if release is not None:
            self.outcome = f"{'' if changed else ' already,'} as {release.id}"

    def succeeded(self, words: str) -> None:
        """Tell that it is done, and what came of it."""
        self._tell("success", f"{self._version} {words}")

    def failed(self, failure: BaseException) -> None:
        """Tell that it was not done, and why."""
        self._tell("failure", _reason(failure))

    def _tell(self, state: State, text: str) -> None:
        if self._place is not None:
            self._telling.tell(self._place, self._context, state, text)


def _teller(github: GitHub) -> StatusClient:
    from kubernaut.adapters.github_teller import StatusClient

    return StatusClient(lambda status, seconds: github.set_status(status, timeout=seconds))


def _reason(failure: BaseException) -> str:
    if isinstance(failure, KubernautError):
        return failure.message
    if isinstance(failure, KeyboardInterrupt):
        return str(failure) or "Stopped by Ctrl-C."
    return f"It broke off by a defect ({type(failure).__name__})."


def _claim(status: CommitStatus) -> str:
    return f"{status.context} failed" if status.state == "failure" else status.description
