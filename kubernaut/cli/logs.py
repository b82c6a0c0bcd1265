"""``kubernaut logs``: what a release's pods say."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import session
from kubernaut.cli.options import cluster_options, namespace_option, output_option, release_argument, verbose_option
from kubernaut.cli.output import print_json, put
from kubernaut.cli.verb import Verb

STOPPED = 130


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut logs hello-world -n demo", "all that the pods said"),
        ("kubernaut logs hello-world -n demo --follow --tail 10", "the last lines, and what comes"),
        ("kubernaut logs hello-world -n demo --previous", "of containers that crashed, before they were restarted"),
    ],
)
@release_argument
@namespace_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes; Ctrl-C ends it.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Only the last N lines of each container.")
@click.option("-p", "--previous", is_flag=True, help="Of the containers before their last restart.")
@cluster_options
@output_option
@verbose_option
def logs(release: str, output: str, **options: Any) -> None:
    """Show what a release's pods say.

    Each line has its pod's name before it. With -o json each line is an object, {"line": "…"}.
    """
    try:
        for line in session.open_backend(options).logs(release, **options):
            if output == "json":
                print_json({"line": line}, one_line=True)
            else:
                put(line)
    except KeyboardInterrupt as stop:
        if not options["follow"]:
            raise
        raise click.exceptions.Exit(getattr(stop, "exit_status", STOPPED)) from stop  # how following ends; nothing to explain
