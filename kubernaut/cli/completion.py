"""``kubernaut completion``: print a shell completion script."""

from __future__ import annotations

import click

from kubernaut.cli.command import Command, output_options
from kubernaut.cli.output import print_json


@click.command(
    cls=Command,
    examples=[
        ('eval "$(kubernaut completion bash)"', "bash: add to ~/.bashrc"),
        ('eval "$(kubernaut completion zsh)"', "zsh: add to ~/.zshrc"),
        ("kubernaut completion fish > ~/.config/fish/completions/kubernaut.fish", "fish: run once"),
    ],
    statuses=(0, 2),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@output_options
def completion(shell: str, output: str) -> None:
    """Print the completion script for a shell."""
    from click.shell_completion import get_completion_class

    from kubernaut.cli.main import COMPLETE, PROGRAM, main

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"Completion for {shell} is not supported.")
    script = kind(main, {}, PROGRAM, COMPLETE).source()
    if output == "json":
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
