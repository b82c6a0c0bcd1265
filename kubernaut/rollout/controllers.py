"""The states of the workloads that keep a number of pods: Deployments, ReplicaSets, StatefulSets, DaemonSets. Pure.

Only pods of the newest revision count. Problems of a pod that its controller replaces never end the rollout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import (
    Object,
    annotations_of,
    condition,
    created_at,
    is_deleted,
    key_of,
    labels_of,
    mappings,
    metadata_of,
    number,
    spec_of,
    status_of,
    time_in,
)
from kubernaut.rollout.pods import PodState, pod_state
from kubernaut.rollout.problems import Cause, Problem, short
from kubernaut.rollout.services import claim, claims_of
from kubernaut.rollout.states import Phase, WorkloadState
from kubernaut.rollout.store import Snapshot, event_count, event_time

_REVISION = "deployment.kubernetes.io/revision"
_TEMPLATE_HASH = "pod-template-hash"
_REVISION_HASH = "controller-revision-hash"
_GENERATION_OF_TEMPLATE = "deprecated.daemonset.template.generation"
_POD_GENERATION = "pod-template-generation"
_NAMESPACE_ENDS = re.compile(r"because it is being terminated", re.IGNORECASE)
_QUOTA = re.compile(r"exceeded quota|must specify (limits|requests)", re.IGNORECASE)
_DENIED = re.compile(r"is forbidden|violates PodSecurity|admission webhook .* denied|denied the request", re.IGNORECASE)


@dataclass(frozen=True)
class _Pods:
    """The pods of a workload: of the newest revision, and of a former one that it keeps on purpose or replaces."""

    newest: Sequence[Object] = ()
    kept: Sequence[Object] = ()
    replaced: Sequence[Object] = ()


# kinds


def deployment(live: Object, snapshot: Snapshot) -> WorkloadState:
    """Return the state of a Deployment."""
    status, desired = status_of(live), number(spec_of(live), "replicas", 1)
    if spec_of(live).get("paused") is True:
        return WorkloadState(key_of(live), Phase.SUSPENDED, "paused: its pods are not replaced", desired=desired)
    known = snapshot.knows_all("ReplicaSet")
    newest = _newest_replica_set(live, snapshot) if known else None
    pods = snapshot.owned_by(newest, "Pod") if newest is not None else [] if known else _youngest_pods(live, snapshot)
    # By the controller's own numbers, the old pods have to be gone as well.
    total, updated = number(status, "replicas"), number(status, "updatedReplicas")
    numbers = number(status, "readyReplicas") if updated == total else 0
    creating = [*(creation_problems(newest, snapshot) if newest is not None else ()), *creation_problems(live, snapshot)]
    state = _counted(live, snapshot, desired, _Pods(pods), numbers, creating, known=known)
    return replace(state, problems=(*state.problems, *_progress_problems(live)))


def _newest_replica_set(live: Object, snapshot: Snapshot) -> Object | None:
    revision = annotations_of(live).get(_REVISION)
    owned = snapshot.owned_by(live, "ReplicaSet")
    return next((one for one in owned if revision and annotations_of(one).get(_REVISION) == revision), None)


def _youngest_pods(live: Object, snapshot: Snapshot) -> list[Object]:
    """Return a Deployment's pods that have the template of the youngest one, for ReplicaSets that cannot be read."""
    key = key_of(live)
    pods: list[tuple[float, str, Object]] = []
    for pod in snapshot.of_kind("Pod"):
        template, created = str(labels_of(pod).get(_TEMPLATE_HASH)), created_at(pod)
        owners = [str(owner.get("name")) for owner in mappings(metadata_of(pod).get("ownerReferences"))]
        if key_of(pod).namespace == key.namespace and f"{key.name}-{template}" in owners and not is_deleted(pod):
            pods.append((created.timestamp() if created else 0.0, template, pod))
    newest = max(pods, key=lambda one: one[:2], default=(0.0, "", {}))[1]
    return [pod for _, template, pod in pods if template == newest]


def replica_set(live: Object, snapshot: Snapshot) -> WorkloadState:
    """Return the state of a ReplicaSet or ReplicationController."""
    desired, numbers = number(spec_of(live), "replicas", 1), number(status_of(live), "readyReplicas")
    return _counted(live, snapshot, desired, _Pods(snapshot.owned_by(live, "Pod")), numbers, creation_problems(live, snapshot))


def stateful_set(live: Object, snapshot: Snapshot) -> WorkloadState:
    """Return the state of a StatefulSet: every ordinal, of the newest revision from its partition on."""
    spec, status = spec_of(live), status_of(live)
    desired, start = number(spec, "replicas", 1), number(as_mapping(spec.get("ordinals")), "start")
    strategy = as_mapping(spec.get("updateStrategy"))
    on_delete = strategy.get("type") == "OnDelete"
    partition = number(as_mapping(strategy.get("rollingUpdate")), "partition")
    owned = {_ordinal(pod): pod for pod in snapshot.owned_by(live, "Pod")}
    wanted = {ordinal: pod for ordinal, pod in owned.items() if start <= ordinal < start + desired}
    newest: list[Object] = []
    kept: list[Object] = []
    replaced: list[Object] = []
    for ordinal, pod in sorted(wanted.items()):
        if labels_of(pod).get(_REVISION_HASH) == status.get("updateRevision"):
            newest.append(pod)
        else:
            (kept if on_delete or ordinal < partition else replaced).append(pod)
    current = on_delete or number(status, "updatedReplicas") >= desired - max(0, partition - start)
    numbers = number(status, "readyReplicas") if current else 0
    return _counted(live, snapshot, desired, _Pods(newest, kept, replaced), numbers, creation_problems(live, snapshot))


def _ordinal(pod: Object) -> int:
    text = key_of(pod).name.rpartition("-")[2]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def daemon_set(live: Object, snapshot: Snapshot) -> WorkloadState:
    """Return the state of a DaemonSet: one pod on each eligible node."""
    spec, status = spec_of(live), status_of(live)
    desired, updated = number(status, "desiredNumberScheduled"), number(status, "updatedNumberScheduled")
    on_delete = as_mapping(spec.get("updateStrategy")).get("type") == "OnDelete"
    template = annotations_of(live).get(_GENERATION_OF_TEMPLATE)
    # A pod whose template was in force before may be up to date with an older number: then the controller's count says so.
    all_newest = updated >= desired or template is None
    newest: list[Object] = []
    former: list[Object] = []
    for pod in snapshot.owned_by(live, "Pod"):
        is_newest = all_newest or labels_of(pod).get(_POD_GENERATION) in (None, template)
        (newest if is_newest else former).append(pod)
    pods = _Pods(newest, kept=former) if on_delete else _Pods(newest, replaced=former)
    numbers = number(status, "numberReady") if on_delete or updated >= desired else 0
    return _counted(live, snapshot, desired, pods, numbers, creation_problems(live, snapshot), of="nodes")


# pods


def _counted(
    live: Object,
    snapshot: Snapshot,
    desired: int,
    pods: _Pods,
    numbers: int,
    creating: Sequence[Problem],
    *,
    known: bool = True,
    of: str = "",
) -> WorkloadState:
    """Return the state of a workload that wants a number of pods.

    Args:
        live: The workload.
        snapshot: The objects as the cluster shows them.
        desired: How many pods it wants.
        pods: Its pods.
        numbers: How many the controller calls ready, for pods that are not all known.
        creating: Why pods are not created.
        known: Whether it is known which pods are of the newest revision.
        of: A word after the number of pods.
    """
    known = known and snapshot.knows_all("Pod")
    newest, kept, replaced = (_states(found, snapshot) for found in (pods.newest, pods.kept, pods.replaced))
    running = [(pod, state) for pod, state in (*newest, *kept) if not state.is_over]
    ready = sum(state.ready for _, state in running) if known else numbers
    problems = [problem for pod, state in newest if not state.is_over for problem in pod_problems(pod, state, snapshot)]
    if (len(running) if known else numbers) < desired:  # an event about creating pods counts only while pods are missing
        problems = [*creating, *problems]
    problems += passing([problem for _, state in newest if state.is_over for problem in state.problems], "is replaced")
    problems += passing([problem for _, state in (*kept, *replaced) for problem in state.problems], "has the former revision")
    words = f"{min(ready, desired)} of {desired}{f' {of}' if of else ''} ready" if desired or not of else "no node is eligible"
    return WorkloadState(
        key_of(live),
        Phase.READY if ready >= desired else Phase.PROGRESSING,
        words,
        desired,
        ready,
        tuple(state for _, state in running),
        tuple(problems),
        min_ready=number(spec_of(live), "minReadySeconds"),
        by_numbers=not known and desired > 0,
    )


def _states(pods: Iterable[Object], snapshot: Snapshot) -> list[tuple[Object, PodState]]:
    return [(pod, pod_state(pod, snapshot.events_about(pod))) for pod in pods]


def pod_problems(pod: Object, state: PodState, snapshot: Snapshot) -> Iterator[Problem]:
    """Yield a pod's problems, after those of the claims that it waits for."""
    if any(problem.cause is Cause.CLAIM_NOT_BOUND for problem in state.problems):
        for found in claims_of(pod, snapshot):
            yield from claim(found, snapshot).problems
    yield from state.problems


def passing(problems: Iterable[Problem], why: str) -> list[Problem]:
    """Return problems of pods that do not end the rollout, and say why in the message."""
    return [replace(one, message=f"{one.message} ({one.object.name} {why})", fatal=False, passing=True) for one in problems]


# creating pods


def creation_problems(owner: Object, snapshot: Snapshot) -> list[Problem]:
    """Return why a controller cannot create pods: the last event counts, if it is about a failure."""
    events = [event for event in snapshot.events_about(owner) if event.get("reason") in ("FailedCreate", "SuccessfulCreate")]
    if events and events[-1].get("reason") == "FailedCreate":
        since = time_in(events[-1], "firstTimestamp") or event_time(events[-1])
        return [_creation_problem(owner, str(events[-1].get("message")), event_count(events[-1]), since)]
    return creation_failures(owner)


def creation_failures(owner: Object) -> list[Problem]:
    """Return why a controller cannot create pods or a ReplicaSet, by its conditions alone."""
    pods, replica_set = condition(owner, "ReplicaFailure"), condition(owner, "Progressing")
    if pods.get("status") == "True":
        return [_creation_problem(owner, str(pods.get("message")), 1, time_in(pods, "lastTransitionTime"))]
    if replica_set.get("reason") == "ReplicaSetCreateError":
        return [_creation_problem(owner, str(replica_set.get("message")), 1, time_in(replica_set, "lastTransitionTime"))]
    return []


def _creation_problem(owner: Object, text: str, failures: int, since: datetime | None) -> Problem:
    key = key_of(owner)
    if _NAMESPACE_ENDS.search(text):
        cause, what = Cause.NAMESPACE_TERMINATING, f"namespace {key.namespace} is being deleted"
    elif _QUOTA.search(text):
        cause, what = Cause.QUOTA_EXCEEDED, "the namespace's quota does not allow its pods"
    elif _DENIED.search(text):
        cause, what = Cause.ADMISSION_DENIED, "the cluster does not admit its pods"
    else:
        cause, what = Cause.PODS_NOT_CREATED, "its pods cannot be created"
    message = f"{key.kind.lower()} {key.name}: {what}: {short(text)}"
    return Problem(cause, key, message, failures=failures, since=since, fatal=cause is Cause.NAMESPACE_TERMINATING)


def _progress_problems(live: Object) -> Iterator[Problem]:
    """Yield that a Deployment has not progressed for as long as its specification allows."""
    found = condition(live, "Progressing")
    if found.get("status") == "False" and found.get("reason") == "ProgressDeadlineExceeded":
        key = key_of(live)
        message = (
            f"deployment {key.name} exceeded its progress deadline of {number(spec_of(live), 'progressDeadlineSeconds', 600)} s"
        )
        yield Problem(Cause.DEADLINE_EXCEEDED, key, message, since=time_in(found, "lastTransitionTime"))
