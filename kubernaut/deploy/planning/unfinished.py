"""What an interrupted operation left unfinished. Pure.

Helm marks a release ``pending-*`` or ``uninstalling`` before it works on it and cannot tell later whether it still does. kubernaut
changes a release only under its lock, so the holder of the lock knows that no other kubernaut is at work. Plain Helm has no lock:
only the age of its record shows that it is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from kubernaut.deploy.requests import OperationRequest
from kubernaut.errors import ReleaseLocked
from kubernaut.history.operations import SUCCEEDED, Operation
from kubernaut.history.records import PENDING, Record, Status, parse_time
from kubernaut.history.releases import find_operation
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action
from kubernaut.rollout.expected import DELETE_EVENTS, ROLLOUT_EVENTS

_ROLLBACK_OFFSET = {"rollback": 1, "restore": 1, "deploy": 2}
"""How far above ``Operation.after`` a verb's ``helm rollback`` puts its record; a deploy rolls back from its own record."""


@dataclass(frozen=True)
class Unfinished:
    """The current record while its status says that Helm works on it.

    Attributes:
        by: Who left it so: the operation's actor and verb, or plain Helm.
        since: Since when, such as ``2026-11-22 12:00:00 UTC``.
        stale: Whether it is certain that no Helm works on it any more.
        wait: Seconds until the record of a plain Helm counts as stale.
    """

    record: Record
    by: str
    since: str
    stale: bool
    wait: float = 0.0

    def error(self) -> ReleaseLocked:
        """Return the error for a release that Helm works on."""
        record = self.record
        minutes = f"{max(self.wait, 60) / 60:.0f} min"
        return ReleaseLocked(
            f"{record.namespace}.{record.name} is {record.status} (v{record.revision}), by {self.by} since {self.since}.",
            hint=f"Add --lock-timeout 5m to wait; in {minutes} the record counts as abandoned. If nothing works on it any more, "
            f"`kubernaut unlock {record.name} -n {record.namespace}` ends it now.",
            http_hint=f"Send `lockTimeout`, in seconds, to wait; in {minutes} the record counts as abandoned.",
        )


def find_unfinished(history: ReleaseHistory, request: OperationRequest) -> Unfinished | None:
    """Return the current record if it is unfinished. Assumes that no other kubernaut is at work: the lock is held, or free."""
    current = history.current
    if current is None or (current.status not in PENDING and current.status != Status.UNINSTALLING):
        return None
    operation = left_by(current, history)
    if operation is not None or (current.status in PENDING and current.operation_id):
        by = f"{operation.actor or 'an unknown actor'} ({operation.verb})" if operation else "an operation whose record is gone"
        return Unfinished(current, by, _readable(operation.started_at.isoformat() if operation else current.created), stale=True)
    began = current.deleted_at if current.status == Status.UNINSTALLING else current.deployed_at
    age = _age(current, history)
    stale = age is not None and age >= request.stale_after
    wait = request.stale_after - min(age or 0.0, request.stale_after)
    return Unfinished(current, "plain Helm", _readable(began or current.created), stale=stale or request.force, wait=wait)


def left_by(current: Record, history: ReleaseHistory) -> Operation | None:
    """Return the operation of kubernaut that left a record unfinished.

    A deploy's record has the operation's label. A delete changes the record of another operation, and a rollback copies the labels
    of its target, so for those the plans of the operations decide. A rollback with an outcome left nothing; a delete that failed
    may have left the record ``uninstalling``.
    """
    if current.status == Status.UNINSTALLING:
        return next((one for one in history.operations if _uninstalls(one, current)), None)
    found = find_operation(current, history.operations)
    if found is not None or current.status != Status.PENDING_ROLLBACK:
        return found[0] if found else None
    return next((one for one in history.unfinished if _rolls_back_into(one, current)), None)


def is_fenced_uninstall(current: Record | None) -> bool:
    """Return whether the current record is fenced and ``uninstalling``.

    Helm cannot write the end of an uninstall into it: whether the objects still exist decides.
    """
    return current is not None and current.immutable and current.status == Status.UNINSTALLING


def mark_uninstalled(record: Record) -> Action:
    """Return the action that records the end of an uninstall in a fenced record."""
    reason = "its objects are gone, and Helm could not write that into the fenced record"
    return Action(kind="mark-uninstalled", subject=record.id, reason=reason)


@dataclass(frozen=True)
class LeftHooks:
    """The hooks that an operation without an end may have left running.

    Attributes:
        record: The record with the hooks.
        events: The events that Helm may have run them for.
        since: When they may have begun, by the cluster's clock.
    """

    record: Record
    events: Collection[str]
    since: datetime | None


def left_hooks(operation: Operation, history: ReleaseHistory) -> Iterator[LeftHooks]:
    """Yield the hooks that an operation may have left running whose process ended before it could record an outcome.

    Args:
        operation: One of :attr:`~kubernaut.history.store.ReleaseHistory.unfinished`.
        history: The history of the release.
    """
    deletes = {action.subject for action in operation.plan.actions if action.kind == "helm-uninstall"}
    for record in history.records:
        if record.damaged:
            continue
        if record.id in deletes and record.status == Status.UNINSTALLING:
            yield LeftHooks(record, DELETE_EVENTS, parse_time(record.modified))
        is_new = operation.after is not None and record.revision > operation.after
        if is_new and record.operation_id in (operation.id, None) and record.status in (*PENDING, Status.FAILED):
            yield LeftHooks(record, ROLLOUT_EVENTS, parse_time(record.created))


def _uninstalls(operation: Operation, record: Record) -> bool:
    succeeded = operation.outcome is not None and operation.outcome.reason == SUCCEEDED
    planned = any(action.kind == "helm-uninstall" and action.subject == record.id for action in operation.plan.actions)
    return planned and not succeeded


def _rolls_back_into(operation: Operation, record: Record) -> bool:
    offset = _ROLLBACK_OFFSET.get(operation.verb)
    return offset is not None and operation.after is not None and record.revision == operation.after + offset


def _readable(text: str) -> str:
    """Return a time to the second; a text that is not a time stays as it is."""
    time = parse_time(text)
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time else text


def _age(record: Record, history: ReleaseHistory) -> float | None:
    """Return how many seconds ago a record was last written, by the API server's clock."""
    written = parse_time(record.modified or record.created)
    return None if history.read_at is None or written is None else (history.read_at - written).total_seconds()
