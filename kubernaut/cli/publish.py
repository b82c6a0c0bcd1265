"""``kubernaut publish``: a folder becomes a published version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import (
    app_dir_argument,
    dry_run_option,
    output_option,
    registry_option,
    to_option,
    verbose_option,
    version_option,
)
from kubernaut.cli.output_file import OutputFile
from kubernaut.cli.verb import Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut publish examples/hello-world --version 1.4.2", "without --version it is counted from git"),
        ("kubernaut publish examples/hello-world --image registry.example.com/hello@sha256:…", "the image was built elsewhere"),
        ("kubernaut publish examples/hello-world --to release.json", "for `kubernaut deploy --from release.json`"),
    ],
    statuses=(0, 2, 3, 4, 5, 8, 9),
)
@app_dir_argument
@version_option
@click.option("--image", metavar="REPO@DIGEST", help="Take this image instead of building one.")
@dry_run_option
@registry_option
@to_option
@output_option
@verbose_option
def publish(app_dir: Path, output: str, to: Path | None, **options: Any) -> None:
    """Make a version: build, push, package, publish.

    Builds the image, pushes it, packages the chart with the image's digest in its values, and pushes that. A version is
    immutable: publishing the same content again does nothing, publishing other content under the same number fails
    (exit status 5). Nothing is deployed.
    """
    outlet = OutputFile(to, dry_run=options["dry_run"])
    with session.local_with_progress(options) as kubernaut:
        outcome = kubernaut.publish(app_dir, **options)
    outlet.write(outcome.version)
    render.show_published(outcome, output, dry_run=options["dry_run"])
