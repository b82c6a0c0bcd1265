"""``kubernaut rollback``: an older release again, as a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    cluster_options,
    dry_run_option,
    lock_timeout_option,
    namespace_option,
    note_option,
    output_option,
    release_argument,
    timeout_option,
    to_option,
    verbose_option,
)
from kubernaut.cli.output_file import OutputFile
from kubernaut.cli.verb import GOES_BACK, Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut rollback hello-world -n demo", "to the release before the current one"),
        ("kubernaut rollback hello-world -n demo --revision 3 --note 'greeting was wrong'", "to a certain one, and why"),
        ("kubernaut rollback hello-world -n demo --dry-run", "what would be done"),
    ],
    statuses=GOES_BACK,
)
@release_argument
@namespace_option
@click.option(
    "--revision", metavar="N", type=click.IntRange(min=1), help="The release to go back to; the one before the current by default."
)
@note_option
@timeout_option
@lock_timeout_option
@dry_run_option
@cluster_options
@to_option
@output_option
@verbose_option
def rollback(release: str, output: str, to: Path | None, **options: Any) -> None:
    """Make a new release with an older one's chart and values.

    The history only grows: going back from revision 4 to 3 makes revision 5. A release that an ended process left half done is put
    in order first.
    """
    outlet = OutputFile(to, dry_run=options["dry_run"])
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.rollback(release, **options)
    outlet.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
