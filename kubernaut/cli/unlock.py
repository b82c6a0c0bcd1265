"""``kubernaut unlock``: for a person who knows that whoever holds a release is dead; asks first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import render
from kubernaut.cli.options import (
    cluster_options,
    dry_run_option,
    namespace_option,
    note_option,
    output_option,
    release_argument,
    verbose_option,
    yes_option,
)
from kubernaut.cli.output import print_json, put, say
from kubernaut.cli.prompts import Question, carry_out
from kubernaut.cli.verb import Verb

if TYPE_CHECKING:
    from kubernaut.interface import Deployed

QUESTION = Question(
    verb="unlock",
    text="Unlock it? Only if nothing of that runs any more; the history stays.",
    refused="Nothing was unlocked.",
)


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut unlock hello-world -n demo --dry-run", "who holds it, and what would be done"),
        ("kubernaut unlock hello-world -n demo", "shows that, and asks"),
        ("kubernaut unlock hello-world -n demo --yes --note 'the build agent is gone'", "without asking, and why"),
    ],
    statuses=(0, 2, 3, 4, 5, 8, 9),
)
@release_argument
@namespace_option
@yes_option
@note_option
@dry_run_option
@cluster_options
@output_option
@verbose_option
def unlock(release: str, output: str, yes: bool, **options: Any) -> None:
    """Take a release from a holder that is dead, and settle it.

    For a person who knows that the holder is dead; deploy, rollback, delete and restore find most of these by themselves.

    It takes the lock whoever holds it, marks an unfinished record as failed so that no Helm that still lives somewhere can
    finish it, and writes down how it ended. What runs is left as it is, and the history stays.
    """
    outcome = carry_out(QUESTION, release, options, yes=yes)
    _show(outcome, output, dry_run=options["dry_run"])


def _show(outcome: Deployed, output: str, *, dry_run: bool) -> None:
    release = outcome.release
    if dry_run or release is None:
        render.show_plan(outcome.plan, output)
    elif output == "json":
        print_json(release)
    else:
        where = f"{release.name} in {release.namespace}"
        put(f"{where} is unlocked" if outcome.changed else f"{where} is not locked: nothing to do")
        put(f"its newest release is {release.id}: {release.status}")
        say(f"next: kubernaut history {release.name} -n {release.namespace}")
