"""``kubernaut ship``: publish a version and deploy it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import (
    WRITE_STATUSES,
    Command,
    app_dir_argument,
    cluster_options,
    deploy_options,
    output_options,
    registry_option,
    target_namespace_option,
    to_option,
    version_option,
)
from kubernaut.cli.output import OutputFile


@click.command(
    cls=Command,
    examples=[
        ("kubernaut ship examples/hello-world -n demo --create-namespace", "publish and deploy for the first time"),
        ("kubernaut ship examples/hello-world -n demo --note 'new greeting'", "publish and deploy a change"),
        ("kubernaut ship examples/hello-world -n demo --dry-run", "print what would be changed"),
    ],
    statuses=WRITE_STATUSES,
)
@app_dir_argument
@target_namespace_option
@version_option
@deploy_options
@registry_option
@cluster_options
@to_option
@output_options
def ship(app_dir: Path, output: str, to: Path | None, **options: Any) -> None:
    """Publish a version and deploy it to a namespace.

    Combines publish and deploy. If nothing has changed since the last ship, nothing is built, pushed or deployed.
    """
    output_file = OutputFile(to, dry_run=options["dry_run"])
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.ship(app_dir, **options)
    output_file.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
