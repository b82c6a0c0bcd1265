"""``kubernaut ship``: publish, then deploy that version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    app_dir_argument,
    cluster_options,
    deploy_options,
    output_option,
    registry_option,
    target_namespace_option,
    to_option,
    verbose_option,
    version_option,
)
from kubernaut.cli.output_file import OutputFile
from kubernaut.cli.verb import WRITES, Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut ship examples/hello-world -n demo --create-namespace", "from the folder to running pods"),
        (
            "kubernaut ship examples/hello-world -n demo --note 'new greeting'",
            "again after a change; nothing changed: nothing done",
        ),
        ("kubernaut ship examples/hello-world -n demo --dry-run", "what would be done"),
    ],
    statuses=WRITES,
)
@app_dir_argument
@target_namespace_option
@version_option
@deploy_options
@registry_option
@cluster_options
@to_option
@output_option
@verbose_option
def ship(app_dir: Path, output: str, to: Path | None, **options: Any) -> None:
    """Publish an application's folder, then deploy that version.

    It is publish and deploy in one, and says what each of their steps did. Shipping what runs already builds nothing, pushes
    nothing and starts no Helm.
    """
    outlet = OutputFile(to, dry_run=options["dry_run"])
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.ship(app_dir, **options)
    outlet.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
