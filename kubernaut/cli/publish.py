"""``kubernaut publish``: publish a version of an application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import (
    Command,
    app_dir_argument,
    dry_run_option,
    output_options,
    registry_option,
    to_option,
    version_option,
)
from kubernaut.cli.output import OutputFile


@click.command(
    cls=Command,
    examples=[
        (
            "kubernaut publish examples/hello-world --version 1.4.2",
            "publish version 1.4.2; without --version, the one derived from git",
        ),
        (
            "kubernaut publish examples/hello-world --image registry.example.com/hello@sha256:…",
            "publish an image that was built elsewhere",
        ),
        ("kubernaut publish examples/hello-world --to release.json", "write a file for `kubernaut deploy --from release.json`"),
    ],
    statuses=(0, 2, 3, 4, 5, 8, 9),
)
@app_dir_argument
@version_option
@click.option("--image", metavar="REPO@DIGEST", help="Use this image instead of building one.")
@dry_run_option
@registry_option
@to_option
@output_options
def publish(app_dir: Path, output: str, to: Path | None, **options: Any) -> None:
    """Publish a version: build and push image and chart.

    Builds and pushes the image, then packages and pushes the chart with the digest of the image in its values. A version is
    immutable: publishing the same content again changes nothing, publishing other content under the same version fails (exit
    status 5). Nothing is deployed.
    """
    output_file = OutputFile(to, dry_run=options["dry_run"])
    with session.local_with_progress(options) as kubernaut:
        outcome = kubernaut.publish(app_dir, **options)
    output_file.write(outcome.version)
    render.show_published(outcome, output, dry_run=options["dry_run"])
