"""The state of each object of a release: how many of its pods are ready, what it waits for, what is wrong with it. Pure.

Ready means ready now, with the specification that the object has now: a controller that has not seen it yet, or a pod of an older
revision, does not count. A kind outside Kubernetes is judged by its ``Ready`` condition, if it has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import (
    Expected,
    Object,
    ObjectKey,
    annotations_of,
    condition,
    created_at,
    is_condition,
    key_of,
    labels_of,
    mappings,
    metadata_of,
    number,
    pod_template,
    selects,
    spec_of,
    status_of,
    time_in,
)
from kubernaut.rollout.pods import PodState, pod_state
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.store import SERVICE_NAME, Snapshot, event_count, event_time

_REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE_HASH = "pod-template-hash"
_REVISION_HASH = "controller-revision-hash"
_GENERATION_OF_TEMPLATE = "deprecated.daemonset.template.generation"
_POD_GENERATION = "pod-template-generation"
_QUOTA = re.compile(r"exceeded quota|must specify (limits|requests)", re.IGNORECASE)
_DENIED = re.compile(r"is forbidden|violates PodSecurity|admission webhook .* denied|denied the request", re.IGNORECASE)


class Phase(StrEnum):
    """What an object does: it is on its way, ready, suspended on purpose, or not judged."""

    PROGRESSING = "progressing"
    READY = "ready"
    SUSPENDED = "suspended"
    NOT_JUDGED = "not_judged"


@dataclass(frozen=True)
class WorkloadState:
    """The state of an object of a release.

    Attributes:
        key: The object.
        phase: What it does.
        summary: Its numbers, for a person: ``2 of 3 ready``.
        desired: How many pods it wants; 0 where it has none.
        ready: How many of its pods, of its newest revision, are ready.
        pods: Its pods of the newest revision.
        problems: What is wrong with it and its pods, the most important first.
        exists: Whether the object is in the cluster.
        generation: Its generation, which counts the changes of its specification.
        hook: The Helm hook events that create it, if any.
    """

    key: ObjectKey
    phase: Phase
    summary: str
    desired: int = 0
    ready: int = 0
    pods: tuple[PodState, ...] = ()
    problems: tuple[Problem, ...] = ()
    exists: bool = True
    generation: int = 0
    hook: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether nothing has to be waited for."""
        return self.phase is not Phase.PROGRESSING


def workload_states(expected: Iterable[Expected], snapshot: Snapshot) -> tuple[WorkloadState, ...]:
    """Return the states of the objects that run or serve something, in the manifest's order."""
    release = tuple(expected)
    found = (_state(one, snapshot, release) for one in release)
    return tuple(state for state in found if state is not None)


def _state(one: Expected, snapshot: Snapshot, release: Sequence[Expected]) -> WorkloadState | None:
    kind = one.key.kind
    judged = kind in _JUDGES or kind in ("Service", "CustomResourceDefinition")
    if one.is_builtin and not judged:
        return None
    live, unreadable = snapshot.objects.get(one.key), snapshot.unreadable.get(kind)
    if live is None:
        waits = judged and unreadable is None
        words = "does not exist yet" if waits else unreadable or "not judged"
        return WorkloadState(one.key, Phase.PROGRESSING if waits else Phase.NOT_JUDGED, words, exists=False, hook=one.hook)
    if kind == "Service":
        found = _service(live, snapshot, release)
    elif one.is_builtin and kind in _JUDGES:
        found = _JUDGES[kind](live, snapshot)
    else:
        found = _by_condition(live)
    return replace(found, generation=number(metadata_of(live), "generation"), hook=one.hook)


# workloads with pods


def _deployment(live: Object, snapshot: Snapshot) -> WorkloadState:
    desired = number(spec_of(live), "replicas", 1)
    if spec_of(live).get("paused") is True:
        return WorkloadState(key_of(live), Phase.SUSPENDED, "paused: its pods are not replaced", desired=desired)
    newest = _newest_replica_set(live, snapshot)
    pods = _pods_of(newest, snapshot) if newest is not None else ()
    status = status_of(live)
    # Without the right to read them the controller's own numbers count: then the old pods have to be gone as well.
    total, updated = number(status, "replicas"), number(status, "updatedReplicas")
    counted = number(status, "readyReplicas") if updated == total else 0
    creating = [*(_creation_problems(newest, snapshot) if newest is not None else ()), *_creation_problems(live, snapshot)]
    return _counted(live, snapshot, desired, pods, counted, creating, updated=updated)


def _newest_replica_set(live: Object, snapshot: Snapshot) -> Object | None:
    revision = annotations_of(live).get(_REVISION)
    owned = snapshot.owned_by(live, "ReplicaSet")
    return next((one for one in owned if revision and annotations_of(one).get(_REVISION) == revision), None)


def _replica_set(live: Object, snapshot: Snapshot) -> WorkloadState:
    pods = _pods_of(live, snapshot)
    desired, counted = number(spec_of(live), "replicas", 1), number(status_of(live), "readyReplicas")
    return _counted(live, snapshot, desired, pods, counted, _creation_problems(live, snapshot), updated=desired)


def _stateful_set(live: Object, snapshot: Snapshot) -> WorkloadState:
    spec, status = spec_of(live), status_of(live)
    desired = number(spec, "replicas", 1)
    start = number(as_mapping(spec.get("ordinals")), "start")
    strategy = as_mapping(spec.get("updateStrategy"))
    partition = number(as_mapping(strategy.get("rollingUpdate")), "partition")
    newest = str(status.get("updateRevision") or "")
    by_name = {pod.key.name: pod for pod in _pods_of(live, snapshot)}
    revisions = {one.name: one.revision for one in _revisions(live, snapshot)}
    ordinals = [f"{key_of(live).name}-{ordinal}" for ordinal in range(start, start + desired)]
    wanted = [
        name
        for ordinal, name in enumerate(ordinals, start)
        if strategy.get("type") == "OnDelete" or ordinal < partition or revisions.get(name) == newest
    ]
    pods = tuple(by_name[name] for name in wanted if name in by_name)
    updated = number(status, "updatedReplicas")
    current = updated >= desired - max(0, partition - start) or strategy.get("type") == "OnDelete"
    counted = number(status, "readyReplicas") if current else 0
    return _counted(live, snapshot, desired, pods, counted, _creation_problems(live, snapshot), updated=updated)


def _daemon_set(live: Object, snapshot: Snapshot) -> WorkloadState:
    spec, status = spec_of(live), status_of(live)
    desired = number(status, "desiredNumberScheduled")
    on_delete = as_mapping(spec.get("updateStrategy")).get("type") == "OnDelete"
    newest = annotations_of(live).get(_GENERATION_OF_TEMPLATE)
    known = {one.name: one.generation for one in _revisions(live, snapshot)}
    every = _pods_of(live, snapshot)
    pods = tuple(pod for pod in every if on_delete or newest is None or known.get(pod.key.name) in (None, newest))
    updated = number(status, "updatedNumberScheduled")
    counted = number(status, "numberReady") if on_delete or updated >= desired else 0
    return _counted(live, snapshot, desired, pods, counted, _creation_problems(live, snapshot), updated=updated, of="nodes")


@dataclass(frozen=True)
class _PodRevision:
    name: str
    revision: str
    generation: str | None


def _revisions(owner: Object, snapshot: Snapshot) -> list[_PodRevision]:
    """Return the revision labels of an owner's pods."""
    return [
        _PodRevision(key_of(pod).name, str(labels_of(pod).get(_REVISION_HASH) or ""), labels_of(pod).get(_POD_GENERATION))
        for pod in snapshot.owned_by(owner, "Pod")
    ]


def _pods_of(owner: Object, snapshot: Snapshot) -> tuple[PodState, ...]:
    return tuple(pod_state(pod, snapshot.events_about(pod)) for pod in snapshot.owned_by(owner, "Pod"))


def _counted(
    live: Object,
    snapshot: Snapshot,
    desired: int,
    pods: tuple[PodState, ...],
    counted: int,
    creating: Sequence[Problem],
    *,
    updated: int,
    of: str = "",
) -> WorkloadState:
    """Return the state of a workload that wants a number of pods.

    Args:
        live: The workload.
        snapshot: What is known.
        desired: How many pods it wants.
        pods: Its pods of the newest revision.
        counted: How many the controller calls ready, for pods that cannot be read.
        creating: Why pods are not created.
        updated: How many pods the controller calls updated.
        of: A word after the number of pods.
    """
    seen = number(status_of(live), "observedGeneration") >= number(metadata_of(live), "generation")
    ready = sum(pod.ready for pod in pods) if snapshot.knows_all("Pod") else counted
    words = f"{min(ready, desired)} of {desired}{f' {of}' if of else ''} ready" if desired or not of else "no node is eligible"
    problems = tuple(problem for pod in pods for problem in pod.problems)
    if len(pods) < desired:  # an event about creating pods counts only while pods are missing
        problems = (*creating, *problems)
    done = seen and ready >= desired and (updated >= desired or bool(pods) or not desired)
    return WorkloadState(key_of(live), Phase.READY if done else Phase.PROGRESSING, words, desired, ready, pods, problems)


def _creation_problems(owner: Object, snapshot: Snapshot) -> list[Problem]:
    """Return why a controller cannot create pods: the last event counts, if it is about a failure."""
    events = [event for event in snapshot.events_about(owner) if event.get("reason") in ("FailedCreate", "SuccessfulCreate")]
    if not events or events[-1].get("reason") != "FailedCreate":
        failure = condition(owner, "ReplicaFailure")
        if failure.get("status") != "True":
            return []
        return [_creation_problem(owner, str(failure.get("message")), 1, time_in(failure, "lastTransitionTime"))]
    event = events[-1]
    since = time_in(event, "firstTimestamp") or event_time(event)
    return [_creation_problem(owner, str(event.get("message")), event_count(event), since)]


def _creation_problem(owner: Object, text: str, failures: int, since: datetime | None) -> Problem:
    key = key_of(owner)
    if _QUOTA.search(text):
        cause, what = Cause.QUOTA_EXCEEDED, "the namespace's quota does not allow its pods"
    elif _DENIED.search(text):
        cause, what = Cause.ADMISSION_DENIED, "the cluster does not admit its pods"
    else:
        cause, what = Cause.PODS_NOT_CREATED, "its pods cannot be created"
    return Problem(cause, key, f"{key.kind.lower()} {key.name}: {what}: {short(text)}", failures=failures, since=since)


# jobs and pods


def _job(live: Object, snapshot: Snapshot) -> WorkloadState:
    key, spec, status = key_of(live), spec_of(live), status_of(live)
    desired, succeeded = number(spec, "completions", 1), number(status, "succeeded")
    pods = _pods_of(live, snapshot)
    words = f"{succeeded} of {desired} succeeded" if desired > 1 else ("succeeded" if succeeded else "running")
    if is_condition(live, "Complete") or is_condition(live, "SuccessCriteriaMet"):
        return WorkloadState(key, Phase.READY, words, desired, succeeded, pods)
    if spec.get("suspend") is True:
        return WorkloadState(key, Phase.SUSPENDED, "suspended", desired, succeeded, pods)
    failed = next(
        (found for found in (condition(live, "Failed"), condition(live, "FailureTarget")) if found.get("status") == "True"), None
    )
    problems = tuple(problem for pod in pods for problem in pod.problems)
    if failed is not None:
        message = f"job {key.name} failed: {short(failed.get('message') or failed.get('reason'))}"
        problem = Problem(Cause.JOB_FAILED, key, message, since=time_in(failed, "lastTransitionTime"), fatal=True)
        return WorkloadState(key, Phase.PROGRESSING, "failed", desired, succeeded, pods, (problem, *problems))
    tries = number(status, "failed")
    words += f", {tries} failed" if tries else ""
    # A pod that failed is a try; the Job decides when these are enough.
    waiting = tuple(problem for problem in problems if problem.cause not in _TRIES)
    return WorkloadState(key, Phase.PROGRESSING, words, desired, succeeded, pods, (*_creation_problems(live, snapshot), *waiting))


_TRIES = frozenset({Cause.CONTAINER_CRASHED, Cause.CONTAINER_OUT_OF_MEMORY, Cause.POD_FAILED, Cause.POD_EVICTED})


def _pod(live: Object, snapshot: Snapshot) -> WorkloadState:
    state = pod_state(live, snapshot.events_about(live))
    phase = Phase.READY if state.ready else Phase.PROGRESSING
    return WorkloadState(state.key, phase, state.activity, 1, int(state.ready), (state,), state.problems)


# claims, Services, other kinds


def _claim(live: Object, snapshot: Snapshot) -> WorkloadState:
    key, phase = key_of(live), str(status_of(live).get("phase") or "Pending")
    if phase == "Bound":
        return WorkloadState(key, Phase.READY, "bound")
    name = spec_of(live).get("storageClassName")
    storage = (
        f"storage class {name}"
        if name
        else "no storage class is named, and the default one"
        if name is None
        else "no storage class"
    )
    events = [event for event in snapshot.events_about(live) if event.get("reason") != "Provisioning"]
    # The event that names the missing class is of type Normal, so the type does not tell.
    why = short(events[-1].get("message")) if events else f"its phase is {phase}"
    waits = bool(events) and events[-1].get("reason") == "WaitForFirstConsumer"
    problem = Problem(Cause.CLAIM_NOT_BOUND, key, f"claim {key.name} ({storage}) is not bound: {why}", since=created_at(live))
    return WorkloadState(key, Phase.PROGRESSING, phase.lower(), problems=() if waits else (problem,))


def _service(live: Object, snapshot: Snapshot, release: Sequence[Expected]) -> WorkloadState:
    key, spec = key_of(live), spec_of(live)
    selector = as_mapping(spec.get("selector"))
    if spec.get("type") == "LoadBalancer" and not spec.get("externalIPs") and not _has_address(live):
        message = f"service {key.name} of type LoadBalancer has no address yet"
        event = next(iter(reversed(snapshot.events_about(live))), None)
        message += f": {short(event.get('message'))}" if event is not None else ""
        problem = Problem(Cause.LOAD_BALANCER_PENDING, key, message, since=created_at(live))
        return WorkloadState(key, Phase.PROGRESSING, "no address yet", problems=(problem,))
    if not selector or spec.get("type") == "ExternalName" or not snapshot.knows_all("EndpointSlice"):
        return WorkloadState(key, Phase.READY, "no endpoints of its own" if not selector else "endpoints are not known")
    ready = ready_endpoints(live, snapshot)
    if ready or not _should_have_endpoints(selector, key.namespace, snapshot, release):
        return WorkloadState(key, Phase.READY, f"{ready} ready endpoint{'' if ready == 1 else 's'}", ready=ready)
    selected = ", ".join(f"{name}={value}" for name, value in selector.items())
    message = f"service {key.name} has no ready endpoints: its selector {selected} matches no ready pod"
    problem = Problem(Cause.SERVICE_WITHOUT_ENDPOINTS, key, message)
    return WorkloadState(key, Phase.PROGRESSING, "no ready endpoints", problems=(problem,))


def _has_address(service: Object) -> bool:
    return any(True for _ in mappings(as_mapping(status_of(service).get("loadBalancer")).get("ingress")))


def ready_endpoints(service: Object, snapshot: Snapshot) -> int:
    """Return how many ready endpoints a Service has."""
    key = key_of(service)
    slices = (
        one
        for one in snapshot.of_kind("EndpointSlice")
        if labels_of(one).get(SERVICE_NAME) == key.name and metadata_of(one).get("namespace") == key.namespace
    )
    endpoints = (endpoint for one in slices for endpoint in mappings(one.get("endpoints")))
    return sum(as_mapping(endpoint.get("conditions")).get("ready") is not False for endpoint in endpoints)


def _should_have_endpoints(selector: Object, namespace: str, snapshot: Snapshot, release: Sequence[Expected]) -> bool:
    """Return whether a Service waits for pods of this release: of a workload that wants pods, or of none that is known.

    A selector that fits nothing is a mistake, unless something else may create the pods: an operator, for a kind of its own.
    """
    fitting = [one for one in release if selects(selector, labels_of(pod_template(one.object))) and one.key.namespace == namespace]
    if fitting:
        return any(_wants_pods(one, snapshot) for one in fitting)
    return all(one.is_builtin for one in release) and any(one.key.kind in _JUDGED_BY_PODS for one in release)


def _wants_pods(one: Expected, snapshot: Snapshot) -> bool:
    live = snapshot.objects.get(one.key)
    if live is None or one.key.kind in ("Job", "CronJob"):
        return False
    if one.key.kind == "DaemonSet":
        return number(status_of(live), "desiredNumberScheduled") > 0
    return one.key.kind == "Pod" or number(spec_of(live), "replicas", 1) > 0


def _by_condition(live: Object) -> WorkloadState:
    key = key_of(live)
    name = "Established" if key.kind == "CustomResourceDefinition" else "Ready"
    found = condition(live, name)
    if not found:
        return WorkloadState(key, Phase.NOT_JUDGED, "not judged: it has no Ready condition")
    if found.get("status") == "True":
        return WorkloadState(key, Phase.READY, name.lower())
    why = short(found.get("message") or found.get("reason") or f"{name} is {found.get('status')}")
    message = f"{key.kind} {key.name} is not {name.lower()}: {why}"
    problem = Problem(Cause.CONDITION_FALSE, key, message, since=time_in(found, "lastTransitionTime"))
    return WorkloadState(key, Phase.PROGRESSING, f"not {name.lower()}", problems=(problem,))


_Judge = Callable[[Object, Snapshot], WorkloadState]
_JUDGED_BY_PODS: Mapping[str, _Judge] = {
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "ReplicationController": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Pod": _pod,
}
_JUDGES: Mapping[str, _Judge] = {**_JUDGED_BY_PODS, "Job": _job, "PersistentVolumeClaim": _claim}
