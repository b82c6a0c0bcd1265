"""``kubernaut list``: list releases."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import READ_STATUSES, Command, cluster_options, output_options, target_arguments


@click.command(
    cls=Command,
    examples=[
        ("kubernaut list", "list the active releases of all namespaces"),
        ("kubernaut list -n demo --all", "list the whole history of a namespace, including deleted releases"),
        ("kubernaut list -o json", "print the releases as JSON"),
    ],
    statuses=tuple(status for status in READ_STATUSES if status != 4),
)
@click.option("-n", "--namespace", metavar="NAMESPACE", help="Namespace to list (default: all namespaces).")
@click.option("--all", is_flag=True, help="List every release in the history, not only active ones.")
@cluster_options
@output_options
def list(output: str, **options: Any) -> None:
    """List the active releases.

    A release is active until it is deleted, even if it failed. Releases of plain Helm are included.
    """
    releases = session.open_backend(options).list(**options)
    namespace = options["namespace"]
    where = f" in {namespace}" if namespace else ""
    every = f"kubernaut list{f' -n {namespace}' if namespace else ''} --all{target_arguments()}"
    empty = f"No releases found{where}." if options["all"] else f"No active releases found{where}. Include deleted ones: `{every}`."
    render.show_releases(releases, output, empty=empty)
