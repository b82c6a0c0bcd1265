"""``kubernaut serve``: the same questions and verbs over HTTP, until a signal ends it."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session, signals
from kubernaut.cli.options import is_verbose, kubeconfig_options, output_option, read_duration, registry_option, verbose_option
from kubernaut.cli.output import print_json, say
from kubernaut.cli.verb import Verb
from kubernaut.events import ignore

if TYPE_CHECKING:
    from kubernaut.server.serving import ServeOptions
    from kubernaut.settings import Settings

SETTINGS = ("registry", "context", "kubeconfig", "serve_host", "serve_port", "token_file")
"""The options that are settings; every other one says how the server is wished."""


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut serve", "for this machine; says where the token is, and a curl line that reads it"),
        ("kubernaut serve --port 0 -o json", "at any free port, its address on stdout"),
        (
            "kubernaut serve --host 0.0.0.0 --behind-tls-proxy --allow-host ci.example.com --tokens tokens.toml",
            "for those with a token of the file, behind a proxy that speaks TLS",
        ),
    ],
    statuses=(0, 2, 3, 5, 8, 9),
)
@click.option("--host", "serve_host", metavar="ADDRESS", help="Where to listen; 127.0.0.1 by default.")
@click.option("--port", "serve_port", metavar="PORT", type=click.IntRange(0, 65_535), help="8080 by default; 0: any that is free.")
@click.option(
    "--auth",
    type=click.Choice(["token", "none"]),
    default="token",
    show_default=True,
    help="Who may ask: those with a token, or, on this machine alone, everybody.",
)
@click.option(
    "--token-file", metavar="FILE", help="Where the generated token is kept, as a curl header; in the folder for state by default."
)
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A TOML file of named tokens with roles and namespaces, instead of the generated one.",
)
@click.option(
    "-n", "--namespace", "namespaces", metavar="NAMESPACE", multiple=True, help="Only this namespace; may be given again."
)
@click.option(
    "--allow-host", "allow_hosts", metavar="NAME[:PORT]", multiple=True, help="A name it is asked by too; may be given again."
)
@click.option(
    "--allow-charts",
    metavar="HOST/PREFIX",
    multiple=True,
    help="Charts may come from there too, beside the chart registry; may be given again.",
)
@click.option("--behind-tls-proxy", is_flag=True, help="A proxy before it speaks TLS; needed to listen beyond this machine.")
@click.option("--workers", metavar="N", type=click.IntRange(1, 64), default=8, show_default=True, help="How many deploys at once.")
@click.option(
    "--grace",
    metavar="DURATION",
    default="5m",
    show_default=True,
    callback=read_duration,
    help="How long running deploys may take to end when the server is stopped.",
)
@click.option(
    "--audit-log",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where audit lines are added, as JSON; stderr by default.",
)
@registry_option
@kubeconfig_options
@output_option
@verbose_option
def serve(output: str, **options: Any) -> None:
    """Answer over HTTP what runs, and carry the verbs out.

    It keeps no database: the cluster's history is the store. SIGTERM or Ctrl-C ends it: nothing new is begun, running deploys
    may end within --grace, and a second signal stops them. docs/server.md says how to run it, docs/api.md what it answers.
    """
    from kubernaut.server.serving import ServeOptions, open_service, run
    from kubernaut.settings import load_settings

    _check_together(options)
    settings = load_settings({name: options.pop(name) for name in SETTINGS})
    wish = ServeOptions(**options)
    with _log_as_talk():
        service = open_service(session.open_kubernaut(settings, ignore), wish)
        run(service, wish, lambda address: _serve(address, settings, wish, output))


def _check_together(options: dict[str, Any]) -> None:
    if options["tokens"] and options["token_file"]:
        raise click.UsageError("--tokens and --token-file exclude each other: the one names many tokens, the other keeps one.")
    if options["auth"] == "none" and (options["tokens"] or options["token_file"]):
        raise click.UsageError("--auth none asks for no token, so there is none to keep or to name.")


def _serve(address: str, settings: Settings, wish: ServeOptions, output: str) -> None:
    """Say where the server is, and wait for a signal."""
    try:
        _tell(address, settings, wish, output)
        signals.wait()
    except KeyboardInterrupt as stop:
        signals.answer(stop)
        say(f"stopping: running deploys may take {wish.grace:g} s to end; a second signal stops them")


def _tell(address: str, settings: Settings, wish: ServeOptions, output: str) -> None:
    generated = wish.auth == "token" and wish.tokens is None
    say(f"listening at {address}")
    if generated:
        say(f"the token is in {settings.token_path()}")
    elif wish.tokens:
        say(f"tokens: those of {wish.tokens}")
    else:
        say("tokens: none are asked for; whoever is on this machine may deploy")
    say(_curl(address, settings.token_path() if generated else None, asked=wish.auth == "token"))
    if output == "json":
        print_json({"url": address, "tokenFile": str(settings.token_path()) if generated else None})


def _curl(address: str, header: Path | None, *, asked: bool) -> str:
    """Return a command line that asks the server; the token stands in a file, not in it."""
    file = f"@{header}" if header else "@HEADER_FILE"
    words = ["curl", *(["-H", file] if asked else []), f"{address}/api/releases"]
    return shlex.join(words)


class _Talk(logging.Handler):
    """What the server logs, as talk: no secrets, no codes that would steer the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), label="log")


@contextmanager
def _log_as_talk() -> Iterator[None]:
    talk, root = _Talk(logging.INFO if is_verbose() else logging.WARNING), logging.getLogger()
    root.addHandler(talk)
    try:
        yield
    finally:
        root.removeHandler(talk)
