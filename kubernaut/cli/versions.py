"""``kubernaut versions``: list published versions."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import Command, output_options, registry_option, server_option


@click.command(
    cls=Command,
    examples=[
        ("kubernaut versions hello-world", "list the versions, newest first"),
        ("kubernaut versions hello-world --registry registry.example.com/team", "list the versions in another registry"),
    ],
)
@click.argument("name", metavar="NAME")
@registry_option
@server_option
@output_options
def versions(name: str, output: str, **options: Any) -> None:
    """List the published versions of an application.

    The newest version is first. To deploy one: kubernaut deploy NAME@VERSION -n NAMESPACE.
    """
    render.show_versions(name, session.open_backend(options).versions(name), output)
