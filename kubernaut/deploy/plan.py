"""What a verb has to do: a pure function of what is known of the release, of its lock, and of what is wanted.

The record with the highest revision is the current one and decides, whatever older ones say (Helm before 3.19.5 leaves a revision
``deployed`` below one that was deleted).

===================  ======================  ==================  ===================  ==================
current record       deploy                  rollback            restore              delete
===================  ======================  ==================  ===================  ==================
none                 install                 not found           not found            not found
deployed, the same   nothing                 roll back           nothing              uninstall
deployed, another    upgrade                 roll back           nothing              uninstall
superseded, failed,
unknown              upgrade                 roll back           nothing [1]_         uninstall
uninstalled          install-replace         roll back           roll back to it      nothing
uninstalling         uninstall,              uninstall,          uninstall,           uninstall
                     install-replace         roll back           roll back to it
pending-*            mark failed,            mark failed,        mark failed [1]_     mark failed,
                     upgrade                 roll back                                recreate, uninstall
damaged              conflict                conflict            conflict             conflict
===================  ======================  ==================  ===================  ==================

.. [1] After an unfinished or failed restore what was deleted is still what shall come back: mark failed, roll back to it.

The lock decides whether that may be done. *Live*: refused, with who holds it, unless there is nothing to do. *Free* or *expired*:
no other kubernaut is at work, so what one left unfinished (``pending-*``, ``uninstalling``) is ended; of plain Helm's only what is
older than ``stale_after``, else it is refused. The first actions are always those that put the history in order: a record whose
recreation broke off is recreated, revisions that are ``deployed`` beside the one that Helm is going to supersede are marked, and a
record that was fenced (``immutable``) is recreated without that flag where Helm must rewrite it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from kubernaut.deploy.lease import Lock, LockState, locked
from kubernaut.deploy.requests import (
    DeployRequest,
    OperationRequest,
    RestoreRequest,
    RollbackRequest,
    UninstallRequest,
    UnlockRequest,
)
from kubernaut.deploy.revisions import continued, previous_run, restorable, why_not_the_same
from kubernaut.deploy.unfinished import Unfinished, unfinished
from kubernaut.deploy.values import canonical
from kubernaut.errors import Conflict, NamespaceNotFound, ReleaseChanged, ReleaseNotCurrent, ReleaseNotFound
from kubernaut.history.records import PENDING, Record, Status
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan

ORDERING = frozenset({"recreate-record", "mark-failed", "mark-superseded"})
"""The actions that put the history in order, without Helm."""

_REPLACES = frozenset({"helm-install-replace", "helm-uninstall"})
_SUPERSEDES = frozenset({"helm-upgrade", "helm-install-replace", "helm-rollback"})


def plan(past: ReleaseHistory, lock: Lock, wanted: OperationRequest, *, namespace_missing: bool = False) -> Plan:
    """Decide what to do; see the table above.

    Args:
        past: What is known of the release.
        lock: What is known of its lock; ``FREE`` for whoever holds it.
        wanted: What is asked for.
        namespace_missing: Whether the namespace does not exist.

    Raises:
        NamespaceNotFound: It does not exist and shall not be created.
        ReleaseNotFound: There is no such release, or nothing to go back to.
        ReleaseNotCurrent: The revision that is meant to be the current one is not.
        ReleaseChanged: The record is not in the state any more that is meant.
        ReleaseLocked: Somebody else is at work on it.
        Conflict: A record is damaged, or cannot be gone back to.
    """
    if isinstance(wanted, UnlockRequest):
        return _unlock(past, lock, wanted)
    wish = _wish(past, wanted, namespace_missing=namespace_missing)
    if not wish.changes:
        return wish
    if lock.state is LockState.LIVE:
        raise locked(wanted.namespace, wanted.name, lock.holder)
    left = unfinished(past, wanted)
    if left is not None and not left.stale:
        raise left.refusal()
    before = tuple(_recovery(past, left, wish, lock))
    after = tuple(action for action in wish.actions if action not in before)
    return Plan(actions=(*before, *after), reason=wish.reason)


def _wish(past: ReleaseHistory, wanted: OperationRequest, *, namespace_missing: bool) -> Plan:
    """Return what would be done if nothing had been left unfinished."""
    if isinstance(wanted, DeployRequest):
        _check_match(past.current, past.current, wanted)
        return _deploy(past, wanted, namespace_missing=namespace_missing)
    if past.current is None:
        raise ReleaseNotFound(f"There is no release {wanted.name} in the namespace {wanted.namespace}.")
    if isinstance(wanted, RestoreRequest | UninstallRequest):
        _check_current(past.current, wanted.revision)
    named = past.find(wanted.revision) if isinstance(wanted, RollbackRequest) and wanted.revision is not None else past.current
    if named is not None:  # a rollback to what is not kept is refused below
        _check_match(named, past.current, wanted)
    _check_readable(past.current)
    verbs: dict[type[OperationRequest], Callable[[ReleaseHistory, Record, Any], Plan]] = {
        RollbackRequest: _rollback,
        RestoreRequest: _restore,
        UninstallRequest: _delete,
    }
    return verbs[type(wanted)](past, past.current, wanted)


# the verbs


def _deploy(past: ReleaseHistory, wanted: DeployRequest, *, namespace_missing: bool) -> Plan:
    current = past.current
    if namespace_missing and not wanted.create_namespace:
        raise NamespaceNotFound(f"The namespace {wanted.namespace} does not exist.")
    if current is None:
        create = Action(kind="create-namespace", subject=wanted.namespace, reason="it does not exist")
        install = Action(kind="helm-install", subject=wanted.release, reason=f"{wanted.version} is its first release")
        return Plan(actions=(create, install) if namespace_missing else (install,))
    _check_readable(current)
    if current.status in (Status.UNINSTALLED, Status.UNINSTALLING):
        reason = f"v{current.revision} was deleted, and {wanted.version} follows it"
        return Plan(actions=(Action(kind="helm-install-replace", subject=wanted.release, reason=reason),))
    why = why_not_the_same(current, past, wanted)
    if why is None:
        return Plan(reason=f"v{current.revision} already runs {wanted.version} with these values")
    return Plan(actions=(Action(kind="helm-upgrade", subject=wanted.release, reason=why),))


def _rollback(past: ReleaseHistory, current: Record, wanted: RollbackRequest) -> Plan:
    target = _target(past, current, wanted.revision)
    same = all(
        one == other
        for one, other in (
            (current.chart, target.chart),
            (current.manifest, target.manifest),
            (canonical(current.config), canonical(target.config)),
        )
    )
    if current.status == Status.DEPLOYED and (target is current or same):
        return Plan(reason=f"v{current.revision} already runs what v{target.revision} is")
    reason = f"v{current.revision} {_was(current)}; v{target.revision} is {target.status}"
    return Plan(actions=(Action(kind="helm-rollback", subject=target.id, reason=reason),))


def _restore(past: ReleaseHistory, current: Record, _wanted: RestoreRequest) -> Plan:
    deleted = restorable(past)
    if deleted is None:
        return Plan(reason=f"v{current.revision} is not deleted: it is {current.status}")
    return Plan(actions=(Action(kind="helm-rollback", subject=deleted.id, reason="it was deleted, and comes back as it was"),))


def _delete(_past: ReleaseHistory, current: Record, _wanted: UninstallRequest) -> Plan:
    if current.status == Status.UNINSTALLED:
        return Plan(reason=f"v{current.revision} is deleted already")
    unfinished_delete = current.status == Status.UNINSTALLING
    reason = "an earlier delete was left unfinished" if unfinished_delete else f"it {_was(current)}"
    return Plan(actions=(Action(kind="helm-uninstall", subject=current.id, reason=reason),))


def _unlock(past: ReleaseHistory, lock: Lock, wanted: UnlockRequest) -> Plan:
    if past.current is not None:
        _check_current(past.current, wanted.revision)
    if lock.state is LockState.LIVE and not wanted.force:
        raise locked(wanted.namespace, wanted.name, lock.holder)
    actions = []
    if lock.state is not LockState.FREE:
        who = lock.holder.words if lock.holder else "somebody"
        actions.append(Action(kind="take-lock", subject=wanted.release, reason=f"{who} holds it"))
    actions.extend(_leftover_copies(past))
    left = unfinished(past, wanted)
    if left is not None and left.stale and not left.record.damaged:
        actions.append(_mark_failed(left, Lock()))
    for operation in past.unfinished:
        reason = f"{operation.verb} by {operation.actor or 'somebody'} since {operation.started_at.isoformat()} has no end"
        actions.append(Action(kind="settle-operation", subject=operation.id, reason=reason))
    return Plan(actions=tuple(actions), reason="" if actions else f"nobody holds {wanted.release}, and nothing is unfinished")


# what comes first


def _recovery(past: ReleaseHistory, left: Unfinished | None, wish: Plan, lock: Lock) -> Iterator[Action]:
    """Yield what puts the history in order, so that Helm can do the rest."""
    yield from _leftover_copies(past)
    main = wish.actions[-1]
    fenced = {record.revision for record in past.records if record.immutable}
    if left is not None and left.record.status in PENDING:
        yield _mark_failed(left, lock)
        fenced.add(left.record.revision)
    rewritten = list(_rewritten(past, main))
    for record in rewritten:
        if record.revision in fenced:
            yield Action(kind="recreate-record", subject=record.id, reason="it was fenced, and Helm must rewrite it")
    if left is not None and left.record.status == Status.UNINSTALLING and main.kind != "helm-uninstall":
        reason = f"{left.by} began to delete it at {left.since} and did not finish"
        yield Action(kind="helm-uninstall", subject=left.record.id, reason=reason)
    for record in _strays(past, main):
        yield Action(kind="mark-superseded", subject=record.id, reason="it is said to be deployed beside another release")


def _leftover_copies(past: ReleaseHistory) -> Iterator[Action]:
    for record in past.aside:
        yield Action(kind="recreate-record", subject=record.id, reason="an earlier recreation of it broke off")


def _mark_failed(left: Unfinished, lock: Lock) -> Action:
    gone = ", who is gone" if lock.state is LockState.EXPIRED else ""
    reason = f"it was left {left.record.status} by {left.by}{gone}, since {left.since}"
    return Action(kind="mark-failed", subject=left.record.id, reason=reason)


def _rewritten(past: ReleaseHistory, main: Action) -> Iterator[Record]:
    """Yield the records that Helm itself rewrites when it does an action: those it must be able to."""
    for record in past.records:
        if record.damaged:
            continue
        is_current = record is past.current and (main.kind in _REPLACES or record.status == Status.UNINSTALLING)
        if is_current or (main.kind in _SUPERSEDES and record.status == Status.DEPLOYED):
            yield record


def _strays(past: ReleaseHistory, main: Action) -> Iterator[Record]:
    """Yield the deployed records that Helm is not going to supersede itself: it takes one, the newest, and in an install none."""
    deployed = [record for record in past.records if not record.damaged and record.status == Status.DEPLOYED]
    if main.kind == "helm-upgrade":
        yield from deployed[1:]
    elif main.kind == "helm-install-replace":
        yield from deployed


def _target(past: ReleaseHistory, current: Record, revision: int | None) -> Record:
    """Return the record that a rollback goes back to."""
    if revision is None:
        found = continued(past, current) or previous_run(past, current)
        if found is None:
            raise ReleaseNotFound(f"There is nothing before {current.id} to go back to.", hint="Name a revision with --revision.")
        return found
    found = past.find(revision)
    if found is None:
        raise ReleaseNotFound(f"{current.namespace}.{current.name} has no revision {revision}; it is not kept, or never was.")
    if found.damaged:
        raise Conflict(f"The record of {found.id} is damaged: {found.damaged}.", hint="Roll back to another revision.")
    if found.status in PENDING or found.status == Status.UNINSTALLING:
        raise Conflict(f"{found.id} is {found.status}: it never ran.", hint="Roll back to another revision.")
    return found


def _was(current: Record) -> str:
    left = current.status in PENDING or current.status == Status.UNINSTALLING
    return f"was left {current.status}" if left else f"is {current.status}"


def _check_current(current: Record, revision: int | None) -> None:
    if revision not in (None, current.revision):
        named = f"{current.namespace}.{current.name}.v{revision}"
        raise ReleaseNotCurrent(f"{named} is not the current release; {current.id} is.", members={"current": current.id})


def _check_match(named: Record | None, current: Record | None, wanted: OperationRequest) -> None:
    """Check that the record is in the state that is meant."""
    if wanted.if_match is None or (named is not None and named.etag == wanted.if_match):
        return
    members = {"current": current.id, "etag": current.etag} if current else {}
    what = f"{named.id} has changed since its ETag was read" if named else f"There is no release {wanted.release} to match"
    now = f"; the current release is {current.id}, with the ETag {current.etag}" if current else ""
    raise ReleaseChanged(f"{what}{now}.", members=members)


def _check_readable(current: Record) -> None:
    if current.damaged:
        raise Conflict(
            f"The record of {current.id} is damaged: {current.damaged}.",
            hint=f"Helm cannot go on either. Look at the Secret {current.secret}; deleting it forgets this revision.",
        )
