"""What a list of releases asks for, and which of those that are known that is. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from kubernaut.history.index.state import Entry, IndexState, Row, span
from kubernaut.history.index.summaries import Name

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


def choose(known: IndexState, query: Query) -> Choice:
    """Return what a list asks for. What is after the cursor is so by its place in the order, whatever came and went meanwhile."""
    names = known.names if query.all else known.active
    spans = [span(names, namespace) for namespace in _namespaces(query)]
    if query.all or (query.name, query.status, query.version) != (None, None, None):
        return _scan(((names[index], known.entry(names[index])) for indices in spans for index in indices), query)
    first = 0 if query.after is None else bisect_left(names, Name(*query.after[:2]))
    indices = list(islice((index for indices in spans for index in indices[max(first - indices.start, 0) :]), query.limit + 2))
    choice = _scan(((names[index], known.entry(names[index])) for index in indices), query)
    return replace(choice, count=sum(map(len, spans)))


def _scan(entries: Iterable[tuple[Name, Entry]], query: Query) -> Choice:
    rows: list[tuple[Name, Entry, Row]] = []
    unread: list[Row] = []
    count, more = 0, False
    after = None if query.after is None else (query.after[0], query.after[1], -query.after[2])
    for name, entry in entries:
        if query.name not in (None, name.name):
            continue
        for row in _among(entry, query):
            if query.version is not None and row.status is None and query.status in (None, row.believed):
                unread.append(row)
            if query.status not in (None, row.believed) or query.version not in (None, row.chart):
                continue
            count += 1
            if more or (after is not None and (*name, -row.sight.revision) <= after):
                continue
            more = len(rows) == query.limit
            if not more:
                rows.append((name, entry, row))
    last = rows[-1] if more and rows else None
    return Choice(rows, count, (*last[0], last[2].sight.revision) if last else None, unread)


def _namespaces(query: Query) -> Sequence[str | None]:
    """Return the namespaces that are looked at, in order."""
    if query.visible is None:
        return (query.namespace,)
    return sorted(query.visible) if query.namespace is None else [query.namespace] if query.namespace in query.visible else []


def _among(entry: Entry, query: Query) -> Sequence[Row]:
    shown = entry.shown
    if shown is None:
        return ()
    return shown.rows if query.all else shown.rows[:1] if shown.active else ()
