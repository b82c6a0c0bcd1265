"""``kubernaut unlock``: release the lock of a dead process, after confirmation."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render
from kubernaut.cli.command import Command, cluster_options, dry_run_option, note_option, output_options, release_options, yes_option
from kubernaut.cli.session import Confirmation, run_confirmed

CONFIRMATION = Confirmation(
    verb="unlock",
    question="Unlock this release? Answer y only if the process that holds it has ended. The history is kept.",
    declined="Nothing was unlocked.",
)


@click.command(
    cls=Command,
    examples=[
        ("kubernaut unlock hello-world -n demo --dry-run", "show the holder, and what would be changed"),
        ("kubernaut unlock hello-world -n demo", "show that, ask, and unlock"),
        ("kubernaut unlock hello-world -n demo --yes --note 'the build agent is gone'", "unlock without asking"),
    ],
    statuses=(0, 2, 3, 4, 5, 8, 9),
)
@release_options
@yes_option
@note_option
@dry_run_option
@cluster_options
@output_options
def unlock(release: str, output: str, yes: bool, **options: Any) -> None:
    """Unlock a release that a dead process holds.

    Use it only if the process that holds the release is dead; deploy, rollback, delete and restore detect most of these cases
    themselves.

    Takes the lock from any holder, marks an unfinished revision as failed, so that no Helm process can still complete it, and
    records the end of unfinished operations. The workload and the history are not changed.
    """
    outcome = run_confirmed(CONFIRMATION, release, options, yes=yes)
    render.show_unlocked(outcome, output, dry_run=options["dry_run"])
