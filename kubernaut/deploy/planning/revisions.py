"""Which revisions of a release a verb goes by: the one that runs what is requested, and those that served. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.values.layers import canonical, differing, overrides_lost
from kubernaut.errors import DeployKept
from kubernaut.history.manifest import manifest_of
from kubernaut.history.operations import SUCCEEDED, OperationChart
from kubernaut.history.records import GONE, PENDING, Record, Status, as_mapping, few
from kubernaut.history.releases import HealthStatus, ReleaseHealth, find_operation
from kubernaut.history.store import ReleaseHistory
from kubernaut.rollout.objects import Expected, expected_objects, is_kept

MAX_KEYS = 10
"""How many keys of values a reason names; the others are counted."""


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
    """Return the objects of a manifest that an uninstall removes."""
    return tuple(document for document in manifest_of(record).objects if not is_kept(document))


def objects_to_remove(record: Record) -> tuple[Expected, ...]:
    """Return the same with their identities: the objects that exist until an uninstall removes them; none of a damaged record."""
    return () if record.damaged else expected_objects(removed_documents(record), record.namespace)


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

    The newest revision that served before it may be the one that the rollback came from. A rollback that was interrupted before it
    recorded its outcome has not succeeded either, although its record may be deployed.
    """
    if current.operation_id:
        return None
    is_deployed = current.status not in (*PENDING, Status.FAILED)
    maker = find_operation(current, history.operations)  # unknown where it was killed
    for operation in history.unfinished if is_deployed else history.operations:
        if maker is not None and operation.id != maker[0].id:  # it failed before it made a revision
            continue
        succeeded = operation.outcome is not None and operation.outcome.reason == SUCCEEDED
        if operation.verb != "rollback" or succeeded or operation.after != current.revision - 1:
            continue
        targets = {action.subject for action in operation.plan.actions if action.kind == "helm-rollback"}
        return next((record for record in history.records if record.id in targets and not record.damaged), None)
    return None
