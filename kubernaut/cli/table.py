"""Tables and dates: for eyes on a terminal, whole and plain in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kubernaut.cli.output import clean, in_colour, on_terminal, put

_UNITS = ((60, "s"), (60, "m"), (24, "h"), (365, "d"))
_GAP = 2
_NARROW = ("REV", "STATUS", "UPDATED", "CREATED", "COMMIT")
_COLOURS = {"deployed": "green", "failed": "red", "uninstalled": "dim", "superseded": "dim"}


def put_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, spare: str = "", note: bool = False) -> None:
    """Write rows to stdout under a header; in a pipe every column is there and nothing is cut off.

    Args:
        header: The columns' titles.
        rows: The cells.
        spare: A column that a narrow terminal can do without.
        note: Whether the last column, on a narrow terminal, goes on a line of its own under each row.
    """
    if on_terminal(sys.stdout):
        _put_on_terminal(header, rows, spare, note)
        return
    widths = _widths([header, *rows])
    for line in (header, *rows):
        put("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _put_on_terminal(header: Sequence[str], rows: Sequence[Sequence[str]], spare: str, note: bool) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, no_color=not in_colour(sys.stdout), highlight=False)
    lines = [[clean(cell) for cell in line] for line in (header, *rows)]
    notes: list[str] = []
    if _too_wide(lines, console.width) and note:
        notes = [line.pop() for line in lines][1:]
    if _too_wide(lines, console.width) and spare in header:
        at = header.index(spare)
        lines = [[*line[:at], *line[at + 1 :]] for line in lines]
    widths = _fitting(lines, console.width) if notes else [None] * len(lines[0])
    for part in [[line] for line in lines] if notes else [lines]:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for title, width in zip(lines[0], widths, strict=True):
            table.add_column(overflow="fold", width=width, no_wrap=title in _NARROW)
        for line in part:
            table.add_row(*(Text(cell, style="bold" if line is lines[0] else _COLOURS.get(cell, "")) for cell in line))
        console.print(table)
        if notes and part[0] is not lines[0]:
            console.print(Padding(Text(notes.pop(0), style="dim"), (0, 0, 0, 5)))


def _fitting(lines: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return the columns' widths, the widest made narrower until all fit."""
    widths = _widths(lines)
    while sum(widths) + _GAP * (len(widths) - 1) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _too_wide(lines: Sequence[Sequence[str]], room: int) -> bool:
    widths = _widths(lines)
    return sum(widths) + _GAP * (len(widths) - 1) > room


def put_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Write keys and values to stdout, one a line; those without a value are left out."""
    width = max((len(key) for key, value in pairs if value), default=0)
    for key, value in pairs:
        if value:
            put(f"{key:<{width}}  {value}")


def when(moment: datetime | str | None, now: datetime | None = None) -> str:
    """Write a moment: how long ago on a terminal, in UTC to the second elsewhere."""
    if moment is None:
        return "-"
    exact = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    if not on_terminal(sys.stdout):
        return exactly(exact)
    return ago((now or datetime.now(UTC)) - exact.astimezone(UTC))


def exactly(moment: datetime) -> str:
    """Write a moment in UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(span: timedelta) -> str:
    """Write how long ago something was, in its largest unit."""
    left = max(int(span.total_seconds()), 0)
    for size, unit in _UNITS:
        if left < size or unit == "d":
            return f"{left}{unit} ago"
        left //= size
    return ""
