"""``kubernaut jenkins run``: run a job, and show its console."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.command import Command
from kubernaut.cli.options import jenkins_options, output_option, parse_duration, verbose_option
from kubernaut.cli.output import print_data, print_json
from kubernaut.cli.progress import PlainDisplay, show_progress

if TYPE_CHECKING:
    from kubernaut.events import Listener
    from kubernaut.jenkins.run import BuildRun

STATUSES = (0, 2, 3, 4, 5, 8, 9, 10)
VERSION = "VERSION"


class Console(PlainDisplay):
    """A line for each step, and the console of the build.

    Args:
        write: Writes a line of the console; by default as a line of the step, to stderr.
    """

    def __init__(self, write: Callable[[str], None] | None) -> None:
        super().__init__(verbose=True)
        self._write = write

    def _line(self, step: str, text: str) -> None:
        if self._write is None:
            super()._line(step, text)
        else:
            self._write(text)


def _read_pairs(_context: click.Context, _parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, str]:
    read: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter("a parameter has the form KEY=VALUE.")
        if name in read:
            raise click.BadParameter(f"{name} is set twice.")
        read[name] = value
    return read


@click.command(
    cls=Command,
    examples=[
        ("kubernaut jenkins run hello-world-release --follow", "release the newest commit, and show the console"),
        (
            "kubernaut jenkins run hello-world-deploy --param VERSION=1.4.2 --param NAMESPACE=live --follow",
            "deploy a version to another namespace",
        ),
        (
            "kubernaut jenkins run team/hello-world-release --op-id push-31fba06",
            "in a hook: a second call for the same push runs nothing",
        ),
    ],
    statuses=STATUSES,
)
@click.argument("job", metavar="JOB")
@click.option(
    "--param",
    "parameters",
    metavar="KEY=VALUE",
    multiple=True,
    callback=_read_pairs,
    help="A parameter of the job; others have the job's default.",
)
@click.option(
    "--from",
    "handover",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The output of `publish --to FILE`, whose version is the parameter VERSION.",
)
@click.option("--op-id", metavar="ID", help="The name of the request; if a build of that name exists, nothing is run again.")
@click.option("-f", "--follow", is_flag=True, help="Show the console, wait for the end, and exit with the result of the build.")
@click.option("--abort-on-interrupt", is_flag=True, help="Stop the build on Ctrl-C or SIGTERM; by default it goes on.")
@click.option(
    "--timeout",
    metavar="DURATION",
    default="1h",
    show_default=True,
    callback=parse_duration,
    help="How long to follow the build, which goes on after that.",
)
@jenkins_options
@output_option
@verbose_option
def run(job: str, output: str, handover: Path | None, **options: Any) -> None:
    """Run a job of a Jenkins, once.

    JOB is the name of the job with its folders: FOLDER/NAME. The request is sent once, and its build is found by the parameter
    OP_ID. Without --follow the command ends as soon as the build runs or is in the queue. With --follow it shows the console (on
    stdout; with -o json on stderr), and exits with status 10 if the build fails, with 5 if it is aborted.
    """
    from kubernaut.events import Progress
    from kubernaut.jenkins.jobs import JobPath
    from kubernaut.jenkins.run import run_job

    path = JobPath.parse(job)
    parameters = _with_version(options["parameters"], handover)
    follow: bool = options["follow"]
    with session.jenkins(session.jenkins_settings(options)) as server, _shown(follow, output) as listener:
        outcome = run_job(
            server,
            path,
            parameters,
            op_id=options["op_id"],
            follow=follow,
            abort_on_interrupt=options["abort_on_interrupt"],
            longest=options["timeout"],
            progress=Progress(listener),
        )
    if output == "json":
        print_json(outcome)
    elif not follow:
        print_data(_line(outcome))


@contextmanager
def _shown(follow: bool, output: str) -> Iterator[Listener]:
    """Show the steps of the block; the console of a followed build as whole lines."""
    if not follow:
        with show_progress() as listener:
            yield listener
        return
    with Console(None if output == "json" else print_data) as console:
        yield console


def _with_version(parameters: dict[str, str], handover: Path | None) -> dict[str, str]:
    if handover is None:
        return parameters
    if VERSION in parameters:
        raise click.UsageError(f"--from cannot be combined with --param {VERSION}.", click.get_current_context())
    from kubernaut.publish.version import read_version_file

    return {VERSION: read_version_file(handover).version, **parameters}


def _line(outcome: BuildRun) -> str:
    if outcome.number is None:
        return f"{outcome.job} is in the queue: {outcome.url}"
    state = f"has ended as {outcome.result}" if outcome.result else "is running"
    return f"{outcome.job} #{outcome.number} {state}: {outcome.url}"
