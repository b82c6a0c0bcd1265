"""The command ``kubernaut``: finds a command, runs it with error and signal handling, and exits with its status.

The module of a command, see :data:`MODULES`, is imported when one of its commands runs or the list of commands is shown. A command
imports client libraries (Docker, Helm, Kubernetes) only when it runs, so that ``--help`` is fast.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from kubernaut.cli.command import ARGUMENTS, Command, Group
from kubernaut.cli.error_handler import handle_errors, wants_json
from kubernaut.cli.options import output_options, server_option, verbose_option
from kubernaut.cli.output import print_json
from kubernaut.cli.signals import handle_signals
from kubernaut.errors import ToolMissing

PROGRAM = "kubernaut"
COMPLETE = "_KUBERNAUT_COMPLETE"
DISTRIBUTION = "kubernaut-deploy"
PLUGINS = "kubernaut.commands"
LOCAL = "Run a single-node Kubernetes platform on this machine."

SECTIONS = {
    "Publish and deploy": ("ship", "build", "publish", "deploy"),
    "Inspect releases": ("list", "show", "watch", "history", "explain", "diff", "logs", "versions"),
    "Change releases": ("rollback", "delete", "restore", "unlock"),
    "Server": ("serve",),
    "CI": ("jenkins",),
    "Setup": ("local", "config", "completion"),
}
QUICK_START = (
    "kubernaut ship APP_DIR -n demo --create-namespace",
    "kubernaut list",
    "kubernaut history NAME -n demo",
    "kubernaut ship --help",
)
MODULES = {
    "inspect": ("list", "show", "history", "explain", "versions", "logs", "diff"),
    "publish": ("build", "publish", "ship"),
    "deploy": ("deploy", "rollback", "delete", "restore", "unlock"),
    "watch": ("watch",),
    "serve": ("serve",),
    "config": ("config",),
    "main": ("jenkins", "completion"),
}
"""The commands that each module of this package defines."""
COMMANDS = {name: module for module, names in MODULES.items() for name in names}
JENKINS_COMMANDS = ("setup", "run")


class MainGroup(Group):
    """The commands of this package and those of other distributions."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        listed = [name for names in SECTIONS.values() for name in names]
        return listed + sorted(set(_plugins()) - set(listed))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        return _import_command(COMMANDS[cmd_name], cmd_name) if cmd_name in COMMANDS else _load_plugin(cmd_name)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections."""
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in listed)
        for section, names in {**SECTIONS, "More": others}.items():
            rows = [(name, self._summary(ctx, name)) for name in names]
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def _summary(self, ctx: click.Context, name: str) -> str:
        if name == "local":
            return LOCAL  # its module imports the libraries of the platform
        command = self.get_command(ctx, name)
        return command.get_short_help_str(limit=100) if command else ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the first commands to try."""
        with formatter.section("Quick start"):
            for line in QUICK_START:
                formatter.write(f"  {line}\n")

    def main(self, args: Sequence[str] | None = None, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Run a command line and exit."""
        arguments = list(sys.argv[1:] if args is None else args)
        instruction = os.environ.get(COMPLETE)
        if instruction:
            from click.shell_completion import shell_complete

            sys.exit(shell_complete(self, {}, PROGRAM, COMPLETE, instruction))
        verbose = any(argument in ("-v", "--verbose") for argument in arguments)
        with handle_signals():
            status = handle_errors(lambda: self._run(arguments), json=wants_json(arguments), verbose=verbose)
        sys.exit(status)

    def _run(self, arguments: list[str]) -> None:
        with self.make_context(PROGRAM, list(arguments)) as context:
            context.meta[ARGUMENTS] = arguments
            self.invoke(context)


class JenkinsGroup(Group):
    """The commands of ``kubernaut jenkins``, each in the module ``jenkins_NAME``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands."""
        return list(JENKINS_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        return _import_command(f"jenkins_{cmd_name}", cmd_name) if cmd_name in JENKINS_COMMANDS else None


def _import_command(module: str, name: str) -> click.Command:
    command: click.Command = getattr(importlib.import_module(f"kubernaut.cli.{module}"), name)
    return command


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=PLUGINS)}


def _load_plugin(name: str) -> click.Command | None:
    point = _plugins().get(name)
    if point is None:
        return _not_installed(name, None) if name == "local" else None
    try:
        command: click.Command = point.load()
    except ImportError as error:
        return _not_installed(name, error)
    return command


def _not_installed(name: str, cause: ImportError | None) -> click.Command:
    """Return a command that fails with a hint how to install it."""

    def explain(**_ignored: Any) -> None:
        raise ToolMissing(
            f"`kubernaut {name}` is not installed" + (f": {cause}." if cause else "."),
            hint=f'Install it with: python -m pip install "{DISTRIBUTION}[{name}]"',
        ) from cause

    rest = click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True, "help_option_names": []}
    return Command(name, callback=explain, params=[rest], context_settings=settings, help="Not installed.")


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version(DISTRIBUTION)
    except PackageNotFoundError:
        number = "(not installed)"
    click.echo(f"{PROGRAM} {number}")
    context.exit()


@click.command(
    cls=MainGroup,
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@verbose_option
@server_option
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Print the version of kubernaut."
)
@click.pass_context
def main(context: click.Context) -> None:
    """Publish applications and deploy them to Kubernetes, with a full release history.

    A version is an image and a chart, published from a source folder; a release is a version deployed to a namespace.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@click.group(cls=JenkinsGroup, invoke_without_command=True)
@click.pass_context
def jenkins(context: click.Context) -> None:
    """Set up and run the Release and Deploy jobs on a Jenkins.

    NAME-release publishes a version of a commit, NAME-deploy deploys a version to a namespace. A push runs the first, which
    passes its version to the second.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@click.command(
    cls=Command,
    examples=[
        ('eval "$(kubernaut completion bash)"', "bash: add to ~/.bashrc"),
        ('eval "$(kubernaut completion zsh)"', "zsh: add to ~/.zshrc"),
        ("kubernaut completion fish > ~/.config/fish/completions/kubernaut.fish", "fish: run once"),
    ],
    statuses=(0, 2),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@output_options
def completion(shell: str, output: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"Completion for {shell} is not supported.")
    script = kind(main, {}, PROGRAM, COMPLETE).source()
    if output == "json":
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
