"""Commands that show their plan and ask for confirmation before they run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.command import target_arguments
from kubernaut.cli.output import print_message
from kubernaut.cli.render import plan_lines
from kubernaut.errors import Interrupted

if TYPE_CHECKING:
    from kubernaut.interface import Deployed


@dataclass(frozen=True)
class Confirmation:
    """The confirmation of a verb.

    Attributes:
        verb: The name of the verb's method.
        question: The question; ``{release}`` stands for the release as the command line names it.
        declined: The message after a no.
    """

    verb: str
    question: str
    declined: str


def run_confirmed(confirmation: Confirmation, release: str, options: Mapping[str, Any], *, yes: bool) -> Deployed:
    """Run a verb; first show its plan and ask, unless ``--yes`` or ``--dry-run`` was given.

    Raises:
        click.UsageError: Without a terminal a confirmation is not possible.
        Interrupted: The answer is no.
    """
    asks = not yes and not options["dry_run"]
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        message = f"`{confirmation.verb}` asks for confirmation, which needs a terminal: add --yes to skip it."
        raise click.UsageError(message, click.get_current_context())
    outcome = _run(confirmation.verb, release, {**options, "dry_run": asks or options["dry_run"]})
    if asks and outcome.plan.changes:
        _confirm(confirmation, outcome)
        # By ID, so that a release made meanwhile is not the one that is changed.
        outcome = _run(confirmation.verb, outcome.release.id if outcome.release else release, options)
    return outcome


def _run(verb: str, release: str, options: Mapping[str, Any]) -> Deployed:
    arguments = dict(options)
    with session.backend_with_progress(arguments) as kubernaut:
        outcome: Deployed = getattr(kubernaut, verb)(release, **arguments)
    return outcome


def _confirm(confirmation: Confirmation, outcome: Deployed) -> None:
    if outcome.plan.reason:
        print_message(outcome.plan.reason)
    for line in plan_lines(outcome.plan):
        print_message(line)
    release = outcome.release
    named = f"{release.name} -n {release.namespace}{target_arguments()}" if release else ""
    if not click.confirm(confirmation.question.format(release=named), err=True):
        raise Interrupted(confirmation.declined, hint=f"Answer y to {confirmation.verb}, or add --yes.")
