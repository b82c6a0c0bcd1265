"""Operations as they are written to the cluster: what one consists of, its update, and what is kept how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.requests import DeployRequest, OperationRequest
from kubernaut.errors import KubernautError
from kubernaut.history.operation_codec import operation_data, outcome_labels
from kubernaut.history.operations import Operation, OperationChart, Outcome, ReleaseReference, new_operation_id, now
from kubernaut.history.records import Record
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Plan
from kubernaut.redact import redact

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.settings import Settings

KEPT_WITHOUT_RELEASE = timedelta(days=7)
"""How long an operation without a release is kept; the others are collected when Helm prunes their records."""

_MAX_EXPIRED = 10
_MAX_DESCRIPTION = 256


def begin_operation(verb: str, namespace: str, name: str, settings: Settings, **known: Any) -> Operation:
    """Return a new operation that starts now."""
    who: dict[str, Any] = {"actor": settings.actor, "build": settings.build}
    return Operation(id=new_operation_id(), verb=verb, namespace=namespace, name=name, started_at=now(), **who, **known)


def operation_for(request: OperationRequest, settings: Settings, accepted: Operation | None) -> Operation:
    """Return the operation of a request: a new one, or the accepted one with what is known now."""
    known: dict[str, Any] = {"note": request.note, "timeout": request.timeout}
    if isinstance(request, DeployRequest):
        chart = OperationChart(version=request.version, ref=request.chart_ref, digest=request.chart_digest)
        known |= {"chart": chart, "environment": request.environment, "commit": request.commit}
    if accepted is not None:
        return accepted.model_copy(update={**known, "waits_until": None})
    return begin_operation(request.verb, request.namespace, request.name, settings, **known)


def storable(plan: Plan) -> Plan:
    """Return a plan without the fields of later versions, which an older kubernaut could not read."""
    return plan.model_copy(update={"actions": tuple(action.model_copy(update={"objects": ()}) for action in plan.actions)})


def made(record: Record, chart: OperationChart | None) -> ReleaseReference:
    """Return how an operation refers to a record that it made or ended."""
    return ReleaseReference(id=record.id, uid=record.uid, revision=record.revision, secret=record.secret, chart=chart)


def outcome_of(failure: KubernautError, secrets: Sequence[str] = ()) -> Outcome:
    """Return the outcome of an operation that failed, without secrets."""
    kept = {"cause": failure.members.get("cause"), "evidence": failure.members.get("evidence", ())}
    details = tuple(redact(line, secrets) for line in failure.details)
    return Outcome(reason=failure.code, message=redact(failure.message, secrets), details=details, **kept)


def description_of(what: str, operation: Operation) -> str:
    """Return the line for plain ``helm history``, such as ``1.4.2 (31fba06) by jenkins: "new greeting"``."""
    commit = f" ({operation.commit[:7]})" if operation.commit else ""
    note = f': "{" ".join(operation.note.split())}"' if operation.note else ""
    text = "".join(character if character.isprintable() else "?" for character in f"{what}{commit} by {operation.actor}{note}")
    return text if len(text) <= _MAX_DESCRIPTION else text[: _MAX_DESCRIPTION - 1] + "…"


def update_operation(cluster: Cluster, operation: Operation, *, version: str | None = None) -> str:
    """Update an operation's Secret, which the cluster collects together with the records that the operation made.

    Args:
        cluster: The operation's cluster.
        operation: The operation as it is to be written.
        version: The resource version that the Secret must have.

    Returns:
        The new resource version.

    Raises:
        Conflict: The Secret has another version.
        NotFound: The Secret does not exist.
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
    patch = {"data": operation_data(operation), **({"metadata": metadata} if metadata else {})}
    written = cluster.patch_secret(operation.namespace, operation.secret, patch)
    return str(written["metadata"]["resourceVersion"])


def delete_expired(cluster: Cluster, history: ReleaseHistory) -> None:
    """Delete a few of the operations without a release that are older than a week.

    An operation without an outcome stays if a record has its label, and so does one that cannot be read.
    """
    candidates = (one for one in history.without_release if not one.unread)
    expired = [one for one in candidates if now() - one.started_at > KEPT_WITHOUT_RELEASE]
    for operation in expired[:_MAX_EXPIRED]:
        cluster.delete_secret(operation.namespace, operation.secret)
