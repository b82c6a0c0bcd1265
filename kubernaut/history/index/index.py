"""The release index: a summary of each release in memory, kept current by list and watch.

It answers like :class:`kubernaut.history.store.HistoryStore`: the current release without a request, an older one with one request
unless it is cached. It reports how old its data is. It never writes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from kubernaut.errors import IndexStale, OperationNotFound, ReleaseNotFound
from kubernaut.history.index.cache import Held, IndexCache, Reader
from kubernaut.history.index.state import Entry, IndexState, Row, span
from kubernaut.history.index.summaries import Name, RecordMetadata
from kubernaut.history.index.watch import Timings, Watching
from kubernaut.history.operations import Operation, is_operation_id
from kubernaut.history.releases import Release, ReleaseHistoryList, ReleaseId

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster


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


__all__ = ["Index", "Page", "Query", "Timings"]

_ROUNDS = 10
_AT_ONCE = 200


class Index:
    """The index.

    Args:
        cluster: The cluster, or what opens it when it is first needed.
        namespaces: Only what is in these is listed and watched, each by itself; none for all, by one.
        timings: How often and how long.
    """

    def __init__(
        self, cluster: Cluster | Callable[[], Cluster], *, namespaces: Sequence[str] = (), timings: Timings | None = None
    ) -> None:
        self._namespaces: tuple[str | None, ...] = tuple(namespaces) or (None,)
        self._reader = Reader(cluster if callable(cluster) else lambda: cluster)
        self._keeper = IndexCache(self._reader)
        self._known = self._keeper.known
        self._changed = self._keeper.changed
        self._watching = Watching(self._reader, self._keeper, self._namespaces, timings or Timings())

    # keeping current

    def start(self) -> None:
        """List and watch from now on, in threads of its own; returns at once."""
        self._watching.start()

    def stop(self) -> None:
        """End the threads."""
        self._watching.stop()

    def load(self) -> None:
        """List once, in the calling thread, without a watch. Raises: ClusterUnreachable, ClusterDenied."""
        self._watching.load()

    def check(self) -> None:
        """Return if it is current. Raises: IndexStale, with the reason."""
        self._watching.check()

    def age(self) -> float:
        """Return how many seconds ago it was last known to be current."""
        return self._watching.age()

    def refresh(self, namespace: str, name: str) -> None:
        """Read a name now: what is asked afterwards is no older. Raises: ClusterUnreachable, ClusterDenied."""
        if namespace in self._namespaces or None in self._namespaces:
            self._keeper.refresh(Name(namespace, name))

    # what is asked

    def page(self, query: Query) -> Page:
        """Return a part of the list of releases. Raises: IndexStale when it was never listed."""
        held = Held({}, {})
        for _ in range(_ROUNDS):
            self._watching.check_listed()
            with self._changed:
                choice = choose(self._known, query)
                texts = [(row, self._text(entry, row, held)) for _, entry, row in choice.rows]
                missing = [row.sight for row in choice.unread] + [row.sight for row, text in texts if text is None]
                if not missing:
                    return Page(tuple(text for _, text in texts if text is not None), choice.count, choice.next)
            held = self._bring(missing, held)
        raise IndexStale("The releases change faster than they can be read.")

    def release(self, wanted: ReleaseId) -> Release:
        """Return one release, whole. Raises: ReleaseNotFound, IndexStale when it was never listed."""
        held = Held({}, {})
        for _ in range(_ROUNDS):
            self._watching.check_listed()
            with self._changed:
                entry = self._known.entry(Name(wanted.namespace, wanted.name))
                row = _one(entry, wanted)
                told = self._keeper.told(row, entry, held)
                if told is not None:
                    return told.release(row.sight.version)
            held = self._bring([row.sight], held)
        raise IndexStale(f"{wanted} changes faster than it can be read.")

    def history(self, namespace: str, name: str) -> ReleaseHistoryList:
        """Return all releases of a name, newest first, and the attempts that made none. Raises: ReleaseNotFound, IndexStale."""
        held = Held({}, {})
        for _ in range(_ROUNDS):
            self._watching.check_listed()
            with self._changed:
                entry = self._known.entry(Name(namespace, name))
                rows = entry.shown.rows if entry.shown else ()
                attempts = entry.attempts()
                if not attempts:
                    _one(entry, ReleaseId(namespace, name))
                told = [(row, self._keeper.told(row, entry, held)) for row in rows]
                tried = [(seen, self._keeper.operation(seen, held)) for seen in attempts]
                missing = [row.sight for row, one in told if one is None] + [seen for seen, one in tried if one is None]
                if not missing:
                    items = tuple(one.release(row.sight.version) for row, one in told if one)
                    return ReleaseHistoryList(items=items, count=len(items), attempts=tuple(one for _, one in tried if one))
            held = self._bring(missing, held)
        raise IndexStale(f"The history of {name} in {namespace} changes faster than it can be read.")

    def active(self, name: str | None = None) -> tuple[Release, ...]:
        """Return the active releases, or those of a name; of long ones, no more than lists show. Raises: IndexStale."""
        self._watching.check_listed()
        with self._changed:
            shown = [entry.shown for known, entry in self._known.entries() if name in (None, known.name)]
            current = [one.rows[0] for one in shown if one is not None and one.active]
            return tuple(row.told.release(row.sight.version) for row in current if row.told)

    def operation(self, id: str) -> Operation:
        """Return an operation; one that was not heard of yet is asked for.

        Whoever hears of its end finds what came of it in every list.

        Raises:
            OperationNotFound: It is not kept.
            IndexStale: Nothing was ever listed, or it changes all the time.
        """
        self._watching.check_listed()
        held = Held({}, {})
        for _ in range(_ROUNDS):
            with self._changed:
                seen = self._known.operations.get(id)
                operation = self._keeper.operation(seen, held) if seen else None
            if seen is not None and operation is not None:
                if operation.finished_at is not None and self._keeper.is_behind(seen.name):
                    self._keeper.read_name(seen.name)
                return operation
            held = self._keeper.bring([seen]) if seen else self._ask_for(id)
        raise IndexStale(f"The operation {id} changes faster than it can be read.")

    def unfinished(self) -> frozenset[tuple[str, str]]:
        """Return the namespaces and names with operations that have no end."""
        with self._changed:
            return frozenset(
                (name.namespace, name.name)
                for name, entry in self._known.entries()
                if any(not row.finished for row in entry.operations.values())
            )

    def _text(self, entry: Entry, row: Row, held: Held) -> bytes | None:
        if entry.shown is not None and row is entry.shown.rows[0]:
            return entry.shown.text
        told = self._keeper.told(row, entry, held)
        return told.text if told else None

    def _bring(self, sights: Sequence[RecordMetadata], held: Held) -> Held:
        """Read some Secrets, and what else their names need; return what was held and, unless it is much, what was read."""
        for start in range(0, len(sights), _AT_ONCE):
            found = self._keeper.bring(sights[start : start + _AT_ONCE])
            held = Held({**held.told, **found.told}, {**held.operations, **found.operations}) if len(sights) <= _AT_ONCE else held
        for name in {seen.name for seen in sights}:
            self._keeper.read_name(name)
        return held

    def _ask_for(self, id: str) -> Held:
        """Read an operation that was not heard of. Raises: OperationNotFound."""
        places = self._namespaces if is_operation_id(id) else ()
        found = [one for namespace in places for one in self._reader.operation(namespace, id)]
        held = self._keeper.hold(found)
        if not held.operations:
            raise OperationNotFound(f"There is no operation {id}.")
        return held


def _one(entry: Entry, wanted: ReleaseId) -> Row:
    rows = entry.shown.rows if entry.shown else ()
    if not rows:
        raise ReleaseNotFound(f"There is no release {wanted.name} in the namespace {wanted.namespace}.")
    found = rows[0] if wanted.revision is None else next((row for row in rows if row.sight.revision == wanted.revision), None)
    if found is None:
        raise ReleaseNotFound(
            f"There is no release {wanted}; {wanted.name} has the revisions {rows[-1].sight.revision} to {rows[0].sight.revision}.",
            hint=f"`kubernaut history {wanted.name} -n {wanted.namespace}` lists them.",
        )
    return found
