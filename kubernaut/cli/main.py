"""The command ``kubernaut``: finds the verb, runs it under the guard, exits with its status.

A verb's module is imported when the verb is used or the list of verbs is shown, and no verb's module imports a client: ``--help``
answers without Docker's, Helm's or Kubernetes' libraries.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from kubernaut.cli import error_handler as guard
from kubernaut.cli import signals
from kubernaut.cli.options import server_option, verbose_option
from kubernaut.cli.verb import Group, Verb
from kubernaut.errors import ToolMissing

PROGRAM = "kubernaut"
COMPLETE = "_KUBERNAUT_COMPLETE"
DISTRIBUTION = "kubernaut-deploy"
PLUGINS = "kubernaut.commands"
LOCAL = "A Kubernetes of your own on this machine: up, down, status, env."

SECTIONS = {
    "Ship": ("ship", "build", "publish", "deploy"),
    "Look": ("list", "show", "history", "diff", "logs", "versions"),
    "Change": ("rollback", "delete", "restore", "unlock"),
    "Serve": ("serve",),
    "CI": ("jenkins",),
    "Set up": ("local", "config", "completion"),
}
FIRST_LOOK = (
    "kubernaut ship APP_DIR -n demo --create-namespace",
    "kubernaut list",
    "kubernaut history NAME -n demo",
    "kubernaut ship --help        # each command explains itself",
)
VERBS = tuple(name for names in SECTIONS.values() for name in names if name != "local")


class Commands(Group):
    """The verbs, each in a module of this room that is called like it; and those that other distributions add."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        listed = [name for names in SECTIONS.values() for name in names]
        return listed + sorted(set(_plugins()) - set(listed))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        if cmd_name in VERBS:
            command: click.Command = getattr(importlib.import_module(f"kubernaut.cli.{cmd_name}"), cmd_name)
            return command
        return _load_plugin(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, by what they are for."""
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in listed)
        for section, names in {**SECTIONS, "More": others}.items():
            rows = [(name, self._summary(ctx, name)) for name in names]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def _summary(self, ctx: click.Context, name: str) -> str:
        if name == "local":
            return LOCAL  # importing it would import the platform's own libraries
        command = self.get_command(ctx, name)
        return command.get_short_help_str(limit=100) if command else ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the first commands to try."""
        with formatter.section("A first look"):
            for line in FIRST_LOOK:
                formatter.write(f"  {line}\n")

    def main(self, args: Sequence[str] | None = None, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Run a command line and exit; called for by ``kubernaut`` itself and by click's test runner."""
        arguments = list(sys.argv[1:] if args is None else args)
        instruction = os.environ.get(COMPLETE)
        if instruction:
            from click.shell_completion import shell_complete

            sys.exit(shell_complete(self, {}, PROGRAM, COMPLETE, instruction))
        verbose = any(argument in ("-v", "--verbose") for argument in arguments)
        with signals.terminable():
            status = guard.guarded(lambda: self._run(arguments), json=guard.wants_json(arguments), verbose=verbose)
        sys.exit(status)

    def _run(self, arguments: list[str]) -> None:
        with self.make_context(PROGRAM, arguments) as context:
            self.invoke(context)


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=PLUGINS)}


def _load_plugin(name: str) -> click.Command | None:
    point = _plugins().get(name)
    if point is None:
        return _absent(name, None) if name == "local" else None
    try:
        command: click.Command = point.load()
    except ImportError as error:
        return _absent(name, error)
    return command


def _absent(name: str, cause: ImportError | None) -> click.Command:
    """Return a command that says how to install the one that is not there."""

    def explain(**_ignored: Any) -> None:
        raise ToolMissing(
            f"`kubernaut {name}` is not installed" + (f": {cause}." if cause else "."),
            hint=f'Install it with: python -m pip install "{DISTRIBUTION}[{name}]"',
        ) from cause

    rest = click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True, "help_option_names": []}
    return Verb(name, callback=explain, params=[rest], context_settings=settings, help="Not installed.")


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version(DISTRIBUTION)
    except PackageNotFoundError:
        number = "(not installed; runs from its source)"
    click.echo(f"{PROGRAM} {number}")
    context.exit()


@click.command(
    cls=Commands,
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@verbose_option
@server_option
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show kubernaut's version."
)
@click.pass_context
def main(context: click.Context) -> None:
    """From a source folder to a running release on Kubernetes; and what runs, since when, by whom."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
