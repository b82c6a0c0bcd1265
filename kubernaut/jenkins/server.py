"""A Jenkins server, through python-jenkins; the only file that imports it.

One question and its answer each. What is asked when, and what it means, is for ``setup`` and ``run`` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from kubernaut.clients.token import Token
from kubernaut.jenkins.path import JobPath
from kubernaut.settings import Settings


@dataclass(frozen=True)
class Job:
    """A job as the server tells of it.

    Attributes:
        url: Its page.
        parameters: The names of the parameters that it declares, in order; empty where it declares none.
        buildable: Whether it can be run at all: neither disabled nor a folder.
    """

    path: JobPath
    url: str
    parameters: tuple[str, ...]
    buildable: bool


@dataclass(frozen=True)
class Build:
    """A build as the server tells of it.

    Attributes:
        url: Its page.
        building: Whether it runs.
        result: ``SUCCESS``, ``UNSTABLE``, ``FAILURE``, ``ABORTED``, ``NOT_BUILT``; ``None`` while it is not known.
        parameters: The values that it was given. A server that stopped meanwhile may have forgotten them.
        queue_id: The queue item that it was; ``None`` where the server does not tell.
    """

    number: int
    url: str
    building: bool
    result: str | None
    parameters: Mapping[str, str]
    queue_id: int | None


@dataclass(frozen=True)
class QueueItem:
    """A build that waits, or has left the queue.

    Attributes:
        why: What it waits for, in the server's words.
        cancelled: Somebody took it out.
        number: The build that it became.
    """

    id: int
    job: str
    why: str | None
    cancelled: bool
    number: int | None
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Console:
    """A piece of a build's console.

    Attributes:
        text: With ``\\n`` at its lines' ends.
        next: Where the next piece starts, in bytes of the log as the server has it.
        more: Whether there may be more.
        reset: The log is another one than before: this is it from its beginning.
    """

    text: str
    next: int
    more: bool
    reset: bool


class TriggerUnsure(Exception):
    """The server was asked to run a job, and nobody knows whether it heard: there was no answer, or one of a server that stumbles."""


class Server:
    """A Jenkins; not to be used by two threads at once.

    Every method raises :class:`~kubernaut.errors.JenkinsUnreachable` when there is no answer, or none of a Jenkins, and
    :class:`~kubernaut.errors.JenkinsDenied` when it refuses this user. A crumb that is refused is renewed once.

    Args:
        url: Where it is, without a slash at its end.
        user: Who asks; nobody in particular by default.
        token: Says what the user's API token or password is.
        timeout: Seconds to wait for an answer.
        plain_http: Says of a host, ``HOST[:PORT]``, whether it may be spoken to without TLS.

    Raises:
        SettingInvalid: The address is none, or what is sent there could be read on the way.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        token: Token = lambda: None,
        timeout: float = 30.0,
        plain_http: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.url = url

    def kind(self) -> Literal["jenkins", "hudson"]:
        """Return what the server is: Jenkins, or Hudson, from which it was forked and which knows freestyle jobs only."""
        raise NotImplementedError

    def config(self, path: JobPath) -> str | None:
        """Return a job's config.xml as the server has it; ``None`` where there is no such job."""
        raise NotImplementedError

    def create(self, path: JobPath, config: str) -> None:
        """Make a job.

        Raises:
            JobConflict: There is one of that name, in whatever case.
            JobNotFound: There is no such folder.
            JobInvalid: The server refuses the configuration.
        """
        raise NotImplementedError

    def reconfigure(self, path: JobPath, config: str) -> None:
        """Replace a job's config.xml.

        Raises:
            JobNotFound: There is no such job.
            JobInvalid: The server refuses the configuration; the job stays as it was.
        """
        raise NotImplementedError

    def job(self, path: JobPath) -> Job:
        """Return a job. Raises: JobNotFound."""
        raise NotImplementedError

    def trigger(self, path: JobPath, parameters: Mapping[str, str]) -> int | None:
        """Ask for a build, once; the parameters go in the request's body.

        Returns:
            The queue item's id, where the server tells it.

        Raises:
            TriggerUnsure: The request may or may not have been heard.
            JobNotFound: There is no such job.
            JobInvalid: The server refuses what it is given, or the job takes no builds (409).
        """
        raise NotImplementedError

    def queue(self, path: JobPath) -> tuple[QueueItem, ...]:
        """Return what waits of a job."""
        raise NotImplementedError

    def queue_item(self, id: int) -> QueueItem | None:
        """Return a queue item; ``None`` where the server has forgotten it, or keeps none."""
        raise NotImplementedError

    def builds(self, path: JobPath) -> tuple[Build, ...]:
        """Return a job's last builds, newest first. Raises: JobNotFound."""
        raise NotImplementedError

    def build(self, path: JobPath, number: int) -> Build | None:
        """Return a build; ``None`` where there is none."""
        raise NotImplementedError

    def console(self, path: JobPath, number: int, start: int) -> Console | None:
        """Return what a build says from a byte on; ``None`` where there is no such build."""
        raise NotImplementedError

    def stop(self, path: JobPath, number: int) -> None:
        """Ask for a build to be stopped; one that has ended, or is not there, stays as it is."""
        raise NotImplementedError

    def cancel(self, item: QueueItem) -> None:
        """Take an item out of the queue; one that has left it stays as it is."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connections."""
        raise NotImplementedError


def open_server(settings: Settings) -> Server:
    """Return the Jenkins of the settings. Raises: SettingInvalid: None is set, or not with what it takes."""
    raise NotImplementedError
