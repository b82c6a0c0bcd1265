"""Getting one's turn: the release's lock, and then a history that is in order, so that Helm can do its part."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from kubernaut.adapters.process import process_identity
from kubernaut.deploy.execution import Attempt, Tools
from kubernaut.deploy.lease import Holder, new_holder
from kubernaut.deploy.lock import hold
from kubernaut.deploy.operations import OperationWriter
from kubernaut.deploy.plan import ORDERING, plan
from kubernaut.deploy.reconcile import put_in_order
from kubernaut.deploy.requests import DeployRequest, OperationRequest, UnlockRequest
from kubernaut.errors import Conflict, ReleaseLocked
from kubernaut.events import Step
from kubernaut.history.operations import Operation, OperationChart, new_operation_id, now
from kubernaut.history.records import Record
from kubernaut.models import Action, Plan

MOST_ROUNDS = 20
"""How often is decided anew because somebody changed a record meanwhile."""
_LOOK_AGAIN_SECONDS = 1.0

Finish = Callable[[OperationRequest, Attempt, Record], object]


def take_turn(wanted: OperationRequest, tools: Tools, ledger: OperationWriter, step: Step, lock: ExitStack) -> Attempt:
    """Take the release's lock, which ``lock`` releases, and open an attempt.

    Raises:
        ReleaseLocked: Another kubernaut is at work, and ``lock_timeout`` is over.
        ClusterDenied: Leases are forbidden.
    """
    began = tools.clock()
    operation = _operation(wanted, tools, ledger.accepted)
    held = lock.enter_context(
        hold(
            tools.cluster(),
            wanted.namespace,
            wanted.name,
            _holder(operation, wanted),
            timeout=wanted.lock_timeout,
            say=step.say,
            force=wanted.force,
            stopped=tools.stopped,
        )
    )
    lock.callback(ledger.close)  # before the lock is released
    waited = tools.clock() - began
    until = tools.clock() + wanted.timeout
    return Attempt(tools, held, ledger, operation, step, until=until, patience=max(0.0, wanted.lock_timeout - waited))


def in_order(wanted: OperationRequest, attempt: Attempt, *, finish: Finish) -> Plan:
    """Read, decide and put in order until nothing but the verb's own action is left; return the plan as it is then.

    Args:
        wanted: What is wanted.
        attempt: The attempt, whose lock is held.
        finish: Finishes an uninstall that was left unfinished.

    Raises:
        ReleaseLocked: Plain Helm is at work, and ``lock_timeout`` is over.
        LockLost: Somebody took the lock away meanwhile.
        Conflict: Somebody changes the records again and again.
    """
    until = attempt.tools.clock() + attempt.patience
    first: Plan | None = None
    asked = wanted
    for _ in range(MOST_ROUNDS):
        planned = _when_plain_helm_is_done(asked, attempt, until)
        first = first or planned
        ahead = planned.actions if isinstance(wanted, UnlockRequest) else planned.actions[:-1]
        action = next((action for action in ahead if action.kind in ORDERING or action.kind == "helm-uninstall"), None)
        if action is None:
            return first if isinstance(wanted, UnlockRequest) else planned
        if not isinstance(wanted, UnlockRequest):
            attempt.begin(planned)
        attempt.held.check()
        if action.kind == "helm-uninstall":
            attempt.recovered.add(action.subject)
            finish(wanted, attempt, attempt.past.by_id(action.subject))
            asked = replace(asked, if_match=None)  # it matched, and what changed it since was this
            continue
        try:
            _put_in_order(action, wanted, attempt)
        except Conflict as conflict:
            attempt.step.say(f"{conflict.message} Looking again.")
        else:
            asked = replace(asked, if_match=None)
            attempt.recovered.update({action.subject} if action.kind != "mark-superseded" else ())
    raise Conflict(f"The records of {wanted.release} change again and again while they are put in order.")


def _put_in_order(action: Action, wanted: OperationRequest, attempt: Attempt) -> None:
    by = attempt.operation.actor or "kubernaut"
    note = wanted.note if isinstance(wanted, UnlockRequest) else None  # of another verb it says why that is done
    put_in_order(attempt.cluster, action, attempt.past, by=by, note=note, say=attempt.step.say)


def _when_plain_helm_is_done(wanted: OperationRequest, attempt: Attempt, until: float) -> Plan:
    """Decide; where plain Helm is at work, wait for it as long as one would for a lock."""
    told = False
    while True:
        try:
            return plan(attempt.read(), attempt.held.found, wanted)
        except ReleaseLocked as busy:
            if attempt.tools.clock() >= until:
                raise
            if not told:
                attempt.step.say(f"{busy.message} Waiting for it.")
                told = True
        time.sleep(_LOOK_AGAIN_SECONDS)
        attempt.held.check()


def _operation(wanted: OperationRequest, tools: Tools, accepted: Operation | None) -> Operation:
    """Return the operation that it is; of one that was accepted, with what is known now."""
    known: dict[str, Any] = {"note": wanted.note, "timeout": wanted.timeout}
    if isinstance(wanted, DeployRequest):
        chart = OperationChart(version=wanted.version, ref=wanted.chart_ref, digest=wanted.chart_digest)
        known |= {"chart": chart, "environment": wanted.environment, "commit": wanted.commit}
    if accepted is not None:
        return accepted.model_copy(update={**known, "waits_until": None})
    return Operation(
        id=new_operation_id(),
        verb=wanted.verb,
        namespace=wanted.namespace,
        name=wanted.name,
        actor=tools.settings.actor,
        build=tools.settings.build,
        started_at=now(),
        **known,
    )


def _holder(operation: Operation, wanted: OperationRequest) -> Holder:
    return new_holder(
        operation.id,
        wanted.verb,
        operation.actor or "",
        host=socket.gethostname(),
        process=process_identity(),
        build=operation.build,
        since=operation.started_at,
    )
