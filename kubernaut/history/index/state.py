"""What the index knows: of every name its records and operations, and what is shown of it. Pure data; whoever has it holds a lock.

What is heard of a Secret is seen at once and shown when all that it needs has been read, the whole name at a time: until then,
what was shown before. Nothing that is older than what is known is ever put in its place.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubernaut.history.index.summaries import Name, OperationSummary, RecordMetadata, ReleaseJSON, maker
from kubernaut.history.records import GONE, Status
from kubernaut.history.releases import serving_revision

_REMEMBERED = 10_000


@dataclass(slots=True)
class Row:
    """A record, or a copy: what is seen of it, and once it was read, what of its content lists go by.

    Attributes:
        told: Of a current record, what lists show of it.
    """

    sight: RecordMetadata
    status: str | None = None
    chart: str | None = None
    told: ReleaseJSON | None = None

    @property
    def believed(self) -> str:
        """Its status: the content's, else the label's."""
        return self.status or self.sight.label or Status.UNKNOWN


@dataclass(slots=True)
class OperationRow:
    """An operation: what is seen of it, and what is kept of it since it was read, or from before it changed."""

    sight: RecordMetadata
    brief: OperationSummary | None = None
    read: bool = False

    @property
    def finished(self) -> bool:
        """Whether it has ended, by its label or by itself; of what turned out to be no operation, too."""
        return self.sight.finished or (self.read if self.brief is None else self.brief.finished)


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a name.

    Attributes:
        rows: Its records, newest first; a copy set aside is among them where the record itself is missing.
        serving: The newest deployed revision.
        active: Whether the newest is an active release.
        text: The newest one's JSON, for lists.
        makers: By the records' Secrets, what is known of the operations that made them.
    """

    rows: tuple[Row, ...]
    serving: int | None
    active: bool
    text: bytes
    makers: Mapping[str, OperationSummary | None]


@dataclass(slots=True)
class Entry:
    """All that is known of one name, by the Secrets' names."""

    rows: dict[str, Row] = field(default_factory=dict)
    operations: dict[str, OperationRow] = field(default_factory=dict)
    shown: Shown | None = None

    def whole(self) -> tuple[Row, ...]:
        """Return the records, newest first, and of the copies set aside those whose record is missing."""
        by_revision: dict[int, Row] = {}
        for row in sorted(self.rows.values(), key=lambda row: not row.sight.copy):
            by_revision[row.sight.revision] = row
        return tuple(by_revision[revision] for revision in sorted(by_revision, reverse=True))

    def seen(self) -> list[RecordMetadata]:
        """Return what is seen of its Secrets."""
        return [row.sight for rows in (self.rows, self.operations) for row in rows.values()]

    def find(self, secret: str) -> RecordMetadata | None:
        """Return what is seen of one of its Secrets."""
        row = self.rows.get(secret) or self.operations.get(secret)
        return row.sight if row else None

    def briefs(self) -> tuple[OperationSummary, ...]:
        """Return what is kept of its operations, newest first."""
        newest = sorted(self.operations.values(), key=lambda row: str(row.sight.operation), reverse=True)
        return tuple(row.brief for row in newest if row.brief is not None)

    def wanted(self) -> list[RecordMetadata]:
        """Return what must be read before it can be shown: the current record, those that may serve, and all operations."""
        rows = self.whole()
        missing = [row.sight for row in self.operations.values() if not row.read]
        missing += [row.sight for row in rows[1:] if row.status is None and row.sight.label == Status.DEPLOYED]
        if rows and (rows[0].told is None or rows[0].told.by != self.makers().get(rows[0].sight.secret)):
            missing.append(rows[0].sight)
        return missing

    def makers(self) -> Mapping[str, OperationSummary | None]:
        """Return of each record what is known of the operation that made it."""
        known = [(brief, brief.operation()) for brief in self.briefs()]
        return {row.sight.secret: maker(row.sight.record(), known) for row in self.rows.values()} if known else {}

    @property
    def active(self) -> bool:
        """Whether an active release of it is shown."""
        return self.shown is not None and self.shown.active

    def attempts(self) -> list[RecordMetadata]:
        """Return the operations that made no release and ended none, newest first."""
        labelled = {row.sight.operation for row in self.whole()}
        made_none = [row.sight for row in self.operations.values() if row.brief is not None and not row.brief.made]
        return sorted((seen for seen in made_none if seen.operation not in labelled), key=_operation, reverse=True)

    def show(self) -> None:
        """Show it as it is known."""
        rows = self.whole()
        current = rows[0] if rows else None
        if current is None or current.told is None:
            self.shown = None
            return
        active = current.believed not in GONE
        serves = serving_revision([row.sight.record(row.believed) for row in rows])
        current.told = current.told.standing(active=active, serving=serves)
        for row in rows[1:]:
            row.told = None
        self.shown = Shown(rows, serves, active, current.told.text, self.makers())


class IndexState:
    """All names, in order.

    Attributes:
        names: All of them, in order.
        active: Those with an active release, in order.
        operations: The operations, by their ids.
    """

    def __init__(self) -> None:
        self.names: list[Name] = []
        self.active: list[Name] = []
        self.operations: dict[str, RecordMetadata] = {}
        self._entries: dict[Name, Entry] = {}
        self._settled: OrderedDict[Name, str] = OrderedDict()
        self._deleted: OrderedDict[str, str] = OrderedDict()

    def entry(self, name: Name) -> Entry:
        """Return what is known of a name."""
        return self._entries.get(name) or Entry()

    def entries(self, namespace: str | None = None) -> Iterator[tuple[Name, Entry]]:
        """Yield all names in order, in one namespace or in all."""
        for index in span(self.names, namespace):
            yield self.names[index], self._entries[self.names[index]]

    def show(self, name: Name) -> None:
        """Show a name as it is known."""
        entry = self.entry(name)
        entry.show()
        index = bisect_left(self.active, name)
        listed = self.active[index : index + 1] == [name]
        if listed and not entry.active:
            del self.active[index]
        elif entry.active and not listed:
            self.active.insert(index, name)

    def see(self, sight: RecordMetadata) -> bool:
        """Take in what was seen of a Secret, unless it is older than what is known; return whether it is new."""
        if self._is_past(sight):
            return False
        entry = self._entries.get(sight.name)
        if entry is None:
            entry = self._entries[sight.name] = Entry()
            insort(self.names, sight.name)
        known = entry.find(sight.secret)
        if known is not None and not is_newer(sight.version, known.version):
            return False
        if sight.is_operation:
            old = entry.operations.get(sight.secret)
            entry.operations[sight.secret] = OperationRow(sight, old.brief if old else None)
            self.operations[str(sight.operation)] = sight
        else:
            entry.rows[sight.secret] = Row(sight)
        return True

    def remove(self, sight: RecordMetadata, version: str) -> bool:
        """Take in that a Secret is gone, as of a version; return whether it was known."""
        self._deleted[sight.uid] = version
        _bound(self._deleted)
        entry = self.entry(sight.name)
        known = entry.find(sight.secret)
        if known is None or known.uid != sight.uid:
            return False
        if sight.is_operation:
            del entry.operations[sight.secret]
            if self.operations.get(str(sight.operation)) == known:
                del self.operations[str(sight.operation)]
        else:
            del entry.rows[sight.secret]
        if not entry.rows and not entry.operations:
            del self._entries[sight.name]
            del self.names[bisect_left(self.names, sight.name)]
        return True

    def replace(self, namespace: str | None, sights: Sequence[RecordMetadata], version: str) -> set[Name]:
        """Take in all that there is in a namespace, or in all, as of a version; return the names that have changed."""
        for name in [name for name, settled in self._settled.items() if not is_newer(settled, version)]:
            if namespace in (None, name.namespace):
                del self._settled[name]
        known = [sight for _, entry in self.entries(namespace=namespace) for sight in entry.seen()]
        return self._compare(known, sights, version)

    def settle(self, name: Name, sights: Sequence[RecordMetadata], version: str) -> bool:
        """Take in all that there is of a name, as of a version: from now on nothing older counts. Return whether it has changed."""
        changed = self._compare(self.entry(name).seen(), sights, version)
        self._settled[name] = version
        _bound(self._settled)
        return bool(changed)

    def _compare(self, known: Sequence[RecordMetadata], sights: Sequence[RecordMetadata], version: str) -> set[Name]:
        there = {(sight.name, sight.secret) for sight in sights}
        changed = {sight.name for sight in sights if self.see(sight)}
        for sight in known:
            missing = (sight.name, sight.secret) not in there and not _is_surely_newer(sight.version, version)
            if missing and self.remove(sight, version):
                changed.add(sight.name)
        return changed

    def _is_past(self, sight: RecordMetadata) -> bool:
        """Say whether it is from before the Secret was deleted, or before its name was read as a whole."""
        deleted, settled = self._deleted.get(sight.uid), self._settled.get(sight.name)
        if deleted is not None and not _is_surely_newer(sight.version, deleted):
            return True
        return settled is not None and not is_newer(sight.version, settled)


def span(names: Sequence[Name], namespace: str | None) -> range:
    """Return where in the order the names of a namespace are, or all."""
    if namespace is None:
        return range(len(names))
    return range(bisect_left(names, Name(namespace, "")), bisect_left(names, Name(namespace + "\0", "")))


def is_newer(version: str, than: str) -> bool:
    """Say whether a resource version is newer; of those that are no numbers, whether it is another."""
    return int(version) > int(than) if version.isdigit() and than.isdigit() else version != than


def _is_surely_newer(version: str, than: str) -> bool:
    return version.isdigit() and than.isdigit() and int(version) > int(than)


def _operation(seen: RecordMetadata) -> str:
    return str(seen.operation)


def _bound(remembered: OrderedDict[Any, str]) -> None:
    while len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)
