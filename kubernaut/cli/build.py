"""``kubernaut build``: build the image of an application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.command import Command, app_dir_argument, dry_run_option, output_options, registry_option, version_option


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
