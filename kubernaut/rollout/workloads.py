"""The state of each object of a release: how many of its pods are ready, what it waits for, what is wrong with it. Pure.

Ready means ready now, with the specification that the object has now: a controller that has not seen it yet, or a pod of an older
revision, does not count. A kind outside Kubernetes is judged by its ``Ready`` condition, if it has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from kubernaut.rollout.controllers import (
    creation_failures,
    creation_problems,
    daemon_set,
    deployment,
    passing,
    pod_problems,
    replica_set,
    stateful_set,
)
from kubernaut.rollout.objects import (
    Expected,
    Object,
    ObjectKey,
    condition,
    is_condition,
    is_deleted,
    key_of,
    metadata_of,
    number,
    spec_of,
    status_of,
    time_in,
    uid_of,
)
from kubernaut.rollout.pods import pod_state
from kubernaut.rollout.problems import CRASHES, Cause, Problem, short
from kubernaut.rollout.services import claim, service
from kubernaut.rollout.states import Phase, WorkloadState
from kubernaut.rollout.store import Snapshot

__all__ = ["Phase", "WorkloadState", "is_judged", "workload_states"]


def workload_states(expected: Iterable[Expected], snapshot: Snapshot) -> tuple[WorkloadState, ...]:
    """Return the states of the objects that run or serve something, in the manifest's order."""
    release = tuple(expected)
    found = (_state(one, snapshot, release) for one in release)
    return tuple(state for state in found if state is not None)


def is_judged(key: ObjectKey) -> bool:
    """Return whether an object has a state: it runs or serves something, or is of a kind outside Kubernetes."""
    return bool(key.group) or key.kind in _JUDGED


def _state(one: Expected, snapshot: Snapshot, release: Sequence[Expected]) -> WorkloadState | None:
    if not is_judged(one.key):
        return None
    kind, judged = one.key.kind, one.is_builtin
    live, unreadable = snapshot.objects.get(one.key), snapshot.unreadable.get(kind)
    if live is None or is_deleted(live):
        waits = judged and unreadable is None
        words = ("does not exist yet" if live is None else "is being deleted") if waits else unreadable or "not judged"
        return WorkloadState(one.key, Phase.PROGRESSING if waits else Phase.NOT_JUDGED, words, exists=False, hook=one.hook)
    if not _is_observed(live):
        # A Deployment whose ReplicaSet cannot be created stays in this state.
        problems = tuple(creation_failures(live))
        found = WorkloadState(one.key, Phase.PROGRESSING, "its controller has not seen it yet", problems=problems)
    elif one.is_builtin and kind == "Service":
        found = service(live, snapshot, release)
    elif one.is_builtin and kind in _JUDGES:
        found = _JUDGES[kind](live, snapshot)
    else:
        found = _by_condition(live)
    if one.hook:
        found = replace(found, hook=one.hook, problems=(*_hook_problems(one, found.problems), *found.problems))
    return replace(found, key=one.key, generation=number(metadata_of(live), "generation"), uid=uid_of(live))


def _is_observed(live: Object) -> bool:
    """Return whether an object's controller has seen its specification; a kind that does not report it has."""
    generation = number(metadata_of(live), "generation")
    default = 0 if live.get("kind") in _OBSERVED else generation
    return number(status_of(live), "observedGeneration", default) >= generation


def _hook_problems(one: Expected, problems: Sequence[Problem]) -> list[Problem]:
    """Return the failure of a hook, if its Job or pod has failed for good."""
    fatal = next((problem for problem in problems if problem.fatal), None)
    if fatal is None:
        return []
    message = f"hook {one.key} ({', '.join(one.hook)}) failed: {fatal.message}"
    return [replace(fatal, cause=Cause.HOOK_FAILED, object=one.key, container="", message=message)]


# jobs and pods


def job_state(live: Object, snapshot: Snapshot) -> WorkloadState:
    """Return the state of a Job."""
    key, spec, status = key_of(live), spec_of(live), status_of(live)
    desired, succeeded, tries = number(spec, "completions", 1), number(status, "succeeded"), number(status, "failed")
    pods = [(pod, pod_state(pod, snapshot.events_about(pod))) for pod in snapshot.owned_by(live, "Pod")]
    words = f"{succeeded} of {desired} succeeded" if desired > 1 else ("succeeded" if succeeded else "running")
    state = WorkloadState(key, Phase.PROGRESSING, words, desired, succeeded, tuple(state for _, state in pods))
    if is_condition(live, "Complete") or is_condition(live, "SuccessCriteriaMet"):
        return replace(state, phase=Phase.READY)
    if spec.get("suspend") is True:
        return replace(state, phase=Phase.SUSPENDED, summary="suspended")
    problems = _tries([problem for pod, state in pods for problem in pod_problems(pod, state, snapshot)])
    failed = next(
        (one for one in (condition(live, "Failed"), condition(live, "FailureTarget")) if one.get("status") == "True"), None
    )
    if failed is not None:
        message = f"job {key.name} failed: {short(failed.get('message') or failed.get('reason'))}"
        problem = Problem(Cause.JOB_FAILED, key, message, since=time_in(failed, "lastTransitionTime"), fatal=True)
        return replace(state, summary="failed", problems=(problem, *problems))
    summary = words + (f", {tries} failed" if tries else "")
    return replace(state, summary=summary, problems=(*creation_problems(live, snapshot), *problems))


def _tries(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems of a Job's pods: a pod that failed is a try, and the Job decides when these are enough.

    A command that cannot be run is counted over all pods, as another try does not help it.
    """
    commands = Counter(one.container for one in problems if one.cause is Cause.CONTAINER_COMMAND_INVALID)
    found = [
        replace(one, fatal=False, failures=max(one.failures, commands[one.container]))
        for one in problems
        if one.cause is Cause.CONTAINER_COMMAND_INVALID
    ]
    others = [one for one in problems if one.cause is not Cause.CONTAINER_COMMAND_INVALID]
    ends = [one for one in others if one.fatal or one.cause in CRASHES]
    return [*found, *(one for one in others if one not in ends), *passing(ends, "is a try of the job")]


def _pod(live: Object, snapshot: Snapshot) -> WorkloadState:
    state = pod_state(live, snapshot.events_about(live))
    phase = Phase.READY if state.ready else Phase.PROGRESSING
    problems = tuple(pod_problems(live, state, snapshot))
    return WorkloadState(state.key, phase, state.activity, 1, int(state.ready), (state,), problems)


# other kinds


def _by_condition(live: Object) -> WorkloadState:
    key = key_of(live)
    name = "Established" if key.kind == "CustomResourceDefinition" else "Ready"
    found = condition(live, name)
    if not found and name == "Ready":
        return WorkloadState(key, Phase.NOT_JUDGED, "not judged: it has no Ready condition")
    if found.get("status") == "True":
        return WorkloadState(key, Phase.READY, name.lower())
    why = short(found.get("message") or found.get("reason") or f"{name} is {found.get('status') or 'not reported'}")
    message = f"{key.kind} {key.name} is not {name.lower()}: {why}"
    problem = Problem(Cause.CONDITION_FALSE, key, message, since=time_in(found, "lastTransitionTime"))
    return WorkloadState(key, Phase.PROGRESSING, f"not {name.lower()}", problems=(problem,))


_Judge = Callable[[Object, Snapshot], WorkloadState]
_JUDGES: Mapping[str, _Judge] = {
    "Deployment": deployment,
    "ReplicaSet": replica_set,
    "ReplicationController": replica_set,
    "StatefulSet": stateful_set,
    "DaemonSet": daemon_set,
    "Pod": _pod,
    "Job": job_state,
    "PersistentVolumeClaim": claim,
}
_OBSERVED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet")
_JUDGED = frozenset({*_JUDGES, "Service", "CustomResourceDefinition"})
