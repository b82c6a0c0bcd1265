"""A verb, carried out: read what is known, decide, take the lock, put in order what was left, start Helm, read back what is true.

Helm's exit status is not the truth, its record is: a Helm that failed may have deployed, and one that succeeded may have left its
record pending. A failure explains itself before anything is rolled back, since afterwards the pods are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from kubernaut.deploy import operation as operations
from kubernaut.deploy.diagnose import diagnose, probe
from kubernaut.deploy.execution import Attempt, NotReady, Tools
from kubernaut.deploy.lease import Lock
from kubernaut.deploy.lock import look
from kubernaut.deploy.operations import OperationWriter
from kubernaut.deploy.plan import plan
from kubernaut.deploy.reconcile import settle
from kubernaut.deploy.requests import DeployRequest, OperationRequest, UninstallRequest, UnlockRequest
from kubernaut.deploy.revisions import chart_of, previous
from kubernaut.deploy.turn import in_order, take_turn
from kubernaut.errors import (
    Conflict,
    DeployFailed,
    DeployKept,
    DeployRolledBack,
    Interrupted,
    KubernautError,
    ReleaseLocked,
    ReleaseNotFound,
)
from kubernaut.events import Journal, Progress, Step
from kubernaut.history.operations import OperationChart
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL, Record, Status
from kubernaut.history.releases import Release
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan

ON_FAILURE = "kubernaut/on-failure"
"""The chart's annotation that says what a failed deploy does, unless the deploy says it."""

Done = tuple[Plan, bool, Release | None]


def carry_out(wanted: OperationRequest, *, tools: Tools, dry_run: bool = False, ledger: OperationWriter | None = None) -> Done:
    """Do what is wanted.

    Args:
        wanted: What.
        tools: What the verbs need.
        dry_run: Only say what would be done.
        ledger: Where the operation is written down that was accepted for it.

    Returns:
        The plan, whether anything was changed, and the release afterwards; on a dry run the current one, if any.

    Raises:
        DeployRolledBack: The release failed, and what ran before runs again.
        DeployKept: The release failed, and was left as it is.
        LockLost: Somebody took the release's lock away meanwhile.
        KubernautError: Nothing was changed: what :func:`plan` and Helm refuse.
    """
    ledger = ledger or OperationWriter(tools.cluster, Journal(tools.progress.listener))
    tools = replace(tools, progress=Progress(ledger.journal))
    with ExitStack() as lock:  # it outlives the step: what failed is rolled back under the same lock
        try:
            with tools.progress.step(wanted.verb, wanted.subject) as step:
                return _carry_out(wanted, tools, ledger, step, lock, dry_run=dry_run)
        except NotReady as failure:
            with failure.attempt.ended():
                raise _after_failure(wanted, failure, tools) from None


def _carry_out(
    wanted: OperationRequest, tools: Tools, ledger: OperationWriter, step: Step, lock: ExitStack, *, dry_run: bool
) -> Done:
    past = tools.history.get(wanted.namespace, wanted.name)
    missing = isinstance(wanted, DeployRequest) and not past.records and not tools.cluster().namespace_exists(wanted.namespace)
    first = _first_look(past, wanted, tools, namespace_missing=missing, dry_run=dry_run)
    if first is not None and (dry_run or not first.changes):
        return _planned(step, first, past) if first.changes else _unchanged(step, first, past)
    created = tuple(action for action in first.actions if action.kind == "create-namespace") if first else ()
    for action in created:
        tools.cluster().create_namespace(action.subject)
    attempt = take_turn(wanted, tools, ledger, step, lock)
    with attempt.ended():
        planned, changed, release = _when_it_is_our_turn(wanted, attempt)
    return planned.model_copy(update={"actions": (*created, *planned.actions)}), changed, release


def _first_look(
    past: ReleaseHistory, wanted: OperationRequest, tools: Tools, *, namespace_missing: bool, dry_run: bool
) -> Plan | None:
    """Decide before anything is locked, so that what cannot be done is refused, and what is done already costs nobody a turn."""
    asked = dry_run or isinstance(wanted, UnlockRequest)  # for the others it shows when they take the lock
    lock = look(tools.cluster(), wanted.namespace, wanted.name) if asked else Lock()
    try:
        return plan(past, lock, wanted, namespace_missing=namespace_missing)
    except ReleaseLocked:
        if dry_run or not wanted.lock_timeout:
            raise
        return None


def _when_it_is_our_turn(wanted: OperationRequest, attempt: Attempt) -> Done:
    planned = in_order(wanted, attempt, finish=_uninstall)
    settle(attempt.cluster, attempt.past, apart_from=attempt.operation.id, say=attempt.step.say)
    if isinstance(wanted, UnlockRequest):
        past = attempt.read()
        attempt.step.done(f"nobody holds {wanted.release} any more")
        return planned, planned.changes, past.describe(past.current)
    if not planned.changes:
        attempt.succeed()
        return _unchanged(attempt.step, planned, attempt.past)
    attempt.begin(planned)
    action = planned.actions[-1]
    if isinstance(wanted, DeployRequest):
        return _deploy(wanted, attempt, planned, action)
    if isinstance(wanted, UninstallRequest):
        return _delete(wanted, attempt, planned, action)
    return _go_back(wanted, attempt, planned, action)


# Helm's part


def _deploy(wanted: DeployRequest, attempt: Attempt, planned: Plan, action: Action) -> Done:
    chart = attempt.operation.chart
    attempt.run(_install(wanted, attempt, action))
    record = attempt.read_back(attempt.labelled)
    if record is None:
        raise attempt.nothing_came_of_it()
    attempt.note(record, chart)
    worked = attempt.worked(record)
    cluster, step = attempt.cluster, attempt.step
    if worked:
        check = attempt.held.check
        reason = probe(record, cluster=cluster, until=attempt.until, clock=attempt.tools.clock, log=step.log, check=check)
    else:
        reason = attempt.failure_of(record)
    if reason is None:
        return _done(attempt, planned, record, chart)
    by = "Probe" if worked else "Helm"
    raise NotReady(attempt, record, diagnose(record, reason, cluster=cluster, what=wanted.subject, by=by))


def _go_back(wanted: OperationRequest, attempt: Attempt, planned: Plan, action: Action) -> Done:
    target = attempt.past.by_id(action.subject)
    chart = chart_of(target, attempt.past)
    _run_rollback(attempt, target, chart, wanted)
    record = attempt.read_back(attempt.first_new)
    if record is None:
        raise attempt.nothing_came_of_it()
    attempt.note(record, chart)
    if attempt.worked(record):
        return _done(attempt, planned, record, chart)
    failed = diagnose(record, attempt.failure_of(record), cluster=attempt.cluster, what=f"Going back to {target.id}")
    raise DeployKept(failed.message, details=failed.details)


def _delete(wanted: OperationRequest, attempt: Attempt, planned: Plan, action: Action) -> Done:
    record = _uninstall(wanted, attempt, attempt.past.by_id(action.subject))
    return _done(attempt, planned, record, None)


def _uninstall(wanted: OperationRequest, attempt: Attempt, current: Record) -> Record:
    """Uninstall the current release, or finish an uninstall; return its record afterwards."""
    description = operations.describe("Deleted", attempt.operation)
    where: dict[str, Any] = {"namespace": wanted.namespace, "timeout": wanted.timeout, "description": description}
    heard: dict[str, Any] = {"log": attempt.step.log, "check": attempt.held.check}
    attempt.run(lambda helm: helm.uninstall(wanted.name, **where, **heard))
    record = attempt.read_back(lambda past: past.find(current.revision))
    if record is None:
        raise ReleaseNotFound(f"{current.id} is gone, its history too: somebody else uninstalled it at the same time.")
    if record.status == Status.UNINSTALLED:
        return record
    newest = attempt.now.current
    if newest is not None and newest.revision > current.revision:  # Helm deletes what is current
        raise Conflict(f"{newest.id} was made at the same time, and is {newest.status}: look at it.")
    if attempt.operation.verb == "delete":
        attempt.note(record, None)
    attempt.check_whose_end()
    failure = attempt.failure or DeployFailed(f"Helm said that {record.id} is deleted, and its record says {record.status}.")
    raise DeployKept(f"{record.id} is not deleted, it is {record.status}: {failure}", details=failure.details)


def _install(wanted: DeployRequest, attempt: Attempt, action: Action) -> Callable[[Any], None]:
    operation = attempt.operation
    common: dict[str, Any] = {
        "namespace": wanted.namespace,
        "values": wanted.values(attempt.past),
        "labels": {OPERATION_LABEL: operation.id, REVISION_LABEL: str(attempt.next_revision)},
        "description": operations.describe(wanted.version, operation),
        "timeout": wanted.timeout,
        "log": attempt.step.log,
        "check": attempt.held.check,
    }
    if action.kind == "helm-install-replace":
        return lambda helm: helm.install_replace(wanted.name, wanted.chart_ref, **common)
    common |= {"install": action.kind == "helm-install", "history_max": wanted.history_max}
    return lambda helm: helm.upgrade(wanted.name, wanted.chart_ref, **common)


def _run_rollback(attempt: Attempt, target: Record, chart: OperationChart, wanted: OperationRequest) -> None:
    attempt.back_to = chart
    how: dict[str, Any] = {"namespace": target.namespace, "timeout": wanted.timeout, "history_max": wanted.history_max}
    heard: dict[str, Any] = {"log": attempt.step.log, "check": attempt.held.check}
    attempt.run(lambda helm: helm.rollback(target.name, target.revision, **how, **heard))


# when a deploy failed


def _after_failure(wanted: OperationRequest, failure: NotReady, tools: Tools) -> KubernautError:
    """Roll a failed deploy back, or leave it; return how it ended."""
    attempt, record, failed = failure.attempt, failure.record, failure.failed
    before = previous(attempt.past, record.revision)
    choice = getattr(wanted, "on_failure", None) or record.annotations.get(ON_FAILURE) or "rollback"
    if isinstance(attempt.failure, Interrupted) or choice != "rollback" or before is None:
        why = " There is nothing before it to go back to." if choice == "rollback" and before is None else ""
        return DeployKept(failed.message + why, details=failed.details)
    attempt.explained(failed)
    with tools.progress.step("rollback", before.id) as step:
        attempt.step = step
        chart = chart_of(before, attempt.past)
        _run_rollback(attempt, before, chart, wanted)
        try:
            back = attempt.read_back(lambda past: _after(record, past, attempt))
        except KubernautError as unknown:
            message = f"{failed.message} Whether v{before.revision} runs again is not known: {unknown.message}"
            raise DeployKept(message, hint=unknown.hint, details=failed.details) from unknown
        if back is not None:
            attempt.note(back, chart)
        if back is None or not attempt.worked(back):
            if attempt.stop is not None:
                return Interrupted(f"{failed.message} {attempt.stop.message}", details=failed.details)
            said = f": {attempt.failure}" if attempt.failure else "."
            message = f"{failed.message} Going back to v{before.revision} failed too{said}"
            raise DeployKept(message, details=failed.details)
        step.done(f"{back.id} runs what v{before.revision} was")
    return DeployRolledBack(f"{failed.message} v{before.revision} runs again, as v{back.revision}.", details=failed.details)


def _after(failed: Record, past: ReleaseHistory, attempt: Attempt) -> Record | None:
    """Find the record that going back from a failed one made."""
    newer = (record for record in reversed(past.records) if record.revision > failed.revision)
    return next((record for record in newer if attempt.is_ours(record)), None)


# how it ended


def _unchanged(step: Step, planned: Plan, past: ReleaseHistory) -> Done:
    step.unchanged(planned.reason)
    return planned, False, past.describe(past.current)


def _planned(step: Step, planned: Plan, past: ReleaseHistory) -> Done:
    """Return the result of a dry run that found something to do."""
    step.planned(f"dry run: {planned.summary}")
    return planned, False, past.describe(past.current)


def _done(attempt: Attempt, planned: Plan, record: Record, chart: OperationChart | None) -> Done:
    attempt.note(record, chart)
    if attempt.failure is not None:  # the record says that it worked; what Helm complains of is news all the same
        attempt.step.say(f"Helm said: {attempt.failure}")
    attempt.succeed()
    release = attempt.now.describe(record)
    attempt.step.done(f"{record.id} is {record.status}")
    return planned, True, release
