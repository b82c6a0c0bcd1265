"""``kubernaut deploy``: deploy a published version to a namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import (
    WRITE_STATUSES,
    Command,
    cluster_options,
    deploy_options,
    output_options,
    registry_option,
    target_namespace_option,
    to_option,
)
from kubernaut.cli.output import OutputFile


@click.command(
    cls=Command,
    examples=[
        (
            "kubernaut deploy hello-world@1.4.2 -n production --note 'new greeting'",
            "deploy version 1.4.2; without @VERSION the newest stable version",
        ),
        ("kubernaut deploy --from release.json -n demo --to deployed.json", "deploy the version that `publish --to` has written"),
        ("kubernaut deploy hello-world -n demo --set replicaCount=3 --dry-run", "print what would be changed"),
    ],
    statuses=WRITE_STATUSES,
)
@click.argument("application", metavar="[NAME[@VERSION]]", required=False)
@target_namespace_option
@click.option(
    "--from",
    "handover",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Deploy the version in a file written by `publish --to`, instead of NAME@VERSION.",
)
@click.option("--pre", is_flag=True, help="Without a VERSION, deploy the newest version, including pre-releases.")
@deploy_options
@registry_option
@cluster_options
@to_option
@output_options
def deploy(application: str | None, handover: Path | None, output: str, to: Path | None, **options: Any) -> None:
    """Deploy a published version to a namespace.

    Waits until all pods are ready. Deploying a version that already runs with the same values changes nothing. If the release does
    not become ready, the cause is reported, and the release is rolled back (exit status 6) or kept (7).
    """
    output_file = OutputFile(to, dry_run=options["dry_run"])
    chosen = _parse(application) if handover is None else _read(handover, application, pre=options["pre"])
    name, version, digest = chosen
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.deploy(name, version=version, digest=digest, **options)
    output_file.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])


def _parse(application: str | None) -> tuple[str, str | None, str | None]:
    """Return the name and the version, if any, of ``NAME@VERSION``. Raises: click.UsageError."""
    if application is None:
        raise click.UsageError("Missing argument NAME[@VERSION], or option --from FILE.", click.get_current_context())
    name, at, version = application.partition("@")
    if not name or (at and not version):
        raise click.BadParameter(f"{application!r} is not NAME or NAME@VERSION.", param_hint="NAME[@VERSION]")
    return name, version or None, None


def _read(path: Path, application: str | None, *, pre: bool) -> tuple[str, str | None, str | None]:
    """Return the name, the version and the chart digest in a file. Raises: click.UsageError, BadInput."""
    if application is not None or pre:
        raise click.UsageError(f"--from {path} cannot be combined with {application or '--pre'}.", click.get_current_context())
    from kubernaut.publish.version import read_version_file  # imports the libraries of the registry

    found = read_version_file(path)
    return found.name, found.version, found.chart.digest
