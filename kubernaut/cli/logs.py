"""``kubernaut logs``: print the logs of the pods of a release."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import session
from kubernaut.cli.command import Command, cluster_options, output_options, release_options
from kubernaut.cli.output import print_data, print_json

STOPPED = 130


@click.command(
    cls=Command,
    examples=[
        ("kubernaut logs hello-world -n demo", "print the logs of all pods"),
        ("kubernaut logs hello-world -n demo --follow --tail 10", "print the last lines, and stream new ones"),
        ("kubernaut logs hello-world -n demo --previous", "print the logs of containers that crashed"),
    ],
)
@release_options
@click.option("-f", "--follow", is_flag=True, help="Stream new lines until Ctrl-C.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Print only the last N lines of each container.")
@click.option("-p", "--previous", is_flag=True, help="Print the logs of the containers before their last restart.")
@cluster_options
@output_options
def logs(release: str, output: str, **options: Any) -> None:
    """Print the logs of the pods of a release.

    Each line starts with the name of its pod. With -o json each line is an object, {"line": "…"}.
    """
    try:
        for line in session.open_backend(options).logs(release, **options):
            if output == "json":
                print_json({"line": line}, one_line=True)
            else:
                print_data(line)
    except KeyboardInterrupt as stop:
        if not options["follow"]:
            raise
        raise click.exceptions.Exit(getattr(stop, "exit_status", STOPPED)) from stop  # the normal end of --follow
