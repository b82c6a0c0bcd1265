"""``kubernaut show``: one release."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    cluster_options,
    namespace_option,
    output_option,
    release_argument,
    revision_option,
    verbose_option,
)
from kubernaut.cli.verb import Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut show hello-world -n demo", "the current release of a name"),
        ("kubernaut show demo.hello-world.v3", "a certain release, by its id"),
        ("kubernaut show demo.hello-world.current -o json", "the same as the API returns it"),
    ],
)
@release_argument
@namespace_option
@revision_option
@cluster_options
@output_option
@verbose_option
def show(release: str, output: str, **options: Any) -> None:
    """Show everything that is known of one release.

    That is its status, chart, images by digest, commit, who and when, and how it ended. A release is named by its id,
    NAMESPACE.NAME.vREVISION, or by its name and -n NAMESPACE.
    """
    render.show_release(session.open_backend(options).show(release, **options), output)
