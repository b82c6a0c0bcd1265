"""``kubernaut versions``: what was published."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import output_option, registry_option, server_option, verbose_option
from kubernaut.cli.verb import Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut versions hello-world", "newest first"),
        ("kubernaut versions hello-world --registry registry.example.com/team", "in a certain registry"),
    ],
)
@click.argument("name", metavar="NAME")
@registry_option
@server_option
@output_option
@verbose_option
def versions(name: str, output: str, **options: Any) -> None:
    """List an application's published versions.

    The newest comes first. Each of them can be deployed: kubernaut deploy NAME@VERSION.
    """
    render.show_versions(name, session.open_backend(options).versions(name), output)
