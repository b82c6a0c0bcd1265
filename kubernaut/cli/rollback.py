"""``kubernaut rollback``: roll a release back to an earlier revision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import (
    ROLLBACK_STATUSES,
    Command,
    cluster_options,
    operation_options,
    output_options,
    release_options,
    to_option,
)
from kubernaut.cli.output import OutputFile


@click.command(
    cls=Command,
    examples=[
        ("kubernaut rollback hello-world -n demo", "roll back to the newest earlier release that worked"),
        ("kubernaut rollback hello-world -n demo --revision 3 --note 'greeting was wrong'", "roll back to revision 3"),
        ("kubernaut rollback hello-world -n demo --dry-run", "print what would be changed"),
    ],
    statuses=ROLLBACK_STATUSES,
)
@release_options
@click.option(
    "--revision",
    metavar="N",
    type=click.IntRange(min=1),
    help="Revision to roll back to (default: the newest earlier one that worked).",
)
@operation_options
@cluster_options
@to_option
@output_options
def rollback(release: str, output: str, to: Path | None, **options: Any) -> None:
    """Roll a release back to an earlier revision.

    Makes a new release with the chart and values of the earlier one: a rollback from revision 4 to 3 makes revision 5. An operation
    that another process left unfinished is completed first.
    """
    output_file = OutputFile(to, dry_run=options["dry_run"])
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.rollback(release, **options)
    output_file.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
