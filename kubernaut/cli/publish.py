"""The commands that publish an application: ``build``, ``publish`` and ``ship``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import WRITE_STATUSES, Command
from kubernaut.cli.options import (
    app_dir_argument,
    cluster_options,
    deploy_options,
    dry_run_option,
    output_options,
    registry_option,
    release_name_option,
    target_namespace_option,
    to_option,
    version_option,
)
from kubernaut.cli.output import OutputFile


@click.command(
    cls=Command,
    examples=[
        ("kubernaut build examples/hello-world", "build the image"),
        ("kubernaut build examples/hello-world --dry-run", "print what would be built, and why"),
    ],
    statuses=(0, 2, 3, 8, 9),
)
@app_dir_argument
@version_option
@dry_run_option
@registry_option
@output_options
def build(app_dir: Path, output: str, **options: Any) -> None:
    """Build the image of an application.

    APP_DIR is a folder with a kubernaut.yaml, which names the Dockerfile. The image stays in the Docker engine and is not pushed.
    An image that was already built from the same source is not built again.
    """
    with session.local_with_progress(options) as kubernaut:
        outcome = kubernaut.build(app_dir, **options)
    render.show_built(outcome, output, app_dir)


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


@click.command(
    cls=Command,
    examples=[
        ("kubernaut ship examples/hello-world -n demo --create-namespace", "publish and deploy for the first time"),
        ("kubernaut ship examples/hello-world -n demo --note 'new greeting'", "publish and deploy a change"),
        ("kubernaut ship examples/hello-world -n demo --dry-run", "print what would be changed"),
    ],
    statuses=WRITE_STATUSES,
    helm=("install", "upgrade"),
)
@app_dir_argument
@target_namespace_option
@release_name_option
@version_option
@deploy_options
@registry_option
@cluster_options
@to_option
@output_options
def ship(app_dir: Path, output: str, to: Path | None, **options: Any) -> None:
    """Publish a version and deploy it to a namespace.

    Combines publish and deploy. If nothing has changed since the last ship, nothing is built, pushed or deployed.
    """
    output_file = OutputFile(to, dry_run=options["dry_run"])
    with session.backend_with_progress(options) as kubernaut:
        outcome = kubernaut.ship(app_dir, **options)
    output_file.write(outcome.release)
    render.show_deployed(outcome, output, dry_run=options["dry_run"])
