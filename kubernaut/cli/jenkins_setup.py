"""``kubernaut jenkins setup``: create and update the Release and Deploy jobs of applications on a Jenkins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.command import Command
from kubernaut.cli.options import dry_run_option, jenkins_options, output_option, verbose_option
from kubernaut.cli.output import print_data, print_json, print_message
from kubernaut.errors import JobInvalid

if TYPE_CHECKING:
    from kubernaut.jenkins.hudson import ServerKind
    from kubernaut.jenkins.jobs import JobSettings
    from kubernaut.jenkins.server import JenkinsServer
    from kubernaut.jenkins.setup import Change, JobResult
    from kubernaut.settings import Settings

INDENT = "     "


@click.command(
    cls=Command,
    examples=[
        ("kubernaut jenkins setup --url https://ci.example.com examples/hello-world --dry-run", "show what would be changed"),
        ("kubernaut jenkins setup examples/hello-world -n demo", "each new version is deployed to demo first"),
        ("kubernaut jenkins setup shop basket --folder team --credentials-id team-git", "two applications, in a folder"),
    ],
    statuses=(0, 2, 3, 4, 5, 8, 9),
)
@click.argument("app_dirs", metavar="APP_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@jenkins_options
@click.option("--folder", metavar="FOLDER", default="", help="The folder of the jobs on the server; none by default.")
@click.option(
    "-n", "--namespace", metavar="NAMESPACE", default="", help="Where each new version is deployed first; nowhere by default."
)
@click.option("--repository", metavar="URL", help="The git repository; the origin of the work tree by default.")
@click.option("--branch", metavar="BRANCH", default="main", show_default=True, help="The branch that is released.")
@click.option(
    "--flavour",
    type=click.Choice(["pipeline", "freestyle"]),
    help="The kind of jobs; Pipelines by default, freestyle jobs on a server without them.",
)
@click.option("--credentials-id", metavar="ID", help="The ID of the server's credential for the repository; Pipelines only.")
@click.option(
    "--jenkinsfiles",
    metavar="DIR",
    default="jenkins",
    show_default=True,
    help="The folder in the repository with release/Jenkinsfile and deploy/Jenkinsfile; Pipelines only.",
)
@dry_run_option
@click.option("--force", is_flag=True, help="Take over jobs of these names that kubernaut did not make; their other settings stay.")
@output_option
@verbose_option
def setup(app_dirs: Sequence[Path], output: str, dry_run: bool, force: bool, **options: Any) -> None:
    """Create or update the Release and Deploy jobs on a Jenkins.

    NAME-release publishes a version of a commit, NAME-deploy deploys a version to a namespace. A second run restores the jobs' own
    settings and shows the difference; additions, such as triggers, notifications or further steps, stay. Jobs that kubernaut did
    not make are not changed.
    """
    from kubernaut.jenkins.setup import apply, plan_setup

    settings = session.jenkins_settings(options)
    jobs = [_job_settings(app_dir, settings, options) for app_dir in app_dirs]
    with session.jenkins(settings) as server:
        for application, app_dir in zip(jobs, app_dirs, strict=True):
            _check_jenkinsfiles(application, app_dir, server.kind())
        changes = plan_setup(server, jobs, force=force)
        if dry_run:
            _show_plan(server, changes, output)
            return
        _show_done(changes, apply(server, changes), output)
    if output == "text":
        _show_next_steps(server.url, changes)


def _job_settings(app_dir: Path, settings: Settings, options: dict[str, Any]) -> JobSettings:
    from kubernaut.adapters.git import find_work_tree
    from kubernaut.jenkins.jobs import JobSettings
    from kubernaut.publish.application import load_application

    application = load_application(app_dir)
    tree = find_work_tree(app_dir)
    if tree is None:
        raise JobInvalid(
            f"{app_dir} is not in a git work tree, and a job gets its sources from a git repository.",
            hint=f"Run it in a clone of the repository: kubernaut jenkins setup {app_dir}",
        )
    return JobSettings(
        application=application.name,
        repository=options["repository"] or _origin(app_dir, settings),
        branch=options["branch"],
        directory=application.directory.relative_to(tree).as_posix(),
        flavour=options["flavour"],
        namespace=options["namespace"],
        folder=options["folder"],
        credentials_id=options["credentials_id"],
        jenkinsfiles=options["jenkinsfiles"],
    )


def _origin(app_dir: Path, settings: Settings) -> str:
    from kubernaut.adapters.git import open_git

    git = open_git(app_dir, settings.environment)
    url = git.clone_url() if git is not None else None
    if url is None:
        raise JobInvalid(
            f"The git repository of {app_dir} has no origin, so the jobs have no repository.",
            hint=f"Name it: kubernaut jenkins setup {app_dir} --repository URL",
        )
    return url


def _check_jenkinsfiles(application: JobSettings, app_dir: Path, server: ServerKind) -> None:
    """Check that the Jenkinsfiles exist, without which every build would fail."""
    from kubernaut.adapters.git import find_work_tree
    from kubernaut.jenkins.jobs import PipelineFromScm, define_jobs

    tree = find_work_tree(app_dir)
    paths = [job.steps.script_path for job in define_jobs(application, server) if isinstance(job.steps, PipelineFromScm)]
    missing = [path for path in paths if tree is not None and not (tree / path).is_file()]
    if missing:
        raise JobInvalid(
            f"The work tree of {application.application} has no {' and no '.join(missing)}, which its Pipelines run.",
            hint="Copy the Jenkinsfiles of kubernaut there (see docs/jenkins.md) and commit them, or set --jenkinsfiles.",
        )


def _show_plan(server: JenkinsServer, changes: Sequence[Change], output: str) -> None:
    from kubernaut.jenkins.setup import as_plan

    plan = as_plan(changes)
    if output == "json":
        print_json(plan)
        return
    planned = [change for change in changes if change.kind != "unchanged"]
    for number, (action, change) in enumerate(zip(plan.actions, planned, strict=True), start=1):
        print_data(f"{number}. {action.kind} {action.subject}: {action.reason}")
        _put_indented(change.difference or "\n".join(_description(change, change.job.path.page(server.url))))
    if not planned:
        print_data(f"nothing to do: {plan.reason}")


def _description(change: Change, url: str) -> Iterator[str]:
    """Yield the lines that describe a new job."""
    from kubernaut.jenkins.jobs import ShellStep

    job = change.job
    yield f"{job.flavour} job {url}"
    yield "parameters:"
    yield from (f"  {parameter.name}={parameter.default} ({parameter.description})" for parameter in job.parameters)
    if isinstance(job.steps, ShellStep):
        yield f"archives: {job.artifact}"
        yield "runs:"
        yield from (f"  {line}".rstrip() for line in job.steps.script.splitlines())
    else:
        yield f"runs: {job.steps.script_path} of {job.steps.repository}, branch {job.steps.branch}"


def _show_done(changes: Sequence[Change], done: Sequence[JobResult], output: str) -> None:
    if output == "json":
        print_json({"items": done, "count": len(done)})
        return
    for item, change in zip(done, changes, strict=True):
        print_data(f"{item.job} {item.change}: {item.url}")
        _put_indented(change.difference)


def _put_indented(text: str) -> None:
    if text:
        print_data("\n".join(f"{INDENT}{line}".rstrip() for line in text.splitlines()))


def _show_next_steps(url: str, changes: Sequence[Change]) -> None:
    releases = [change.job for change in changes if change.job.path.name.endswith("-release")]
    for number, job in enumerate(releases):
        print_message(f"{'      ' if number else 'next: '}kubernaut jenkins run {job.path} --follow")
    if releases[0].flavour == "pipeline":
        webhook = f"{url.rstrip('/')}/github-webhook/"
        print_message(f"      from its second build on, a push runs it: add the webhook {webhook} to the repository")
    else:
        print_message(
            "      to run it on a push, call in a hook: kubernaut jenkins run JOB --param GIT_COMMIT=SHA --op-id push-SHA"
        )
