"""``kubernaut serve``: run the REST server until a signal stops it."""

from __future__ import annotations

import gc
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session, signals
from kubernaut.cli.command import Command, is_verbose
from kubernaut.cli.options import kubeconfig_options, output_option, parse_duration, registry_option, verbose_option
from kubernaut.cli.output import print_json, print_message
from kubernaut.events import ignore_event

if TYPE_CHECKING:
    from kubernaut.server.serving import ServeOptions
    from kubernaut.settings import Settings

SETTINGS = ("registry", "context", "kubeconfig", "serve_host", "serve_port", "token_file")
"""The options that are settings; all others are :class:`ServeOptions`."""


@click.command(
    cls=Command,
    examples=[
        ("kubernaut serve", "for this machine; prints the token's file and a curl command that uses it"),
        ("kubernaut serve --port 0 -o json", "on any free port, with the address on stdout"),
        (
            "kubernaut serve --host 0.0.0.0 --behind-tls-proxy --allow-host ci.example.com --tokens tokens.toml",
            "for the tokens of a file, behind a TLS proxy",
        ),
    ],
    statuses=(0, 2, 3, 5, 8, 9),
)
@click.option("--host", "serve_host", metavar="ADDRESS", help="Address to listen on; 127.0.0.1 by default.")
@click.option(
    "--port",
    "serve_port",
    metavar="PORT",
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 8080 by default, 0 for any free port.",
)
@click.option(
    "--auth",
    type=click.Choice(["token", "none"]),
    default="token",
    show_default=True,
    help="Require a token, or, on the loopback interface only, none.",
)
@click.option("--token-file", metavar="FILE", help="File of the generated token, as a curl header; in the state folder by default.")
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file of named tokens with roles and namespaces, instead of the generated token.",
)
@click.option(
    "-n", "--namespace", "namespaces", metavar="NAMESPACE", multiple=True, help="Show and change only this namespace; repeatable."
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME[:PORT]",
    multiple=True,
    help="Host name to answer to besides the address; repeatable.",
)
@click.option(
    "--allow-charts",
    metavar="HOST/PREFIX",
    multiple=True,
    help="Registry to allow charts from, besides the chart registry; repeatable.",
)
@click.option(
    "--behind-tls-proxy", is_flag=True, help="A proxy in front terminates TLS; required to listen beyond the loopback interface."
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Number of operations that run at once.",
)
@click.option(
    "--grace",
    metavar="DURATION",
    default="5m",
    show_default=True,
    callback=parse_duration,
    help="Time that running operations may take when the server is stopped.",
)
@click.option(
    "--audit-log",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to append audit lines to, as JSON; stderr by default.",
)
@registry_option
@kubeconfig_options
@output_option
@verbose_option
def serve(output: str, **options: Any) -> None:
    """Serve releases, versions and operations over HTTP.

    The server keeps no database: the cluster's release history is the store. SIGTERM or Ctrl-C stops it: new operations are
    refused, running ones may finish within --grace, and a second signal stops them. See docs/server.md and docs/api.md.
    """
    from kubernaut.server.serving import ServeOptions, create_context, run
    from kubernaut.settings import load_settings

    _check_combinations(options)
    gc.set_threshold(50_000)  # a server runs on: fewer objects wait for a collection than in a command, and each one is shorter
    settings = load_settings({name: options.pop(name) for name in SETTINGS})
    serve_options = ServeOptions(**options)
    with _log_to_stderr():
        context = create_context(session.open_kubernaut(settings, ignore_event), serve_options)
        run(context, serve_options, lambda address: _wait(address, settings, serve_options, output))


def _check_combinations(options: dict[str, Any]) -> None:
    if options["tokens"] and options["token_file"]:
        raise click.UsageError(
            "--tokens cannot be combined with --token-file: the file of named tokens replaces the generated one."
        )
    if options["auth"] == "none" and (options["tokens"] or options["token_file"]):
        raise click.UsageError("--auth none cannot be combined with --tokens or --token-file.")


def _wait(address: str, settings: Settings, options: ServeOptions, output: str) -> None:
    """Print where the server listens, and wait for a signal."""
    try:
        _print_address(address, settings, options, output)
        signals.wait_for_signal()
    except KeyboardInterrupt as stop:
        signals.acknowledge(stop)
        print_message(f"stopping: running operations may take {options.grace:g} s to finish; a second signal stops them")


def _print_address(address: str, settings: Settings, options: ServeOptions, output: str) -> None:
    generated = options.auth == "token" and options.tokens is None
    print_message(f"listening at {address}")
    if generated:
        print_message(f"the token is in {settings.token_path()}")
    elif options.tokens:
        print_message(f"tokens: {options.tokens}")
    else:
        print_message("tokens: not required; every user of this machine may deploy")
    print_message(_curl(address, settings.token_path() if generated else None, with_token=options.auth == "token"))
    if output == "json":
        print_json({"url": address, "tokenFile": str(settings.token_path()) if generated else None})


def _curl(address: str, header: Path | None, *, with_token: bool) -> str:
    """Return a command that lists the releases, with the token in a file instead of an argument."""
    file = f"@{header}" if header else "@HEADER_FILE"
    words = ["curl", *(["-H", file] if with_token else []), f"{address}/api/releases"]
    return shlex.join(words)


class _StderrHandler(logging.Handler):
    """Prints log records on stderr, with secrets masked and control characters removed."""

    def emit(self, record: logging.LogRecord) -> None:
        print_message(self.format(record), label="log")


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    handler, root = _StderrHandler(logging.INFO if is_verbose() else logging.WARNING), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
