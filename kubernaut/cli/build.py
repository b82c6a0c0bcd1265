"""``kubernaut build``: the image alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kubernaut.cli import render, session
from kubernaut.cli.options import app_dir_argument, dry_run_option, output_option, registry_option, verbose_option, version_option
from kubernaut.cli.verb import Verb


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut build examples/hello-world", "see whether the Dockerfile builds"),
        ("kubernaut build examples/hello-world --dry-run", "see what would be built, and why"),
    ],
    statuses=(0, 2, 3, 8, 9),
)
@app_dir_argument
@version_option
@dry_run_option
@registry_option
@output_option
@verbose_option
def build(app_dir: Path, output: str, **options: Any) -> None:
    """Build an application's image, and nothing else.

    The folder needs a kubernaut.yaml that names a Dockerfile. The image stays in the Docker engine; nothing is pushed. What is
    built already is not built again.
    """
    with session.local_with_progress(options) as kubernaut:
        outcome = kubernaut.build(app_dir, **options)
    render.show_built(outcome, output)
