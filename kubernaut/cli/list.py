"""``kubernaut list``: what runs."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import cluster_options, output_option, verbose_option
from kubernaut.cli.verb import READS, Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut list", "everything that is active"),
        ("kubernaut list -n demo --all", "every release in a namespace's history, deleted ones too"),
        ("kubernaut list -o json", "the same for a program"),
    ],
    statuses=tuple(status for status in READS if status != 4),
)
@click.option("-n", "--namespace", metavar="NAMESPACE", help="Only this namespace; all of them by default.")
@click.option("--all", is_flag=True, help="Every release in the history, not only the active ones.")
@cluster_options
@output_option
@verbose_option
def list(output: str, **options: Any) -> None:
    """List the active releases: what runs, where, by whom.

    Releases that plain helm made are listed too. A release is active until it is deleted; it may be failed.
    """
    releases = session.open_backend(options).list(**options)
    where = f" in {options['namespace']}" if options["namespace"] else ""
    nothing = f"no releases{where}" if options["all"] else f"no active releases{where}; --all lists the deleted ones too"
    render.show_releases(releases, output, nothing=nothing)
