"""Hooks that fail, and hooks that go on after the Helm that waited for them has ended."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from kubernaut.errors import ClusterDenied, KubernautError
from kubernaut.errors.domain import NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT
from kubernaut.history.manifest import read_manifest
from kubernaut.rollout.objects import Expected, Object, created_at, expected_objects, is_condition, is_deleted, status_of, uid_of

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.deploy.execution import Execution
    from kubernaut.history.records import Record
    from kubernaut.models import Plan

DELETE_EVENTS = ("pre-delete", "post-delete")
ROLLOUT_EVENTS = frozenset(f"{when}-{verb}" for when in ("pre", "post") for verb in ("install", "upgrade", "rollback"))
_RUNNING = ("Job", "Pod")
_GONE_SECONDS = 10.0
_POLL_SECONDS = 0.3


def offer_no_hooks(failure: KubernautError, *, alone: bool = False) -> None:
    """Add the option that leaves hooks out to the hints of a failure.

    Args:
        failure: The failure of a hook.
        alone: Whether its hints say nothing else.
    """
    failure.hint = NO_HOOKS_HINT if alone else f"{failure.hint} {NO_HOOKS_HINT}"
    failure.http_hint = NO_HOOKS_HTTP_HINT if alone else f"{failure.http_hint} {NO_HOOKS_HTTP_HINT}"


def without_hooks(planned: Plan) -> Plan:
    """Return a plan whose reasons say that Helm leaves the hooks out."""
    actions = (
        action.model_copy(update={"reason": f"{action.reason}; without hooks"}) if action.kind.startswith("helm-") else action
        for action in planned.actions
    )
    return planned.model_copy(update={"actions": tuple(actions)})


def hook_manifests(record: Record) -> list[str]:
    """Return the manifests of a record's hooks."""
    hooks = record.content.get("hooks")
    return [str(hook.get("manifest") or "") for hook in hooks if isinstance(hook, dict)] if isinstance(hooks, list) else []


def hooks_of(record: Record, events: Collection[str] = ()) -> tuple[Expected, ...]:
    """Return the objects of a record's hooks, of all events or only of some; those that cannot be read are left out."""
    objects = [item for text in hook_manifests(record) for item in read_manifest(text).objects]
    found = expected_objects((), record.namespace, objects)
    if not events:
        return found
    chosen = (replace(one, hook=tuple(event for event in one.hook if event in events)) for one in found)
    return tuple(one for one in chosen if one.hook)


def is_running(live: Object, since: datetime | None) -> bool:
    """Return whether a Job or Pod has not ended, and was created by an operation that began at ``since``."""
    created = created_at(live)
    if is_deleted(live) or (since is not None and created is not None and created < since.replace(microsecond=0)):
        return False
    if live.get("kind") == "Pod":
        return status_of(live).get("phase") not in ("Succeeded", "Failed")
    return not any(is_condition(live, condition) for condition in ("Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"))


def remove_running_hooks(execution: Execution, hooks: Sequence[Expected], since: datetime | None) -> None:
    """Delete the Jobs and Pods of hooks that still run, with their pods: nothing waits for them any more.

    One that may not be deleted is named, with the command that deletes it.

    Args:
        execution: The operation whose Helm has ended.
        hooks: The hooks.
        since: When the operation began, by the cluster's clock; what is older is not its own.
    """
    if execution.outcome_unknown:  # the cluster does not answer
        return
    removed = [one for one in hooks if one.key.kind in _RUNNING and one.is_builtin and _remove(execution, one, since)]
    until = time.monotonic() + _GONE_SECONDS
    while removed and time.monotonic() < until and not execution.lock.stopped():
        try:
            removed = [one for one in removed if _read(execution.cluster, one) is not None]
        except KubernautError:
            return
        time.sleep(_POLL_SECONDS if removed else 0)


def _remove(execution: Execution, one: Expected, since: datetime | None) -> bool:
    """Delete the object of a hook if it runs; return whether that was requested."""
    from kubernaut.rollout.findings import hook_event

    title, key = f"{hook_event(one.hook)} hook {one.key.name}", one.key
    try:
        live = _read(execution.cluster, one)
        if live is None or not is_running({**live, "kind": key.kind}, since):
            return False
        resource = execution.cluster.find_resource(str(one.object.get("apiVersion")), key.kind)
        execution.cluster.delete_object(resource, key.namespace, key.name, uid=uid_of(live), foreground=True)
    except KubernautError as failure:
        why = "the right to delete it is missing" if isinstance(failure, ClusterDenied) else str(failure)
        command = f"kubectl delete {key.kind.lower()} {key.name} -n {key.namespace}"
        execution.step.notice(f"The {title} may still run, and cannot be removed ({why}): `{command}` ends it.")
        return False
    execution.step.notice(f"The {title} still ran, and {key} is deleted: Helm does not wait for it any more.")
    return True


def _read(cluster: Cluster, one: Expected) -> Object | None:
    resource = cluster.find_resource(str(one.object.get("apiVersion")), one.key.kind)
    return cluster.get_object(resource, one.key.namespace, one.key.name)
