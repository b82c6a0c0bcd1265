"""The history, read from the cluster. Few requests, and only what is asked for is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kubernaut.errors import ReleaseNotFound
from kubernaut.history.operation import OPERATION_OWNER, Operation, decode_operation
from kubernaut.history.record import OWNER, Record, Status, decode
from kubernaut.history.release import Release, ReleaseId, ReleaseList, describe

if TYPE_CHECKING:
    from kubernaut.clients.cluster import Cluster

# Nearly every current record; a superseded one is current only where somebody removed the records after it.
_LIKELY_CURRENT = tuple(status.value for status in Status if status is not Status.SUPERSEDED)


@dataclass(frozen=True)
class Past:
    """All that is known of one name in one namespace.

    Attributes:
        records: Helm's records, newest first.
        operations: kubernaut's operations, newest first.
    """

    records: tuple[Record, ...]
    operations: tuple[Operation, ...]

    @cached_property
    def current(self) -> Record | None:
        """The record with the highest revision."""
        return self.records[0] if self.records else None

    def find(self, revision: int) -> Record | None:
        """Return the record of a revision."""
        return next((record for record in self.records if record.revision == revision), None)

    def describe(self, record: Record | None) -> Release | None:
        """Return what is told of one of the records."""
        return describe(record, self.records, self.operations) if record else None


class History:
    """Helm's release history in a cluster, with the operations beside it.

    Args:
        cluster: The cluster, or what opens it when it is first needed.
    """

    def __init__(self, cluster: Cluster | Callable[[], Cluster]) -> None:
        self._open = cluster if callable(cluster) else lambda: cluster

    def past(self, namespace: str, name: str) -> Past:
        """Return all that is known of a name in a namespace; one request."""
        secrets = self._open().list_secrets(namespace, {"name": name, "owner": (OWNER, OPERATION_OWNER)})
        records = [record for secret in secrets if (record := decode(secret)) and record.name == name]
        operations = [operation for secret in secrets if (operation := decode_operation(secret))]
        return Past(
            tuple(sorted(records, key=lambda record: -record.revision)),
            tuple(sorted(operations, key=lambda operation: operation.id, reverse=True)),
        )

    def records(self, namespace: str, name: str) -> tuple[Record, ...]:
        """Return the records of a name, newest first; one request."""
        secrets = self._open().list_secrets(namespace, {"name": name, "owner": OWNER})
        records = [record for secret in secrets if (record := decode(secret)) and record.name == name]
        return tuple(sorted(records, key=lambda record: -record.revision))

    def record(self, wanted: ReleaseId) -> Record:
        """Return the record that an id names. Raises: ReleaseNotFound."""
        return _one(self.records(wanted.namespace, wanted.name), wanted)

    def release(self, wanted: ReleaseId) -> Release:
        """Return the release that an id names. Raises: ReleaseNotFound."""
        past = self.past(wanted.namespace, wanted.name)
        return describe(_one(past.records, wanted), past.records, past.operations)

    def releases(self, namespace: str, name: str) -> ReleaseList:
        """Return all releases of a name, newest first. Raises: ReleaseNotFound."""
        past = self.past(namespace, name)
        _one(past.records, ReleaseId(namespace, name))
        items = tuple(describe(record, past.records, past.operations) for record in past.records)
        return ReleaseList(items=items, count=len(items))

    def list(self, namespace: str | None = None, *, all: bool = False) -> ReleaseList:
        """Return the active releases of a namespace or of all, or with ``all`` every release there is.

        Ordered by namespace and name, the newest first. Three requests, however many releases there are.
        """
        by_name = _grouped(self._everything(namespace) if all else self._current(namespace))
        operations: dict[tuple[str, str], list[Operation]] = {}
        if by_name:
            for secret in self._open().list_secrets(namespace, {"owner": OPERATION_OWNER}):
                operation = decode_operation(secret)
                if operation:
                    operations.setdefault((operation.namespace, operation.name), []).append(operation)
        described = (
            describe(record, records, operations.get(key, ()))
            for key, records in sorted(by_name.items())
            for record in (records if all else records[:1])
        )
        items = tuple(release for release in described if all or release.active)
        return ReleaseList(items=items, count=len(items))

    def _everything(self, namespace: str | None) -> Sequence[Record]:
        return [record for secret in self._open().list_secrets(namespace, {"owner": OWNER}) if (record := decode(secret))]

    def _current(self, namespace: str | None) -> Sequence[Record]:
        """Return each name's current record, whole, and its deployed ones."""
        cluster = self._open()
        listed = cluster.list_secrets(namespace, {"owner": OWNER}, metadata_only=True)
        newest = _grouped([record for secret in listed if (record := decode(secret))])
        if not newest:
            return []
        whole = cluster.list_secrets(namespace, {"owner": OWNER, "status": _LIKELY_CURRENT})
        found = {(record.namespace, record.secret): record for secret in whole if (record := decode(secret))}
        # What was made between the two answers is current now.
        known = {(record.namespace, record.secret): record for records in newest.values() for record in records} | found
        chosen: list[Record] = []
        for records in _grouped(list(known.values())).values():
            for index, record in enumerate(records):
                key = (record.namespace, record.secret)
                if index == 0 and key not in found:
                    secret = cluster.get_secret(*key)
                    missing = decode(secret) if secret else None
                    chosen.extend([missing] if missing else [])
                elif index == 0 or record.labelled_status == Status.DEPLOYED:
                    chosen.extend([found[key]] if key in found else [])
        return chosen


def _grouped(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """Return the records by namespace and name, each newest first."""
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=lambda record: -record.revision):
        grouped.setdefault((record.namespace, record.name), []).append(record)
    return grouped


def _one(records: Sequence[Record], wanted: ReleaseId) -> Record:
    if not records:
        raise ReleaseNotFound(f"There is no release {wanted.name} in the namespace {wanted.namespace}.")
    if wanted.revision is None:
        return records[0]
    for record in records:
        if record.revision == wanted.revision:
            return record
    raise ReleaseNotFound(
        f"There is no release {wanted}; {wanted.name} has the revisions {records[-1].revision} to {records[0].revision}.",
        hint=f"`kubernaut history {wanted.name} -n {wanted.namespace}` lists them.",
    )
