"""``kubernaut restore``: undoes a delete."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    cluster_options,
    current_revision_option,
    dry_run_option,
    lock_timeout_option,
    namespace_option,
    note_option,
    output_option,
    release_argument,
    timeout_option,
    verbose_option,
)
from kubernaut.cli.verb import GOES_BACK, Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut restore hello-world -n demo", "as it was when it was deleted"),
        ("kubernaut list -n demo --all", "what can be restored: STATUS is uninstalled"),
    ],
    statuses=GOES_BACK,
)
@release_argument
@namespace_option
@current_revision_option
@note_option
@timeout_option
@lock_timeout_option
@dry_run_option
@cluster_options
@output_option
@verbose_option
def restore(release: str, output: str, **options: Any) -> None:
    """Bring a deleted release back as it was.

    Makes a new release with the same chart and values. Restoring what is not deleted changes nothing.
    """
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.restore(release, **options)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
