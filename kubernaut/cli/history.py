"""``kubernaut history``: list all releases of a name."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import Command, cluster_options, output_options, release_options


@click.command(
    cls=Command,
    examples=[
        ("kubernaut history hello-world -n demo", "list the releases, newest first"),
        ("kubernaut history demo.hello-world.current -o json", "print them as JSON"),
    ],
)
@release_options
@cluster_options
@output_options
def history(release: str, output: str, **options: Any) -> None:
    """List all releases of a name, newest first.

    Shows the columns of helm history, and the commit and the actor of each release; below them, failed operations that made no
    release. The history is kept when a release is deleted. Helm keeps the last 50 releases (setting history_max).
    """
    render.show_history(session.open_backend(options).history(release, **options), output)
