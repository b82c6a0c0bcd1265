"""The operation, written: a Secret before Helm runs, and once more when it is known what came of it.

Two requests, and a third where a failure is rolled back. The first is refused where the namespace is missing or may not be written,
before Helm has done anything. When one is written, and how often, is ``ledger``'s to say.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kubernaut.history.operations import Operation, ReleaseReference, encode_operation, now, operation_secret, outcome_labels
from kubernaut.history.records import Record
from kubernaut.history.store import ReleaseHistory

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

KEPT = timedelta(days=7)
"""How long an operation is kept that left no record; the others go when Helm prunes their records."""
_MOST_EXPIRED = 10
_LONGEST_DESCRIPTION = 256


def begin(cluster: Cluster, operation: Operation) -> None:
    """Write an operation down, before anything is done. Raises: NamespaceNotFound, ClusterDenied, ClusterUnreachable."""
    cluster.create_secret(operation.namespace, operation_secret(operation))


def update(cluster: Cluster, operation: Operation, *, version: str | None = None) -> str:
    """Write down what came of it, and let the cluster collect it together with the records that it made.

    Args:
        cluster: Where it is.
        operation: As it is to be written.
        version: Only over this version of its Secret.

    Returns:
        The Secret's version afterwards.

    Raises:
        Conflict: It has another version.
        NotFound: It is gone.
    """
    metadata: dict[str, Any] = {}
    if operation.made:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Secret", "name": made.secret, "uid": made.uid} for made in operation.made
        ]
    if labels := outcome_labels(operation):
        metadata["labels"] = labels
    if version is not None:
        metadata["resourceVersion"] = version
    patch = {"data": {"operation": encode_operation(operation)}, **({"metadata": metadata} if metadata else {})}
    written = cluster.patch_secret(operation.namespace, operation.secret, patch)
    return str(written["metadata"]["resourceVersion"])


def forget_expired(cluster: Cluster, past: ReleaseHistory) -> None:
    """Delete the operations that left no record and are older than a week; a few at a time.

    One whose end was never written down has made nothing that it knows of, and its record may be there: it says so by its label. Of
    one that cannot be read nobody knows.
    """
    expired = [one for one in past.without_release if not one.unread and now() - one.started_at > KEPT]
    for operation in expired[:_MOST_EXPIRED]:
        cluster.delete_secret(operation.namespace, operation.secret)


def made(record: Record, **chart: Any) -> ReleaseReference:
    """Return what an operation notes of a record that it made or ended."""
    return ReleaseReference(id=record.id, uid=record.uid, revision=record.revision, secret=record.secret, **chart)


def describe(what: str, operation: Operation) -> str:
    """Return the line that plain ``helm history`` shows: ``1.4.2 (31fba06) by jenkins: "new greeting"``."""
    commit = f" ({operation.commit[:7]})" if operation.commit else ""
    note = f': "{" ".join(operation.note.split())}"' if operation.note else ""
    text = "".join(character if character.isprintable() else "?" for character in f"{what}{commit} by {operation.actor}{note}")
    return text if len(text) <= _LONGEST_DESCRIPTION else text[: _LONGEST_DESCRIPTION - 1] + "…"
