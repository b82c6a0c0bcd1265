"""Verbs that ask before they do something: first what would be done is shown, then a person says yes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.output import say
from kubernaut.errors import Interrupted

if TYPE_CHECKING:
    from kubernaut.interface import Deployed


@dataclass(frozen=True)
class Question:
    """What a verb asks.

    Attributes:
        verb: The verb, as the service calls it.
        text: The question.
        refused: What is said after a no.
    """

    verb: str
    text: str
    refused: str


def carry_out(question: Question, release: str, options: Mapping[str, Any], *, yes: bool) -> Deployed:
    """Show what a verb would do and ask, unless ``--yes`` or ``--dry-run`` was given; then do it.

    Raises:
        click.UsageError: There is nobody to ask.
        Interrupted: The answer is no.
    """
    asking = not yes and not options["dry_run"]
    if asking and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"There is no terminal to ask on: say --yes to {question.verb}.", click.get_current_context())
    outcome = _call(question.verb, release, {**options, "dry_run": asking or options["dry_run"]})
    if asking and outcome.plan.changes:
        _ask(question, outcome)
        # What was shown is changed, and not what may have taken its place meanwhile.
        outcome = _call(question.verb, outcome.release.id if outcome.release else release, options)
    return outcome


def _call(verb: str, release: str, options: Mapping[str, Any]) -> Deployed:
    given = dict(options)
    with session.backend_with_progress(given) as kubernaut:
        outcome: Deployed = getattr(kubernaut, verb)(release, **given)
    return outcome


def _ask(question: Question, shown: Deployed) -> None:
    if shown.plan.reason:
        say(shown.plan.reason)
    for action in shown.plan.actions:
        say(f"{action.kind} {action.subject}: {action.reason}")
    if not click.confirm(question.text, err=True):
        raise Interrupted(question.refused, hint=f"Answer y to {question.verb}, or say --yes.")
