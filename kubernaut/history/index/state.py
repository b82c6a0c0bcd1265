"""The state of the index: the records and operations of each name, and what is published of them.

Pure data, guarded by the lock of the cache. Metadata is stored at once; older metadata never replaces newer. A name is published as
a whole when all content that it needs has been read; until then its earlier view stays.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cachetools import FIFOCache

from kubernaut.history.index.summaries import NamespacedName, OperationSummary, RecordMetadata, ReleaseJSON, find_summary
from kubernaut.history.records import GONE, Status
from kubernaut.history.releases import serving_revision

_MAX_REMEMBERED = 10_000


@dataclass(slots=True)
class CachedRecord:
    """A record or a set-aside copy.

    Attributes:
        content_status: The status in its content; ``None`` until the content is read.
        chart_version: The chart's version; ``None`` until the content is read.
        release: For a current record, its JSON for lists.
    """

    metadata: RecordMetadata
    content_status: str | None = None
    chart_version: str | None = None
    release: ReleaseJSON | None = None

    @property
    def status(self) -> str:
        """The status in the content, else that of the label."""
        return self.content_status or self.metadata.status or Status.UNKNOWN


@dataclass(slots=True)
class CachedOperation:
    """An operation; ``summary`` may be that of an earlier state until ``read`` is true."""

    metadata: RecordMetadata
    summary: OperationSummary | None = None
    read: bool = False

    @property
    def finished(self) -> bool:
        """Whether it has ended; true for a Secret that turns out not to be an operation."""
        return self.metadata.finished or (self.read if self.summary is None else self.summary.finished)


@dataclass(frozen=True, slots=True)
class View:
    """The published state of a name.

    Attributes:
        records: Newest revision first; a set-aside copy stands in for its missing record.
        serving: The newest deployed revision.
        active: Whether the newest record is an active release.
        json: The newest release's JSON, for lists.
        operations: By the name of the record's Secret, the operation that made the record.
    """

    records: tuple[CachedRecord, ...]
    serving: int | None
    active: bool
    json: bytes
    operations: Mapping[str, OperationSummary | None]


@dataclass(slots=True)
class NameState:
    """The records and operations of one name, by the names of their Secrets."""

    records: dict[str, CachedRecord] = field(default_factory=dict)
    operations: dict[str, CachedOperation] = field(default_factory=dict)
    view: View | None = None

    @property
    def active(self) -> bool:
        """Whether an active release is published."""
        return self.view is not None and self.view.active

    def revisions(self) -> tuple[CachedRecord, ...]:
        """Return the records, newest first; a set-aside copy stands in for its missing record."""
        by_revision: dict[int, CachedRecord] = {}
        for record in sorted(self.records.values(), key=lambda record: not record.metadata.copy):
            by_revision[record.metadata.revision] = record
        return tuple(by_revision[revision] for revision in sorted(by_revision, reverse=True))

    def metadata(self) -> list[RecordMetadata]:
        """Return the metadata of all Secrets."""
        return [cached.metadata for group in (self.records, self.operations) for cached in group.values()]

    def find(self, secret: str) -> RecordMetadata | None:
        """Return the metadata of a Secret."""
        cached = self.records.get(secret) or self.operations.get(secret)
        return cached.metadata if cached else None

    def summaries(self) -> tuple[OperationSummary, ...]:
        """Return the summaries of the operations, newest first."""
        newest = sorted(self.operations.values(), key=lambda cached: str(cached.metadata.operation), reverse=True)
        return tuple(cached.summary for cached in newest if cached.summary is not None)

    def missing(self) -> list[RecordMetadata]:
        """Return what must be read before publishing: the current record, those that may serve, and all operations."""
        records = self.revisions()
        missing = [cached.metadata for cached in self.operations.values() if not cached.read]
        missing += [one.metadata for one in records[1:] if one.content_status is None and one.metadata.status == Status.DEPLOYED]
        if records:
            secret, release = records[0].metadata.secret, records[0].release
            if release is None or release.operation != self.operations_by_record().get(secret):
                missing.append(records[0].metadata)
        return missing

    def operations_by_record(self) -> Mapping[str, OperationSummary | None]:
        """Return, by the name of the record's Secret, the operation that made the record."""
        known = [(summary, summary.operation()) for summary in self.summaries()]
        return {secret: find_summary(one.metadata.record(), known) for secret, one in self.records.items()} if known else {}

    def attempts(self) -> list[RecordMetadata]:
        """Return the operations that made and ended no release, newest first."""
        labelled = {record.metadata.operation for record in self.revisions()}
        made_none = (cached.metadata for cached in self.operations.values() if cached.summary and not cached.summary.made)
        return sorted((one for one in made_none if one.operation not in labelled), key=lambda one: str(one.operation), reverse=True)

    def publish(self) -> None:
        """Make the current state the published view."""
        records = self.revisions()
        current = records[0] if records else None
        if current is None or current.release is None:
            self.view = None
            return
        active = current.status not in GONE
        serving = serving_revision([one.metadata.record(one.status) for one in records])
        current.release = current.release.standing(active=active, serving=serving)
        for older in records[1:]:
            older.release = None
        self.view = View(records, serving, active, current.release.json, self.operations_by_record())


class IndexState:
    """The state of all names.

    Attributes:
        names: All names, in order.
        active: The names with an active release, in order.
        operations: The operations, by ID.
    """

    def __init__(self) -> None:
        self.names: list[NamespacedName] = []
        self.active: list[NamespacedName] = []
        self.operations: dict[str, RecordMetadata] = {}
        self._states: dict[NamespacedName, NameState] = {}
        # Resource versions: of the last whole read of a name, and by UID of the deletion of a Secret.
        self._read_at: FIFOCache[NamespacedName, str] = FIFOCache(_MAX_REMEMBERED)
        self._deleted_at: FIFOCache[str, str] = FIFOCache(_MAX_REMEMBERED)

    def get(self, name: NamespacedName) -> NameState:
        """Return the state of a name; an empty one for an unknown name."""
        return self._states.get(name) or NameState()

    def items(self, namespace: str | None = None) -> Iterator[tuple[NamespacedName, NameState]]:
        """Yield the names, in order, of a namespace or of all."""
        for index in name_range(self.names, namespace):
            yield self.names[index], self._states[self.names[index]]

    def publish(self, name: NamespacedName) -> None:
        """Publish the state of a name."""
        state = self.get(name)
        state.publish()
        index = bisect_left(self.active, name)
        listed = self.active[index : index + 1] == [name]
        if listed and not state.active:
            del self.active[index]
        elif state.active and not listed:
            self.active.insert(index, name)

    def update(self, metadata: RecordMetadata) -> bool:
        """Store metadata unless it is older than what is known; return whether it is new."""
        if self._is_outdated(metadata):
            return False
        state = self._states.get(metadata.name)
        if state is None:
            state = self._states[metadata.name] = NameState()
            insort(self.names, metadata.name)
        known = state.find(metadata.secret)
        if known is not None and not is_newer(metadata.version, known.version):
            return False
        if metadata.is_operation:
            old = state.operations.get(metadata.secret)
            state.operations[metadata.secret] = CachedOperation(metadata, old.summary if old else None)
            self.operations[str(metadata.operation)] = metadata
        else:
            state.records[metadata.secret] = CachedRecord(metadata)
        return True

    def delete(self, metadata: RecordMetadata, version: str) -> bool:
        """Remove a Secret that was deleted at a resource version; return whether it was known."""
        self._deleted_at[metadata.uid] = version
        state = self.get(metadata.name)
        known = state.find(metadata.secret)
        if known is None or known.uid != metadata.uid:
            return False
        if metadata.is_operation:
            del state.operations[metadata.secret]
            if self.operations.get(str(metadata.operation)) == known:
                del self.operations[str(metadata.operation)]
        else:
            del state.records[metadata.secret]
        if not state.records and not state.operations:
            del self._states[metadata.name]
            del self.names[bisect_left(self.names, metadata.name)]
        return True

    def replace(self, namespace: str | None, listed: Sequence[RecordMetadata], version: str) -> set[NamespacedName]:
        """Store a complete list of a namespace, or of all, at a resource version; return the names that have changed."""
        for name in [name for name, read_at in self._read_at.items() if not is_newer(read_at, version)]:
            if namespace in (None, name.namespace):
                del self._read_at[name]
        known = [metadata for _, state in self.items(namespace) for metadata in state.metadata()]
        return self._replace(known, listed, version)

    def replace_name(self, name: NamespacedName, listed: Sequence[RecordMetadata], version: str) -> bool:
        """Store a complete list of a name, and ignore anything older from now on; return whether the name has changed."""
        changed = self._replace(self.get(name).metadata(), listed, version)
        self._read_at[name] = version
        return bool(changed)

    def _replace(self, known: Sequence[RecordMetadata], listed: Sequence[RecordMetadata], version: str) -> set[NamespacedName]:
        present = {(metadata.name, metadata.secret) for metadata in listed}
        changed = {metadata.name for metadata in listed if self.update(metadata)}
        for metadata in known:
            gone = (metadata.name, metadata.secret) not in present and not _is_surely_newer(metadata.version, version)
            if gone and self.delete(metadata, version):
                changed.add(metadata.name)
        return changed

    def _is_outdated(self, metadata: RecordMetadata) -> bool:
        """Return whether metadata is older than the Secret's deletion, or than the last whole read of its name."""
        deleted_at, read_at = self._deleted_at.get(metadata.uid), self._read_at.get(metadata.name)
        if deleted_at is not None and not _is_surely_newer(metadata.version, deleted_at):
            return True
        return read_at is not None and not is_newer(metadata.version, read_at)


def name_range(names: Sequence[NamespacedName], namespace: str | None) -> range:
    """Return the positions of a namespace's names in an ordered list; of all without a namespace."""
    if namespace is None:
        return range(len(names))
    return range(bisect_left(names, NamespacedName(namespace, "")), bisect_left(names, NamespacedName(namespace + "\0", "")))


def is_newer(version: str, than: str) -> bool:
    """Return whether a resource version is newer; for versions that are not numbers, whether it differs."""
    return int(version) > int(than) if version.isdigit() and than.isdigit() else version != than


def _is_surely_newer(version: str, than: str) -> bool:
    return version.isdigit() and than.isdigit() and int(version) > int(than)
