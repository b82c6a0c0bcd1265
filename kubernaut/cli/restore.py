"""``kubernaut restore``: undo a delete."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import (
    ROLLBACK_STATUSES,
    Command,
    cluster_options,
    current_revision_option,
    operation_options,
    output_options,
    release_options,
)


@click.command(
    cls=Command,
    examples=[
        ("kubernaut restore hello-world -n demo", "undo the delete"),
        ("kubernaut list -n demo --all", "find deleted releases: their STATUS is uninstalled"),
    ],
    statuses=ROLLBACK_STATUSES,
)
@release_options
@current_revision_option
@operation_options
@cluster_options
@output_options
def restore(release: str, output: str, **options: Any) -> None:
    """Restore a deleted release.

    Makes a new release with the same chart and values. Restoring a release that is not deleted changes nothing.
    """
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.restore(release, **options)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
