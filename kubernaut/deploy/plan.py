"""What a verb has to do: a pure function of what is known of the release and what is wished.

The record with the highest revision is the current one and decides, whatever older ones say (Helm before 3.19.5 leaves a
revision ``deployed`` below one that was deleted). A state that another operation may still be working on is never touched by a
deploy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kubernaut.deploy.values import Wish, canonical, differing, overrides_lost
from kubernaut.errors import Conflict, NamespaceNotFound, ReleaseLocked, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.history.operation import SUCCEEDED, Operation, OperationChart
from kubernaut.history.record import GONE, PENDING, Record, Status
from kubernaut.history.release import operation_of
from kubernaut.history.store import Past
from kubernaut.model import Action, Plan

MOST_KEYS = 10


@dataclass(frozen=True)
class Wanted:
    """What a deploy is asked for.

    Attributes:
        version: The version of the chart.
        chart_ref: The chart, by digest: ``oci://REGISTRY/NAME@sha256:…``.
        chart_digest: That digest.
        environment: The environment whose values :attr:`wish` has.
        commit: The commit that the version was made of.
        note: A person's words on it.
        timeout: Seconds that the whole deploy may take.
        on_failure: ``None`` leaves it to what the version was published with, and that to ``rollback``.
    """

    namespace: str
    name: str
    version: str
    chart_ref: str
    chart_digest: str
    wish: Wish = field(default_factory=Wish)
    environment: str | None = None
    commit: str | None = None
    note: str | None = None
    timeout: float = 300.0
    history_max: int = 50
    on_failure: Literal["rollback", "keep"] | None = None
    create_namespace: bool = False

    @property
    def subject(self) -> str:
        """What is deployed to where, for a person."""
        return f"{self.name} {self.version} to {self.namespace}"


def plan_deploy(past: Past, wanted: Wanted, values: Mapping[str, Any], *, namespace_missing: bool = False) -> Plan:
    """Decide what a deploy does.

    Args:
        past: What is known of the release.
        wanted: What is asked for.
        values: Its values, all layers merged.
        namespace_missing: Whether the namespace does not exist.

    Raises:
        NamespaceNotFound: It does not exist and shall not be created.
        ReleaseLocked: Another operation is under way, or was left unfinished.
        Conflict: The current record is damaged.
    """
    current = past.current
    subject = f"{wanted.namespace}.{wanted.name}"
    if namespace_missing:
        if not wanted.create_namespace:
            raise NamespaceNotFound(f"The namespace {wanted.namespace} does not exist.")
        create = Action(kind="create-namespace", subject=wanted.namespace, reason="it does not exist")
        return Plan(actions=(create, Action(kind="helm-install", subject=subject, reason=f"{wanted.version} is its first release")))
    if current is None:
        return Plan(actions=(Action(kind="helm-install", subject=subject, reason=f"{wanted.version} is its first release"),))
    _check_readable(current)
    _check_idle(current, past)
    if current.status == Status.UNINSTALLED:
        reason = f"v{current.revision} was deleted, and {wanted.version} follows it"
        return Plan(actions=(Action(kind="helm-install-replace", subject=subject, reason=reason),))
    why = _why_not_the_same(current, past, wanted, values)
    if why is None:
        return Plan(reason=f"v{current.revision} already runs {wanted.version} with these values")
    lost = overrides_lost(current.config, values)
    if lost:
        why += f"; no longer set: {_few(lost)}"
    return Plan(actions=(Action(kind="helm-upgrade", subject=subject, reason=why),))


def plan_rollback(past: Past, namespace: str, name: str, revision: int | None) -> tuple[Plan, Record]:
    """Decide what a rollback does, and to which record.

    Args:
        past: What is known of the release.
        namespace: Its namespace.
        name: Its name.
        revision: Where to; by default the newest that once ran, before the current one.

    Raises:
        ReleaseNotFound: There is no such release, or none to go back to.
        ReleaseLocked: It is being deleted, or its first install never ended.
        Conflict: The record to go back to cannot be used.
    """
    current = _current(past, namespace, name)
    _check_readable(current)
    if current.status == Status.UNINSTALLING:
        raise _locked(current, past)
    target = _target(past, current, revision)
    if target.damaged:
        raise Conflict(f"The record of {target.id} is damaged: {target.damaged}.", hint="Roll back to another revision.")
    if target.status in PENDING or target.status == Status.UNINSTALLING:
        raise Conflict(f"{target.id} is {target.status}: it never ran.", hint="Roll back to another revision.")
    same = all(
        one == other
        for one, other in (
            (current.chart, target.chart),
            (current.manifest, target.manifest),
            (canonical(current.config), canonical(target.config)),
        )
    )
    if current.status == Status.DEPLOYED and (target is current or same):
        return Plan(reason=f"v{current.revision} already runs what v{target.revision} is"), target
    if current.status in PENDING:
        reason = f"v{current.revision} was left {current.status}, which this ends; v{target.revision} is {target.status}"
    else:
        reason = f"v{current.revision} is {current.status}"
    return Plan(actions=(Action(kind="helm-rollback", subject=target.id, reason=reason),)), target


def plan_restore(past: Past, namespace: str, name: str, revision: int | None = None) -> tuple[Plan, Record]:
    """Decide what a restore does, and of which record.

    Raises:
        ReleaseNotFound: There is no such release.
        ReleaseNotCurrent: ``revision`` is not the current one.
        ReleaseLocked: It is being deleted, or another operation is under way.
        Conflict: Its record is damaged.
    """
    current = _current(past, namespace, name, revision)
    _check_readable(current)
    _check_idle(current, past)
    if current.status != Status.UNINSTALLED:
        return Plan(reason=f"v{current.revision} is not deleted: it is {current.status}"), current
    return Plan(
        actions=(Action(kind="helm-rollback", subject=current.id, reason="it was deleted, and comes back as it was"),)
    ), current


def plan_delete(past: Past, namespace: str, name: str, revision: int | None = None) -> tuple[Plan, Record]:
    """Decide what a soft delete does, and to which record.

    What was left unfinished may be deleted: Helm's uninstall does not ask for a lock, and it is the way out of a first install that
    never ended.

    Raises:
        ReleaseNotFound: There is no such release.
        ReleaseNotCurrent: ``revision`` is not the current one.
        Conflict: The record is damaged.
    """
    current = _current(past, namespace, name, revision)
    _check_readable(current)
    if current.status == Status.UNINSTALLED:
        return Plan(reason=f"v{current.revision} is deleted already"), current
    reason = "an earlier delete was left unfinished" if current.status == Status.UNINSTALLING else f"it is {current.status}"
    return Plan(actions=(Action(kind="helm-uninstall", subject=current.id, reason=reason),)), current


def previous(past: Past, before: int) -> Record | None:
    """Return the newest record before a revision that is deployed: what to go back to when that revision fails.

    Nothing ran before a deploy that follows a delete, whatever older records say.
    """
    if past.current is not None and past.current.status in GONE:
        return None
    return next((record for record in past.records if record.revision < before and record.status == Status.DEPLOYED), None)


def chart_of(record: Record, past: Past) -> OperationChart:
    """Return the chart of a record: its version, and its digest where kubernaut deployed it."""
    found = operation_of(record, past.operations)
    known = (found[1].chart if found[1] else None) or found[0].chart if found else None
    version = record.chart.get("version")
    return known or OperationChart(version=None if version is None else str(version))


def _why_not_the_same(current: Record, past: Past, wanted: Wanted, values: Mapping[str, Any]) -> str | None:
    """Return why the current release is not what is wanted; ``None`` when it is."""
    if current.status != Status.DEPLOYED:
        return f"v{current.revision} is {current.status}"
    found = operation_of(current, past.operations)
    if found is None:
        return f"v{current.revision} was made by plain Helm, and what it runs is not known by digest"
    operation, made = found
    first = made is None or made.uid == operation.made[0].uid
    if first and operation.outcome is not None and operation.outcome.reason != SUCCEEDED:
        return f"v{current.revision} did not succeed: {operation.outcome.reason}"
    chart = chart_of(current, past)
    if chart.digest != wanted.chart_digest:
        return f"{chart.version or 'an unknown version'} becomes {wanted.version}"
    if canonical(current.config) != canonical(values):
        return f"values differ: {_few(differing(current.config, values))}"
    return None


def _target(past: Past, current: Record, revision: int | None) -> Record:
    if revision is not None:
        found = past.find(revision)
        if found is None:
            raise ReleaseNotFound(f"{current.namespace}.{current.name} has no revision {revision}; it is not kept, or never was.")
        return found
    found = previous_run(past, current)
    if found is not None:
        return found
    if current.status in PENDING:
        raise ReleaseLocked(
            f"{current.id} is {current.status}, and there is nothing before it to go back to.",
            hint=f"If nothing works on it any more, `kubernaut delete {current.name} -n {current.namespace}` ends it.",
        )
    raise ReleaseNotFound(f"There is nothing before {current.id} to go back to.", hint="Name a revision with --revision.")


def _current(past: Past, namespace: str, name: str, revision: int | None = None) -> Record:
    """Return the current record; with a revision, that one must be it."""
    if past.current is None:
        raise ReleaseNotFound(f"There is no release {name} in the namespace {namespace}.")
    if revision not in (None, past.current.revision):
        raise ReleaseNotCurrent(f"{namespace}.{name}.v{revision} is not the current release; {past.current.id} is.")
    return past.current


def _check_readable(current: Record) -> None:
    if current.damaged:
        raise Conflict(
            f"The record of {current.id} is damaged: {current.damaged}.",
            hint=f"Helm cannot go on either. Look at the Secret {current.secret}; deleting it forgets this revision.",
        )


def _check_idle(current: Record, past: Past) -> None:
    if current.status in PENDING or current.status == Status.UNINSTALLING:
        raise _locked(current, past)


def _locked(current: Record, past: Past) -> ReleaseLocked:
    """Say who holds a release since when, and how to end it; there is no lock of our own yet, so nobody knows whether they live."""
    operation = _holder(current, past)
    who = f"{operation.actor} ({operation.verb})" if operation else "plain Helm"
    began = current.deleted_at if current.status == Status.UNINSTALLING else current.deployed_at
    since = operation.started_at.isoformat() if operation else began or current.created
    at, named = f"{current.name} -n {current.namespace}", f"{current.namespace}.{current.name}"
    if current.status == Status.UNINSTALLING:
        hint = f"Wait for it; if nothing works on it any more, `kubernaut delete {at}` finishes it."
    elif previous_run(past, current) is None:
        hint = f"Wait for it; if nothing works on it any more, `kubernaut delete {at}` ends it, and then it can be deployed again."
    else:
        hint = f"Wait for it; if nothing works on it any more, `kubernaut rollback {at}` ends it by going back to what ran before."
    return ReleaseLocked(f"{named} is {current.status} (v{current.revision}), by {who} since {since}.", hint=hint)


def _holder(current: Record, past: Past) -> Operation | None:
    """Return the operation that left a release as it is: what made it, or for a delete what began to end it."""
    if current.status == Status.UNINSTALLING:
        deletes = (operation for operation in past.operations if operation.verb == "delete")
        return next((one for one in deletes if any(action.subject == current.id for action in one.plan.actions)), None)
    found = operation_of(current, past.operations)
    if found is None and current.status == Status.PENDING_ROLLBACK:  # its labels are copied; nobody wrote down that it ended
        return next((one for one in past.operations if one.verb in ("rollback", "restore") and one.finished_at is None), None)
    return found[0] if found else None


def previous_run(past: Past, current: Record) -> Record | None:
    """Return the newest record before the current one that once ran."""
    older = (record for record in past.records if record.revision < current.revision and not record.damaged)
    return next((record for record in older if record.status in (Status.DEPLOYED, Status.SUPERSEDED)), None)


def _few(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:MOST_KEYS])
    return shown + (f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else "")
