"""The state machine of an operation. The file reads top down: phases in their order, each function below its callers.

read the history → plan → acquire the lock → reconcile → write the operation → run Helm → read the record back →
(a deploy that failed: diagnose, then roll back or keep) → finish the operation → release the lock

The record is the truth, not Helm's exit status: a Helm that failed may have deployed, and one that succeeded may have left its
record pending. A failed deploy is diagnosed before anything is rolled back, because afterwards its pods are gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

from kubernaut.deploy.cluster_facts import adopted_health, is_gone, missing_in
from kubernaut.deploy.endings import name_endings, wait_for_endings
from kubernaut.deploy.execution import DeployContext, Execution, NotReady, completing_hints
from kubernaut.deploy.failed_deploy import roll_back_or_keep
from kubernaut.deploy.helm_commands import deploy_command, rollback_command, run_helm, uninstall_command
from kubernaut.deploy.hook_cleanup import remove_left_hooks
from kubernaut.deploy.lock.acquire import hold, read_lock
from kubernaut.deploy.lock.lease import Lock, holder_for
from kubernaut.deploy.operation_writer import OperationWriter
from kubernaut.deploy.operations import description_of, operation_for
from kubernaut.deploy.ownership import with_adoptions
from kubernaut.deploy.planning.adoption import ADOPT, failed_late
from kubernaut.deploy.planning.leftovers import MARK_DEPLOYED, passed_base
from kubernaut.deploy.planning.plan import RECONCILING, plan
from kubernaut.deploy.planning.removed_kinds import MAP_RECORD, built_records
from kubernaut.deploy.planning.revisions import chart_of, difference
from kubernaut.deploy.planning.unfinished import is_fenced_uninstall
from kubernaut.deploy.reconcile import reconcile, settle
from kubernaut.deploy.requests import DeployRequest, OperationRequest, UninstallRequest, UnlockRequest
from kubernaut.deploy.rollback_objects import with_rollback_adoptions
from kubernaut.deploy.rollout import following
from kubernaut.deploy.uninstall import uninstalling
from kubernaut.errors import (
    Conflict,
    ReleaseLocked,
    ReleaseNotFound,
)
from kubernaut.events import Journal, Progress, Step
from kubernaut.history.operations import UNCHANGED, Operation, OperationChart, Outcome
from kubernaut.history.records import Record, Status
from kubernaut.history.releases import Release
from kubernaut.history.repair import adopted_patch
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan
from kubernaut.rollout.health_reader import HealthReader

MAX_ROUNDS = 20
"""How often an operation plans anew because the records change meanwhile."""
_POLL_SECONDS = 1.0


class Result(NamedTuple):
    """The result of an operation: its plan, whether it changed anything, and the release afterwards (the current one, if any)."""

    plan: Plan
    changed: bool
    release: Release | None


def execute(request: OperationRequest, *, context: DeployContext, dry_run: bool = False, diff: bool = False) -> Result:
    """Execute an operation on a release.

    Args:
        request: The operation to execute.
        context: What it works with.
        dry_run: Only plan; nothing is changed.
        diff: With ``dry_run``: also compare what would run with what runs.

    Raises:
        DeployRolledBack: The new release failed, and the one before it runs again.
        DeployKept: The new release failed and was kept, or could not be rolled back.
        LockLost: Another operation took the lock over meanwhile.
        KubernautError: Nothing was changed: see :func:`kubernaut.deploy.planning.plan.plan`, the lock and Helm.
    """
    writer = OperationWriter(context.cluster, Journal(context.progress.listener), secrets=context.secrets)
    result = _execute(request, context, writer, dry_run=dry_run)
    if not (dry_run and diff):
        return result
    from kubernaut.deploy.preview import preview  # it imports what compares releases

    return result._replace(plan=preview(request, result.plan, context))


def execute_accepted(operation: Operation, build_request: Callable[[], OperationRequest], *, context: DeployContext) -> Result:
    """Execute an accepted operation, as :func:`execute` does; its outcome is always written.

    Args:
        operation: The operation as it was accepted.
        build_request: Returns its request; an error that it raises is the operation's outcome.
        context: What it works with.

    Raises:
        Conflict: The operation has been begun or given an outcome elsewhere; nothing was changed.
        KubernautError: See ``build_request`` and :func:`execute`.
    """
    writer = OperationWriter(context.cluster, Journal(context.progress.listener), operation, secrets=context.secrets)
    with writer.recording_end(operation):
        request = build_request()
        found, accepted = ((one.verb, one.namespace, one.name) for one in (request, operation))
        if found != accepted:
            raise ValueError(f"accepted was the {' '.join(accepted)}, not the {' '.join(found)}")
        result = _execute(replace(request, note=request.note or operation.note), context, writer, dry_run=False)
    outcome = Outcome(reason=UNCHANGED, message=result.plan.reason)
    writer.end_unbegun(outcome, plan=result.plan, after=result.release.revision if result.release else 0)
    return result


def _execute(request: OperationRequest, context: DeployContext, writer: OperationWriter, *, dry_run: bool) -> Result:
    context = replace(context, progress=Progress(writer.journal))
    with completing_hints(request.namespace, request.name), ExitStack() as lock:
        try:  # the lock outlives the step, because a failed deploy is rolled back under the same lock
            with context.progress.step(request.verb, request.subject) as step:
                return _plan_and_execute(request, context, writer, step, lock, dry_run=dry_run)
        except NotReady as failed:
            with failed.execution.finishing():
                raise roll_back_or_keep(failed) from None


# plan


def _plan_and_execute(
    request: OperationRequest, context: DeployContext, writer: OperationWriter, step: Step, lock: ExitStack, *, dry_run: bool
) -> Result:
    history = context.store.get(request.namespace, request.name)
    first = _plan_unlocked(request, context, history, dry_run=dry_run)
    if first is not None and not first.changes:
        return _unchanged(step, first, history)
    if first is not None and dry_run:
        first = with_adoptions(with_rollback_adoptions(first, request, history, context), request, history, context, step)
        step.planned(f"dry run: {first.summary}")
        return Result(first, False, history.describe(history.current))
    created = tuple(action for action in first.actions if action.kind == "create-namespace") if first else ()
    for action in created:
        context.cluster().create_namespace(action.subject)
    execution = _acquire_lock(request, context, writer, step, lock)
    with execution.finishing():
        planned, changed, release = _execute_locked(request, execution)
    return Result(planned.model_copy(update={"actions": (*created, *planned.actions)}), changed, release)


def _plan_unlocked(request: OperationRequest, context: DeployContext, history: ReleaseHistory, *, dry_run: bool) -> Plan | None:
    """Refuse what is impossible, and find out that nothing is to do, without a wait; ``None`` if the lock has to be waited for."""
    is_new = isinstance(request, DeployRequest) and not history.records
    namespace_missing = is_new and not context.cluster().namespace_exists(request.namespace)
    reads_lock = dry_run or isinstance(request, UnlockRequest)  # the others find out when they acquire it
    lock = read_lock(context.cluster(), request.namespace, request.name) if reads_lock else Lock()
    try:
        return _plan_with_health(history, lock, request, context, namespace_missing=namespace_missing)
    except ReleaseLocked:
        if dry_run or not request.lock_timeout:
            raise
        return None


def _plan_with_health(
    history: ReleaseHistory, lock: Lock, request: OperationRequest, context: DeployContext, *, namespace_missing: bool = False
) -> Plan:
    """Plan; what the cluster shows is read only where the plan depends on it: see :func:`kubernaut.deploy.planning.plan.plan`."""
    current = history.current
    gone = current is not None and is_fenced_uninstall(current) and is_gone(current, context.cluster())
    planned = plan(history, lock, request, namespace_missing=namespace_missing, gone=gone)
    removed = missing_in(context.cluster(), built_records(history, planned.actions))
    if removed:
        return plan(history, lock, request, removed=removed, gone=gone)
    if history.current is None or not isinstance(request, DeployRequest):
        return planned
    late = failed_late(history, request) if planned.changes and not request.always else None
    if planned.changes and late is None:
        return planned
    health = HealthReader(context.store, context.cluster, context.settings).health(history.current, quick=late is None)
    known = health if late is None else adopted_health(late, health, context.cluster())
    return plan(history, lock, request, health=known) if known is not None else planned


# acquire the lock


def _acquire_lock(
    request: OperationRequest, context: DeployContext, writer: OperationWriter, step: Step, lock: ExitStack
) -> Execution:
    """Acquire the release's lock, which ``lock`` releases. Raises: see :func:`kubernaut.deploy.lock.acquire.hold`."""
    started = context.clock()
    operation = operation_for(request, context.settings, writer.accepted)
    where = (context.cluster(), request.namespace, request.name)
    waiting: dict[str, Any] = {"timeout": request.lock_timeout, "force": request.force}
    held = lock.enter_context(hold(*where, holder_for(operation), **waiting, notify=step.notice, stopped=context.stopped))
    lock.callback(writer.close)  # before the lock is released
    helm_wait = max(0.0, request.lock_timeout - (context.clock() - started))
    deadline = context.clock() + request.timeout
    execution = Execution(context, held, writer, operation, step, deadline=deadline, helm_wait=helm_wait)
    execution.no_hooks = request.no_hooks
    return execution


def _execute_locked(request: OperationRequest, execution: Execution) -> Result:
    planned = _reconcile(request, execution)
    settle(execution.cluster, execution.history, except_for=execution.operation.id, notify=execution.step.notice)
    if isinstance(request, UnlockRequest):
        history = execution.read()
        execution.step.done(f"{request.release} is unlocked")
        return Result(planned, planned.changes, history.describe(history.current))
    if not planned.changes:
        execution.finish_succeeded()
        return _unchanged(execution.step, planned, execution.history)
    execution.begin(planned)
    action = planned.actions[-1]
    if action.kind == ADOPT:
        return _adopt(execution, planned, execution.history.by_id(action.subject))
    if isinstance(request, UninstallRequest):
        record = _delete(request, execution, action)
        if execution.helm_failure is not None:  # else Helm has waited until they were gone
            name_endings(execution, record)
        return _succeeded(execution, planned, record, None)
    wait_for_endings(execution)
    if isinstance(request, DeployRequest):
        return _deploy(request, execution, planned, action)
    return _roll_back(request, execution, planned, action)


# reconcile


def _reconcile(request: OperationRequest, execution: Execution) -> Plan:
    """Put the history in order and plan anew, until only the verb's own action is left; return that plan."""
    deadline = execution.context.clock() + execution.helm_wait
    unlocks = isinstance(request, UnlockRequest)
    first: Plan | None = None
    for _ in range(MAX_ROUNDS):
        planned = _plan_when_helm_is_done(request, execution, deadline)
        if first is None:
            remove_left_hooks(execution)
        first = first or planned
        ahead = planned.actions if unlocks else planned.actions[:-1]
        action = next((action for action in ahead if action.kind in RECONCILING or action.kind == "helm-uninstall"), None)
        if action is None:
            return first if unlocks else planned
        if not unlocks:
            execution.begin(planned)
        execution.lock.check()
        if _carry_out(action, request, execution):
            request = replace(request, if_match=None)  # it matched, and only this operation changed the record since
    raise Conflict(f"The records of {request.release} changed again and again while they were put in order.")


def _plan_when_helm_is_done(request: OperationRequest, execution: Execution, deadline: float) -> Plan:
    """Plan; while plain Helm is at work, wait for it as for a lock."""
    notified = False
    while True:
        try:
            return _plan_with_health(execution.read(), execution.lock.found, request, execution.context)
        except ReleaseLocked as busy:
            if execution.context.clock() >= deadline:
                raise
            if not notified:
                execution.step.notice(f"{busy.message} Waiting for it.")
            notified = True
        time.sleep(_POLL_SECONDS)
        execution.lock.check()


def _carry_out(action: Action, request: OperationRequest, execution: Execution) -> bool:
    """Carry out an action that puts the history in order; return whether it took effect."""
    if action.kind == "helm-uninstall":
        execution.reconciled.add(action.subject)
        _uninstall(request, execution, execution.history.by_id(action.subject))
        return True
    base = passed_base(execution.history, request.history_max)
    by = execution.operation.actor or "kubernaut"
    note = request.note if isinstance(request, UnlockRequest) else None  # another verb's note is about that verb
    try:
        reconcile(execution.cluster, action, execution.history, by=by, note=note, notify=execution.step.notice)
    except Conflict as conflict:
        execution.step.notice(f"{conflict.message} Reading the records again.")
        return False
    if action.kind not in ("mark-superseded", MARK_DEPLOYED, MAP_RECORD):
        execution.reconciled.add(action.subject)
    elif base is not None and base.id == action.subject:
        execution.passed_base = base
    return True


# the verbs: run Helm, read the record back


def _deploy(request: DeployRequest, execution: Execution, planned: Plan, action: Action) -> Result:
    chart, current = execution.operation.chart, execution.history.current
    if action.kind == "helm-upgrade" and current is not None and difference(current, execution.history, request) is None:
        execution.step.notice(f"{action.reason}; it is applied again.")
    with following(execution, execution.next_revision, request) as rollout:
        run_helm(execution, deploy_command(request, execution, action), rollout)
        record = execution.read_back(execution.find_labelled)
        execution.restore_statuses(record)
        if record is None:
            raise rollout.refused(execution.failure_of(None), request.subject)
        execution.add_release(record, chart)
        failure = rollout.failure(record)
        if failure is None:
            execution.remove_leftovers(record)
            return _succeeded(execution, planned, record, chart)
        raise NotReady(request, execution, record, rollout.explained(record, failure, request.subject))


def _adopt(execution: Execution, planned: Plan, current: Record) -> Result:
    """Mark a release deployed that failed and that runs as requested now."""
    execution.lock.check()
    description = description_of(f"{current.chart.get('version')}, adopted", execution.operation)
    patch = adopted_patch(current, execution.operation.id, description)
    execution.cluster.patch_secret(current.namespace, current.secret, patch)
    record = execution.read_back(lambda history: history.find(current.revision)) or current
    execution.remove_leftovers(record)
    chart = chart_of(current, execution.history)
    return _succeeded(execution, planned, record, chart, f"adopted: {planned.actions[-1].reason}")


def _roll_back(request: OperationRequest, execution: Execution, planned: Plan, action: Action) -> Result:
    target = execution.history.by_id(action.subject)
    chart = chart_of(target, execution.history)
    with following(execution, execution.next_revision) as rollout:
        run_helm(execution, rollback_command(request, execution, target, chart), rollout)
        record = execution.read_back(execution.find_own)
        execution.restore_statuses(record)
        if record is None:
            raise rollout.refused(execution.failure_of(None), f"The rollback to {target.id}")
        execution.add_release(record, chart)
        failure = rollout.failure(record)
        if failure is None:
            execution.remove_leftovers(record)
            return _succeeded(execution, planned, record, chart)
        raise rollout.explained(record, failure, f"The rollback to {target.id}")


def _delete(request: UninstallRequest, execution: Execution, action: Action) -> Record:
    """Uninstall the current release, or record that this has happened; return its record afterwards."""
    current = execution.history.by_id(action.subject)
    if action.kind == "helm-uninstall":
        return _uninstall(request, execution, current)
    if not _carry_out(action, request, execution):
        raise Conflict(f"{current.id} was changed at the same time.")
    record = execution.read_back(lambda history: history.find(current.revision))
    if record is None:
        raise ReleaseNotFound(f"{current.id} and its history were removed by another process at the same time.")
    return record


def _uninstall(request: OperationRequest, execution: Execution, current: Record) -> Record:
    """Uninstall the current release, or finish an interrupted uninstall; return its record afterwards."""
    with uninstalling(execution, current) as uninstall:
        run_helm(execution, uninstall_command(request, execution), uninstall)
        record = execution.read_back(lambda history: history.find(current.revision))
        if record is None:
            raise ReleaseNotFound(f"{current.id} and its history were removed by another process at the same time.")
        if record.status == Status.UNINSTALLED:
            if execution.operation.verb == "delete" and (failed := uninstall.failure_after_the_end(record)):
                execution.add_release(record, None)
                raise failed
            return record
        newest = execution.latest.current
        if newest is not None and newest.revision > current.revision:  # Helm uninstalls the current one
            raise Conflict(f"{newest.id} was made at the same time and is {newest.status}.")
        if execution.operation.verb == "delete":
            execution.add_release(record, None)
        execution.raise_if_stopped()
        raise uninstall.failure(record)


# the end


def _succeeded(execution: Execution, planned: Plan, record: Record, chart: OperationChart | None, message: str = "") -> Result:
    execution.add_release(record, chart)
    if execution.helm_failure is not None:  # the record shows a success, but the warning matters
        execution.step.notice(f"Helm reported: {execution.helm_failure}")
    execution.finish_succeeded(message)
    release = execution.latest.describe(record)
    execution.step.done(f"{record.id} is {record.status}")
    return Result(planned, True, release)


def _unchanged(step: Step, planned: Plan, history: ReleaseHistory) -> Result:
    step.unchanged(planned.reason)
    return Result(planned, False, history.describe(history.current))
