"""Create and update the jobs of applications on a server: plan all of them, then send, and read each job back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kubernaut.errors import JobConflict, JobInvalid, JobNotFound, KubernautError
from kubernaut.jenkins.config_xml import difference, merge, owner, read, render, write
from kubernaut.jenkins.jobs import JobDefinition, JobSettings, define_jobs
from kubernaut.models import Action, Model, Plan

if TYPE_CHECKING:
    from kubernaut.jenkins.server import JenkinsServer

ChangeKind = Literal["create", "update", "unchanged"]
_DONE: dict[ChangeKind, str] = {"create": "created", "update": "updated", "unchanged": "unchanged"}


@dataclass(frozen=True)
class Change:
    """A planned change of a job.

    Attributes:
        existing: The config.xml on the server; ``None`` for a new job.
        config: The config.xml to send; ``None`` for an unchanged job.
        reason: The reason, a clause.
        difference: A unified diff of both, secrets masked; empty for a new job.
    """

    job: JobDefinition
    kind: ChangeKind
    existing: str | None
    config: str | None
    reason: str
    difference: str = ""


class JobResult(Model):
    """A job after the setup.

    Attributes:
        change: ``created``, ``updated`` or ``unchanged``.
    """

    job: str
    url: str
    change: str


def plan_setup(server: JenkinsServer, settings: Sequence[JobSettings], *, force: bool = False) -> tuple[Change, ...]:
    """Plan the changes for applications; sends nothing.

    Args:
        server: The server, whose jobs are read.
        settings: Of each application.
        force: Take over jobs that kubernaut has not made for the application; their other settings stay.

    Raises:
        JobInvalid: A setting is invalid, or two applications have the same job.
        JobConflict: Jobs of these names belong to another application, or were not made by kubernaut.
        JobNotFound: The folder does not exist.
    """
    kind = server.kind()
    jobs = [job for application in settings for job in define_jobs(application, kind)]
    repeated = sorted({str(job.path) for job in jobs if sum(other.path == job.path for other in jobs) > 1})
    if repeated:
        raise JobInvalid(f"Two applications have the same job: {', '.join(repeated)}.")
    _check_folders(server, jobs)
    return plan_jobs(jobs, [server.config(job.path) for job in jobs], force=force)


def plan_jobs(jobs: Sequence[JobDefinition], configs: Sequence[str | None], *, force: bool = False) -> tuple[Change, ...]:
    """Plan the changes of jobs, given their config.xml on the server. Pure.

    Raises:
        JobConflict: Jobs belong to others; the error names all of them, with the differences.
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
        raise JobConflict(f"{len(conflicts)} jobs belong to others.", hint=conflicts[0].hint, details=details)
    if conflicts:
        raise conflicts[0]
    return tuple(changes)


def plan_job(job: JobDefinition, existing: str | None, *, force: bool = False) -> Change:
    """Plan the change of one job, given its config.xml on the server. Pure.

    Raises:
        JobConflict: The job belongs to others, or is of another kind.
    """
    hudson = job.server == "hudson"
    if existing is None:
        return Change(job, "create", None, write(render(job), hudson=hudson), "the job does not exist")
    root = read(existing)
    merged = merge(root, job)
    shown = difference(root, merged.root)
    application = owner(root)
    if application != job.application and not force:
        why = "was not made by kubernaut" if application is None else f"belongs to application {application}"
        raise JobConflict(f"Job {job.path} exists and {why}.", details=shown.splitlines())
    if not merged.changed:
        return Change(job, "unchanged", existing, None, "the job is up to date")
    reason = f"these settings differ: {', '.join(merged.changed)}"
    return Change(job, "update", existing, write(merged.root, hudson=hudson), reason, shown)


def as_plan(changes: Sequence[Change]) -> Plan:
    """Return the changes as a plan of actions ``create-job`` and ``update-job``."""
    actions = [
        Action(kind=f"{change.kind}-job", subject=str(change.job.path), reason=change.reason)
        for change in changes
        if change.kind != "unchanged"
    ]
    return Plan(actions=tuple(actions), reason="" if actions else "the jobs are up to date")


def apply(server: JenkinsServer, changes: Sequence[Change]) -> tuple[JobResult, ...]:
    """Create and update jobs, and read each one back.

    Raises:
        JobConflict: A job was changed meanwhile, or the server changed it. The details of any error name the jobs done before.
    """
    done: list[JobResult] = []
    for change in changes:
        try:
            _apply(server, change)
        except KubernautError as error:
            error.details = (*error.details, *(f"{item.job} is {item.change}" for item in done if item.change != "unchanged"))
            raise
        done.append(JobResult(job=str(change.job.path), url=change.job.path.page(server.url), change=_DONE[change.kind]))
    return tuple(done)


def _apply(server: JenkinsServer, change: Change) -> None:
    path = change.job.path
    if change.config is None:
        return
    if change.existing is None:
        server.create(path, change.config)
    else:
        if server.config(path) != change.existing:
            raise JobConflict(f"Job {path} has changed since the plan was made.", hint="Run the same command again.")
        server.reconfigure(path, change.config)
    if not _is_up_to_date(change.job, server.config(path)):
        raise JobConflict(f"Job {path} differs from the configuration that was sent: the server, or another client, changed it.")


def _is_up_to_date(job: JobDefinition, config: str | None) -> bool:
    try:
        return config is not None and plan_job(job, config).kind == "unchanged"
    except (JobConflict, JobInvalid):
        return False


def _check_folders(server: JenkinsServer, jobs: Sequence[JobDefinition]) -> None:
    folders = {job.path.folder for job in jobs if job.path.folder is not None}
    for folder in sorted(folders, key=str):
        try:
            server.job(folder)
        except JobNotFound as error:
            raise JobNotFound(
                f"Folder {folder} does not exist on {server.url}.",
                hint="Create the folder on the server first, or omit --folder: a Hudson has no folders.",
            ) from error
