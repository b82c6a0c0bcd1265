"""The command `kubernaut local`.

The platform is imported when a subcommand runs, so that `--help` stays fast.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli.command import Command, is_verbose
from kubernaut.cli.options import output_option, verbose_option
from kubernaut.cli.output import print_data, print_json
from kubernaut.cli.progress import format_duration, show_progress

if TYPE_CHECKING:
    from kubernaut_local.models import PlatformStatus
    from kubernaut_local.platform import Platform

NOT_READY = 8

name_option = click.option(
    "--name", default="default", show_default=True, metavar="NAME", help="The platform's name; platforms run side by side."
)


# click keeps the lines of a paragraph that begins with \b.
_HELP = """Run a Kubernetes cluster on this machine, with a Docker engine and a registry.

It runs in its own Linux namespaces: the host's network, packages, Docker and Kubernetes are not changed. Linux only, as root.
The first `up` builds Kubernetes from its Go modules, which takes minutes; later ones take seconds.

\b
First steps:
  kubernaut local up
  eval "$(kubernaut local env)"
  kubernaut ship APP_DIR -n demo --create-namespace
  kubernaut local down
"""


@click.group(help=_HELP)
def local() -> None:
    """Run the local platform."""


def _platform(name: str) -> Platform:
    from kubernaut_local.platform import Platform

    return Platform(name)


def _build_progress() -> Any:
    """Return the display of the progress; without a terminal it prints every line, so that a long build does not look stuck."""
    return show_progress(is_verbose() or not sys.stderr.isatty())


@local.command(
    cls=Command,
    statuses=(0, 2, 3, 5, 8, 9),
    examples=[
        ("kubernaut local up", "start the platform `default`, or complete an interrupted `up`"),
        ("kubernaut local up --name blue", "start a second platform, on free ports"),
        ("kubernaut local up --name blue --node-port 30180 --node-port 30181", "forward these node ports from 127.0.0.1"),
    ],
)
@name_option
@click.option(
    "--port-api", type=click.IntRange(1, 65535), metavar="PORT", help="The port of the Kubernetes API; 16443 for `default`."
)
@click.option(
    "--port-registry", type=click.IntRange(1, 65535), metavar="PORT", help="The port of the registry; 15000 for `default`."
)
@click.option(
    "--node-port",
    type=click.IntRange(30000, 32767),
    multiple=True,
    metavar="PORT",
    help="A node port to forward from this machine; repeatable. 30080 for `default`.",
)
@output_option
@verbose_option
def up(name: str, port_api: int | None, port_registry: int | None, node_port: tuple[int, ...], output: str) -> None:
    """Start the platform, unless it is already up.

    All ports are on 127.0.0.1 only. The first `up` chooses them and later ones keep them, unless you pass others.
    """
    from kubernaut_local.models import PortOptions

    with _build_progress() as listener:
        result = _platform(name).up(listener, PortOptions(api=port_api, registry=port_registry, node_ports=node_port))
    if output == "json":
        print_json(result)
        return
    suffix = "" if name == "default" else f" --name {name}"
    print_data(
        f"The platform {name!r} is up and ready"
        + (f", after {format_duration(result.seconds)}." if result.changed else " already.")
    )
    print_data(f'Use it:         eval "$(kubernaut local env{suffix})"')
    print_data(f"Show its state: kubernaut local status{suffix}")


@local.command(
    cls=Command,
    statuses=(0, 2, 3, 8, 9),
    examples=[
        ("kubernaut local down", "stop all processes and keep the data"),
        ("kubernaut local down --purge", "also remove the data"),
    ],
)
@name_option
@click.option("--purge", is_flag=True, help="Also remove its data: the cluster's objects, all images, the certificates.")
@output_option
@verbose_option
def down(name: str, purge: bool, output: str) -> None:
    """Stop the platform and keep its data.

    No process, mount or changed setting is left on the host. The programs stay in the cache, so the next `up` takes seconds.
    """
    with show_progress() as listener:
        result = _platform(name).down(purge, listener)
    if output == "json":
        print_json(result)
    elif result.changed:
        print_data(f"The platform {name!r} is down; its data is {'removed' if result.purged else 'kept'}.")
    else:
        print_data(f"The platform {name!r} was not up.")


@local.command(
    cls=Command,
    statuses=(0, 2, 3, 8, 9),
    examples=[
        ("kubernaut local status", "show the processes, their uptimes and log files"),
        ("kubernaut local status -o json", "the same as JSON"),
    ],
)
@name_option
@output_option
@click.pass_context
def status(context: click.Context, name: str, output: str) -> None:
    """Show the current state of every process and readiness check.

    The exit status is 0 if the platform is ready, and 8 if not.
    """
    current = _platform(name).status()
    if output == "json":
        print_json(current)
    else:
        print_data("\n".join(status_lines(current)))
    context.exit(0 if current.ready else NOT_READY)


def status_lines(current: PlatformStatus) -> list[str]:
    """Return the status as lines of text."""
    lines = [f"platform    {current.name}: {_STATES[current.state.value]}", f"state       {current.folder}"]
    if current.ports is not None:
        lines.append("ports       " + ", ".join(f"{purpose} 127.0.0.1:{port}" for purpose, port in current.ports.named()))
    if current.kubeconfig is not None:
        lines.append(f"kubeconfig  {current.kubeconfig}")
    if current.docker_host is not None:
        lines.append(f"docker      {current.docker_host}")
    if current.versions:
        lines.append(
            "versions    " + ", ".join(f"{name} {version}" for name, version in current.versions.items() if name in _VERSIONS)
        )
    if current.processes:
        rows = [("PROCESS", "STATE", "PID", "UPTIME", "LOG")]
        for process in current.processes:
            uptime = "-" if process.uptime_seconds is None else format_duration(process.uptime_seconds)
            rows.append((process.name, process.state, str(process.pid or "-"), uptime, f"{process.log}  {process.error}".rstrip()))
        lines += ["", *_table(rows)]
    if current.checks:
        results = [(check.name, "yes" if check.ready else "no", check.detail) for check in current.checks]
        lines += ["", *_table([("CHECK", "READY", ""), *results])]
    return lines


_STATES = {"ready": "up and ready", "notReady": "up, but not ready", "down": "down"}
_VERSIONS = ("kubernetes", "etcd-server", "containerd", "runc", "docker.io", "docker-registry")


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


@local.command(
    cls=Command,
    statuses=(0, 2, 3, 8, 9),
    examples=[
        ('eval "$(kubernaut local env)"', "use the platform with docker, helm, kubectl and kubernaut in this shell"),
        ('eval "$(kubernaut local env --helm 3)"', "with Helm 3"),
    ],
)
@name_option
@click.option(
    "--helm", type=click.Choice(["3", "4"]), default="4", show_default=True, help="The Helm version to put first on PATH."
)
@output_option
@verbose_option
def env(name: str, helm: str, output: str) -> None:
    """Print `export` lines for a shell.

    With these variables docker, helm, kubectl and kubernaut use the platform.
    """
    with show_progress() as listener:
        variables = _platform(name).environment(3 if helm == "3" else 4, listener)
    if output == "json":
        print_json(variables)
        return
    print_data("\n".join(f"export {variable}={shlex.quote(value)}" for variable, value in variables.items()))
