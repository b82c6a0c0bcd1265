"""Which revisions of a release a verb goes by, and what an interrupted operation left. Pure.

Helm marks a release ``pending-*`` or ``uninstalling`` before it works on it and cannot tell later whether it still does. kubernaut
changes a release only under its lock, so the holder of the lock knows that no other kubernaut is at work. Plain Helm has no lock:
only the age of its record shows that it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from kubernaut.deploy.requests import DeployRequest, OperationRequest
from kubernaut.deploy.values import canonical, differing, overrides_lost
from kubernaut.errors import Conflict, DeployKept, ReleaseLocked
from kubernaut.history.manifest import manifest_of
from kubernaut.history.operations import SUCCEEDED, Operation, OperationChart
from kubernaut.history.records import GONE, PENDING, Record, Status, as_mapping, few, parse_time
from kubernaut.history.releases import HealthStatus, ReleaseHealth, find_operation
from kubernaut.history.store import ReleaseHistory

MAX_KEYS = 10
"""How many keys of values a reason names; the others are counted."""

_ROLLBACK_OFFSET = {"rollback": 1, "restore": 1, "deploy": 2}
"""How far above ``Operation.after`` a verb's ``helm rollback`` puts its record; a deploy rolls back from its own record."""


def title(record: Record) -> str:
    """Return a revision with its version, such as ``v3 (1.4.2)``."""
    version = record.chart.get("version")
    return f"v{record.revision}" if version is None else f"v{record.revision} ({version})"


def chart_of(record: Record, history: ReleaseHistory) -> OperationChart:
    """Return the chart of a record: its version, and its digest where kubernaut deployed it."""
    found = find_operation(record, history.operations)
    known = (found[1].chart if found[1] else None) or found[0].chart if found else None
    version = record.chart.get("version")
    return known or OperationChart(version=None if version is None else str(version))


def removed_objects(record: Record) -> tuple[str, ...]:
    """Return the objects that an uninstall removes, as ``KIND/NAME``, in the order of the manifest; none if it cannot be read.

    Objects with the annotation ``helm.sh/resource-policy: keep`` stay. One outside the release's namespace has its own appended.
    """
    found: list[str] = []
    for document in removed_documents(record):
        metadata = as_mapping(document.get("metadata"))
        namespace = metadata.get("namespace", record.namespace)
        where = "" if namespace == record.namespace else f" in {namespace}"
        found.append(f"{document.get('kind')}/{metadata.get('name')}{where}")
    return tuple(found)


def removed_documents(record: Record) -> tuple[Mapping[str, Any], ...]:
    """Return the objects of a manifest that an uninstall removes: all without ``helm.sh/resource-policy: keep``."""

    def stays(document: Mapping[str, Any]) -> bool:
        annotations = as_mapping(as_mapping(document.get("metadata")).get("annotations"))
        return str(annotations.get("helm.sh/resource-policy")).strip().lower() == "keep"

    return tuple(document for document in manifest_of(record).objects if not stays(document))


# the revision that is deployed, rolled back to or restored


def difference(current: Record, history: ReleaseHistory, request: DeployRequest, health: ReleaseHealth | None = None) -> str | None:
    """Return why the current release has to be upgraded; ``None`` if it already runs what is requested.

    Args:
        current: The current release.
        history: The release's history.
        request: The deploy.
        health: The health of the current release; one that is not known does not count.
    """
    values = request.merged_values(history)
    why = _difference(current, history, request, values) or _ailment(current, health)
    why = why or (f"{title(current)} is applied again as requested" if request.always else None)
    lost = overrides_lost(current.config, values) if why else ()
    return f"{why}; no longer set: {few(lost, MAX_KEYS)}" if lost else why


def _difference(current: Record, history: ReleaseHistory, request: DeployRequest, values: Mapping[str, Any]) -> str | None:
    if current.status != Status.DEPLOYED:
        return f"{title(current)} {'was left' if current.status in PENDING else 'is'} {current.status}"
    found = find_operation(current, history.operations)
    if found is None:
        return f"{title(current)} was deployed by plain Helm, so the digest of its chart is unknown"
    operation, made = found
    if operation.unread:
        return f"the operation of {title(current)} cannot be read completely: {operation.unread}"
    first = made is None or made.uid == operation.made[0].uid
    if operation.outcome is None:
        return f"{title(current)} has no outcome: the deploy by {operation.actor or 'an unknown actor'} was interrupted"
    if operation.outcome.reason != SUCCEEDED and (first or operation.outcome.reason == DeployKept.code):
        return f"{title(current)} did not succeed: {operation.outcome.reason}"
    chart = chart_of(current, history)
    if chart.digest != request.chart_digest:
        return f"{chart.version or 'an unknown version'} becomes {request.version}"
    if canonical(current.config) != canonical(values):
        return f"values differ: {few(differing(current.config, values), MAX_KEYS)}"
    return None


def _ailment(current: Record, health: ReleaseHealth | None) -> str | None:
    """Return that a release does not run as it was deployed, so that applying it again may help."""
    if health is None:
        return None
    if health.status is HealthStatus.HEALTHY and health.drift:
        return health.reason
    ill = health.drift or health.status in (HealthStatus.DEGRADED, HealthStatus.MISSING)
    return f"{title(current)} is {health.status}: {health.reason}" if ill else None


def check_taken(current: Record, health: ReleaseHealth | None) -> None:
    """Check that Helm can write what others have changed, which is all that is to be done. Raises: Conflict."""
    if health is None or not current.server_side:
        return
    taken = [drift for drift in health.drift if drift.field and drift.manager]
    if not taken:
        return
    managers = few(dict.fromkeys(drift.manager for drift in taken), MAX_KEYS)
    raise Conflict(
        f"{title(current)} cannot be applied again: {health.reason}. Helm does not overwrite what {managers} manages.",
        hint="To overwrite it, run the same command again with `--on-conflict take`. Else leave the field out of the chart.",
        http_hint="To overwrite it, send `onConflict: take`. Else leave the field out of the chart.",
        members={"cause": "apply_conflict"},
    )


@dataclass(frozen=True)
class Target:
    """The newest revision that served, if any; ``passed_over`` says why newer ones were not chosen."""

    record: Record | None
    passed_over: tuple[str, ...] = ()

    @property
    def passed_over_text(self) -> str:
        """Why newer revisions were passed over, to follow a clause; empty if none was."""
        return f"; passed over: {few(self.passed_over, MAX_KEYS)}" if self.passed_over else ""


def why_not_served(record: Record, history: ReleaseHistory) -> str | None:
    """Return why a revision never served as it was meant to; ``None`` if it did.

    Helm marks a release ``deployed`` and later ``superseded`` whose application never answered: the operation decides. Where its
    outcome is unknown, as for a release of plain Helm, the status does.
    """
    if record.damaged:
        return "its record is damaged"
    if record.status not in (Status.DEPLOYED, Status.SUPERSEDED, *GONE):
        return f"it is {record.status}"
    if record.has_failed:  # Helm marks a failed release superseded once another follows it
        return "it failed"
    found = find_operation(record, history.operations)
    if found is None or found[0].unread:
        return None
    operation, made = found
    if made is not None and made.uid != operation.made[0].uid:  # the rollback after a failed deploy
        failed = operation.outcome is not None and operation.outcome.reason == DeployKept.code
        return "it was not ready after the rollback" if failed else None
    if operation.outcome is None:  # its process ended before it was written
        return None
    return None if operation.outcome.reason == SUCCEEDED else f"its {operation.verb} failed ({operation.outcome.reason})"


def newest_served(history: ReleaseHistory, records: Iterable[Record]) -> Target:
    """Return the newest of the records that served; they are given newest first."""
    passed_over: list[str] = []
    for record in records:
        why = why_not_served(record, history)
        if why is None:
            return Target(record, tuple(passed_over))
        passed_over.append(f"{title(record)}, {why}")
    return Target(None, tuple(passed_over))


def served_before(history: ReleaseHistory, revision: int, *, through_deletes: bool = True) -> Target:
    """Return the newest revision before another that served.

    Args:
        history: The release's history.
        revision: The revision that is to be left.
        through_deletes: Whether to look beyond a deleted release; a failed deploy that follows a delete is not rolled back.
    """
    older: Iterable[Record] = (record for record in history.records if record.revision < revision)
    if not through_deletes:
        older = takewhile(lambda record: record.status not in GONE and not record.deleted_at, older)
    return newest_served(history, older)


def unreached_target(history: ReleaseHistory, current: Record) -> Record | None:
    """Return the target of the rollback that made the current record and did not succeed: the same command again goes there too.

    The newest revision that served before it may be the one that the rollback came from.
    """
    if current.status not in (*PENDING, Status.FAILED) or current.operation_id:
        return None
    for operation in history.operations:
        succeeded = operation.outcome is not None and operation.outcome.reason == SUCCEEDED
        if operation.verb != "rollback" or succeeded or operation.after != current.revision - 1:
            continue
        targets = {action.subject for action in operation.plan.actions if action.kind == "helm-rollback"}
        return next((record for record in history.records if record.id in targets and not record.damaged), None)
    return None


# what an interrupted operation left


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
