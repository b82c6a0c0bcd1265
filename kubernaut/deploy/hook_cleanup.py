"""Deletes hooks that outlive their Helm: nothing waits for them any more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from kubernaut.deploy.planning.unfinished import left_hooks
from kubernaut.errors import ClusterDenied, KubernautError
from kubernaut.history.masking import known_secrets
from kubernaut.rollout.expected import hooks_of
from kubernaut.rollout.objects import (
    Expected,
    Object,
    created_at,
    is_condition,
    is_deleted,
    mappings,
    metadata_of,
    owner_uids,
    spec_of,
    status_of,
    uid_of,
)

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.deploy.execution import Execution

_RUNNING = ("Job", "Pod")
_GONE_SECONDS = 10.0
_POLL_SECONDS = 0.3
_LOG_SECONDS = 3.0
_LOG_LINES = 10
_MOST_LOGS = 3


def is_running(live: Object, since: datetime | None) -> bool:
    """Return whether a Job or Pod has not ended, and was created by an operation that began at ``since``."""
    created = created_at(live)
    if is_deleted(live) or (since is not None and created is not None and created < since.replace(microsecond=0)):
        return False
    if live.get("kind") == "Pod":
        return status_of(live).get("phase") not in ("Succeeded", "Failed")
    return not any(is_condition(live, condition) for condition in ("Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"))


def remove_left_hooks(execution: Execution) -> None:
    """Delete the hooks that earlier operations left running whose kubernaut was killed; their last lines are shown.

    Args:
        execution: The operation that has taken over their lock.
    """
    for operation in execution.history.unfinished:
        if operation.id != execution.operation.id:
            for left in left_hooks(operation, execution.history):
                hooks = hooks_of(left.record, left.events)
                remove_running_hooks(execution, hooks, left.since, secrets=known_secrets(left.record))


def remove_running_hooks(
    execution: Execution, hooks: Sequence[Expected], since: datetime | None, *, secrets: Sequence[str] | None = None
) -> None:
    """Delete the Jobs and Pods of hooks that still run, with their pods: nothing waits for them any more.

    One that may not be deleted is named, with the command that deletes it.

    Args:
        execution: The operation whose Helm has ended.
        hooks: The hooks.
        since: When the operation began, by the cluster's clock; what is older is not its own.
        secrets: The release's secrets, if the last lines of the hooks' logs are to be shown; ``None`` if they were.
    """
    if execution.outcome_unknown:  # the cluster does not answer
        return
    running = (one for one in hooks if one.key.kind in _RUNNING and one.is_builtin)
    removed = [one for one in running if _remove_hook(execution, one, since, secrets)]
    until = time.monotonic() + _GONE_SECONDS
    while removed and time.monotonic() < until and not execution.lock.stopped():
        try:
            removed = [one for one in removed if _read(execution.cluster, one) is not None]
        except KubernautError:
            return
        time.sleep(_POLL_SECONDS if removed else 0)


def _remove_hook(execution: Execution, one: Expected, since: datetime | None, secrets: Sequence[str] | None) -> bool:
    """Delete the object of a hook if it runs; return whether that was requested."""
    from kubernaut.rollout.findings import hook_event  # what explains is imported after a failure

    title, key = f"{hook_event(one.hook)} hook {one.key.name}", one.key
    try:
        live = _read(execution.cluster, one)
        if live is None or not is_running({**live, "kind": key.kind}, since):
            return False
        if secrets is not None:
            _show_log(execution, key.namespace, live, (*execution.context.secrets, *secrets))
        resource = execution.cluster.find_resource(str(one.object.get("apiVersion")), key.kind)
        execution.cluster.delete_object(resource, key.namespace, key.name, uid=uid_of(live), foreground=True)
    except KubernautError as failure:
        why = "the right to delete it is missing" if isinstance(failure, ClusterDenied) else str(failure)
        command = f"kubectl delete {key.kind.lower()} {key.name} -n {key.namespace}"
        execution.step.notice(f"The {title} may still run, and cannot be removed ({why}): `{command}` ends it.")
        return False
    execution.step.notice(f"The {title} still ran, and {key} is deleted: Helm does not wait for it any more.")
    return True


def _show_log(execution: Execution, namespace: str, live: Object, secrets: Sequence[str]) -> None:
    """Show the last lines of a hook's log, which goes with it; a log that cannot be read is left out."""
    from kubernaut.rollout.logs import UNREADABLE, LogSource  # what explains is imported after a failure
    from kubernaut.rollout.pod_logs import read_logs

    with suppress(KubernautError):
        uid = uid_of(live)
        pods = [pod for pod in execution.cluster.list_pods(namespace, {}) if uid_of(pod) == uid or uid in owner_uids(pod)]
        names = ((pod, str(one.get("name"))) for pod in pods for one in mappings(spec_of(pod).get("containers")))
        sources = [LogSource(namespace, str(metadata_of(pod).get("name")), name) for pod, name in names][:_MOST_LOGS]
        for source, lines in read_logs(execution.cluster, sources, secrets, seconds=_LOG_SECONDS).items():
            if lines and not lines[0].startswith(UNREADABLE):
                execution.step.notice(f"The last lines of pod {source.pod}, container {source.container}:")
                for line in lines[-_LOG_LINES:]:
                    execution.step.notice(f"  {line}")


def _read(cluster: Cluster, one: Expected) -> Object | None:
    resource = cluster.find_resource(str(one.object.get("apiVersion")), one.key.kind)
    return cluster.get_object(resource, one.key.namespace, one.key.name)
