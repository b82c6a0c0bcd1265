"""What revisions that failed left in the cluster: what Helm compares the next one with, and which objects are removed then.

Helm compares a new revision with the last ``deployed`` one, so what a failed revision brought in between would stay for ever:
objects that no record owns, and with client-side apply fields of objects that stay. A failed revision that was applied whole is
therefore what Helm compares with, and objects of failed revisions are deleted after a success. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kubernaut.deploy.planning.revisions import newest_served, title, why_not_served
from kubernaut.errors import DeployKept
from kubernaut.history.manifest import manifest_of
from kubernaut.history.operations import INTERRUPTED
from kubernaut.history.records import PENDING, Record, Status, few
from kubernaut.history.releases import find_operation
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action
from kubernaut.rollout.expected import expected_of
from kubernaut.rollout.objects import Expected, ObjectKey, expected_objects, is_kept
from kubernaut.rollout.problems import Cause

NOT_APPLIED = frozenset(
    {
        Cause.HOOK_FAILED,
        Cause.APPLY_CONFLICT,
        Cause.OWNED_BY_ANOTHER_RELEASE,
        Cause.FIELD_IMMUTABLE,
        Cause.OBJECT_INVALID,
        Cause.NODE_PORT_TAKEN,
        Cause.ACCESS_DENIED,
        Cause.API_VERSION_MISSING,
        Cause.HELM_FAILED,
    }
)
"""The causes of failures in which Helm did not apply every object; in all others the objects were not ready."""
MARK_DEPLOYED = "mark-deployed"
"""The action that makes Helm compare an upgrade with a revision that failed; it is marked failed again afterwards."""
MAX_NAMED = 10
MAX_RECORDS = 10
"""How many of the newest revisions that failed are looked at."""


@dataclass(frozen=True)
class Leftover:
    """An object of an earlier revision that the current one does not have."""

    object: Expected
    record: Record


def was_applied(record: Record, history: ReleaseHistory) -> bool:
    """Return whether the operation that made a record applied it whole, and failed because its objects were not ready."""
    found = find_operation(record, history.operations)
    if found is None or found[0].unread or found[0].outcome is None:
        return False
    operation, made = found
    outcome = operation.outcome
    is_first = made is None or made.uid == operation.made[0].uid  # not the rollback after a failed deploy
    return (
        is_first
        and outcome is not None
        and outcome.reason == DeployKept.code
        and outcome.cause is not None
        and outcome.cause not in NOT_APPLIED
    )


def passed_base(history: ReleaseHistory, history_max: int) -> Record | None:
    """Return the deployed record that an upgrade must not be compared with: a later revision was applied over it, and failed.

    Helm prunes every old record but a deployed one, so one that would be pruned stays deployed, and is compared with.

    Args:
        history: The history of the release.
        history_max: How many records Helm keeps; 0 for all.
    """
    current = history.current
    if current is None or current.damaged or current.status != Status.FAILED or not was_applied(current, history):
        return None
    base = next((record for record in history.records if not record.damaged and record.status == Status.DEPLOYED), None)
    newer = [record for record in history.records if base is not None and record.revision > base.revision]
    return base if history_max <= 0 or len(newer) < history_max - 1 else None


def interrupted_base(history: ReleaseHistory) -> Record | None:
    """Return the failed record that an upgrade must be compared with, where deploys that were to replace it were interrupted.

    Without a deployed record Helm compares with the newest one, which was applied in part at most. The one that was applied whole
    is marked deployed meanwhile.
    """
    if any(record.status == Status.DEPLOYED for record in history.records):
        return None
    for record in history.records:
        if record.damaged or record.status not in (*PENDING, Status.FAILED):
            return None
        if was_applied(record, history):
            return record if record is not history.current else None
        if not _was_interrupted(record, history):
            return None
    return None


def _was_interrupted(record: Record, history: ReleaseHistory) -> bool:
    """Return whether the deploy that made a record ended before it could record an outcome, or was stopped."""
    operation = next((one for one in history.operations if one.id == record.operation_id), None)
    if operation is None or operation.unread:
        return False
    return operation.outcome is None or operation.outcome.reason == INTERRUPTED


def pass_base(history: ReleaseHistory, history_max: int) -> Iterator[Action]:
    """Yield the action that makes Helm compare an upgrade with the revision that was applied last, if it needs one."""
    base, current = passed_base(history, history_max), history.current
    if base is not None and current is not None:
        reason = f"{title(current)} was applied over it and failed, so Helm has to compare with that"
        yield Action(kind="mark-superseded", subject=base.id, reason=reason)
    applied = interrupted_base(history)
    if applied is not None and current is not None:
        reason = f"{title(current)} was interrupted, so Helm has to compare with what was applied before it"
        yield Action(kind=MARK_DEPLOYED, subject=applied.id, reason=reason)


def leftovers(history: ReleaseHistory, runs: Record) -> tuple[Leftover, ...]:
    """Return the objects that only other revisions have: the newest one that served before, and those that did not serve.

    Helm has deleted those of the first, unless the cluster refused: Helm goes on then, and reports nothing.

    Args:
        history: The history of the release.
        runs: The record of which the objects run, or the one that is rolled back to.
    """
    expected = expected_of(runs)
    others = [record for record in history.records if record.uid != runs.uid and not record.damaged]
    unserved = [record for record in others if record.status == Status.FAILED or _failed(record, history)][:MAX_RECORDS]
    served = newest_served(history, others).record
    if expected is None:
        return ()
    known = {one.key for one in expected}
    found: dict[ObjectKey, Leftover] = {}
    for record in [*([served] if served is not None else []), *unserved]:
        for one in expected_objects(manifest_of(record).objects, record.namespace):
            if one.key not in known and one.key.kind and one.key.name and not is_kept(one.object):
                found.setdefault(one.key, Leftover(one, record))
    return tuple(found.values())


def brought(found: Iterable[Leftover], history: ReleaseHistory) -> str:
    """Return the objects that revisions which did not serve brought, to follow a reason; empty for none."""
    only = [one for one in found if why_not_served(one.record, history) is not None]
    if not only:
        return ""
    by = ", ".join(dict.fromkeys(title(one.record) for one in only))
    return f"; removes {few([str(one.object.key) for one in only], MAX_NAMED)}, which only {by} brought"


def unserved_objects(history: ReleaseHistory) -> str:
    """Return what a deploy of a chart that is not rendered yet removes, to follow a reason; empty for nothing."""
    served = newest_served(history, history.records).record
    found = brought(leftovers(history, served), history) if served is not None else ""
    return f"{found}, unless the new revision has it" if found else ""


def _failed(record: Record, history: ReleaseHistory) -> bool:
    """Return whether the operation that made a record failed, so that it did not serve, although Helm may call it superseded."""
    return record.status in (Status.DEPLOYED, Status.SUPERSEDED) and why_not_served(record, history) is not None
