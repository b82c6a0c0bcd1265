"""Objects that a rollback sets, that exist, and that the record lacks which Helm compares with: adopted, or refused.

Helm 3 fails for them, with the release half rolled back; Helm 4.2 overwrites them, whatever release they belong to. Here an object
of the release is named in the compared record while Helm runs, and one of another owner ends the rollback before it begins.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kubernaut.deploy.planning.compared import missing_objects, with_named
from kubernaut.deploy.planning.owners import ADOPT, owner_of
from kubernaut.deploy.planning.revisions import title
from kubernaut.deploy.reconcile import rewrite
from kubernaut.errors import Conflict, KubernautError, LockLost
from kubernaut.history.records import Record, few
from kubernaut.history.repair import manifest_patch
from kubernaut.models import Action, Plan
from kubernaut.rollout.objects import Expected, ObjectKey
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.reading import Reading

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.deploy.execution import DeployContext, Execution
    from kubernaut.history.store import ReleaseHistory

_SECONDS = 10.0
_MOST_NAMED = 10


def with_rollback_adoptions(plan: Plan, history: ReleaseHistory, context: DeployContext) -> Plan:
    """Return a plan that also names the objects that its rollback adopts; any other plan as it is.

    Raises:
        Conflict: An object belongs to another owner.
    """
    current = history.current
    kinds = [action.kind for action in plan.actions]
    if current is None or kinds[-1:] != ["helm-rollback"] or "helm-uninstall" in kinds:
        return plan
    target = history.by_id(plan.actions[-1].subject)
    own = _own_objects(target, missing_objects(target, current), context.cluster())
    why = f"it exists and belongs to the release, and {title(current)} does not have it"
    found = (Action(kind=ADOPT, subject=f"{one.key.kind}/{one.key.name}", reason=why) for one in own)
    return plan.model_copy(update={"actions": (*found, *plan.actions)})


@contextmanager
def comparable(execution: Execution, target: Record) -> Iterator[None]:
    """Name the objects that the rollback adopts in the record that Helm compares with, while the block runs Helm.

    Args:
        execution: The operation.
        target: The record that Helm rolls back to.

    Raises:
        Conflict: An object belongs to another owner, or the record has changed meanwhile. Nothing was changed.
    """
    own: Sequence[Expected] = ()
    compared = execution.newest
    if compared is not None and missing_objects(target, compared):
        history = execution.reread()
        compared = history.current or compared
        own = _own_objects(target, missing_objects(target, compared), execution.cluster)
    if compared is None or not own:
        yield
        return
    names = few([str(one.key) for one in own], _MOST_NAMED)
    execution.step.notice(f"Adopts {names} of the release, which {title(compared)} does not have.")
    rewrite(execution.cluster, compared, manifest_patch(compared, with_named(compared.manifest, own)), history)
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


def _own_objects(target: Record, missing: Sequence[Expected], cluster: Cluster) -> Sequence[Expected]:
    """Return those of the missing objects that exist and are the release's. Raises: Conflict: one is not."""
    if not missing:
        return ()
    reading = Reading(cluster, _SECONDS)
    reading.run(reading.named(missing))  # what cannot be read is left to Helm
    existing = [one for one in missing if one.key in reading.own_objects]
    owners = {one.key: owner_of(reading.own_objects[one.key], target.name, target.namespace) for one in existing}
    others = {key: owner for key, owner in owners.items() if owner}
    if others:
        raise _foreign(target, others)
    return existing


def _foreign(target: Record, owners: Mapping[ObjectKey, str]) -> Conflict:
    named = few([f"{key} ({owner})" for key, owner in owners.items()], _MOST_NAMED)
    name = f"meta.helm.sh/release-name={target.name}"
    namespace, label = f"meta.helm.sh/release-namespace={target.namespace}", "app.kubernetes.io/managed-by=Helm"
    key = next(iter(owners))
    kind = f"{key.kind.lower()}.{key.group}" if key.group else key.kind.lower()
    what = f"{shlex.quote(f'{kind}/{key.name}')} -n {key.namespace}"
    command = f"kubectl annotate {what} --overwrite {name} {namespace} && kubectl label {what} --overwrite {label}"
    again = f"kubernaut rollback {target.name} -n {target.namespace} --revision {target.revision}"
    each = "each of them" if len(owners) > 1 else "it"
    return Conflict(
        f"Objects of {title(target)} exist and do not belong to the release {target.namespace}.{target.name}: {named}.",
        hint=f"`{command}` gives {key} to the release, then `{again}` adopts it. Else rename or delete {each}.",
        http_hint=f"To let the release adopt {each}, set the annotations {name} and {namespace} and the label {label}, and send "
        f"the rollback again. Else rename or delete {each}.",
        members={"cause": Cause.OWNED_BY_ANOTHER_RELEASE},
    )
