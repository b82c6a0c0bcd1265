"""``kubernaut deploy``: a published version becomes a release."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    cluster_options,
    deploy_options,
    output_option,
    registry_option,
    target_namespace_option,
    verbose_option,
)
from kubernaut.cli.verb import WRITES, Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut deploy hello-world -n demo", "the newest stable version"),
        (
            "kubernaut deploy hello-world@1.4.2 -n production --note 'new greeting'",
            "a certain version, with a line for the history",
        ),
        ("kubernaut deploy hello-world -n demo --set replicaCount=3 --dry-run", "what would be done"),
    ],
    statuses=WRITES,
)
@click.argument("application", metavar="NAME[@VERSION]")
@target_namespace_option
@click.option("--pre", is_flag=True, help="Without a VERSION: the newest at all, not the newest stable one.")
@deploy_options
@registry_option
@cluster_options
@output_option
@verbose_option
def deploy(application: str, output: str, **options: Any) -> None:
    """Put a published version into a namespace.

    Waits until its pods are ready. Deploying what runs already does nothing. A release that does not become ready is explained,
    then the one before it is brought back (exit status 6), or it is kept to look at (7).
    """
    name, at, version = application.partition("@")
    if not name or (at and not version):
        raise click.BadParameter(f"{application!r} is not NAME or NAME@VERSION.", param_hint="NAME[@VERSION]")
    with session.writing(options) as kubernaut:
        outcome = kubernaut.deploy(name, version=version or None, **options)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
