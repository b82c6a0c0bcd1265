"""``kubernaut history``: all releases of a name."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import cluster_options, namespace_option, output_option, release_argument, verbose_option
from kubernaut.cli.verb import Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut history hello-world -n demo", "newest first"),
        ("kubernaut history demo.hello-world.current -o json", "by id, for a program"),
    ],
)
@release_argument
@namespace_option
@cluster_options
@output_option
@verbose_option
def history(release: str, output: str, **options: Any) -> None:
    """Show all releases of a name, newest first.

    Shows what helm history shows, and for each release its commit and who made it. Below them stand the attempts that made no
    release, and why. The history outlives a delete. Helm keeps the last 50 (the setting history_max).
    """
    render.show_history(session.open_backend(options).history(release, **options), output)
