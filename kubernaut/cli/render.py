"""Prints lists of releases, versions and plans, as text or as the JSON of the REST API."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kubernaut.cli.command import is_remote, target_arguments
from kubernaut.cli.output import is_terminal, print_data, print_json, print_message, sanitize, uses_colour
from kubernaut.cli.render_diff import show_difference

if TYPE_CHECKING:
    from kubernaut.history.operations import Operation
    from kubernaut.history.releases import Release, ReleaseList
    from kubernaut.interface import Built, Deployed, Published
    from kubernaut.models import Plan

NONE = "-"
MAX_OBJECTS = 20
_SHORT_COMMIT = 7
_UNITS = ((60, "s"), (60, "m"), (24, "h"), (365, "d"))
_GAP = 2
_NARROW = ("REV", "STATUS", "HEALTH", "UPDATED", "CREATED", "COMMIT", "CAUSE")
_WHOLE = ("CAUSE",)
_COLOURS = {
    "deployed": "green",
    "failed": "red",
    "uninstalled": "dim",
    "superseded": "dim",
    "healthy": "green",
    "progressing": "yellow",
    "degraded": "red",
    "missing": "red",
}


# plans


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield a plan as numbered lines, each with the objects that it removes below it; of many objects the first ones."""
    for number, action in enumerate(plan.actions, start=1):
        yield f"{number}. {action.kind} {action.subject}: {action.reason}"
        yield from (f"   - {line}" for line in action.objects[:MAX_OBJECTS])
        if len(action.objects) > MAX_OBJECTS:
            yield f"   … and {len(action.objects) - MAX_OBJECTS} more"


def show_plan(plan: Plan, output: str, *, dry_run: bool = True) -> None:
    """Print a plan: its steps, or why nothing is to be done."""
    if output == "json":
        print_json(plan)
        return
    for line in plan_lines(plan):
        print_data(line)
    difference = getattr(plan, "difference", None)
    if difference is not None and not difference.empty:
        show_difference(difference)
    if not plan.changes:
        print_data(f"nothing to do: {plan.reason}" if plan.reason else "nothing to do")
        return
    if plan.reason:
        print_message(plan.reason)
    if dry_run:
        count = len(plan.actions)
        print_message(f"dry run: {count} change{'s' if count > 1 else ''} planned, nothing was changed")


# results


def show_built(outcome: Built, output: str, app_dir: Path) -> None:
    """Print the result of ``build``."""
    image = outcome.image
    if image is None:
        show_plan(outcome.plan, output)
    elif output == "json":
        print_json(image)
    else:
        print_data(f"{image.ref} {image.id}")
        print_next(f"publish {shlex.quote(str(app_dir))}{target_arguments('registry')}")


def show_published(outcome: Published, output: str, *, dry_run: bool) -> None:
    """Print the result of ``publish``."""
    version = outcome.version
    if dry_run or version is None:
        show_plan(outcome.plan, output)
    elif output == "json":
        print_json(version)
    else:
        print_data(f"{version.name} {version.version} {'published' if outcome.changed else 'is already published'}")
        image = pinned(version.image.ref, version.image.digest)
        print_pairs([("image", image), ("chart", pinned(version.chart.ref, version.chart.digest))])
        print_next(f"deploy {version.name}@{version.version} -n NAMESPACE{target_arguments('registry')}")


def show_deployed(outcome: Deployed, output: str, *, dry_run: bool) -> None:
    """Print the result of a verb that changes a release, and the commands to use next."""
    release = outcome.release
    if outcome.operation is not None:
        _show_accepted(outcome.operation, output)
        return
    if dry_run or release is None:
        show_plan(outcome.plan, output, dry_run=dry_run)
        return
    if output == "json":
        print_json(release)
        return
    already = "" if outcome.changed else "already "
    where = f"{release.name} -n {release.namespace}{target_arguments()}"
    if release.deleted_at is not None:
        print_data(f"{_title(release)} is {already}deleted; {release.id} can be restored")
        print_next(f"restore {where}", f"history {where}")
        return
    print_data(f"{_title(release)} {already}runs in {release.namespace} as {release.id}")
    logs = () if is_remote() else (f"logs {where}",)  # a server does not show logs
    print_next(f"history {where}", *logs, *((f"rollback {where}",) if release.revision > 1 else ()))


def _show_accepted(operation: Operation, output: str) -> None:
    """Print an operation that is not waited for, and the command that follows it."""
    if output == "json":
        from kubernaut.history.operations import OperationBase

        shown = operation.model_dump(mode="json", by_alias=True, include=set(OperationBase.model_fields))
        print_json({**shown, "state": operation.state})
        return
    print_data(f"operation {operation.id}: the {operation.verb} of {operation.namespace}.{operation.name} is {operation.state}")
    print_next(f"watch {operation.id}{target_arguments()}")


def show_unlocked(outcome: Deployed, output: str, *, dry_run: bool) -> None:
    """Print the result of ``unlock``."""
    release = outcome.release
    if dry_run or release is None:
        show_plan(outcome.plan, output, dry_run=dry_run)
    elif output == "json":
        print_json(release)
    else:
        where = f"{release.name} in {release.namespace}"
        print_data(f"{where} is unlocked" if outcome.changed else f"{where} is not locked: nothing to do")
        print_data(f"the newest release is {release.id}: {release.status}")
        print_next(f"history {release.name} -n {release.namespace}{target_arguments()}")


def print_next(*commands: str) -> None:
    """Print the commands to use next."""
    for number, command in enumerate(commands):
        print_message(f"{'      ' if number else 'next: '}kubernaut {command}")


def _title(release: Release) -> str:
    commit = f" ({short_commit(release.source.commit)})" if release.source.commit else ""
    return f"{release.chart.name or release.name} {version_of(release)}{commit}"


# releases


def show_releases(releases: ReleaseList, output: str, *, empty: str, health: bool = False) -> None:
    """Print releases as a table, with their ``health`` if that was read; without any, the message ``empty``."""
    if output == "json":
        print_json(releases)
        return
    if not releases.items:
        print_message(empty)
        return
    rows = [
        (
            release.name,
            release.namespace,
            str(release.revision),
            release.status,
            *((release.health.status.value if release.health else NONE,) if health else ()),
            version_of(release),
            short_commit(release.source.commit),
            release.created_by or release.managed_by,
            format_time(release.created_at or release.updated_at),
        )
        for release in releases.items
    ]
    header = ("NAME", "NAMESPACE", "REV", "STATUS", *(("HEALTH",) if health else ()), "VERSION", "COMMIT", "BY", "UPDATED")
    print_table(header, rows, optional=("COMMIT", "BY", "UPDATED") if health else ("COMMIT",))
    show_ready_late(releases.items)
    _print_count(releases)


def show_ready_late(releases: Sequence[Release]) -> None:
    """Name the releases that failed and are ready now."""
    for release in releases:
        if release.is_ready_late:
            print_message(f"{release.id} failed, but it is ready now; the same deploy adopts it.")


def show_history(releases: ReleaseList, output: str) -> None:
    """Print all releases of a name, newest first, with the columns of ``helm history``; then operations without a release."""
    from kubernaut.history.releases import ReleaseHistoryList

    if output == "json":
        print_json(releases)
        return
    if releases.items:
        _print_history(releases)
    else:
        print_message("No releases found.")
    _print_count(releases)
    if isinstance(releases, ReleaseHistoryList) and releases.attempts:
        print_data("\noperations without a release:")
        for operation in releases.attempts:
            print_data(f"  {_operation(operation)}")


def _print_history(releases: ReleaseList) -> None:
    compact = is_terminal(sys.stdout)
    chart = ("VERSION",) if compact else ("CHART", "APP VERSION")
    header = ("REV", "UPDATED", "STATUS", *chart, "COMMIT", "BY", "CAUSE", "DESCRIPTION")
    rows = [
        (
            str(release.revision),
            format_time(release.created_at or release.updated_at),
            release.status,
            *((version_of(release),) if compact else (chart_of(release), release.app_version or NONE)),
            short_commit(release.source.commit),
            release.created_by or release.managed_by,
            (release.outcome.cause if release.outcome else None) or NONE,
            release.description or "",
        )
        for release in releases.items
    ]
    print_table(header, rows, optional=("COMMIT", "BY"), last_below=True)


def _operation(operation: Operation) -> str:
    version = f" {operation.chart.version}" if operation.chart and operation.chart.version else ""
    if operation.unread:
        result = f"unread: {operation.unread}"
    elif operation.outcome is None:
        result = f"unfinished since {format_utc(operation.started_at)}"
    else:
        result = " ".join(f"{operation.outcome.reason}: {operation.outcome.message}".removesuffix(": ").split())
    return f"{format_time(operation.started_at)} {operation.verb}{version} by {operation.actor or 'unknown'}: {result}"


def _print_count(releases: ReleaseList) -> None:
    if releases.count > len(releases.items):
        print_message(f"Showing {len(releases.items)} of {releases.count} releases.")


def version_of(release: Release) -> str:
    """Return the version of a release."""
    return release.chart.version or release.app_version or NONE


def chart_of(release: Release) -> str:
    """Return the name and the version of a release's chart."""
    return "-".join(part for part in (release.chart.name, release.chart.version) if part) or NONE


def short_commit(commit: str | None) -> str:
    """Return the short form of a commit; it keeps the suffix ``-dirty``."""
    if not commit:
        return NONE
    return commit[:_SHORT_COMMIT] + ("-dirty" if commit.endswith("-dirty") else "")


def pinned(ref: str | None, digest: str | None) -> str:
    """Return a reference with its digest."""
    if not digest or (ref and digest in ref):
        return ref or ""
    return f"{ref}@{digest}" if ref else digest


# tables and times


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Sequence[str] = (), last_below: bool = False
) -> None:
    """Write a table to stdout; outside a terminal with all columns and nothing shortened.

    Args:
        header: The titles of the columns.
        rows: The cells.
        optional: The columns that a narrow terminal omits, the first one first.
        last_below: Write the last column below each row on a narrow terminal.
    """
    if is_terminal(sys.stdout):
        _print_on_terminal(header, rows, optional, last_below)
        return
    widths = _widths([header, *rows])
    for line in (header, *rows):
        print_data("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _print_on_terminal(header: Sequence[str], rows: Sequence[Sequence[str]], optional: Sequence[str], last_below: bool) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, no_color=not uses_colour(sys.stdout), highlight=False)
    lines = [[sanitize(cell) for cell in line] for line in (header, *rows)]
    below: list[str] = []
    if last_below and _table_width(_widths(lines)) > console.width:
        below = [line.pop() for line in lines][1:]
    for title in optional:
        if _table_width(_widths(lines)) > console.width:
            at = lines[0].index(title)
            lines = [[*line[:at], *line[at + 1 :]] for line in lines]
    widths = _fitted_widths(lines, console.width) if below else [None] * len(lines[0])
    for part in [[line] for line in lines] if below else [lines]:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for title, width in zip(lines[0], widths, strict=True):
            table.add_column(overflow="fold", width=width, no_wrap=title in _NARROW)
        for line in part:
            table.add_row(*(Text(cell, style="bold" if line is lines[0] else _COLOURS.get(cell, "")) for cell in line))
        console.print(table)
        if below and part[0] is not lines[0]:
            console.print(Padding(Text(below.pop(0), style="dim"), (0, 0, 0, 5)))


def _table_width(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitted_widths(lines: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the widths of the columns, with the widest ones reduced until the table fits; codes are never cut."""
    widths = _widths(lines)
    foldable = [at for at, title in enumerate(lines[0]) if title not in _WHOLE]
    while _table_width(widths) > width and any(widths[at] > 1 for at in foldable):
        widths[max(foldable, key=widths.__getitem__)] -= 1
    return widths


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Write keys and values to stdout, one pair a line, without those that have no value."""
    width = max((len(key) for key, value in pairs if value), default=0)
    for key, value in pairs:
        if value:
            print_data(f"{key:<{width}}  {value}")


def format_time(moment: datetime | str | None, now: datetime | None = None) -> str:
    """Return a time: its age on a terminal, in UTC to the second elsewhere."""
    if moment is None:
        return NONE
    exact = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    if not is_terminal(sys.stdout):
        return format_utc(exact)
    return format_age((now or datetime.now(UTC)) - exact.astimezone(UTC))


def format_utc(moment: datetime) -> str:
    """Return a time in UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_age(span: timedelta) -> str:
    """Return an age in its largest unit."""
    left = max(int(span.total_seconds()), 0)
    for size, unit in _UNITS:
        if left < size or unit == "d":
            return f"{left}{unit} ago"
        left //= size
    return ""
