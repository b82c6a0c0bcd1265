"""The command ``watch``."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import WRITE_STATUSES, Command
from kubernaut.cli.options import cluster_options, namespace_option, output_options


@click.command(
    cls=Command,
    examples=[
        (
            "kubernaut watch hello-world -n demo",
            "follow the operation that runs, or wait until the release is ready",
        ),
        ("kubernaut watch 01m0000000000000000000zzzz", "follow one operation, by the ID that `deploy --no-wait` prints"),
        ("kubernaut watch demo.hello-world.v3 --timeout 60s", "wait at most 60 s until this release is ready"),
    ],
    statuses=WRITE_STATUSES,
)
@click.argument("release", metavar="NAME|ID")
@namespace_option
@click.option(
    "--timeout",
    metavar="DURATION",
    help="Time that a release may take to become ready if no operation runs on it, such as 90s or 5m (default: 5m).",
)
@cluster_options
@output_options
def watch(release: str, output: str, **options: Any) -> None:
    """Follow an operation that runs elsewhere.

    Shows the operation that another process, machine or server executes on the release: its steps and what each workload does. When
    it ends, prints its result and exits with its status, as the command that started it does. If no operation runs, waits until
    every object of the current release is ready, and fails if one is given up (exit status 7).

    Nothing is changed. Ctrl-C ends only the watching.
    """
    with session.backend_with_progress(options, watching=True) as kubernaut:
        outcome = kubernaut.watch(release, **options)
    render.show_deployed(outcome, output, dry_run=False)
