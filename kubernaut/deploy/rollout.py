"""The verbs: read what is known, decide, write the operation down, start Helm once, read back what is true.

Helm's exit status is not the truth, its record is: a Helm that failed may have deployed, and one that succeeded may have left its
record pending. A failure explains itself before anything is rolled back, since afterwards the pods are gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernaut.deploy import operation as operations
from kubernaut.deploy.attempt import Attempt
from kubernaut.deploy.failure import diagnose, probe
from kubernaut.deploy.plan import Wanted, chart_of, plan_delete, plan_deploy, plan_restore, plan_rollback, previous
from kubernaut.errors import Conflict, DeployFailed, DeployKept, DeployRolledBack, Interrupted, KubernautError, ReleaseNotFound
from kubernaut.events import Progress, Step
from kubernaut.history.operation import Operation, OperationChart, Verb, new_id, now
from kubernaut.history.record import OPERATION_LABEL, REVISION_LABEL, Record, Status
from kubernaut.history.release import Release
from kubernaut.history.store import History, Past
from kubernaut.model import Plan
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.clients.cluster import Cluster
    from kubernaut.clients.helm import Helm

ON_FAILURE = "kubernaut/on-failure"
"""The chart's annotation that says what a failed deploy does, unless the deploy says it."""


@dataclass(frozen=True)
class Tools:
    """What the verbs need; the cluster and Helm are opened only when there is work for them.

    Attributes:
        history: The releases in the cluster.
        clock: Seconds, for deadlines.
    """

    helm: Callable[[], Helm]
    cluster: Callable[[], Cluster]
    history: History
    settings: Settings
    progress: Progress
    clock: Callable[[], float] = time.monotonic


Done = tuple[Plan, bool, Release | None]


def deploy(wanted: Wanted, *, tools: Tools, dry_run: bool = False) -> Done:
    """Put a version into a namespace.

    Returns:
        The plan, whether anything was changed, and the release afterwards; on a dry run the current one, if any.

    Raises:
        DeployRolledBack: The release failed, and what ran before runs again.
        DeployKept: The release failed, and was left as it is.
        KubernautError: Nothing was deployed: what :func:`plan_deploy` and Helm refuse.
    """
    try:
        with tools.progress.step("deploy", wanted.subject) as step:
            past = tools.history.past(wanted.namespace, wanted.name)
            values = wanted.wish.values(past.current.config if past.current else None)
            missing = not past.records and not tools.cluster().namespace_exists(wanted.namespace)
            plan = plan_deploy(past, wanted, values, namespace_missing=missing)
            if dry_run or not plan.changes:
                return _unchanged(step, plan, past, past.current)
            if missing:
                tools.cluster().create_namespace(wanted.namespace)
            return _carry_out(wanted, values, plan, past, tools, step)
    except _NotReady as failure:
        raise _after_failure(wanted, failure, tools) from None


class _NotReady(Exception):
    """Ends the step of a deploy whose release failed: what follows is another step."""

    def __init__(self, attempt: Attempt, record: Record, failed: DeployFailed) -> None:
        super().__init__(failed.message)
        self.attempt = attempt
        self.record = record
        self.failed = failed


def _carry_out(wanted: Wanted, values: dict[str, Any], plan: Plan, past: Past, tools: Tools, step: Step) -> Done:
    chart = OperationChart(version=wanted.version, ref=wanted.chart_ref, digest=wanted.chart_digest)
    operation = _operation("deploy", wanted.namespace, wanted.name, plan, tools, wanted.note).model_copy(
        update={"commit": wanted.commit, "environment": wanted.environment, "chart": chart}
    )
    attempt = Attempt(tools.helm, tools.cluster, tools.history, past, operation, step, until=tools.clock() + wanted.timeout)
    attempt.begin()
    replace = plan.actions[-1].kind == "helm-install-replace"
    attempt.run(lambda helm, log: _start(helm, log, wanted, values, attempt, replace=replace))
    record = attempt.read_back(_labelled(operation.id))
    if record is None:
        raise attempt.nothing_came_of_it()
    with attempt.tidied():
        worked = attempt.worked(record)
        if worked:
            reason = probe(record, cluster=tools.cluster(), until=attempt.until, clock=tools.clock, log=step.log)
        else:
            reason = attempt.failure_of(record)
        by = "Probe" if worked else "Helm"
        failed = diagnose(record, reason, cluster=tools.cluster(), what=wanted.subject, by=by) if reason else None
    if failed is None:
        return _done(step, plan, attempt, record, chart)
    attempt.note(record, chart)
    raise _NotReady(attempt, record, failed)


def rollback(
    namespace: str,
    name: str,
    *,
    revision: int | None = None,
    note: str | None = None,
    timeout: float | None = None,
    tools: Tools,
    dry_run: bool = False,
) -> Done:
    """Make a new release with an older one's chart and values; by default the newest before the current one that ran.

    Raises:
        DeployKept: The new release failed, and was left as it is.
        KubernautError: Nothing was changed: what :func:`plan_rollback` and Helm refuse.
    """
    with tools.progress.step("rollback", f"{namespace}.{name}") as step:
        past = tools.history.past(namespace, name)
        plan, target = plan_rollback(past, namespace, name, revision)
        return _go_back("rollback", plan, target, past, note, timeout, tools, step, dry_run=dry_run)


def restore(
    namespace: str,
    name: str,
    *,
    revision: int | None = None,
    note: str | None = None,
    timeout: float | None = None,
    tools: Tools,
    dry_run: bool = False,
) -> Done:
    """Bring a soft-deleted release back, as it was; ``revision`` is the one that is meant to be the current one.

    Raises:
        DeployKept: The new release failed, and was left as it is.
        KubernautError: Nothing was changed: what :func:`plan_restore` and Helm refuse.
    """
    with tools.progress.step("restore", f"{namespace}.{name}") as step:
        past = tools.history.past(namespace, name)
        plan, target = plan_restore(past, namespace, name, revision)
        return _go_back("restore", plan, target, past, note, timeout, tools, step, dry_run=dry_run)


def delete(
    namespace: str,
    name: str,
    *,
    revision: int | None = None,
    note: str | None = None,
    timeout: float | None = None,
    tools: Tools,
    dry_run: bool = False,
) -> Done:
    """Soft delete: the workload goes, the history stays.

    Args:
        namespace: The release's namespace.
        name: Its name.
        revision: The revision that is meant to be the current one; anything else is refused.
        note: A person's words on it.
        timeout: Seconds it may take; the settings' by default.
        tools: What it needs.
        dry_run: Whether only the plan is made.

    Raises:
        DeployKept: Helm did not finish; the release is left as it is.
        KubernautError: Nothing was changed: what :func:`plan_delete` and Helm refuse.
    """
    with tools.progress.step("delete", f"{namespace}.{name}") as step:
        past = tools.history.past(namespace, name)
        plan, current = plan_delete(past, namespace, name, revision)
        if dry_run or not plan.changes:
            return _unchanged(step, plan, past, current)
        seconds = timeout or tools.settings.timeout
        operation = _operation("delete", namespace, name, plan, tools, note).model_copy(update={"chart": chart_of(current, past)})
        attempt = Attempt(tools.helm, tools.cluster, tools.history, past, operation, step, until=tools.clock() + seconds)
        attempt.begin()
        description = operations.describe("Deleted", operation)
        attempt.run(lambda helm, log: helm.uninstall(name, namespace=namespace, description=description, timeout=seconds, log=log))
        record = attempt.read_back(lambda past: past.find(current.revision))
        if record is None:
            gone = f"{current.id} is gone, its history too: somebody else uninstalled it at the same time."
            raise attempt.end(ReleaseNotFound(gone))
        if record.status == Status.UNINSTALLED:
            return _done(step, plan, attempt, record, None)
        newest = attempt.now.current
        if newest is not None and newest.revision > current.revision:  # Helm deletes what is current
            raise attempt.end(Conflict(f"{newest.id} was made at the same time, and is {newest.status}: look at it."))
        attempt.note(record, None)
        failure = attempt.failure or DeployFailed(f"Helm said that {record.id} is deleted, and its record says {record.status}.")
        raise attempt.end(DeployKept(f"{record.id} is not deleted, it is {record.status}: {failure}", details=failure.details))


def _go_back(
    verb: Verb,
    plan: Plan,
    target: Record,
    past: Past,
    note: str | None,
    timeout: float | None,
    tools: Tools,
    step: Step,
    *,
    dry_run: bool,
) -> Done:
    if dry_run or not plan.changes:
        return _unchanged(step, plan, past, past.current)
    seconds = timeout or tools.settings.timeout
    chart = chart_of(target, past)
    operation = _operation(verb, target.namespace, target.name, plan, tools, note).model_copy(update={"chart": chart})
    attempt = Attempt(tools.helm, tools.cluster, tools.history, past, operation, step, until=tools.clock() + seconds)
    attempt.begin()
    _run_rollback(attempt, target, chart, tools.settings.history_max, seconds)
    record = attempt.read_back(attempt.first_new)
    if record is None:
        raise attempt.nothing_came_of_it()
    if attempt.worked(record):
        return _done(step, plan, attempt, record, chart)
    what = f"Going back to {target.id}"
    with attempt.tidied():
        failed = diagnose(record, attempt.failure_of(record), cluster=tools.cluster(), what=what)
    attempt.note(record, chart)
    raise attempt.end(DeployKept(failed.message, details=failed.details))


def _after_failure(wanted: Wanted, failure: _NotReady, tools: Tools) -> KubernautError:
    """Roll a failed deploy back, or leave it; return how it ended."""
    attempt, record, failed = failure.attempt, failure.record, failure.failed
    before = previous(attempt.past, record.revision)
    choice = wanted.on_failure or record.annotations.get(ON_FAILURE) or "rollback"
    if isinstance(attempt.failure, Interrupted) or choice != "rollback" or before is None:
        why = " There is nothing before it to go back to." if choice == "rollback" and before is None else ""
        return attempt.end(DeployKept(failed.message + why, details=failed.details))
    attempt.explained(failed)
    with tools.progress.step("rollback", before.id) as step:
        attempt.step = step
        chart = chart_of(before, attempt.past)
        _run_rollback(attempt, before, chart, wanted.history_max, wanted.timeout)
        try:
            back = attempt.read_back(lambda past: _after(record, past, attempt))
        except KubernautError as unknown:
            message = f"{failed.message} Whether v{before.revision} runs again is not known: {unknown.message}"
            raise attempt.end(DeployKept(message, hint=unknown.hint, details=failed.details)) from unknown
        if back is not None:
            attempt.note(back, chart)
        if back is None or not attempt.worked(back):
            said = f": {attempt.failure}" if attempt.failure else "."
            message = f"{failed.message} Going back to v{before.revision} failed too{said}"
            raise attempt.end(DeployKept(message, details=failed.details))
        step.done(f"{back.id} runs what v{before.revision} was")
    return attempt.end(
        DeployRolledBack(f"{failed.message} v{before.revision} runs again, as v{back.revision}.", details=failed.details)
    )


def _after(failed: Record, past: Past, attempt: Attempt) -> Record | None:
    """Find the record that going back from a failed one made."""
    newer = (record for record in reversed(past.records) if record.revision > failed.revision)
    return next((record for record in newer if attempt.is_ours(record)), None)


def _run_rollback(attempt: Attempt, target: Record, chart: OperationChart, history_max: int, seconds: float) -> None:
    attempt.back_to = chart
    attempt.run(
        lambda helm, log: helm.rollback(
            target.name, target.revision, namespace=target.namespace, timeout=seconds, history_max=history_max, log=log
        )
    )


def _start(
    helm: Helm, log: Callable[[str], None], wanted: Wanted, values: dict[str, Any], attempt: Attempt, *, replace: bool
) -> None:
    operation = attempt.operation
    common: dict[str, Any] = {
        "namespace": wanted.namespace,
        "values": values,
        "labels": {OPERATION_LABEL: operation.id, REVISION_LABEL: str(attempt.next_revision)},
        "description": operations.describe(wanted.version, operation),
        "timeout": wanted.timeout,
        "log": log,
    }
    if replace:
        helm.install_replace(wanted.name, wanted.chart_ref, **common)
    else:
        helm.upgrade_install(wanted.name, wanted.chart_ref, history_max=wanted.history_max, **common)


def _operation(verb: Verb, namespace: str, name: str, plan: Plan, tools: Tools, note: str | None) -> Operation:
    return Operation(
        id=new_id(),
        verb=verb,
        namespace=namespace,
        name=name,
        actor=tools.settings.actor,
        build_url=tools.settings.build_url,
        note=note,
        plan=plan,
        started_at=now(),
    )


def _labelled(id: str) -> Callable[[Past], Record | None]:
    """Find the oldest record with an operation's label: plain Helm may have copied it onward already."""
    return lambda past: next((record for record in reversed(past.records) if record.labels.get(OPERATION_LABEL) == id), None)


def _unchanged(step: Step, plan: Plan, past: Past, record: Record | None) -> Done:
    step.unchanged(plan.reason or "; ".join(f"{action.kind}: {action.reason}" for action in plan.actions))
    return plan, False, past.describe(record)


def _done(step: Step, plan: Plan, attempt: Attempt, record: Record, chart: OperationChart | None) -> Done:
    attempt.note(record, chart)
    if attempt.failure is not None:  # the record says that it worked; what Helm complains of is news all the same
        step.log(f"Helm said: {attempt.failure}")
    attempt.succeed()
    release = attempt.now.describe(record)
    step.done(f"{record.id} is {record.status}")
    return plan, True, release
