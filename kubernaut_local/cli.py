"""The command `kubernaut local`: the platform's verbs on the command line.

The platform itself is imported when a verb runs, so that `--help` needs nothing but click.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli.command import Command, is_verbose, output_option, verbose_option
from kubernaut.cli.output import print_data, print_json
from kubernaut.cli.progress import format_duration, show_progress

if TYPE_CHECKING:
    from kubernaut_local.model import PlatformStatus
    from kubernaut_local.platform import Platform

NOT_READY = 8

name_option = click.option(
    "--name", default="default", show_default=True, metavar="NAME", help="Which platform; each name is one of its own."
)


# click keeps the lines of a paragraph that begins with a backspace.
_HELP = """A Kubernetes of your own on this machine, with a Docker engine and a registry.

Everything runs in namespaces of its own: the host's network, packages, Docker and Kubernetes are left alone. Linux only, as root.
The first `up` builds Kubernetes from its Go modules, which takes minutes; later ones take seconds.

\b
A first look:
  kubernaut local up
  eval "$(kubernaut local env)"
  kubernaut ship APP_DIR -n demo --create-namespace
  kubernaut local down
"""


@click.group(help=_HELP)
def local() -> None:
    """Group the platform's verbs."""


def _platform(name: str) -> Platform:
    from kubernaut_local.platform import Platform

    return Platform(name)


def _shown() -> Any:
    """Return the display of the progress: where nothing can move on the screen, minutes of building still show signs of life."""
    return show_progress(is_verbose() or not sys.stderr.isatty())


@local.command(
    cls=Command,
    statuses=(0, 2, 3, 5, 8, 9),
    examples=[
        ("kubernaut local up", "bring the platform `default` up, or finish an interrupted `up`"),
        ("kubernaut local up --name blue", "a second one beside it, on free ports"),
        ("kubernaut local up --name blue --node-port 30180 --node-port 30181", "with these node ports on the host's 127.0.0.1"),
    ],
)
@name_option
@click.option("--port-api", type=click.IntRange(1, 65535), metavar="PORT", help="The Kubernetes API's port; 16443 for `default`.")
@click.option("--port-registry", type=click.IntRange(1, 65535), metavar="PORT", help="The registry's port; 15000 for `default`.")
@click.option(
    "--node-port",
    type=click.IntRange(30000, 32767),
    multiple=True,
    metavar="PORT",
    help="A node port to reach from this machine; may be given again. 30080 for `default`.",
)
@output_option
@verbose_option
def up(name: str, port_api: int | None, port_registry: int | None, node_port: tuple[int, ...], output: str) -> None:
    """Bring the platform up; if it is up already, say so.

    All ports are on 127.0.0.1 only. They are chosen at the first `up` and kept: give them again only to change them.
    """
    from kubernaut_local.model import Wishes

    with _shown() as listener:
        result = _platform(name).up(listener, Wishes(api=port_api, registry=port_registry, node_ports=node_port))
    if output == "json":
        print_json(result)
        return
    suffix = "" if name == "default" else f" --name {name}"
    print_data(
        f"The platform {name!r} is up and ready"
        + (f", after {format_duration(result.seconds)}." if result.changed else " already; nothing was done.")
    )
    print_data(f'Use it:     eval "$(kubernaut local env{suffix})"')
    print_data(f"Look at it: kubernaut local status{suffix}")


@local.command(
    cls=Command,
    statuses=(0, 2, 3, 8, 9),
    examples=[
        ("kubernaut local down", "end every process; the next `up` brings it back with its data"),
        ("kubernaut local down --purge", "and remove its data too"),
    ],
)
@name_option
@click.option("--purge", is_flag=True, help="Remove its state: the cluster's objects, all images, the certificates.")
@output_option
@verbose_option
def down(name: str, purge: bool, output: str) -> None:
    """Take the platform down; its data is kept.

    Nothing of it is left running, mounted or set on the host. What was built or fetched stays in the cache: the next `up` is quick.
    """
    with show_progress() as listener:
        result = _platform(name).down(purge, listener)
    if output == "json":
        print_json(result)
    elif result.changed:
        print_data(f"The platform {name!r} is down" + (", and its data is gone." if result.purged else "; its data is kept."))
    else:
        print_data(f"The platform {name!r} was not up.")


@local.command(
    cls=Command,
    statuses=(0, 2, 3, 8, 9),
    examples=[
        ("kubernaut local status", "what runs, since when, where it logs"),
        ("kubernaut local status -o json", "the same for a program"),
    ],
)
@name_option
@output_option
@click.pass_context
def status(context: click.Context, name: str, output: str) -> None:
    """Show every process and every readiness gate, asked now.

    The exit status is 0 when all of it runs and answers, and 8 when not.
    """
    found = _platform(name).status()
    if output == "json":
        print_json(found)
    else:
        print_data("\n".join(status_lines(found)))
    context.exit(0 if found.ready else NOT_READY)


def status_lines(found: PlatformStatus) -> list[str]:
    """Return the status as text for a person."""
    lines = [f"platform    {found.name}: {_STATES[found.state.value]}", f"state       {found.folder}"]
    if found.ports is not None:
        lines.append("ports       " + ", ".join(f"{purpose} 127.0.0.1:{port}" for purpose, port in found.ports.named()))
    if found.kubeconfig is not None:
        lines.append(f"kubeconfig  {found.kubeconfig}")
    if found.docker_host is not None:
        lines.append(f"docker      {found.docker_host}")
    if found.versions:
        lines.append(
            "versions    " + ", ".join(f"{name} {version}" for name, version in found.versions.items() if name in _VERSIONS)
        )
    if found.processes:
        rows = [("PROCESS", "STATE", "PID", "UPTIME", "LOG")]
        for process in found.processes:
            uptime = "-" if process.uptime_seconds is None else format_duration(process.uptime_seconds)
            rows.append((process.name, process.state, str(process.pid or "-"), uptime, f"{process.log}  {process.error}".rstrip()))
        lines += ["", *_table(rows)]
    if found.gates:
        lines += [
            "",
            *_table([("GATE", "READY", ""), *((gate.name, "yes" if gate.ready else "no", gate.detail) for gate in found.gates)]),
        ]
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
        ('eval "$(kubernaut local env)"', "use the platform in this shell: docker, helm, kubectl, kubernaut"),
        ('eval "$(kubernaut local env --helm 4)"', "with Helm 4, which is built when first asked for"),
    ],
)
@name_option
@click.option("--helm", type=click.Choice(["3", "4"]), default="3", show_default=True, help="Which Helm comes first on PATH.")
@output_option
@verbose_option
def env(name: str, helm: str, output: str) -> None:
    """Print `export` lines for a shell.

    They are the variables with which docker, helm, kubectl and kubernaut find the platform; as JSON with -o json.
    """
    with show_progress() as listener:
        variables = _platform(name).environment(4 if helm == "4" else 3, listener)
    if output == "json":
        print_json(variables)
        return
    print_data("\n".join(f"export {variable}={shlex.quote(value)}" for variable, value in variables.items()))
