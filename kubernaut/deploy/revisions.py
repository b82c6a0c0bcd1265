"""Which record a verb goes by: what counts as the same, what ran before, what can come back. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.values import canonical, differing, overrides_lost
from kubernaut.history.operations import SUCCEEDED, OperationChart
from kubernaut.history.records import GONE, PENDING, Record, Status
from kubernaut.history.releases import find_operation
from kubernaut.history.repair import INTERRUPTED
from kubernaut.history.store import ReleaseHistory

MOST_KEYS = 10


def why_not_the_same(current: Record, past: ReleaseHistory, wanted: DeployRequest) -> str | None:
    """Return why the current release is not what is wanted; ``None`` when it is."""
    values = wanted.values(past)
    why = _difference(current, past, wanted, values)
    lost = overrides_lost(current.config, values) if why else ()
    return f"{why}; no longer set: {_few(lost)}" if lost else why


def _difference(current: Record, past: ReleaseHistory, wanted: DeployRequest, values: Mapping[str, Any]) -> str | None:
    if current.status != Status.DEPLOYED:
        left = "was left" if current.status in PENDING else "is"
        return f"v{current.revision} {left} {current.status}"
    found = find_operation(current, past.operations)
    if found is None:
        return f"v{current.revision} was made by plain Helm, and what it runs is not known by digest"
    operation, made = found
    if operation.unread:
        return f"of v{current.revision} not everything is known: {operation.unread}"
    first = made is None or made.uid == operation.made[0].uid
    if operation.outcome is None:
        return f"v{current.revision} was not seen through: {operation.actor or 'somebody'} broke off"
    if first and operation.outcome.reason != SUCCEEDED:
        return f"v{current.revision} did not succeed: {operation.outcome.reason}"
    chart = chart_of(current, past)
    if chart.digest != wanted.chart_digest:
        return f"{chart.version or 'an unknown version'} becomes {wanted.version}"
    if canonical(current.config) != canonical(values):
        return f"values differ: {_few(differing(current.config, values))}"
    return None


def chart_of(record: Record, past: ReleaseHistory) -> OperationChart:
    """Return the chart of a record: its version, and its digest where kubernaut deployed it."""
    found = find_operation(record, past.operations)
    known = (found[1].chart if found[1] else None) or found[0].chart if found else None
    version = record.chart.get("version")
    return known or OperationChart(version=None if version is None else str(version))


def previous(past: ReleaseHistory, before: int) -> Record | None:
    """Return the newest record before a revision that is deployed: what to go back to when that revision fails.

    Nothing ran before a deploy that follows a delete, whatever older records say.
    """
    if past.current is not None and past.current.status in GONE:
        return None
    return next((record for record in past.records if record.revision < before and record.status == Status.DEPLOYED), None)


def previous_run(past: ReleaseHistory, current: Record) -> Record | None:
    """Return the newest record before the current one that once ran."""
    older = (record for record in past.records if record.revision < current.revision and not record.damaged)
    return next((record for record in older if record.status in (Status.DEPLOYED, Status.SUPERSEDED)), None)


def continued(past: ReleaseHistory, current: Record) -> Record | None:
    """Return where the rollback was going that made the current record and was broken off: the same command again goes on."""
    if current.status not in (*PENDING, Status.FAILED) or current.operation_id:
        return None
    for operation in past.operations:
        broken_off = operation.outcome is None or operation.outcome.reason == INTERRUPTED
        if operation.verb != "rollback" or not broken_off or operation.after != current.revision - 1:
            continue
        named = {action.subject for action in operation.plan.actions if action.kind == "helm-rollback"}
        return next((record for record in past.records if record.id in named and not record.damaged), None)
    return None


def restorable(past: ReleaseHistory) -> Record | None:
    """Return the record that was deleted last, if nothing has run since: restores that failed or broke off do not count."""
    for record in past.records:
        if record.status in GONE:
            return record
        if record.status not in (*PENDING, Status.FAILED):
            return None
    return None


def _few(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:MOST_KEYS])
    return shown + (f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else "")
