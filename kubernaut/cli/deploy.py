"""``kubernaut deploy``: a published version becomes a release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    cluster_options,
    deploy_options,
    output_option,
    registry_option,
    target_namespace_option,
    to_option,
    verbose_option,
)
from kubernaut.cli.output_file import OutputFile
from kubernaut.cli.verb import WRITES, Verb


@click.command(
    cls=Verb,
    examples=[
        (
            "kubernaut deploy hello-world@1.4.2 -n production --note 'new greeting'",
            "a certain version, with a line for the history; without @VERSION the newest stable one",
        ),
        ("kubernaut deploy --from release.json -n demo --to deployed.json", "the very version that `publish --to` wrote down"),
        ("kubernaut deploy hello-world -n demo --set replicaCount=3 --dry-run", "what would be done"),
    ],
    statuses=WRITES,
)
@click.argument("application", metavar="[NAME[@VERSION]]", required=False)
@target_namespace_option
@click.option(
    "--from",
    "handover",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Instead of NAME@VERSION: the file that `publish --to FILE` wrote; that very version, or none.",
)
@click.option("--pre", is_flag=True, help="Without a VERSION: the newest at all, not the newest stable one.")
@deploy_options
@registry_option
@cluster_options
@to_option
@output_option
@verbose_option
def deploy(application: str | None, handover: Path | None, output: str, to: Path | None, **options: Any) -> None:
    """Put a published version into a namespace.

    Waits until its pods are ready. Deploying what runs already does nothing. A release that does not become ready is explained,
    then the one before it is brought back (exit status 6), or it is kept to look at (7).
    """
    outlet = OutputFile(to, dry_run=options["dry_run"])
    given = _named(application) if handover is None else _handed_over(handover, application, pre=options["pre"])
    name, version, digest = given
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.deploy(name, version=version, digest=digest, **options)
    outlet.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])


def _named(application: str | None) -> tuple[str, str | None, str | None]:
    """Return the name that is given, and the version if there is one."""
    if application is None:
        raise click.UsageError("What is to be deployed? Give NAME or NAME@VERSION, or --from FILE.")
    name, at, version = application.partition("@")
    if not name or (at and not version):
        raise click.BadParameter(f"{application!r} is not NAME or NAME@VERSION.", param_hint="NAME[@VERSION]")
    return name, version or None, None


def _handed_over(path: Path, application: str | None, *, pre: bool) -> tuple[str, str | None, str | None]:
    """Return the name, the version and the chart's digest that stand in a file."""
    if application is not None or pre:
        raise click.UsageError(f"--from {path} names the version already: leave out {application or '--pre'}.")
    from kubernaut.publish.published import read_version_file  # it comes with the registry's libraries

    found = read_version_file(path)
    return found.name, found.version, found.chart.digest
