"""Reads the cluster: the release history, in few requests and decoding only what is needed, and the pods of a release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kubernaut.errors import BadInput, OperationNotFound
from kubernaut.history.manifest import manifest_of, pod_selectors
from kubernaut.history.operation_codec import decode_operation
from kubernaut.history.operations import Operation, is_operation_id
from kubernaut.history.records import HELM_OWNER, KUBERNAUT_OWNER, OPERATION_LABEL, Record, Status, decode, secret_name
from kubernaut.history.releases import Release, ReleaseHistoryList, ReleaseId, ReleaseList, describe, position, with_evidence

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

# Nearly every current record; a superseded one is current only where later records were removed.
_LIKELY_CURRENT = tuple(status.value for status in Status if status is not Status.SUPERSEDED)


@dataclass(frozen=True)
class ReleaseHistory:
    """The records and operations of one name in one namespace.

    Attributes:
        records: Helm's records, newest first; a set-aside copy stands in for its missing record.
        operations: kubernaut's operations, newest first.
        aside: All set-aside copies, newest first.
        read_at: When it was read, by the API server's clock.
    """

    records: tuple[Record, ...]
    operations: tuple[Operation, ...]
    aside: tuple[Record, ...] = ()
    read_at: datetime | None = None

    @cached_property
    def current(self) -> Record | None:
        """The record with the highest revision."""
        return self.records[0] if self.records else None

    @property
    def unfinished(self) -> tuple[Operation, ...]:
        """The operations without an end, newest first, except unreadable ones and accepted ones that may still begin."""
        open = (one for one in self.operations if one.finished_at is None and one.unread is None)
        return tuple(one for one in open if not one.may_begin(self.read_at))

    @property
    def without_release(self) -> tuple[Operation, ...]:
        """The operations that made and ended no release, newest first."""
        labelled = {record.labels.get(OPERATION_LABEL) for record in self.records}
        return tuple(one for one in self.operations if not one.made and one.id not in labelled)

    @property
    def attempts(self) -> tuple[Operation, ...]:
        """Those of :attr:`without_release` that had something to do, newest first."""
        return tuple(one for one in self.without_release if one.state != "unchanged")

    def by_id(self, id: str) -> Record:
        """Return the record with an ID, which must exist."""
        return next(record for record in self.records if record.id == id)

    def find(self, revision: int) -> Record | None:
        """Return the record of a revision, if it exists."""
        return next((record for record in self.records if record.revision == revision), None)

    def record(self, wanted: ReleaseId) -> Record:
        """Return the record of a release of this name. Raises: ReleaseNotFound."""
        return self.records[position([record.revision for record in self.records], wanted)]

    def release(self, record: Record) -> Release:
        """Return one of the records as a release, with the evidence of its outcome."""
        return with_evidence(describe(record, self.records, self.operations), self.operations)

    def describe(self, record: Record | None) -> Release | None:
        """Return one of the records as a release, and ``None`` for ``None``."""
        return self.release(record) if record else None


class HistoryStore:
    """The release history of a cluster.

    Args:
        cluster: The cluster, or a function that opens it when it is first needed.
    """

    def __init__(self, cluster: Cluster | Callable[[], Cluster]) -> None:
        self._open = cluster if callable(cluster) else lambda: cluster

    def get(self, namespace: str, name: str) -> ReleaseHistory:
        """Return the history of a name; one request."""
        cluster = self._open()
        secrets = cluster.list_secrets(namespace, {"name": name, "owner": (HELM_OWNER, KUBERNAUT_OWNER)})
        records = [record for record in _records(secrets) if record.name == name]
        return ReleaseHistory(
            tuple(sorted(_whole(records), key=_age)),
            tuple(sorted(_operations(secrets), key=lambda operation: operation.id, reverse=True)),
            tuple(sorted((record for record in records if record.aside), key=_age)),
            cluster.server_time,
        )

    def record(self, wanted: ReleaseId) -> Record:
        """Return a record; with a revision, only that record is read if it exists. Raises: ReleaseNotFound."""
        if wanted.revision is not None:
            secret = self._open().get_secret(wanted.namespace, secret_name(wanted.name, wanted.revision))
            found = decode(secret) if secret else None
            if found is not None:
                return found
        return self.get(wanted.namespace, wanted.name).record(wanted)

    def release(self, wanted: ReleaseId) -> Release:
        """Return a release. Raises: ReleaseNotFound."""
        history = self.get(wanted.namespace, wanted.name)
        return history.release(history.record(wanted))

    def operation(self, id: str, namespace: str | None = None) -> Operation:
        """Return an operation, by default of all namespaces; two requests. Raises: OperationNotFound."""
        found = self._operation(id, namespace, cached=True) or self._operation(id, namespace) if is_operation_id(id) else None
        if found is None:
            raise OperationNotFound(f"The operation {id!r} does not exist{f' in the namespace {namespace}' if namespace else ''}.")
        return found

    def _operation(self, id: str, namespace: str | None, *, cached: bool = False) -> Operation | None:
        """Return an operation; ``cached`` accepts a list from the API server's cache."""
        cluster, labels = self._open(), {"owner": KUBERNAUT_OWNER, OPERATION_LABEL: id}
        for listed in cluster.list_secrets(namespace, labels, metadata_only=True, cached=cached):
            metadata = listed["metadata"]
            secret = cluster.get_secret(str(metadata["namespace"]), str(metadata["name"]))
            found = decode_operation(secret) if secret else None
            if found is not None:
                return found
        return None

    def releases(self, namespace: str, name: str) -> ReleaseHistoryList:
        """Return the releases of a name, newest first, and the attempts that made none. Raises: ReleaseNotFound."""
        history = self.get(namespace, name)
        if not history.records and not history.attempts:
            position((), ReleaseId(namespace, name))
        items = tuple(describe(record, history.records, history.operations) for record in history.records)
        return ReleaseHistoryList(items=items, count=len(items), attempts=history.attempts)

    def list(self, namespace: str | None = None, *, all: bool = False) -> ReleaseList:
        """Return the active releases, or with ``all`` every revision, of a namespace or of all.

        Ordered by namespace and name, the newest revision first. Three requests; with ``all``, one.
        """
        items = tuple(release for release, _ in self.list_records(namespace, all=all))
        return ReleaseList(items=items, count=len(items))

    def list_records(self, namespace: str | None = None, *, all: bool = False) -> Iterator[tuple[Release, Record]]:
        """Yield what :meth:`list` returns, each release with its record."""
        if all:
            secrets: Sequence[Mapping[str, Any]] = self._open().list_secrets(namespace, {"owner": (HELM_OWNER, KUBERNAUT_OWNER)})
            found: Sequence[Record] = _whole(_records(secrets))
        else:
            found, secrets = self._current(namespace)
        operations: dict[tuple[str, str], list[Operation]] = {}
        for operation in _operations(secrets):
            operations.setdefault((operation.namespace, operation.name), []).append(operation)
        for key, records in sorted(_grouped(found).items()):
            for record in records if all else records[:1]:
                release = describe(record, records, operations.get(key, ()))
                if all or release.active:
                    yield release, record

    def _current(self, namespace: str | None) -> tuple[Sequence[Record], Sequence[Mapping[str, Any]]]:
        """Return the current and the deployed records of each name, whole, and kubernaut's Secrets."""
        cluster = self._open()
        listed = _whole(_records(cluster.list_secrets(namespace, {"owner": (HELM_OWNER, KUBERNAUT_OWNER)}, metadata_only=True)))
        if not listed:
            return [], []
        likely = cluster.list_secrets(namespace, {"owner": HELM_OWNER, "status": _LIKELY_CURRENT})
        beside = cluster.list_secrets(namespace, {"owner": KUBERNAUT_OWNER})
        found = {_key(record): record for record in _records(likely)}
        copies = {_key(record): record for record in _records(beside)}
        # A record that was created between the two lists is current now.
        known = {_key(record): record for record in listed} | found
        chosen: list[Record] = []
        for records in _grouped(list(known.values())).values():
            for index, record in enumerate(records):
                key = _key(record)
                whole = found.get(key) or (copies.get(key) if record.aside else None)
                if index == 0 and whole is None:
                    secret = cluster.get_secret(*key)
                    whole = decode(secret) if secret else copies.get(key)
                if whole is not None and (index == 0 or record.labelled_status == Status.DEPLOYED):
                    chosen.append(whole)
        return chosen, beside


def _records(secrets: Iterable[Mapping[str, Any]]) -> list[Record]:
    return [record for secret in secrets if (record := decode(secret))]


def _operations(secrets: Iterable[Mapping[str, Any]]) -> list[Operation]:
    return [operation for secret in secrets if (operation := decode_operation(secret))]


def _key(record: Record) -> tuple[str, str]:
    return record.namespace, record.secret


def _age(record: Record) -> int:
    return -record.revision


def _whole(records: Iterable[Record]) -> list[Record]:
    """Return the records; a set-aside copy stands in for its missing record."""
    return list({_key(record): record for record in sorted(records, key=lambda record: not record.aside)}.values())


def _grouped(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """Return the records by namespace and name, each newest first."""
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in sorted(records, key=_age):
        grouped.setdefault((record.namespace, record.name), []).append(record)
    return grouped


# pods


def list_pods(record: Record, cluster: Cluster) -> list[dict[str, Any]]:
    """Return the pods of a release, by name. Raises: BadInput (its manifest cannot be read)."""
    manifest = manifest_of(record)
    if manifest.problem:
        raise BadInput(
            f"The pods of {record.id} are unknown, because its manifest cannot be read: {manifest.problem}.",
            hint=f"`kubectl get pods -n {record.namespace}` lists the pods of the namespace.",
        )
    found: dict[str, dict[str, Any]] = {}
    for labels in pod_selectors(manifest):
        for pod in cluster.list_pods(record.namespace, labels):
            found[str(pod["metadata"]["name"])] = pod
    return [found[name] for name in sorted(found)]
