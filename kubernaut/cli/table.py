"""Tables and dates: for eyes on a terminal, whole and plain in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kubernaut.cli.output import clean, in_colour, on_terminal, put

_UNITS = ((60, "s"), (60, "m"), (24, "h"), (365, "d"))
_COLOURS = {"deployed": "green", "failed": "red", "uninstalled": "dim", "superseded": "dim"}


def put_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows to stdout under a header; nothing of them is cut off in a pipe, and long cells fold on a terminal."""
    if on_terminal(sys.stdout):
        _put_rich(header, rows)
        return
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        put("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _put_rich(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in header:
        table.add_column(title, overflow="fold", no_wrap=title in ("REV", "STATUS", "UPDATED", "CREATED", "COMMIT"))
    for row in rows:
        table.add_row(*(Text(clean(cell), style=_COLOURS.get(cell, "")) for cell in row))
    Console(file=sys.stdout, no_color=not in_colour(sys.stdout), highlight=False).print(table)


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
