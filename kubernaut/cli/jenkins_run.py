"""``kubernaut jenkins run``: a job is run, and its console shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.options import jenkins_options, output_option, read_duration, verbose_option
from kubernaut.cli.output import print_json, put
from kubernaut.cli.steps import Plain, progress
from kubernaut.cli.verb import Verb

if TYPE_CHECKING:
    from kubernaut.events import Listener
    from kubernaut.jenkins.run import BuildRun

STATUSES = (0, 2, 3, 4, 5, 8, 9, 10)
VERSION = "VERSION"


class Console(Plain):
    """A line for each step, and the build's console as it comes.

    Args:
        put: Shows a line of the console; on stderr, as a step's line, by default.
    """

    def __init__(self, put: Callable[[str], None] | None) -> None:
        super().__init__(verbose=True)
        self._put = put

    def _line(self, step: str, text: str) -> None:
        if self._put is None:
            super()._line(step, text)
        else:
            self._put(text)


def _read_pairs(_context: click.Context, _parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, str]:
    read: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter("a parameter is KEY=VALUE.")
        if name in read:
            raise click.BadParameter(f"{name} is given twice.")
        read[name] = value
    return read


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut jenkins run hello-world-release --follow", "the newest commit becomes a version; its console"),
        (
            "kubernaut jenkins run hello-world-deploy --param VERSION=1.4.2 --param NAMESPACE=live --follow",
            "a person promotes a version",
        ),
        (
            "kubernaut jenkins run team/hello-world-release --op-id push-31fba06",
            "by a hook: called twice for a push, it runs the job once",
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
    help="A parameter of the job; the job's default for each that is not given.",
)
@click.option(
    "--from",
    "handover",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What `publish --to FILE` wrote: its version is the parameter VERSION.",
)
@click.option("--op-id", metavar="ID", help="The request's name: where a build of that name is known, nothing is run again.")
@click.option("-f", "--follow", is_flag=True, help="Show the console, wait for the end, and end as the build does.")
@click.option("--abort-on-interrupt", is_flag=True, help="Ctrl-C or SIGTERM stops the build too; without it the build goes on.")
@click.option(
    "--timeout",
    metavar="DURATION",
    default="1h",
    show_default=True,
    callback=read_duration,
    help="How long to follow; the build goes on after that.",
)
@jenkins_options
@output_option
@verbose_option
def run(job: str, output: str, handover: Path | None, **options: Any) -> None:
    """Run a job of a Jenkins, once.

    JOB is the job's name, with its folders: FOLDER/NAME. The request gets a name of its own, the parameter OP_ID, by which its
    build is found; it is never sent twice. Without --follow it is enough that the build runs or waits. With --follow the console
    is shown as it comes (on stdout; with -o json on stderr), and a build that fails ends it with status 10, one that was aborted
    with 5.
    """
    from kubernaut.events import Progress
    from kubernaut.jenkins.path import JobPath
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
        put(_line(outcome))


@contextmanager
def _shown(follow: bool, output: str) -> Iterator[Listener]:
    """Show what is said while the block runs; the console of a build that is followed as whole lines."""
    if not follow:
        with progress() as listener:
            yield listener
        return
    with Console(None if output == "json" else put) as console:
        yield console


def _with_version(parameters: dict[str, str], handover: Path | None) -> dict[str, str]:
    if handover is None:
        return parameters
    if VERSION in parameters:
        raise click.UsageError(f"--from says the {VERSION} already.", click.get_current_context())
    from kubernaut.publish.published import read_version_file

    return {VERSION: read_version_file(handover).version, **parameters}


def _line(outcome: BuildRun) -> str:
    if outcome.number is None:
        return f"{outcome.job} waits in the queue: {outcome.url}"
    state = f"has ended as {outcome.result}" if outcome.result else "runs"
    return f"{outcome.job} #{outcome.number} {state}: {outcome.url}"
