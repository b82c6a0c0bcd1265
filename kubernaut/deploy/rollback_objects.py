"""Objects that a rollback sets, that exist, and that the record lacks which Helm compares with: adopted, or refused.

Helm 3 fails for them, with the release half rolled back; Helm 4.2 overwrites them, also those of other owners. Here an object
of the release is named in the compared record while Helm runs; one of another owner only if ownership is taken, else the rollback
ends before it begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kubernaut.deploy.planning.compared import missing_objects, with_named
from kubernaut.deploy.planning.owners import adopt_action, owner_of
from kubernaut.deploy.planning.revisions import title
from kubernaut.deploy.reconcile import rewrite
from kubernaut.deploy.requests import DeployRequest, RestoreRequest, RollbackRequest
from kubernaut.errors import Conflict, KubernautError, LockLost
from kubernaut.history.records import Record, few
from kubernaut.history.repair import manifest_patch
from kubernaut.models import Plan
from kubernaut.rollout.objects import Expected
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.reading import Reading

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.deploy.execution import DeployContext, Execution
    from kubernaut.deploy.requests import OperationRequest
    from kubernaut.history.store import ReleaseHistory

_Existing = tuple[Expected, str]
_SECONDS = 10.0
_MOST_NAMED = 10


def takes_ownership(request: OperationRequest) -> bool:
    """Return whether the rollback of a request adopts objects of other owners."""
    return isinstance(request, DeployRequest | RollbackRequest | RestoreRequest) and request.take_ownership


def with_rollback_adoptions(plan: Plan, request: OperationRequest, history: ReleaseHistory, context: DeployContext) -> Plan:
    """Return a plan that also names the objects that its rollback adopts; any other plan as it is.

    Raises:
        Conflict: An object belongs to another owner, and ownership is not taken.
    """
    current = history.current
    kinds = [action.kind for action in plan.actions]
    if current is None or kinds[-1:] != ["helm-rollback"] or "helm-uninstall" in kinds:
        return plan
    target = history.by_id(plan.actions[-1].subject)
    found = _existing(target, missing_objects(target, current), context.cluster(), take_ownership=takes_ownership(request))
    why = f"it belongs to the release, and {title(current)} does not have it"
    adopted = (adopt_action(one.key, target.namespace, owner or why) for one, owner in found)
    return plan.model_copy(update={"actions": (*adopted, *plan.actions)})


@contextmanager
def comparable(execution: Execution, target: Record, *, take_ownership: bool) -> Iterator[None]:
    """Name the objects that the rollback adopts in the record that Helm compares with, while the block runs Helm.

    Args:
        execution: The operation.
        target: The record that Helm rolls back to.
        take_ownership: Adopt objects of other owners too.

    Raises:
        Conflict: An object belongs to another owner, or the record has changed meanwhile. Nothing was changed.
    """
    found: Sequence[_Existing] = ()
    compared = execution.newest
    if compared is not None and missing_objects(target, compared):
        history = execution.reread()
        compared = history.current or compared
        found = _existing(target, missing_objects(target, compared), execution.cluster, take_ownership=take_ownership)
    if compared is None or not found:
        yield
        return
    adopted = [one for one, _ in found]
    names = few([str(one.key) for one in adopted], _MOST_NAMED)
    execution.step.notice(f"Adopts {names}, which {title(compared)} does not have.")
    rewrite(execution.cluster, compared, manifest_patch(compared, with_named(compared.manifest, adopted)), history)
    if compared.immutable:  # it was recreated without its fence
        execution.reconciled.add(compared.id)
        execution.read()
    try:
        yield
    except LockLost:  # what another operation works on is left alone
        raise
    except BaseException:
        _restore(execution, compared)
        raise
    _restore(execution, compared)


def _restore(execution: Execution, compared: Record) -> None:
    """Give the compared record its own manifest again; where that fails, the next operation does it."""
    try:
        history = execution.reread()
        record = history.find(compared.revision)
        if record is not None and record.has_named_objects:
            rewrite(execution.cluster, record, manifest_patch(record, record.manifest), history)
    except KubernautError as failure:
        execution.step.notice(f"The manifest of {compared.id} could not be restored; the next command does it: {failure}")


def _existing(target: Record, missing: Sequence[Expected], cluster: Cluster, *, take_ownership: bool) -> Sequence[_Existing]:
    """Return those of the missing objects that exist, each with its owner; that is empty if the release owns it.

    Raises:
        Conflict: An object has another owner, and ownership is not taken.
    """
    if not missing:
        return ()
    reading = Reading(cluster, _SECONDS)
    reading.run(reading.named(missing))  # what cannot be read is left to Helm
    live = reading.own_objects
    found = [(one, owner_of(live[one.key], target.name, target.namespace)) for one in missing if one.key in live]
    others = [f"{one.key} ({owner})" for one, owner in found if owner]
    if others and not take_ownership:
        raise _foreign(target, others)
    return found


def _foreign(target: Record, named: Sequence[str]) -> Conflict:
    release = f"{target.namespace}.{target.name}"
    command = f"kubernaut rollback {target.name} -n {target.namespace} --revision {target.revision} --take-ownership"
    rest = f"a dry run lists what is adopted. Else rename or delete {'each of them' if len(named) > 1 else 'it'}."
    return Conflict(
        f"Objects of {title(target)} exist and do not belong to the release {release}: {few(named, _MOST_NAMED)}.",
        hint=f"To let this release adopt them, run `{command}`; {rest}",
        http_hint=f"To let this release adopt them, roll back to {target.id} with `takeOwnership: true`; {rest}",
        members={"cause": Cause.OWNED_BY_ANOTHER_RELEASE},
    )
