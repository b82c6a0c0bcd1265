"""The jobs of applications, brought to a server: what is to be done is decided first, for all of them, then done and read back.

from kubernaut.jenkins.jobs import Wish
from kubernaut.jenkins.server import open_server
from kubernaut.jenkins.setup import carry_out, prepare
from kubernaut.settings import load_settings

wish = Wish(application="shop", repository="https://git.example.com/shop.git", branch="main", directory=".")
server = open_server(load_settings())
changes = prepare(server, [wish])           # nothing has been sent
for change in changes:
    print(change.job.path, change.kind, change.difference)
carry_out(server, changes)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from kubernaut.errors import JobConflict, JobInvalid, JobNotFound, KubernautError
from kubernaut.jenkins.config_xml import merge, owner, render
from kubernaut.jenkins.hudson import difference, read, write
from kubernaut.jenkins.jobs import ServerKind, WantedJob, Wish, wanted_jobs
from kubernaut.jenkins.path import JobPath
from kubernaut.jenkins.server import Job
from kubernaut.models import Action, Model, Plan

ChangeKind = Literal["create", "update", "unchanged"]
_DONE: dict[ChangeKind, str] = {"create": "created", "update": "updated", "unchanged": "unchanged"}


class JobServer(Protocol):
    """What is asked of a server here; :class:`~kubernaut.jenkins.server.Server` has it."""

    url: str

    def kind(self) -> ServerKind:
        """Return what the server is."""

    def config(self, path: JobPath) -> str | None:
        """Return a job's config.xml."""

    def create(self, path: JobPath, config: str) -> None:
        """Make a job."""

    def reconfigure(self, path: JobPath, config: str) -> None:
        """Replace a job's config.xml."""

    def job(self, path: JobPath) -> Job:
        """Return a job, or the folder of that name."""


@dataclass(frozen=True)
class Change:
    """What is to be done for a job.

    Attributes:
        existing: The config.xml that the server has, as it was read.
        config: The config.xml to send; ``None`` where nothing is to be sent.
        reason: Why, as a clause for a person.
        difference: A unified diff of what is there and what will be, secrets masked; empty where the server has no such job.
    """

    job: WantedJob
    kind: ChangeKind
    existing: str | None
    config: str | None
    reason: str
    difference: str = ""


class JobSet(Model):
    """A job after it was set up.

    Attributes:
        change: ``created``, ``updated`` or ``unchanged``.
    """

    job: str
    url: str
    change: str


def prepare(server: JobServer, wishes: Sequence[Wish], *, force: bool = False) -> tuple[Change, ...]:
    """Decide what is to be done on a server for all wishes; nothing is sent.

    Args:
        server: Whose jobs are read.
        wishes: One for each application.
        force: Take over jobs that somebody else made; what is in them beside our own settings stays.

    Raises:
        JobInvalid: A wish cannot be fulfilled.
        JobConflict: Jobs of these names are somebody else's, or another application's.
        JobNotFound: There is no such folder.
    """
    kind = server.kind()
    jobs = [job for wish in wishes for job in wanted_jobs(wish, kind)]
    twice = sorted({str(job.path) for job in jobs if sum(other.path == job.path for other in jobs) > 1})
    if twice:
        raise JobInvalid(f"Two applications want the same job: {', '.join(twice)}.")
    _check_folders(server, jobs)
    return plan(jobs, [server.config(job.path) for job in jobs], force=force)


def plan(jobs: Sequence[WantedJob], configs: Sequence[str | None], *, force: bool = False) -> tuple[Change, ...]:
    """Decide what is to be done for jobs, given what the server has of them. Pure.

    Raises:
        JobConflict: Some are somebody else's; all of them are named, with what would change.
    """
    changes: list[Change] = []
    conflicts: list[JobConflict] = []
    for job, existing in zip(jobs, configs, strict=True):
        try:
            changes.append(plan_job(job, existing, force=force))
        except JobConflict as conflict:
            conflicts.append(conflict)
    if len(conflicts) > 1:
        details = [line for conflict in conflicts for line in (conflict.message, *conflict.details)]
        raise JobConflict(f"{len(conflicts)} jobs are not ours to change.", hint=conflicts[0].hint, details=details)
    if conflicts:
        raise conflicts[0]
    return tuple(changes)


def plan_job(job: WantedJob, existing: str | None, *, force: bool = False) -> Change:
    """Decide what is to be done for one job, given the config.xml that the server has. Pure.

    Raises:
        JobConflict: It is somebody else's, or of another kind.
    """
    hudson = job.server == "hudson"
    if existing is None:
        return Change(job, "create", None, write(render(job), hudson=hudson), "the server has none of that name")
    root = read(existing)
    merged = merge(root, job)
    shown = difference(root, merged.root)
    whose = owner(root)
    if whose != job.application and not force:
        made = "Nobody says in its description that kubernaut made it" if whose is None else f"It is the application {whose}'s"
        raise JobConflict(f"There is a job {job.path} already. {made}.", details=shown.splitlines())
    if not merged.changed:
        return Change(job, "unchanged", existing, None, "it is as it should be")
    return Change(
        job, "update", existing, write(merged.root, hudson=hudson), f"other than it should be: {', '.join(merged.changed)}", shown
    )


def as_plan(changes: Sequence[Change]) -> Plan:
    """Return what is to be done as a plan: the actions are ``create-job`` and ``update-job``."""
    actions = [
        Action(kind=f"{change.kind}-job", subject=str(change.job.path), reason=change.reason)
        for change in changes
        if change.kind != "unchanged"
    ]
    return Plan(actions=tuple(actions), reason="" if actions else "the jobs are as they should be")


def carry_out(server: JobServer, changes: Sequence[Change]) -> tuple[JobSet, ...]:
    """Make and change jobs, and read each one back.

    Raises:
        JobConflict: A job changed meanwhile, or is not what it was made to be. What was done before is in the error's details.
    """
    done: list[JobSet] = []
    for change in changes:
        try:
            _apply(server, change)
        except KubernautError as error:
            error.details = (*error.details, *(f"{item.job} is {item.change}" for item in done if item.change != "unchanged"))
            raise
        done.append(JobSet(job=str(change.job.path), url=job_url(server, change.job.path), change=_DONE[change.kind]))
    return tuple(done)


def job_url(server: JobServer, path: JobPath) -> str:
    """Return a job's page."""
    return f"{server.url.rstrip('/')}/{path.url_path}/"


def _apply(server: JobServer, change: Change) -> None:
    path = change.job.path
    if change.config is None:
        return
    if change.existing is None:
        server.create(path, change.config)
    else:
        if server.config(path) != change.existing:
            raise JobConflict(f"The job {path} changed while its change was being decided.", hint="Run the same command again.")
        server.reconfigure(path, change.config)
    if not _is_as_wanted(change.job, server.config(path)):
        raise JobConflict(f"The job {path} is not what it was made to be: somebody else changes it, or the server did.")


def _is_as_wanted(job: WantedJob, config: str | None) -> bool:
    try:
        return config is not None and plan_job(job, config).kind == "unchanged"
    except (JobConflict, JobInvalid):
        return False


def _check_folders(server: JobServer, jobs: Sequence[WantedJob]) -> None:
    for segments in sorted({job.path.segments[:-1] for job in jobs if len(job.path.segments) > 1}):
        folder = JobPath(segments)
        try:
            server.job(folder)
        except JobNotFound as error:
            raise JobNotFound(
                f"There is no folder {folder} on {server.url}.",
                hint="Make the folder on the server first, or leave --folder out: a Hudson has no folders.",
            ) from error
