"""``kubernaut jenkins``: the verbs that bring an application's jobs to a Jenkins and run them; each is imported when it is used."""

from __future__ import annotations

import importlib

import click

from kubernaut.cli.verb import Group

VERBS = ("setup", "run")


class JenkinsVerbs(Group):
    """The verbs, each in a module of this room that is called ``jenkins_`` and its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"kubernaut.cli.jenkins_{cmd_name}"), cmd_name)
        return command


@click.group(cls=JenkinsVerbs, invoke_without_command=True)
@click.pass_context
def jenkins(context: click.Context) -> None:
    """The Release and the Deploy job on a Jenkins: setup, run.

    NAME-release makes a version of a commit, NAME-deploy puts a version into a namespace. A push runs the first, which hands
    its version to the second.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
