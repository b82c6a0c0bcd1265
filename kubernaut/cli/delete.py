"""``kubernaut delete``: a soft delete; asks first."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    cluster_options,
    current_revision_option,
    dry_run_option,
    namespace_option,
    note_option,
    output_option,
    release_argument,
    timeout_option,
    verbose_option,
)
from kubernaut.cli.output import say
from kubernaut.cli.verb import GOES_BACK, Verb
from kubernaut.errors import Interrupted

if TYPE_CHECKING:
    from kubernaut.kubernaut import Deployed


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
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal to ask on.")
@note_option
@timeout_option
@dry_run_option
@cluster_options
@output_option
@verbose_option
def delete(release: str, output: str, yes: bool, **options: Any) -> None:
    """Delete a release softly; restore brings it back.

    Its workload goes, its history stays. Only the current release of a name can be deleted. Deleting it again changes nothing.
    """
    asking = not yes and not options["dry_run"]
    if asking and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("There is no terminal to ask on: say --yes to delete.", click.get_current_context())
    outcome = _delete(release, {**options, "dry_run": asking or options["dry_run"]})
    if asking and outcome.plan.changes:
        _ask(outcome)
        # What was shown goes, and not what may have taken its place meanwhile.
        outcome = _delete(outcome.release.id if outcome.release else release, options)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])


def _delete(release: str, options: Mapping[str, Any]) -> Deployed:
    given = dict(options)
    with session.writing(given) as kubernaut:
        return kubernaut.delete(release, **given)


def _ask(shown: Deployed) -> None:
    for action in shown.plan.actions:
        say(f"{action.kind} {action.subject}: {action.reason}")
    if not click.confirm("Delete it? The history stays, and `kubernaut restore` brings it back.", err=True):
        raise Interrupted("Nothing was deleted.", hint="Answer y to delete, or say --yes.")
