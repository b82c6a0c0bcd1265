"""``kubernaut delete``: delete a release softly, after confirmation."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render
from kubernaut.cli.command import (
    ROLLBACK_STATUSES,
    Command,
    cluster_options,
    current_revision_option,
    operation_options,
    output_options,
    release_options,
    yes_option,
)
from kubernaut.cli.session import Confirmation, run_confirmed

CONFIRMATION = Confirmation(
    verb="delete",
    question="Delete this release? Its history is kept; `kubernaut restore {release}` brings it back.",
    declined="Nothing was deleted.",
)


@click.command(
    cls=Command,
    examples=[
        ("kubernaut delete hello-world -n demo", "show what will be removed, ask, and delete"),
        ("kubernaut delete hello-world -n demo --yes", "delete without asking, in scripts"),
        ("kubernaut restore hello-world -n demo", "undo the delete"),
    ],
    statuses=ROLLBACK_STATUSES,
)
@release_options
@current_revision_option
@yes_option
@operation_options
@cluster_options
@output_options
def delete(release: str, output: str, yes: bool, **options: Any) -> None:
    """Delete a release; its history is kept for restore.

    The objects of the release are removed from the cluster, and the release history stays, as with helm uninstall --keep-history.
    Only the current release of a name can be deleted. Deleting it again changes nothing.
    """
    outcome = run_confirmed(CONFIRMATION, release, options, yes=yes)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
