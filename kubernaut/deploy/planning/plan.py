"""What a verb has to do: a pure function of a release's history, its lock and the request.

The record with the highest revision is the current one and decides; the status of older ones does not (Helm before 3.19.5 leaves a
revision ``deployed`` below one that was deleted).

===================  ======================  ==================  ===================  ==================
current record       deploy                  rollback            restore              delete
===================  ======================  ==================  ===================  ==================
none                 install                 not found           not found            not found
deployed, the same   nothing [2]_            roll back           nothing              uninstall
deployed, another    upgrade                 roll back           nothing              uninstall
superseded, failed,
unknown              upgrade [3]_            roll back           nothing [1]_         uninstall
uninstalled          install-replace         roll back           roll back to it      nothing
uninstalling [4]_    uninstall,              uninstall,          uninstall,           uninstall
                     install-replace         roll back           roll back to it
pending-*            mark failed,            mark failed,        mark failed [1]_     mark failed,
                     upgrade                 roll back                                recreate, uninstall
damaged              conflict                conflict            conflict             conflict
===================  ======================  ==================  ===================  ==================

.. [1] After an unfinished or failed restore the deleted release is still to be restored: mark failed, roll back to it.
.. [2] An upgrade if the release is degraded or missing, if others have changed its objects, or if ``always`` is requested. A
   conflict if Helm would not write what others have changed.
.. [3] Adopted if it is what is requested, was not ready in time, and is ready now: :mod:`kubernaut.deploy.planning.adoption`.
.. [4] If the record is fenced and the objects are gone, it is marked uninstalled instead, without Helm.

The lock decides whether that is allowed. *Live*: refused with the holder, unless there is nothing to do. *Free* or *expired*: no
other kubernaut is at work, so an unfinished record (``pending-*``, ``uninstalling``) of kubernaut is finished; one of plain Helm
only if it is older than ``stale_after``. The first actions put the history in order: a record whose recreation was interrupted is
recreated, revisions that are ``deployed`` beside the one that Helm will supersede are marked, and a fenced (``immutable``) record
is recreated without that flag where it has to be rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from kubernaut.deploy.lock.lease import Lock, LockState, locked_error
from kubernaut.deploy.planning.adoption import ADOPT, failed_late, missing_hook
from kubernaut.deploy.planning.checks import check_current, check_match, check_new_name, check_readable, check_taken
from kubernaut.deploy.planning.compared import restore_action
from kubernaut.deploy.planning.leftovers import MARK_DEPLOYED, brought, leftovers, pass_base, unserved_objects
from kubernaut.deploy.planning.removed_kinds import MAP_RECORD, Removed, built_records, map_action
from kubernaut.deploy.planning.revisions import (
    MAX_KEYS,
    difference,
    newest_served,
    removed_objects,
    served_before,
    title,
    unreached_target,
)
from kubernaut.deploy.planning.unfinished import Unfinished, find_unfinished, is_fenced_uninstall, mark_uninstalled
from kubernaut.deploy.requests import (
    DeployRequest,
    OperationRequest,
    RestoreRequest,
    RollbackRequest,
    UninstallRequest,
    UnlockRequest,
)
from kubernaut.deploy.values.layers import canonical
from kubernaut.errors import Conflict, NamespaceNotFound, ReleaseNotFound
from kubernaut.history.manifest import manifest_of
from kubernaut.history.records import GONE, PENDING, Record, Status, few
from kubernaut.history.releases import HealthStatus, ReleaseHealth, last_deleted
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan

RECONCILING = frozenset({"recreate-record", "mark-failed", "mark-uninstalled", "mark-superseded", MARK_DEPLOYED, MAP_RECORD})
"""The actions that put the history in order, without Helm."""

_REPLACES = frozenset({"helm-install-replace", "helm-uninstall", ADOPT})
_SUPERSEDES = frozenset({"helm-upgrade", "helm-install-replace", "helm-rollback"})


def plan(
    history: ReleaseHistory,
    lock: Lock,
    request: OperationRequest,
    *,
    namespace_missing: bool = False,
    health: ReleaseHealth | None = None,
    removed: Removed = MappingProxyType({}),
    gone: bool = False,
) -> Plan:
    """Decide what to do; see the table above.

    Args:
        history: The release's history.
        lock: The release's lock as it was found; ``Lock()`` for a free one.
        request: The requested operation.
        namespace_missing: Whether the namespace does not exist.
        health: The health of the current release; only a deploy that would change nothing, or adopt it, depends on it.
        removed: The kinds of the records that Helm builds that the cluster does not serve.
        gone: Whether no object of the current release exists any more; only a fenced uninstall depends on it.

    Raises:
        NameInvalid: The first release of a name that kubernaut gives no release.
        NamespaceNotFound: The namespace does not exist, and the request does not create it.
        ReleaseNotFound: The release does not exist, or has no revision to go back to.
        ReleaseNotCurrent: The named revision is not the current one.
        ReleaseChanged: The record no longer has the named ETag.
        ReleaseLocked: Another operation or plain Helm is at work on the release.
        Conflict: A record is damaged or cannot be rolled back to, or Helm would not write what others have changed.
    """
    if isinstance(request, UnlockRequest):
        return _unlock(history, lock, request, gone=gone)
    main = _main_plan(history, request, namespace_missing=namespace_missing, health=health)
    if not main.changes:
        return main
    if lock.state is LockState.LIVE:
        raise locked_error(request.namespace, request.name, lock.holder)
    unfinished = find_unfinished(history, request)
    if unfinished is not None and not unfinished.stale:
        raise unfinished.error()
    gone = gone and is_fenced_uninstall(history.current)
    first = tuple(_reconciliation(history, unfinished, main, lock, removed, request.history_max, gone=gone))
    is_done = gone and main.actions[-1].kind == "helm-uninstall"
    rest = () if is_done else tuple(action for action in main.actions if action not in first)
    planned = Plan(actions=(*first, *rest), reason=main.reason)
    return _without_hooks(planned) if request.no_hooks else planned


def _without_hooks(planned: Plan) -> Plan:
    """Return a plan whose reasons say that Helm leaves the hooks out."""
    actions = (
        action.model_copy(update={"reason": f"{action.reason}; without hooks"}) if action.kind.startswith("helm-") else action
        for action in planned.actions
    )
    return planned.model_copy(update={"actions": tuple(actions)})


def _main_plan(
    history: ReleaseHistory, request: OperationRequest, *, namespace_missing: bool, health: ReleaseHealth | None
) -> Plan:
    """Return what is to be done if nothing was left unfinished."""
    current = history.current
    if isinstance(request, DeployRequest):
        check_match(current, current, request)
        return _deploy(history, request, namespace_missing=namespace_missing, health=health)
    if current is None:
        raise ReleaseNotFound(f"The release {request.release} does not exist.")
    if isinstance(request, RestoreRequest | UninstallRequest):
        check_current(current, request.revision)
    named = history.find(request.revision) if isinstance(request, RollbackRequest) and request.revision is not None else current
    if named is not None:  # a rollback to a missing revision is refused in _rollback_target
        check_match(named, current, request)
    check_readable(current)
    if isinstance(request, RollbackRequest):
        return _rollback(history, current, request)
    return _restore(history, current) if isinstance(request, RestoreRequest) else _delete(current)


# the verbs


def _deploy(history: ReleaseHistory, request: DeployRequest, *, namespace_missing: bool, health: ReleaseHealth | None) -> Plan:
    current = history.current
    if current is None:
        check_new_name(request)
    if namespace_missing and not request.create_namespace:
        raise NamespaceNotFound(f"The namespace {request.namespace} does not exist.")
    if current is None:
        create = Action(kind="create-namespace", subject=request.namespace, reason="it does not exist")
        install = Action(kind="helm-install", subject=request.release, reason=f"{request.version} is its first release")
        return Plan(actions=(create, install) if namespace_missing else (install,))
    check_readable(current)
    if current.status in (Status.UNINSTALLED, Status.UNINSTALLING):
        reason = f"{title(current)} was deleted; deploys {request.version}"
        return Plan(actions=(Action(kind="helm-install-replace", subject=request.release, reason=reason),))
    why = difference(current, history, request, health)
    may_adopt = why is not None and health is not None and not health.drift and not request.always
    late = failed_late(history, request) if may_adopt else None
    if late is not None and health is not None and health.status is HealthStatus.HEALTHY:
        hook = missing_hook(late, history)
        if hook is None:
            reason = f"{title(late)} was not ready in time, and it is ready now, with this chart and these values"
            return Plan(actions=(Action(kind=ADOPT, subject=late.id, reason=reason),))
        why = f"{why}; it is ready now, but its {hook} did not run"
    if why is None:
        return Plan(reason=f"v{current.revision} already runs {request.version} with these values{_aside(health)}")
    if not request.takes_conflicts:
        check_taken(current, health)
    return Plan(actions=(Action(kind="helm-upgrade", subject=request.release, reason=f"{why}{unserved_objects(history)}"),))


def _aside(health: ReleaseHealth | None) -> str:
    """Return that a release which is not applied again is not healthy either, to follow a clause."""
    return "" if health is None or health.status is HealthStatus.HEALTHY else f"; it is {health.status}: {health.reason}"


def _rollback(history: ReleaseHistory, current: Record, request: RollbackRequest) -> Plan:
    target, passed_over = _rollback_target(history, current, request.revision)
    same = (
        current.chart == target.chart
        and current.manifest == target.manifest
        and canonical(current.config) == canonical(target.config)
    )
    cleans = brought(leftovers(history, target), history)
    repeats = cleans and unreached_target(history, current) is target  # it was interrupted before it removed them
    if current.status == Status.DEPLOYED and (target is current or same) and not repeats:
        return Plan(reason=f"{title(current)} already runs what v{target.revision} is")
    reason = f"{title(current)} {_was(current)}; goes back to {title(target)}, which is {target.status}{passed_over}{cleans}"
    return Plan(actions=(Action(kind="helm-rollback", subject=target.id, reason=reason),))


def _rollback_target(history: ReleaseHistory, current: Record, revision: int | None) -> tuple[Record, str]:
    """Return the revision to roll back to, and why newer ones were passed over, to follow a reason."""
    if revision is None:
        return _served_target(history, current)
    hint = f"Roll back to another revision; `kubernaut history {current.name} -n {current.namespace}` lists them."
    found = history.find(revision)
    if found is None:
        raise ReleaseNotFound(f"{current.namespace}.{current.name} has no revision {revision}.", hint=hint)
    if found.damaged:
        raise Conflict(f"The record of {found.id} is damaged: {found.damaged}.", hint=hint)
    if found.status in PENDING:
        raise Conflict(f"{found.id} never ran: it is {found.status}.", hint=hint)
    return found, ""


def _served_target(history: ReleaseHistory, current: Record) -> tuple[Record, str]:
    unreached = unreached_target(history, current)
    if unreached is not None:
        return unreached, f"; the rollback to it that made {title(current)} did not succeed, so it is repeated"
    target = served_before(history, current.revision)
    if target.record is None:
        restore = f" `kubernaut restore {current.name} -n {current.namespace}` brings the deleted release back."
        back = restore if current.status in GONE else ""
        raise ReleaseNotFound(
            f"{current.id} has no earlier release that served{target.passed_over_text}.",
            hint=f"`kubernaut history {current.name} -n {current.namespace}` lists the revisions; name one with --revision.{back}",
            http_hint=f"`GET /api/releases/{current.id}/history` lists the revisions; name one of them.",
        )
    return target.record, target.passed_over_text


def _restore(history: ReleaseHistory, current: Record) -> Plan:
    deleted = last_deleted(history.records)
    if deleted is None:
        return Plan(reason=f"{title(current)} is not deleted: it is {current.status}")
    served = newest_served(history, (record for record in history.records if record.revision <= deleted.revision))
    target = served.record or deleted
    how = "as it was" if target is deleted else f"as {title(target)}{served.passed_over_text}"
    reason = f"{title(deleted)} was deleted and comes back {how}"
    return Plan(actions=(Action(kind="helm-rollback", subject=target.id, reason=reason),))


def _delete(current: Record) -> Plan:
    if current.status == Status.UNINSTALLED:
        return Plan(reason=f"{title(current)} is already deleted")
    interrupted = f"an earlier delete of {title(current)} was interrupted"
    reason = interrupted if current.status == Status.UNINSTALLING else f"{title(current)} {_was(current)}"
    return Plan(actions=(_uninstall(current, reason),))


def _was(current: Record) -> str:
    left = current.status in PENDING or current.status == Status.UNINSTALLING
    return f"was left {current.status}" if left else f"is {current.status}"


def _uninstall(record: Record, reason: str) -> Action:
    """Return the action that uninstalls a release, with the objects that it removes."""
    objects = removed_objects(record)
    problem = manifest_of(record).problem
    count = f"{len(objects) or 'no'} object{'' if len(objects) == 1 else 's'}"
    if problem:
        count = f"the objects of its manifest, which cannot be listed ({problem})"
    action = Action(kind="helm-uninstall", subject=record.id, reason=f"{reason}; removes {count}", objects=objects)
    lost = few(action.removed_definitions, MAX_KEYS)
    if lost:
        why = f"{action.reason}; with {lost} go all its custom resources in all namespaces, which no restore brings back"
        return action.model_copy(update={"reason": why})
    return action


def _unlock(history: ReleaseHistory, lock: Lock, request: UnlockRequest, *, gone: bool) -> Plan:
    if history.current is not None:
        check_current(history.current, request.revision)
    if lock.state is LockState.LIVE and not request.force:
        raise locked_error(request.namespace, request.name, lock.holder)
    actions = []
    if lock.state is not LockState.FREE:
        reason = f"{lock.holder or 'an unknown holder'} holds it"
        actions.append(Action(kind="take-lock", subject=request.release, reason=reason))
    actions.extend(_interrupted_recreations(history))
    unfinished = find_unfinished(history, request)
    if unfinished is not None and unfinished.stale and not unfinished.record.damaged:
        ended = gone and is_fenced_uninstall(unfinished.record)
        actions.append(mark_uninstalled(unfinished.record) if ended else _mark_failed(unfinished, Lock()))
    for operation in history.unfinished:
        by = operation.actor or "an unknown actor"
        reason = f"the {operation.verb} by {by} since {operation.started_at.isoformat()} has no outcome"
        actions.append(Action(kind="settle-operation", subject=operation.id, reason=reason))
    return Plan(actions=tuple(actions), reason="" if actions else f"{request.release} is not locked, and nothing is unfinished")


# what puts the history in order first, so that Helm can do the rest


def _reconciliation(
    history: ReleaseHistory, unfinished: Unfinished | None, main_plan: Plan, lock: Lock, removed: Removed, most: int, *, gone: bool
) -> Iterator[Action]:
    yield from _interrupted_recreations(history)
    main = main_plan.actions[-1]
    fenced = {record.revision for record in history.records if record.immutable}
    if unfinished is not None and unfinished.record.status in PENDING:
        yield _mark_failed(unfinished, lock)
        fenced.add(unfinished.record.revision)
    if unfinished is not None and gone:
        yield mark_uninstalled(unfinished.record)
        fenced.discard(unfinished.record.revision)
    uninstall = None
    is_uninstalling = unfinished is not None and unfinished.record.status == Status.UNINSTALLING
    if unfinished is not None and is_uninstalling and not gone and main.kind != "helm-uninstall":
        uninstall = _uninstall(unfinished.record, f"the delete by {unfinished.by} since {unfinished.since} was interrupted")
    built = built_records(history, filter(None, (uninstall, *main_plan.actions))) if removed else ()
    restored = {record: restore_action(record) for record in history.records if record.has_named_objects}
    mapped = restored | {record: action for record in built if (action := map_action(record, removed)) is not None}
    for record in dict.fromkeys((*_rewritten(history, main), *mapped)):
        if record.revision in fenced:
            yield Action(kind="recreate-record", subject=record.id, reason="it is fenced, and has to be rewritten")
    yield from mapped.values()
    if uninstall is not None:
        yield uninstall
    if main.kind == "helm-upgrade":
        yield from pass_base(history, most)
    for record in _strays(history, main):
        yield Action(kind="mark-superseded", subject=record.id, reason="it is deployed beside another revision")


def _interrupted_recreations(history: ReleaseHistory) -> Iterator[Action]:
    for record in history.aside:
        yield Action(kind="recreate-record", subject=record.id, reason="an earlier recreation of it was interrupted")


def _mark_failed(unfinished: Unfinished, lock: Lock) -> Action:
    gone = ", which is gone" if lock.state is LockState.EXPIRED else ""
    reason = f"it was left {unfinished.record.status} by {unfinished.by}{gone}, since {unfinished.since}"
    return Action(kind="mark-failed", subject=unfinished.record.id, reason=reason)


def _rewritten(history: ReleaseHistory, main: Action) -> Iterator[Record]:
    """Yield the records that Helm itself, or an adoption, rewrites during an action."""
    for record in history.records:
        if record.damaged:
            continue
        is_current = record is history.current and (main.kind in _REPLACES or record.status == Status.UNINSTALLING)
        if is_current or (main.kind in _SUPERSEDES and record.status == Status.DEPLOYED):
            yield record


def _strays(history: ReleaseHistory, main: Action) -> Iterator[Record]:
    """Yield the deployed records that Helm will not supersede: an upgrade supersedes the newest only, an install none."""
    deployed = [record for record in history.records if not record.damaged and record.status == Status.DEPLOYED]
    if main.kind == "helm-upgrade":
        yield from deployed[1:]
    elif main.kind == "helm-install-replace":
        yield from deployed
    elif main.kind == ADOPT:
        yield from (record for record in deployed if record.id != main.subject)
