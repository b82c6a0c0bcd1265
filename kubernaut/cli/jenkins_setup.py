"""``kubernaut jenkins setup``: the Release and the Deploy job of each application, on a Jenkins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.options import dry_run_option, jenkins_options, output_option, verbose_option
from kubernaut.cli.output import print_json, put, say
from kubernaut.cli.verb import Verb
from kubernaut.errors import JobInvalid

if TYPE_CHECKING:
    from kubernaut.jenkins.jobs import ServerKind, Wish
    from kubernaut.jenkins.server import Server
    from kubernaut.jenkins.setup import Change, JobSet
    from kubernaut.settings import Settings

INDENT = "     "


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut jenkins setup --url https://ci.example.com examples/hello-world --dry-run", "what would be made or changed"),
        ("kubernaut jenkins setup examples/hello-world -n demo", "each new version goes to demo first"),
        ("kubernaut jenkins setup shop basket --folder team --credentials-id team-git", "two applications, in a folder"),
    ],
    statuses=(0, 2, 3, 4, 5, 8, 9),
)
@click.argument("app_dirs", metavar="APP_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@jenkins_options
@click.option("--folder", metavar="FOLDER", default="", help="The folder on the server that the jobs are in; none by default.")
@click.option(
    "-n", "--namespace", metavar="NAMESPACE", default="", help="Where each new version is deployed first; nowhere by default."
)
@click.option("--repository", metavar="URL", help="The git repository; the work tree's origin by default.")
@click.option("--branch", metavar="BRANCH", default="main", show_default=True, help="Of which a push makes a version.")
@click.option(
    "--flavour",
    type=click.Choice(["pipeline", "freestyle"]),
    help="The kind of jobs; Pipelines by default, freestyle jobs on a server without them.",
)
@click.option("--credentials-id", metavar="ID", help="The server's credential for the repository, by its id; for Pipelines.")
@click.option(
    "--jenkinsfiles",
    metavar="DIR",
    default="jenkins",
    show_default=True,
    help="The folder in the repository with release/Jenkinsfile and deploy/Jenkinsfile; for Pipelines.",
)
@dry_run_option
@click.option("--force", is_flag=True, help="Take over jobs of these names that somebody else made; what else is in them stays.")
@output_option
@verbose_option
def setup(app_dirs: Sequence[Path], output: str, dry_run: bool, force: bool, **options: Any) -> None:
    """Put an application's Release and Deploy job on a Jenkins.

    NAME-release makes a version of a commit, NAME-deploy puts a version into a namespace. Run again, it puts back what is
    changed in the jobs' own settings and shows the difference; what was added beside them, such as triggers, notifications or
    further steps, stays. A job that somebody else made is left alone.
    """
    from kubernaut.jenkins import setup as room

    settings = session.jenkins_settings(options)
    wishes = [_wish(app_dir, settings, options) for app_dir in app_dirs]
    with session.jenkins(settings) as server:
        for wish, app_dir in zip(wishes, app_dirs, strict=True):
            _check_jenkinsfiles(wish, app_dir, server.kind())
        changes = room.prepare(server, wishes, force=force)
        if dry_run:
            _show_plan(server, changes, output)
            return
        _show_done(changes, room.carry_out(server, changes), output)
    if output == "text":
        _say_next(server.url, changes)


def _wish(app_dir: Path, settings: Settings, options: dict[str, Any]) -> Wish:
    """Say what is wanted for an application."""
    from kubernaut.adapters.git import find_work_tree
    from kubernaut.jenkins.jobs import Wish
    from kubernaut.publish.application import load_application

    application = load_application(app_dir)
    tree = find_work_tree(app_dir)
    if tree is None:
        raise JobInvalid(
            f"{app_dir} lies in no git work tree, and a job takes its sources from a git repository.",
            hint="Run it in a clone of the repository.",
        )
    return Wish(
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
            f"The git repository of {app_dir} has no origin, so no job knows where its sources are.",
            hint="Name the repository with --repository URL.",
        )
    return url


def _check_jenkinsfiles(wish: Wish, app_dir: Path, server: ServerKind) -> None:
    """Look for what a Pipeline is going to run; without it every build would fail."""
    from kubernaut.adapters.git import find_work_tree
    from kubernaut.jenkins.jobs import FromScm, wanted_jobs

    tree = find_work_tree(app_dir)
    paths = [job.work.script_path for job in wanted_jobs(wish, server) if isinstance(job.work, FromScm)]
    absent = [path for path in paths if tree is not None and not (tree / path).is_file()]
    if absent:
        raise JobInvalid(
            f"{wish.application}'s work tree has no {' and no '.join(absent)}, which its Pipelines are to run.",
            hint="Put kubernaut's Jenkinsfiles there and commit them, or name their folder with --jenkinsfiles; "
            "docs/jenkins.md says where they are.",
        )


def _show_plan(server: Server, changes: Sequence[Change], output: str) -> None:
    from kubernaut.jenkins.setup import as_plan, job_url

    plan = as_plan(changes)
    if output == "json":
        print_json(plan)
        return
    planned = [change for change in changes if change.kind != "unchanged"]
    for number, (action, change) in enumerate(zip(plan.actions, planned, strict=True), start=1):
        put(f"{number}. {action.kind} {action.subject}: {action.reason}")
        _put_indented(change.difference or "\n".join(_described(change, job_url(server, change.job.path))))
    if not planned:
        put(f"nothing to do: {plan.reason}")


def _described(change: Change, url: str) -> Iterator[str]:
    """Say what a new job is."""
    from kubernaut.jenkins.jobs import Shell

    job = change.job
    yield f"{job.flavour} job {url}"
    yield "parameters:"
    yield from (f"  {parameter.name}={parameter.default} ({parameter.description})" for parameter in job.parameters)
    if isinstance(job.work, Shell):
        yield f"archives: {job.artifact}"
        yield "runs:"
        yield from (f"  {line}".rstrip() for line in job.work.script.splitlines())
    else:
        yield f"runs: {job.work.script_path} of {job.work.repository}, branch {job.work.branch}"


def _show_done(changes: Sequence[Change], done: Sequence[JobSet], output: str) -> None:
    if output == "json":
        print_json({"items": done, "count": len(done)})
        return
    for item, change in zip(done, changes, strict=True):
        put(f"{item.job} {item.change}: {item.url}")
        _put_indented(change.difference)


def _put_indented(text: str) -> None:
    if text:
        put("\n".join(f"{INDENT}{line}".rstrip() for line in text.splitlines()))


def _say_next(url: str, changes: Sequence[Change]) -> None:
    releases = [change.job for change in changes if change.job.path.name.endswith("-release")]
    for number, job in enumerate(releases):
        say(f"{'      ' if number else 'next: '}kubernaut jenkins run {job.path} --follow")
    if releases[0].flavour == "pipeline":
        say(f"      a push runs it, from the second on, once the repository's webhook points to {url.rstrip('/')}/github-webhook/")
    else:
        say("      a push runs it once a hook does: kubernaut jenkins run JOB --param GIT_COMMIT=SHA --op-id push-SHA")
