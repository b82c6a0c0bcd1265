"""``kubernaut delete``: a soft delete; asks first."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render
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
    yes_option,
)
from kubernaut.cli.prompts import Question, carry_out
from kubernaut.cli.verb import GOES_BACK, Verb

QUESTION = Question(
    verb="delete",
    text="Delete it? The history stays, and `kubernaut restore` brings it back.",
    refused="Nothing was deleted.",
)


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut delete hello-world -n demo", "shows what goes, and asks"),
        ("kubernaut delete hello-world -n demo --yes", "without asking, for scripts"),
        ("kubernaut restore hello-world -n demo", "brings it back"),
    ],
    statuses=GOES_BACK,
)
@release_argument
@namespace_option
@current_revision_option
@yes_option
@note_option
@timeout_option
@lock_timeout_option
@dry_run_option
@cluster_options
@output_option
@verbose_option
def delete(release: str, output: str, yes: bool, **options: Any) -> None:
    """Delete a release softly; restore brings it back.

    Its workload goes, its history stays. Only the current release of a name can be deleted. Deleting it again changes nothing.
    """
    outcome = carry_out(QUESTION, release, options, yes=yes)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
