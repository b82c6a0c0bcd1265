"""``kubernaut jenkins``: set up and run the jobs of applications on a Jenkins; each command is imported on use."""

from __future__ import annotations

import importlib

import click

from kubernaut.cli.command import Group

VERBS = ("setup", "run")


class JenkinsVerbs(Group):
    """The commands, each in the module ``jenkins_NAME`` of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"kubernaut.cli.jenkins_{cmd_name}"), cmd_name)
        return command


@click.group(cls=JenkinsVerbs, invoke_without_command=True)
@click.pass_context
def jenkins(context: click.Context) -> None:
    """Set up and run the Release and Deploy jobs on a Jenkins.

    NAME-release publishes a version of a commit, NAME-deploy deploys a version to a namespace. A push runs the first, which
    passes its version to the second.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
