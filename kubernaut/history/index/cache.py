"""What the index knows, kept: takes in what is heard and read, reads what is missing, and remembers what may be asked for again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kubernaut.adapters.kube_watch import Change
from kubernaut.history.index.ahead import ahead, meanwhile
from kubernaut.history.index.reader import Reader, Secret
from kubernaut.history.index.shelf import Shelf
from kubernaut.history.index.state import Entry, IndexState, Row
from kubernaut.history.index.summaries import Name, RecordMetadata, ReleaseJSON, brief, sight, tell
from kubernaut.history.operation import Operation, decode_operation
from kubernaut.history.record import decode

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

    def heard(self, change: Change) -> None:
        """Take in what a watch says."""
        seen = sight({"metadata": change.metadata})
        if seen is None or change.kind == "BOOKMARK":
            return
        with self.changed:
            if self._forget(seen) if change.kind == "DELETED" else self.known.see(seen):
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
