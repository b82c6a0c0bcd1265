"""The release index: lists with filters and cursors, single releases, histories and operations, answered from memory.

It answers like :class:`kubernaut.history.store.HistoryStore`: the current release without a request, an older one with one request
unless it is cached. It reports how old its data is. It never writes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from kubernaut.errors import IndexStale, OperationNotFound
from kubernaut.history.index.cache import Contents
from kubernaut.history.index.state import CachedRecord, IndexState, NameState, name_range
from kubernaut.history.index.summaries import NamespacedName, RecordMetadata
from kubernaut.history.index.watch import Informer
from kubernaut.history.operations import Operation, is_operation_id
from kubernaut.history.releases import Release, ReleaseHistoryList, ReleaseId, position, with_evidence

T = TypeVar("T")
Cursor = tuple[str, str, int]

_ROUNDS = 10
_READS_AT_ONCE = 200


@dataclass(frozen=True)
class Query:
    """The filters of a list.

    Attributes:
        all: Every revision, not only the active releases.
        after: Namespace, name and revision of the last release of the page before.
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
    """A page of a list, ordered by namespace and name, the newest revision first.

    Attributes:
        items: The JSON of each release.
        count: The number of releases that match, on all pages.
        next: The cursor of the next page; ``None`` on the last.
    """

    items: tuple[bytes, ...]
    count: int
    next: Cursor | None


@dataclass(frozen=True)
class _Selection:
    """The records of a page; ``unread`` must be read before it is known whether they match."""

    rows: Sequence[tuple[NamespacedName, NameState, CachedRecord]]
    count: int
    next: Cursor | None
    unread: Sequence[RecordMetadata]


class Index(Informer):
    """An index of the releases of a cluster."""

    def refresh(self, namespace: str, name: str) -> None:
        """Read a name now, so that later answers are no older. Raises: ClusterUnreachable, ClusterDenied."""
        if namespace in self._namespaces or None in self._namespaces:
            self._cache.refresh(NamespacedName(namespace, name))

    def page(self, query: Query) -> Page:
        """Return a page of releases; of long ones, a shortened JSON. Raises: IndexStale before the first list."""

        def ask(read: Contents) -> tuple[Page, Sequence[RecordMetadata]]:
            chosen = _select(self._cache.state, query)
            found = [(record.metadata, self._json(state, record, read)) for _, state, record in chosen.rows]
            missing = [*chosen.unread, *(metadata for metadata, text in found if text is None)]
            return Page(tuple(text for _, text in found if text is not None), chosen.count, chosen.next), missing

        return self._answer(ask, "The list of releases")

    def release(self, wanted: ReleaseId) -> Release:
        """Return a release, with the evidence of its outcome. Raises: ReleaseNotFound, IndexStale before the first list."""

        def ask(read: Contents) -> tuple[Release | None, Sequence[RecordMetadata]]:
            state = self._cache.state.get(NamespacedName(wanted.namespace, wanted.name))
            records = _published(state)
            record = records[position([one.metadata.revision for one in records], wanted)]
            found = self._cache.release(record, state, read)
            return self._with_evidence(found.release(record.metadata.version), read) if found else (None, [record.metadata])

        return self._answer(ask, str(wanted))

    def history(self, namespace: str, name: str) -> ReleaseHistoryList:
        """Return the releases of a name, newest first, and the attempts that made none.

        Raises:
            ReleaseNotFound: Neither exists.
            IndexStale: Before the first list.
        """

        def ask(read: Contents) -> tuple[ReleaseHistoryList, Sequence[RecordMetadata]]:
            state = self._cache.state.get(NamespacedName(namespace, name))
            records, attempts = _published(state), state.attempts()
            if not records and not attempts:
                position((), ReleaseId(namespace, name))
            releases = [(record.metadata, self._cache.release(record, state, read)) for record in records]
            operations = [(metadata, self._cache.operation(metadata, read)) for metadata in attempts]
            missing = [metadata for metadata, found in (*releases, *operations) if found is None]
            items = tuple(found.release(metadata.version) for metadata, found in releases if found)
            return ReleaseHistoryList(items=items, count=len(items), attempts=tuple(one for _, one in operations if one)), missing

        return self._answer(ask, f"The history of {namespace}.{name}")

    def active(self, name: str | None = None, *, chart: str | None = None) -> tuple[Release, ...]:
        """Return the active releases, of all names and charts or of one; long ones are shortened.

        Args:
            name: Only the releases of this name.
            chart: Only the releases of the chart of this name.

        Raises:
            IndexStale: Nothing was listed yet.
        """
        self.check_listed()
        with self._cache.lock:
            current = [
                _published(state)[0] for known, state in self._cache.state.items() if name in (None, known.name) and state.active
            ]
            known = [record for record in current if record.release and chart in (None, record.release.chart_name)]
            return tuple(record.release.release(record.metadata.version) for record in known if record.release)

    def operation(self, id: str) -> Operation:
        """Return an operation; an unknown one is looked up in the cluster.

        Once it is returned as finished, its result is in every list.

        Raises:
            OperationNotFound: It does not exist.
            IndexStale: Before the first list, or it changes faster than it can be read.
        """
        self.check_listed()
        with self._cache.lock:
            is_known = id in self._cache.state.operations

        def ask(read: Contents) -> tuple[Operation | None, Sequence[RecordMetadata]]:
            metadata = self._cache.state.operations.get(id)
            if metadata is None:
                raise OperationNotFound(f"The operation {id} does not exist.")
            operation = self._cache.operation(metadata, read)
            return operation, () if operation else [metadata]

        operation = self._answer(ask, f"The operation {id}", {} if is_known else self._look_up(id))
        name = NamespacedName(operation.namespace, operation.name)
        if operation.finished_at is not None and self._cache.is_pending(name):
            self._cache.fetch_name(name)
        return operation

    def unfinished(self) -> frozenset[tuple[str, str]]:
        """Return the namespaces and names that have operations without an end."""
        with self._cache.lock:
            return frozenset(
                (name.namespace, name.name)
                for name, state in self._cache.state.items()
                if any(not operation.finished for operation in state.operations.values())
            )

    def accepted(self) -> tuple[Operation, ...]:
        """Return the accepted operations that have not begun, shortened."""
        with self._cache.lock:
            summaries = [
                cached.summary
                for _, state in self._cache.state.items()
                for cached in state.operations.values()
                if not cached.finished and cached.summary is not None
            ]
        return tuple(one for one in (summary.operation() for summary in summaries) if one.state == "accepted")

    def _answer(
        self, ask: Callable[[Contents], tuple[T | None, Sequence[RecordMetadata]]], subject: str, read: Contents | None = None
    ) -> T:
        """Return the answer to a question, after reading what it reports as missing."""
        read = read or {}
        for _ in range(_ROUNDS):
            self.check_listed()
            with self._cache.lock:
                answer, missing = ask(read)
            if answer is not None and not missing:
                return answer
            read = self._fetch(missing, read)
        raise IndexStale(f"{subject} changes faster than it can be read.")

    def _with_evidence(self, release: Release, read: Contents) -> tuple[Release | None, Sequence[RecordMetadata]]:
        """Return a release with the evidence of its outcome, or the operation that must be read for it."""
        metadata = self._cache.state.operations.get(release.operation or "")
        if release.outcome is None or release.outcome.cause is None or metadata is None:
            return release, ()
        operation = self._cache.operation(metadata, read)
        return (with_evidence(release, [operation]), ()) if operation else (None, [metadata])

    def _json(self, state: NameState, record: CachedRecord, read: Contents) -> bytes | None:
        if state.view is not None and record is state.view.records[0]:
            return state.view.json
        found = self._cache.release(record, state, read)
        return found.json if found else None

    def _fetch(self, missing: Sequence[RecordMetadata], read: Contents) -> Contents:
        """Read Secrets, and what else their names are missing; return the contents read so far unless they are many."""
        for start in range(0, len(missing), _READS_AT_ONCE):
            found = self._cache.fetch(missing[start : start + _READS_AT_ONCE])
            read = {**read, **found} if len(missing) <= _READS_AT_ONCE else read
        for name in {metadata.name for metadata in missing}:
            self._cache.fetch_name(name)
        return read

    def _look_up(self, id: str) -> Contents:
        """Read an operation that is not in the index."""
        places = self._namespaces if is_operation_id(id) else ()
        return self._cache.store([secret for namespace in places for secret in self._source.list_operation(namespace, id)])


def _published(state: NameState) -> Sequence[CachedRecord]:
    return state.view.records if state.view else ()


def _select(state: IndexState, query: Query) -> _Selection:
    """Return the records of a page. The cursor is a position in the order, so releases that come and go do not shift pages."""
    names = state.names if query.all else state.active
    ranges = [name_range(names, namespace) for namespace in _namespaces(query)]
    if query.all or (query.name, query.status, query.version) != (None, None, None):
        return _scan(((names[index], state.get(names[index])) for indices in ranges for index in indices), query)
    first = 0 if query.after is None else bisect_left(names, NamespacedName(*query.after[:2]))
    indices = list(islice((index for indices in ranges for index in indices[max(first - indices.start, 0) :]), query.limit + 2))
    selection = _scan(((names[index], state.get(names[index])) for index in indices), query)
    return replace(selection, count=sum(map(len, ranges)))


def _scan(states: Iterable[tuple[NamespacedName, NameState]], query: Query) -> _Selection:
    rows: list[tuple[NamespacedName, NameState, CachedRecord]] = []
    unread: list[RecordMetadata] = []
    count, more = 0, False
    after = None if query.after is None else (query.after[0], query.after[1], -query.after[2])
    for name, state in states:
        if query.name not in (None, name.name):
            continue
        for record in _published(state) if query.all else _published(state)[:1] if state.active else ():
            if query.version is not None and record.content_status is None and query.status in (None, record.status):
                unread.append(record.metadata)
            if query.status not in (None, record.status) or query.version not in (None, record.chart_version):
                continue
            count += 1
            if more or (after is not None and (*name, -record.metadata.revision) <= after):
                continue
            more = len(rows) == query.limit
            if not more:
                rows.append((name, state, record))
    last = rows[-1] if more and rows else None
    return _Selection(rows, count, (*last[0], last[2].metadata.revision) if last else None, unread)


def _namespaces(query: Query) -> Sequence[str | None]:
    """Return the namespaces to look at, in order."""
    if query.visible is None:
        return (query.namespace,)
    return sorted(query.visible) if query.namespace is None else [query.namespace] if query.namespace in query.visible else []
