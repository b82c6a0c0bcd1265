"""``kubernaut completion``: the shell finishes commands and options."""

from __future__ import annotations

import click

from kubernaut.cli.options import output_option, verbose_option
from kubernaut.cli.output import print_json
from kubernaut.cli.verb import Verb


@click.command(
    cls=Verb,
    examples=[
        ('eval "$(kubernaut completion bash)"', "in ~/.bashrc"),
        ('eval "$(kubernaut completion zsh)"', "in ~/.zshrc"),
        ("kubernaut completion fish > ~/.config/fish/completions/kubernaut.fish", "once"),
    ],
    statuses=(0, 2),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@output_option
@verbose_option
def completion(shell: str, output: str) -> None:
    """Print the script that lets a shell complete commands."""
    from click.shell_completion import get_completion_class

    from kubernaut.cli.main import COMPLETE, PROGRAM, main

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click cannot complete in {shell}.")
    script = kind(main, {}, PROGRAM, COMPLETE).source()
    if output == "json":
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
