"""What a list of releases asks for, and which of those that are known that is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kubernaut.history.facts import Name
from kubernaut.history.known import Entry, Known, Row

Cursor = tuple[str, str, int]


@dataclass(frozen=True)
class Query:
    """What a list asks for.

    Attributes:
        all: Every revision there is, not only the active releases.
        after: Namespace, name and revision of the last one that was shown.
        visible: Only these namespaces; ``None`` for all.
    """

    namespace: str | None = None
    name: str | None = None
    status: str | None = None
    version: str | None = None
    all: bool = False
    limit: int = 100
    after: Cursor | None = None
    visible: frozenset[str] | None = None


@dataclass(frozen=True)
class Page:
    """A part of a list: namespace and name in order, the newest revision first.

    Attributes:
        items: Each one a release's JSON.
        count: How many match, on this page or not.
        next: What ``after`` of the next page is; ``None`` on the last.
    """

    items: tuple[bytes, ...]
    count: int
    next: Cursor | None


@dataclass(frozen=True)
class Choice:
    """What a page is made of.

    Attributes:
        rows: Those that are on it.
        count: How many match.
        next: What ``after`` of the next page is.
        unread: Those of which it is not known whether they match until they are read.
    """

    rows: Sequence[tuple[Name, Entry, Row]]
    count: int
    next: Cursor | None
    unread: Sequence[Row]


def choose(known: Known, query: Query) -> Choice:
    """Return what a list asks for. What is after the cursor is so by its place in the order, whatever came and went meanwhile."""
    rows: list[tuple[Name, Entry, Row]] = []
    unread: list[Row] = []
    count, more = 0, False
    after = None if query.after is None else (query.after[0], query.after[1], -query.after[2])
    for name, entry in _named(known, query):
        for row in _among(entry, query):
            if query.version is not None and row.status is None and query.status in (None, row.believed):
                unread.append(row)
            if not _matches(row, query):
                continue
            count += 1
            if more or (after is not None and (*name, -row.sight.revision) <= after):
                continue
            if len(rows) < query.limit:
                rows.append((name, entry, row))
            else:
                more = True
    last = rows[-1] if more and rows else None
    return Choice(rows, count, (*last[0], last[2].sight.revision) if last else None, unread)


def _named(known: Known, query: Query) -> Iterator[tuple[Name, Entry]]:
    first = Name(query.namespace, query.name) if query.namespace and query.name else None
    for name, entry in known.entries(first, query.namespace):
        if query.visible is not None and name.namespace not in query.visible:
            continue
        if query.name in (None, name.name):
            yield name, entry
        elif first is not None:
            return


def _among(entry: Entry, query: Query) -> Sequence[Row]:
    shown = entry.shown
    if shown is None:
        return ()
    return shown.rows if query.all else shown.rows[:1] if shown.active else ()


def _matches(row: Row, query: Query) -> bool:
    return query.status in (None, row.believed) and query.version in (None, row.chart)
