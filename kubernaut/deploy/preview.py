"""What a dry run would change: the values and the manifest, compared with those of the current release.

The manifest of a deploy is rendered by the Helm command that the deploy would run, with ``--dry-run=server``: only that knows the
cluster's versions and what ``lookup`` finds in it. A rollback's is in the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.helm_commands import chart_argument
from kubernaut.deploy.planning.owners import ADOPT
from kubernaut.deploy.requests import DeployRequest, OperationRequest, RollbackRequest
from kubernaut.deploy.values.large_numbers import changed_numbers
from kubernaut.errors import ChartInvalid, Interrupted, KubernautError, ValuesInvalid
from kubernaut.events import Step
from kubernaut.history.detail import Preview, Snapshot, compare, describe_checked
from kubernaut.history.records import GONE, Record, encode, secret_name
from kubernaut.history.releases import ReleaseChart, describe
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action, Plan
from kubernaut.rollout.expected import rendered_objects

_HELM_DEPLOYS = frozenset({"helm-install", "helm-install-replace", "helm-upgrade"})


def preview(request: OperationRequest, plan: Plan, context: DeployContext) -> Plan:
    """Return a plan with the difference that it would make; without one where the verb or the plan changes no manifest.

    Raises:
        ChartInvalid, ValuesInvalid: The chart cannot be rendered with the values, so the deploy would fail.
    """
    action = plan.actions[-1] if plan.actions else None
    if action is None or not isinstance(request, DeployRequest | RollbackRequest):
        return plan
    history = context.store.get(request.namespace, request.name)
    old = _running(request, history)
    if isinstance(request, RollbackRequest):
        target = history.by_id(action.subject)
        new = Snapshot(describe_checked(history, target), target)
    else:
        with context.progress.step("render", request.subject) as step:
            new = _planned(request, plan, action, history, context, step)
            step.done(f"compared with {old.record.id}" if old.record.manifest else "")
    difference = compare(old, new)
    if not new.record.manifest and isinstance(request, DeployRequest):
        difference = difference.model_copy(update={"manifest": "", "images": None, "app_version": None})
    return Preview(actions=plan.actions, reason=plan.reason, difference=difference)


def _running(request: OperationRequest, history: ReleaseHistory) -> Snapshot:
    """Return the current release; an empty one if none runs."""
    current = history.current
    if current is not None and current.status not in GONE and not current.damaged:
        return Snapshot(describe_checked(history, current), current)
    empty = _record(request, current.revision if current is not None else 0, {})
    return Snapshot(describe(empty, (empty,), ()), empty)


def _planned(
    request: DeployRequest, plan: Plan, action: Action, history: ReleaseHistory, context: DeployContext, step: Step
) -> Snapshot:
    """Return the release that a deploy would make; without its manifest if that is not known yet."""
    values = request.merged_values(history)
    content: Mapping[str, Any] = {"chart": {"metadata": {"name": request.chart_name or request.name, "version": request.version}}}
    why = _why_unrendered(request, plan)
    if not why:
        try:
            with chart_argument(request) as chart:
                content = context.helm().render(
                    request.name,
                    chart,
                    command=action.kind.removeprefix("helm-"),
                    namespace=request.namespace,
                    values=values,
                    skip_crds=request.skip_crds,
                    take_ownership=request.take_ownership,
                    log=step.log,
                )
        except (ChartInvalid, ValuesInvalid, Interrupted):
            raise
        except KubernautError as failure:
            why = failure.message
    if why:
        step.notice(f"The manifest is not compared: {why}")
    kept = {name: content.get(name) for name in ("chart", "manifest", "hooks")}
    revision = history.current.revision if history.current is not None else 0
    record = _record(request, revision + 1, {**kept, "config": values})
    for notice in changed_numbers(request.values, values, rendered_objects(record)):
        step.notice(notice)
    release = describe(record, (record,), ())
    named = release.chart
    planned = ReleaseChart(name=named.name, version=named.version, ref=request.chart_ref, digest=request.chart_digest or None)
    return Snapshot(release.model_copy(update={"chart": planned}), record)


def _why_unrendered(request: DeployRequest, plan: Plan) -> str:
    if not request.chart_digest:
        return f"{request.version} is not published yet."
    ahead = [action.kind for action in plan.actions if action.kind not in (*_HELM_DEPLOYS, "create-namespace", ADOPT)]
    return f"{', '.join(dict.fromkeys(ahead))} comes first." if ahead else ""


def _record(request: OperationRequest, revision: int, content: Mapping[str, Any]) -> Record:
    """Return a record that is not in the cluster."""
    return Record(
        namespace=request.namespace,
        name=request.name,
        revision=revision,
        labelled_status="",
        secret=secret_name(request.name, revision),
        uid="",
        resource_version="",
        created="",
        labels={},
        payload=encode(content),
    )
