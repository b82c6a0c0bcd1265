"""What the index knows, kept: takes in what is heard and read, reads what is missing, and remembers what may be asked for again."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kubernaut.adapters.kube_http import NotEqual, ResourceExpired, SecretPage, Watch, WatchEvent
from kubernaut.errors import ClusterUnreachable
from kubernaut.history.index.shelf import Shelf
from kubernaut.history.index.state import Entry, IndexState, Row
from kubernaut.history.index.summaries import Name, RecordMetadata, ReleaseJSON, brief, sight, tell
from kubernaut.history.operations import Operation, decode_operation
from kubernaut.history.records import HELM_OWNER, KUBERNAUT_OWNER, OPERATION_LABEL, Status, decode

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.adapters.kube_http import Labels


Secret = Mapping[str, Any]
OWNERS = (HELM_OWNER, KUBERNAUT_OWNER)

# Every operation, and nearly every current record; a superseded one is current only where somebody removed those after it.
_NOT_SUPERSEDED = NotEqual(Status.SUPERSEDED.value)
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_FEW = 2
_NAMES = 25
_METADATA_LIMIT = 1000
_CONTENT_LIMIT = 100  # at first; then as many as are about _BYTES_AT_ONCE
_BYTES_AT_ONCE = 8 << 20
_TRIES = 5
_PING_SECONDS = 5.0


class Reader:
    """Reads Helm's records, the copies of them, and the operations.

    Args:
        open: Opens the cluster, or returns the open one.
        limit: The most Secrets in one answer, if it is to be fewer than usual.
    """

    def __init__(self, open: Callable[[], Cluster], *, limit: int | None = None) -> None:
        self._open = open
        self._limit = limit

    def sights(self, namespace: str | None) -> tuple[list[RecordMetadata], str]:
        """Return what the metadata of all tell, in a namespace or in all, and the state that this is of."""
        for _ in range(_TRIES):
            found: list[RecordMetadata] = []
            version = ""
            try:
                for page in self._pages(namespace, {"owner": OWNERS}, metadata_only=True):
                    found += [seen for secret in page.items if (seen := sight(secret))]
                    version = page.resource_version
            except ResourceExpired:
                continue
            return found, version
        raise ClusterUnreachable("The cluster forgets the list of its releases before it has been read to its end.")

    def likely(self, namespace: str | None) -> Iterator[Sequence[Secret]]:
        """Yield in parts what kubernaut keeps and the records that may be current, whole; what it misses is missing.

        The operations of a name come before its records: a list is in the order of namespaces and of the Secrets' names.
        """
        try:
            for page in self._pages(namespace, {"owner": OWNERS, "status": _NOT_SUPERSEDED}):
                yield page.items
        except ResourceExpired:
            return

    def name(self, name: Name) -> tuple[list[Secret], str]:
        """Return all that there is of a name, whole, and the state that this is of."""
        for _ in range(_TRIES):
            try:
                pages = list(self._pages(name.namespace, {"name": name.name, "owner": OWNERS}))
            except ResourceExpired:
                continue
            return [secret for page in pages for secret in page.items], pages[-1].resource_version
        raise ClusterUnreachable(f"The cluster forgets the list of {name.name} in {name.namespace} before it has been read.")

    def operation(self, namespace: str | None, id: str) -> Sequence[Secret]:
        """Return the operation with an id."""
        return self._open().list_secrets(namespace, {"owner": KUBERNAUT_OWNER, OPERATION_LABEL: id})

    def these(self, sights: Iterable[RecordMetadata]) -> Iterator[tuple[RecordMetadata, Secret | None]]:
        """Yield the Secrets that were seen, whole, and ``None`` for one that is gone: a few one by one, many by their names."""
        ordered = sorted(sights, key=lambda seen: (seen.name, not seen.is_operation))
        for namespace, group in groupby(ordered, key=lambda seen: seen.name.namespace):
            wanted = {seen.secret: seen for seen in group}
            if len(wanted) > _FEW:
                for secret in self._by_names(namespace, list(wanted.values())):
                    seen = wanted.pop(str(secret["metadata"]["name"]), None)
                    if seen is not None:
                        yield seen, secret
            for seen in wanted.values():
                yield seen, self._open().get_secret(namespace, seen.secret)

    def ping(self, namespace: str | None) -> None:
        """Ask for next to nothing. Raises: ClusterUnreachable, ClusterDenied."""
        self._open().page_secrets(namespace, {"owner": OWNERS}, metadata_only=True, limit=1, timeout=_PING_SECONDS)

    def watch(self, namespace: str | None, version: str, seconds: int) -> Watch:
        """Watch the metadata of all, from a state on. Raises: ResourceExpired."""
        return self._open().watch_secrets(namespace, {"owner": OWNERS}, resource_version=version, seconds=seconds)

    def _by_names(self, namespace: str, sights: Sequence[RecordMetadata]) -> Iterator[Secret]:
        names = sorted({seen.name.name for seen in sights if _LABEL.fullmatch(seen.name.name)})
        for start in range(0, len(names), _NAMES):
            some = names[start : start + _NAMES]
            among = [seen for seen in sights if seen.name.name in some]
            labels: dict[str, str | Sequence[str]] = {"owner": OWNERS, "name": some}
            if all(seen.label and not seen.copy for seen in among):
                labels |= {"owner": HELM_OWNER, "status": sorted({seen.label for seen in among})}
            try:
                for page in self._pages(namespace, labels):
                    yield from page.items
            except ResourceExpired:
                continue

    def _pages(self, namespace: str | None, labels: Labels, *, metadata_only: bool = False) -> Iterator[SecretPage]:
        limit = self._limit or (_METADATA_LIMIT if metadata_only else _CONTENT_LIMIT)
        token = ""
        while True:
            page = self._open().page_secrets(namespace, labels, metadata_only=metadata_only, limit=limit, continue_token=token)
            yield page
            token = page.continue_token
            if not token:
                return
            limit = limit if metadata_only or self._limit else _fitting(page)


def _fitting(page: SecretPage) -> int:
    """Return how many Secrets like those of a page make a page that is large enough and not too large."""
    size = sum(len(text) for secret in page.items for text in (secret.get("data") or {}).values())
    return max(1, min(_METADATA_LIMIT, _BYTES_AT_ONCE * len(page.items) // (size + 1)))


Thing = TypeVar("Thing")


def meanwhile(call: Callable[[], Thing]) -> Future[Thing]:
    """Call in a thread of its own, which does not keep the process from ending."""
    called: Future[Thing] = Future()

    def run() -> None:
        try:
            called.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised to whoever asks for the result
            called.set_exception(error)

    threading.Thread(target=run, daemon=True, name="kubernaut-index-list").start()
    return called


def ahead(things: Iterator[Thing]) -> Iterator[Thing]:
    """Yield what an iterator does; while one is worked on, the next is got."""
    coming = meanwhile(lambda: next(things, None))
    while (thing := coming.result()) is not None:
        coming = meanwhile(lambda: next(things, None))
        yield thing


_NAMES_AT_ONCE = 50
_ROUNDS = 10
_RELEASES_BYTES = 16 << 20
_OPERATIONS_BYTES = 16 << 20


class Version(NamedTuple):
    """One state of one Secret."""

    uid: str
    version: str

    @classmethod
    def of(cls, seen: RecordMetadata) -> Version:
        """Return the state that was seen."""
        return cls(seen.uid, seen.version)


class Held(NamedTuple):
    """What was just read; it is there even where the shelves are too small for it."""

    told: dict[Version, ReleaseJSON]
    operations: dict[Version, Secret]


class IndexCache:
    """Keeps what is known.

    Attributes:
        known: What is known; whoever looks at it holds ``changed``.
        changed: The lock, and what is notified when there is something to read.
    """

    def __init__(self, reader: Reader) -> None:
        self.known = IndexState()
        self.changed = threading.Condition(threading.RLock())
        self._reader = reader
        self._pending: OrderedDict[Name, float] = OrderedDict()
        self._releases: Shelf[Version, ReleaseJSON] = Shelf(_RELEASES_BYTES)
        self._operations: Shelf[Version, Secret] = Shelf(_OPERATIONS_BYTES)

    # what is asked

    def pending_since(self) -> float | None:
        """Return when the first change was heard of that is not shown yet, by the monotonic clock."""
        with self.changed:
            return next(iter(self._pending.values()), None)

    def told(self, row: Row, entry: Entry, held: Held) -> ReleaseJSON | None:
        """Return what is told of a record, if it is still known."""
        version = Version.of(row.sight)
        shown = entry.shown
        current = shown is not None and row is shown.rows[0]
        told = row.told if row.told and row.told.whole else held.told.get(version) or self._releases.get(version)
        if told is None or shown is None or told.by != shown.makers.get(row.sight.secret):
            return None
        told = told.standing(active=current and shown.active, serving=shown.serving)
        self._releases.put(version, told, len(told.text))
        return told

    def operation(self, seen: RecordMetadata, held: Held) -> Operation | None:
        """Return an operation, if it is still known."""
        secret = held.operations.get(Version.of(seen)) or self._operations.get(Version.of(seen))
        return decode_operation(secret) if secret else None

    # what is heard and read

    def read_all(self, namespace: str | None) -> str:
        """Read what there is in a namespace, or in all, and show it; return the state that this is of.

        The first time nearly all that is current is read too, while the list comes; later only what has changed.
        """
        with self.changed:
            is_first = all(entry.shown is None for _, entry in self.known.entries(namespace))
        listed = meanwhile(lambda: self._reader.sights(namespace))
        if is_first:
            for secrets in ahead(self._reader.likely(namespace)):
                self._hold(secrets)
        sights, version = listed.result()
        with self.changed:
            changed = self.known.replace(namespace, sights, version)
            self._advance(changed | {name for name, entry in self.known.entries(namespace) if entry.shown is None})
        while self.read_pending(namespace):
            continue
        return version

    def heard(self, change: WatchEvent) -> None:
        """Take in what a watch says."""
        seen = sight({"metadata": change.metadata})
        if seen is None or change.type == "BOOKMARK":
            return
        with self.changed:
            if self._forget(seen) if change.type == "DELETED" else self.known.see(seen):
                self._advance({seen.name})

    def refresh(self, name: Name) -> None:
        """Read all that there is of a name, and show it."""
        secrets, version = self._reader.name(name)
        sights = [seen for secret in secrets if (seen := sight(secret)) and seen.name == name]
        with self.changed:
            self.known.settle(name, sights, version)
            wanted = {seen.secret for seen in self.known.entry(name).wanted()}
        self._hold(secret for secret in secrets if secret["metadata"]["name"] in wanted)
        with self.changed:
            self._advance({name})
        self.read_name(name)

    def bring(self, sights: Iterable[RecordMetadata]) -> Held:
        """Read what was seen, and return it."""
        found, gone = [], []
        for seen, secret in self._reader.these(sights):
            now = sight(secret) if secret is not None else None
            if secret is None or now is None or (now.name, now.uid) != (seen.name, seen.uid):
                gone.append(seen)
            if secret is not None:
                found.append(secret)
        with self.changed:
            self._advance({seen.name for seen in gone if self.known.remove(seen, seen.version)})
        return self.hold(found)

    def hold(self, secrets: Iterable[Secret]) -> Held:
        """Take in what was read, and show what can be shown now."""
        held, names = self._hold(secrets)
        with self.changed:
            self._advance(names)
        return held

    def is_behind(self, name: Name) -> bool:
        """Say whether more is known of a name than is shown."""
        with self.changed:
            return name in self._pending

    def read_name(self, name: Name) -> None:
        """Read what a name needs to be shown, and show it."""
        for _ in range(_ROUNDS):
            with self.changed:
                wanted = self.known.entry(name).wanted()
                if not wanted:
                    self._advance({name} & self._pending.keys())  # another thread has read it, and was not yet so far
                    return
            self.bring(wanted)

    def read_pending(self, namespace: str | None = None) -> bool:
        """Read what some of the names need to be shown that are not; return whether any of them is shown now."""
        with self.changed:
            names = [name for name in self._pending if namespace in (None, name.namespace)][:_NAMES_AT_ONCE]
            wanted = [seen for name in names for seen in self.known.entry(name).wanted()]
            self._advance(names)
        if wanted:
            self.bring(wanted)
        with self.changed:
            return any(name not in self._pending for name in names)

    def _forget(self, gone: RecordMetadata) -> bool:
        """Take in that a Secret is gone, and remember nothing of it; return whether it was known."""
        entry = self.known.entry(gone.name)
        row = entry.rows.get(gone.secret) or entry.operations.get(gone.secret)
        if row is not None:
            self._releases.drop(Version.of(row.sight))
            self._operations.drop(Version.of(row.sight))
        return self.known.remove(gone, gone.version)

    def _hold(self, secrets: Iterable[Secret]) -> tuple[Held, set[Name]]:
        """Take in what was read, operations first, since they tell of the records; return it, and the names."""
        held = Held({}, {})
        seen = [(found, secret) for secret in secrets if (found := sight(secret))]
        for one, secret in sorted(seen, key=lambda pair: not pair[0].is_operation):
            if one.is_operation:
                self._hold_operation(one, secret, held)
            else:
                self._hold_record(one, secret, held)
        return held, {one.name for one, _ in seen}

    def _hold_operation(self, seen: RecordMetadata, secret: Secret, held: Held) -> None:
        operation = decode_operation(secret)
        kept = brief(operation) if operation else None
        version = Version.of(seen)
        if operation:
            held.operations[version] = _less(secret)
        with self.changed:
            self.known.see(seen)
            row = self.known.entry(seen.name).operations.get(seen.secret)
            if row is not None and Version.of(row.sight) == version:
                row.brief, row.read = kept, True
            if operation is None:
                self.known.operations.pop(str(seen.operation), None)
                return
            payload = len(str((secret.get("data") or {}).get("operation") or ""))
            self._operations.put(version, held.operations[version], payload + 1000)

    def _hold_record(self, seen: RecordMetadata, secret: Secret, held: Held) -> None:
        record = decode(secret)
        if record is None:
            return
        with self.changed:
            self.known.see(seen)
            briefs = self.known.entry(seen.name).briefs()
        told = tell(record, briefs)
        held.told[Version.of(seen)] = told
        with self.changed:
            entry = self.known.entry(seen.name)
            row = entry.rows.get(seen.secret)
            if row is not None and Version.of(row.sight) == Version.of(seen):
                row.status, row.chart = told.status, told.version
                if entry.whole()[0] is row:
                    row.told = told.shortened()
            self._releases.put(Version.of(seen), told, len(told.text))

    def _advance(self, names: Iterable[Name]) -> None:
        """Show the names of which all is known that they need, and note those that wait for it."""
        for name in names:
            entry = self.known.entry(name)
            if entry.wanted():
                self._pending.setdefault(name, time.monotonic())
                self.changed.notify_all()
            else:
                self.known.show(name)
                self._pending.pop(name, None)


def _less(secret: Secret) -> Mapping[str, object]:
    """Return an operation's Secret without what decoding it does not need."""
    metadata = {key: value for key, value in secret["metadata"].items() if key != "managedFields"}
    return {"metadata": metadata, "type": secret.get("type"), "data": secret.get("data")}
