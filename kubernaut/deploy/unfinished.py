"""Who left the current record unfinished, and whether anybody may still be working on it. Pure.

Helm marks a release ``pending-*`` or ``uninstalling`` before it works on it, and has no way to tell whether it still does.
kubernaut does nothing to a release without its lock: whoever holds the lock knows that no other kubernaut is at work. Plain Helm
knows no lock, and only the age of its record tells.
"""

from __future__ import annotations

from dataclasses import dataclass

from kubernaut.deploy.requests import OperationRequest
from kubernaut.errors import ReleaseLocked
from kubernaut.history.operations import SUCCEEDED, Operation
from kubernaut.history.records import PENDING, Record, Status
from kubernaut.history.releases import find_operation, parse_time
from kubernaut.history.store import ReleaseHistory

_GOES_BACK = {"rollback": 1, "restore": 1, "deploy": 2}
"""How many revisions after the one before it the record of a verb's ``helm rollback`` is; a deploy goes back from its own."""


@dataclass(frozen=True)
class Unfinished:
    """The current record, when it says that somebody works on it.

    Attributes:
        by: Who made it so, for a person.
        since: When, in words.
        stale: Whether surely nobody works on it any more.
        wait: Seconds after which plain Helm's will be taken for dead.
    """

    record: Record
    by: str
    since: str
    stale: bool
    wait: float = 0.0

    def refusal(self) -> ReleaseLocked:
        """Say who is at work since when, and how it ends."""
        record = self.record
        minutes = f"{max(self.wait, 60) / 60:.0f} min"
        return ReleaseLocked(
            f"{record.namespace}.{record.name} is {record.status} (v{record.revision}), by {self.by} since {self.since}.",
            hint=f"Wait for it (--lock-timeout 5m does); in {minutes} it is taken for dead. If you know that nothing works on it "
            f"any more, `kubernaut unlock {record.name} -n {record.namespace}` ends it.",
        )


def unfinished(past: ReleaseHistory, wanted: OperationRequest) -> Unfinished | None:
    """Return what is unfinished of the current record, if anything; as whoever holds the lock, or finds it free, knows it."""
    current = past.current
    if current is None or (current.status not in PENDING and current.status != Status.UNINSTALLING):
        return None
    operation = left_by(current, past)
    if operation is not None or (current.status in PENDING and current.operation_id):
        by = f"{operation.actor or 'somebody'} ({operation.verb})" if operation else "a kubernaut that left no other word"
        return Unfinished(current, by, _in_words(operation.started_at.isoformat() if operation else current.created), stale=True)
    began = current.deleted_at if current.status == Status.UNINSTALLING else current.deployed_at
    age = _age(current, past)
    stale = age is not None and age >= wanted.stale_after
    wait = wanted.stale_after - min(age or 0.0, wanted.stale_after)
    return Unfinished(current, "plain Helm", _in_words(began or current.created), stale=stale or wanted.force, wait=wait)


def left_by(current: Record, past: ReleaseHistory) -> Operation | None:
    """Return the operation of kubernaut that left a record unfinished.

    What a deploy makes has its operation's label. An uninstall changes a record that another operation made, and a rollback copies
    the labels of where it goes back to: the operations themselves say what they were about to do. A rollback that has an end left
    nothing, whatever end; a delete that failed may have left it ``uninstalling``.
    """
    if current.status == Status.UNINSTALLING:
        return next((one for one in past.operations if _uninstalls(one, current)), None)
    found = find_operation(current, past.operations)
    if found is not None or current.status != Status.PENDING_ROLLBACK:
        return found[0] if found else None
    return next((one for one in past.unfinished if _goes_back_to_make(one, current)), None)


def _uninstalls(operation: Operation, record: Record) -> bool:
    done = operation.outcome is not None and operation.outcome.reason == SUCCEEDED
    return not done and any(action.kind == "helm-uninstall" and action.subject == record.id for action in operation.plan.actions)


def _goes_back_to_make(operation: Operation, record: Record) -> bool:
    steps = _GOES_BACK.get(operation.verb)
    return steps is not None and operation.after is not None and record.revision == operation.after + steps


def _in_words(text: str) -> str:
    """Write a time for a person, to the second; what is no time stays as it is."""
    time = parse_time(text)
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time else text


def _age(record: Record, past: ReleaseHistory) -> float | None:
    """Return how long ago a record was last written, in seconds; both times are the API server's."""
    written = parse_time(record.modified or record.created)
    return None if past.read_at is None or written is None else (past.read_at - written).total_seconds()
