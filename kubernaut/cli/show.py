"""``kubernaut show``: show one release."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import Command, cluster_options, output_options, release_options, revision_option


@click.command(
    cls=Command,
    examples=[
        ("kubernaut show hello-world -n demo", "show the current release"),
        ("kubernaut show demo.hello-world.v3", "show a release by its ID"),
        ("kubernaut show demo.hello-world.current -o json", "print the JSON of the REST API"),
    ],
)
@release_options
@revision_option
@cluster_options
@output_options
def show(release: str, output: str, **options: Any) -> None:
    """Show the details of one release.

    Shows its status, chart, images by digest, commit, actor, times and outcome. A release is named by its ID,
    NAMESPACE.NAME.vREVISION, or by its name and -n NAMESPACE.
    """
    render.show_release(session.open_backend(options).show(release, **options), output)
