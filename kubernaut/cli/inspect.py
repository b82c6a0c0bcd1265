"""The commands that only read: ``list``, ``show``, ``history``, ``explain``, ``versions``, ``logs`` and ``diff``."""

from __future__ import annotations

from typing import Any

import click

from kubernaut.cli import render, render_release, render_versions, session
from kubernaut.cli.command import READ_STATUSES, Command, target_arguments
from kubernaut.cli.options import (
    cluster_options,
    output_options,
    parse_duration,
    registry_option,
    release_options,
    revision_option,
    server_option,
)
from kubernaut.cli.output import print_data, print_json, print_message
from kubernaut.cli.render_diff import show_difference

_STOPPED = 130


@click.command(
    cls=Command,
    examples=[
        ("kubernaut list", "list the active releases of all namespaces"),
        ("kubernaut list -n demo --all", "list the whole history of a namespace, including deleted releases"),
        ("kubernaut list --no-health -o json", "print the releases as JSON, without looking at their workloads"),
    ],
    statuses=tuple(status for status in READ_STATUSES if status != 4),
)
@click.option("-n", "--namespace", metavar="NAMESPACE", help="Namespace to list (default: all namespaces).")
@click.option("--all", is_flag=True, help="List every release in the history, not only active ones.")
@click.option("--health/--no-health", default=True, help="Read what the workloads of the releases do now (default: yes).")
@cluster_options
@output_options
def list(output: str, **options: Any) -> None:
    """List the active releases.

    A release is active until it is deleted, even if it failed. Releases of plain Helm are included. HEALTH is what the workloads of
    the current release do now: healthy, progressing, degraded, missing, suspended or unknown; kubernaut show has the reason.
    """
    releases = session.open_backend(options).list(**options)
    namespace = options["namespace"]
    where = f" in {namespace}" if namespace else ""
    every = f"kubernaut list{f' -n {namespace}' if namespace else ''} --all{target_arguments()}"
    empty = f"No releases found{where}." if options["all"] else f"No active releases found{where}. Include deleted ones: `{every}`."
    render.show_releases(releases, output, empty=empty, health=options["health"])


@click.command(
    cls=Command,
    examples=[
        ("kubernaut show hello-world -n demo", "show the current release"),
        ("kubernaut show demo.hello-world.v3", "show a release by its ID"),
        ("kubernaut show demo.hello-world.current -o json", "print the JSON of the REST API"),
    ],
)
@release_options
@revision_option
@cluster_options
@output_options
def show(release: str, output: str, **options: Any) -> None:
    """Show the details of one release.

    Shows its status, health, chart, images by digest, commit, actor, times and outcome; if it failed, also the cause and the
    evidence. A release is named by its ID, NAMESPACE.NAME.vREVISION, or by its name and -n NAMESPACE.
    """
    render_release.show_release(session.open_backend(options).show(release, **options), output)


@click.command(
    cls=Command,
    examples=[
        ("kubernaut history hello-world -n demo", "list the releases, newest first"),
        ("kubernaut history demo.hello-world.current -o json", "print them as JSON"),
    ],
)
@release_options
@cluster_options
@output_options
def history(release: str, output: str, **options: Any) -> None:
    """List all releases of a name, newest first.

    Shows the columns of helm history, and commit, actor and cause of failure of each release; below them, failed operations
    that made no release. The history is kept when a release is deleted. Helm keeps the last 50 releases (setting history_max).
    """
    backend = session.open_backend(options)
    found = backend.history(release, **options)
    render.show_history(found, output)
    if output != "json" and found.items and found[0].active and found[0].status == "failed":
        render.show_ready_late([backend.show(found[0].id)])


@click.command(
    cls=Command,
    examples=[
        ("kubernaut explain hello-world -n demo", "explain the last change"),
        ("kubernaut explain demo.hello-world.v3", "explain a release by its ID"),
        ("kubernaut explain demo.hello-world.v3 -o json", "print the cause and the evidence as JSON"),
    ],
)
@release_options
@revision_option
@cluster_options
@output_options
def explain(release: str, output: str, **options: Any) -> None:
    """Explain why a release failed.

    Prints the cause, and the evidence as it was when the release failed: states, events, logs. Without a revision, explains the
    last change, also if it was rolled back or made no release. Exits with status 0 also for a release that succeeded, and says so.
    """
    render_release.show_explanation(session.open_backend(options).explain(release, **options), output)


@click.command(
    cls=Command,
    examples=[
        ("kubernaut versions hello-world", "list the versions, newest first"),
        ("kubernaut versions hello-world --registry registry.example.com/team", "list the versions in another registry"),
    ],
)
@click.argument("name", metavar="NAME")
@registry_option
@server_option
@output_options
def versions(name: str, output: str, **options: Any) -> None:
    """List the published versions of an application.

    The newest version is first. To deploy one: kubernaut deploy NAME@VERSION -n NAMESPACE.
    """
    render_versions.show_versions(name, session.open_backend(options).versions(name), output)


@click.command(
    cls=Command,
    examples=[
        ("kubernaut logs hello-world -n demo", "print the logs of all pods"),
        ("kubernaut logs hello-world -n demo --follow --since 10m", "print the last ten minutes, and stream new lines"),
        ("kubernaut logs hello-world -n demo --previous --container app", "print the log of a container that crashed"),
    ],
)
@release_options
@click.option("-f", "--follow", is_flag=True, help="Stream new lines until Ctrl-C.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Print only the last N lines of each container.")
@click.option("-p", "--previous", is_flag=True, help="Print the logs of the containers before their last restart.")
@click.option("-c", "--container", metavar="NAME", help="Print only the containers of this name; also init containers.")
@click.option("--since", metavar="DURATION", callback=parse_duration, help="Print only lines of this last time, such as 90s or 5m.")
@cluster_options
@output_options
def logs(release: str, output: str, **options: Any) -> None:
    """Print the logs of the pods of a release.

    Each line starts with the name of its pod. Of a release that is not the current one, such as one that was rolled back, it prints
    the log lines that were kept when it failed; they have no times, so --since is refused. With -o json each line is an object,
    {"line": "…"}.
    """
    try:
        for line in session.open_backend(options).logs(release, **options):
            if output == "json":
                print_json({"line": line}, one_line=True)
            else:
                print_data(line)
    except KeyboardInterrupt as stop:
        if not options["follow"]:
            raise
        raise click.exceptions.Exit(getattr(stop, "exit_status", _STOPPED)) from stop  # the normal end of --follow


@click.command(
    cls=Command,
    examples=[
        ("kubernaut diff hello-world -n demo", "show what the current release changed"),
        ("kubernaut diff hello-world -n demo --to 2", "show what a rollback to revision 2 would change"),
        ("kubernaut diff staging.hello-world.current --to production.hello-world.current", "compare two namespaces"),
    ],
    statuses=(*READ_STATUSES[:-2], 5, *READ_STATUSES[-2:]),
)
@release_options
@click.option("--to", metavar="ID", help="ID of the other release, or a revision of the same name (default: the previous one).")
@revision_option
@cluster_options
@output_options
def diff(release: str, output: str, **options: Any) -> None:
    """Show what a release changed.

    Compares chart, images, values and manifest with the previous release; with --to, shows the changes from the release to that
    one. Secret values are masked; only whether they differ is shown.
    """
    difference = session.open_backend(options).diff(release, **options)
    if output == "json":
        print_json(difference)
    elif difference.empty:
        print_message(f"{difference.from_} and {difference.to} do not differ.")
    else:
        show_difference(difference)
