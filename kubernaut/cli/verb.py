"""A command whose ``--help`` teaches: what it does, examples that can be copied, and how it may end; and a group of commands."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click

from kubernaut.cli.error_handler import EXIT_STATUSES

WRITES = (0, 2, 3, 4, 5, 6, 7, 8, 9)
GOES_BACK = tuple(status for status in WRITES if status != 6)
"""A rollback, restore or delete that fails is kept: there is nothing to roll back to but what failed."""
READS = (0, 2, 3, 4, 8, 9)


class Verb(click.Command):
    """A command of kubernaut.

    Args:
        examples: Command lines, each with what it is for.
        statuses: The exit statuses with which it may end, beside 1 (a defect) and those of signals.
    """

    def __init__(
        self, *args: Any, examples: Sequence[tuple[str, str]] = (), statuses: Sequence[int] = READS, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.statuses = tuple(statuses)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help: usage, what it does, examples, options, exit statuses."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line, purpose in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}# {purpose}\n{'':{formatter.current_indent}}{line}\n")
        self.format_options(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(self.exit_line())

    def exit_line(self) -> str:
        """Return the line on exit statuses."""
        return "Exit status: " + "; ".join(f"{status} {EXIT_STATUSES[status]}" for status in self.statuses) + "."


class Group(click.Group):
    """Commands, among which a name that is misspelt is guessed at."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx) and not ctx.resilient_parsing:
            near = get_close_matches(name, self.list_commands(ctx), n=1)
            raise click.UsageError(f"There is no command {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)
