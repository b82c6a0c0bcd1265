"""The objects that a deploy with ``take_ownership`` adopts, for a dry run: they exist, and do not belong to the release."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.helm_commands import chart_argument
from kubernaut.deploy.planning.compared import new_objects
from kubernaut.deploy.planning.owners import adopt_action, owner_of
from kubernaut.deploy.requests import DeployRequest, OperationRequest
from kubernaut.errors import ChartInvalid, Interrupted, KubernautError, ValuesInvalid
from kubernaut.events import Step
from kubernaut.history.manifest import manifest_of, read_manifest
from kubernaut.history.records import GONE
from kubernaut.models import Action, Plan
from kubernaut.rollout.objects import Expected
from kubernaut.rollout.reading import Reading

if TYPE_CHECKING:
    from kubernaut.deploy.execution import DeployContext
    from kubernaut.history.store import ReleaseHistory

_SECONDS = 10.0


def with_adoptions(plan: Plan, request: OperationRequest, history: ReleaseHistory, context: DeployContext, step: Step) -> Plan:
    """Return a plan that also names the objects that are adopted; a plan without ``take_ownership`` as it is.

    Raises:
        ChartInvalid, ValuesInvalid: The chart cannot be rendered.
    """
    if not isinstance(request, DeployRequest) or not request.take_ownership or not plan.changes:
        return plan
    how: dict[str, Any] = {"namespace": request.namespace, "values": request.merged_values(history), "skip_crds": request.skip_crds}
    try:
        with chart_argument(request) as chart:
            command = plan.actions[-1].kind.removeprefix("helm-")
            rendered = context.helm().render(request.name, chart, command=command, take_ownership=True, log=step.log, **how)
    except (ChartInvalid, ValuesInvalid, Interrupted):
        raise
    except KubernautError as failure:
        step.notice(f"The objects that would be adopted are not known: {failure.message}")
        return plan
    current = history.current
    own = () if current is None or current.status in GONE else manifest_of(current).objects
    new = new_objects(read_manifest(str(rendered.get("manifest") or "")).objects, own, request.namespace)
    reading = Reading(context.cluster(), _SECONDS)
    reading.run(reading.named(new))
    return plan.model_copy(update={"actions": (*adoptions(new, reading, request.name, request.namespace), *plan.actions)})


def adoptions(new: Sequence[Expected], reading: Reading, name: str, namespace: str) -> Iterator[Action]:
    """Yield an action for each object that exists and does not belong to a release, with its present owner.

    Args:
        new: The objects that the release does not have yet.
        reading: The objects that exist.
        name: The release's name.
        namespace: The release's namespace.
    """
    for one in new:
        live = reading.own_objects.get(one.key)
        if live is None and not reading.is_read(one):
            why = reading.unreadable[one.key.kind, one.key.namespace]
            yield adopt_action(one.key, namespace, f"only if it exists, which is not known: {why}")
        elif live is not None and (owner := owner_of(live, name, namespace)):
            yield adopt_action(one.key, namespace, owner)
