"""A deploy that failed: rolled back to the newest release that served, or kept."""

from __future__ import annotations

from typing import Any

from kubernaut.deploy.execution import Execution, NotReady
from kubernaut.deploy.helm_commands import rollback_command, run_helm
from kubernaut.deploy.planning.revisions import chart_of, served_before, title
from kubernaut.deploy.rollout import following
from kubernaut.errors import DeployFailed, DeployKept, DeployRolledBack, Interrupted, KubernautError, LockLost
from kubernaut.history.records import Record, Status
from kubernaut.rollout.expected import expected_of
from kubernaut.rollout.helm_failures import conflicting_objects
from kubernaut.rollout.problems import Cause

ON_FAILURE = "kubernaut/on-failure"
"""The chart's annotation that decides what follows a failed deploy, unless the request does: ``rollback`` or ``keep``."""


def roll_back_or_keep(failed: NotReady) -> KubernautError:
    """Roll a failed deploy back, or keep it; return or raise the error that reports the result."""
    request, execution, record, error = failed.request, failed.execution, failed.record, failed.error
    target = served_before(execution.history, record.revision, through_deletes=False).record
    on_failure = request.on_failure or record.annotations.get(ON_FAILURE) or "rollback"
    if isinstance(execution.helm_failure, Interrupted) or on_failure != "rollback" or target is None:
        why = " There is no earlier release to roll back to." if on_failure == "rollback" and target is None else ""
        return DeployKept(error.message + why, details=error.details, **_kept_of(error))
    if _nothing_applied(execution, record, target):
        message = f"{error.message} No object was changed, so {title(target)} still runs."
        return DeployRolledBack(message, details=error.details, members=error.members, **_hints_after_rollback(error))
    execution.write_explanation(error)
    with execution.context.progress.step("rollback", f"{target.id}, within {request.timeout:g} s") as step:
        execution.step = step
        back = _back_to(target, failed)
        step.done(f"{back.id} runs what v{target.revision} was")
    message = f"{error.message} {title(target)} runs again as v{back.revision}."
    return DeployRolledBack(message, details=error.details, members=error.members, **_hints_after_rollback(error))


def _back_to(target: Record, failed: NotReady) -> Record:
    """Roll back to a record after a failed deploy; return the record that it made. Raises: DeployKept, Interrupted."""
    request, execution, error = failed.request, failed.execution, failed.error
    chart = chart_of(target, execution.history)
    execution.deadline = execution.context.clock() + request.timeout
    back: Record | None = None
    with following(execution, failed.record.revision + 1) as rollout:
        run_helm(execution, rollback_command(request, execution, target, chart), rollout)
        try:
            before = execution.latest
            back = execution.read_back(lambda history: execution.find_own(history, after=failed.record.revision))
            execution.restore_statuses(back, before)
            if back is not None:
                execution.add_release(back, chart)
            failure = execution.failure_of(None) if back is None else rollout.failure(back)
        except Interrupted as stopped:
            raise Interrupted(f"{error.message} {stopped.message}", details=error.details, members=error.members) from None
        except LockLost as lost:
            failure = lost
        except KubernautError as unknown:
            message = f"{error.message} Whether {title(target)} runs again is unknown: {unknown.message}"
            kept = _kept_of(error) | {"hint": unknown.hint, "http_hint": unknown.http_hint}
            raise DeployKept(message, details=error.details, **kept) from unknown
    if back is not None and failure is None:
        execution.remove_leftovers(back)
        return back
    message = f"{error.message} The rollback to {title(target)} failed as well: {rollout.cleaned(failure)}"
    members = _kept_of(error)
    if failure is not None and failure.members.get("cause") == Cause.OWNED_BY_ANOTHER_RELEASE:
        members |= {"hint": failure.hint, "http_hint": failure.http_hint}
    elif failure is not None and not execution.no_hooks and rollout.is_hook(failure):
        command = f"kubernaut rollback {target.name} -n {target.namespace} --revision {target.revision} --no-hooks"
        members["hint"] = f"`{command}` rolls back without hooks. {error.hint}"
        members["http_hint"] = f"Roll back to {target.id} with `noHooks` set to true to leave hooks out. {error.http_hint}"
    raise DeployKept(message, details=error.details, **members)


def _nothing_applied(execution: Execution, record: Record, deployed: Record) -> bool:
    """Return whether a failed upgrade has changed no object, so that the release before it still runs as it was.

    Helm 4 applies each object on its own: one with a conflict stays, the others are applied, and nothing is removed.
    """
    failure = execution.helm_failure
    conflicting = conflicting_objects(failure) if failure is not None else frozenset()
    if not conflicting or deployed.status != Status.DEPLOYED or execution.history.current is not deployed:
        return False
    before, after = expected_of(deployed), expected_of(record)
    if before is None or after is None or any("pre-upgrade" in one.hook for one in after):
        return False
    known = {one.key: one.object for one in before if not one.hook}
    changed = (one.key for one in after if not one.hook and known.get(one.key) != one.object)
    return all((key.kind, key.name) in conflicting for key in changed)


def _hints_after_rollback(error: DeployFailed) -> dict[str, str]:
    """Return the hints of a deploy that was rolled back: advice that names no pods, which are gone, and where the evidence is."""
    if error.members.get("cause") == Cause.APPLY_CONFLICT:
        return {"hint": error.hint, "http_hint": error.http_hint}
    advice = "" if "`" in error.http_hint else f"{error.http_hint} "
    return {"hint": advice + DeployRolledBack.hint, "http_hint": advice + DeployRolledBack.http_hint}


def _kept_of(error: DeployFailed) -> dict[str, Any]:
    """Return the members of an explanation that the report of a failed deploy keeps."""
    return {"hint": error.hint, "http_hint": error.http_hint, "members": error.members}
