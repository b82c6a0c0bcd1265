"""The health of a release: the state of its objects now, by the rules that judge a rollout. Pure.

A rollout is judged from its beginning to its end; health is judged from one look. What a rollout remembers, such as since when a
problem has been seen, is therefore taken from the cluster's own times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from kubernaut.adapters.kube_resources import SCALERS
from kubernaut.history.explanation import clean
from kubernaut.history.manifest import manifest_of
from kubernaut.history.records import Record, Status, parse_time
from kubernaut.history.releases import Drift, HealthStatus, ReleaseHealth
from kubernaut.rollout.drift import Changed, sentence
from kubernaut.rollout.expected import why_manifest_unread
from kubernaut.rollout.objects import (
    Expected,
    Object,
    condition,
    created_at,
    expected_objects,
    labels_of,
    number,
    pod_template,
    spec_of,
    time_in,
)
from kubernaut.rollout.problems import Cause, Problem
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.verdict import pods_are_ready
from kubernaut.rollout.workloads import Phase, WorkloadState, is_judged, workload_states

HEALTHY = ReleaseHealth(status=HealthStatus.HEALTHY)
WORST_FIRST = (
    HealthStatus.MISSING,
    HealthStatus.DEGRADED,
    HealthStatus.PROGRESSING,
    HealthStatus.UNKNOWN,
    HealthStatus.SUSPENDED,
    HealthStatus.HEALTHY,
)
"""A release has the first of these that one of its objects has."""
PATIENCE = timedelta(minutes=5)
"""How long an object may take to become ready: the default timeout of a deploy."""

_SCALABLE = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")
_KEPT = ("type", "selector", "replicas", "ttlSecondsAfterFinished")


@dataclass(frozen=True)
class Subject:
    """A release whose health is asked for.

    Attributes:
        expected: The objects of its manifest that run or serve something; its hooks do not count.
        since: When it was deployed.
        rules: Its rules.
        unread: Why its objects are not known; empty if they are.
        secrets: Values that are masked in reasons.
        compared: All objects of its manifest, whole, if they are to be compared with the manifest.
        scalers: The HorizontalPodAutoscalers of its manifest, if its objects are to be compared.
    """

    expected: tuple[Expected, ...] = ()
    since: datetime | None = None
    rules: Rules = field(default_factory=Rules)
    unread: str = ""
    secrets: tuple[str, ...] = ()
    compared: tuple[Expected, ...] = ()
    scalers: tuple[Object, ...] = ()


def subject_of(
    record: Record, rules: Callable[[Mapping[str, str]], Rules] = lambda _: Rules(), *, compare: bool = False
) -> Subject:
    """Return the subject of a record, with as little of its objects as is needed.

    Args:
        record: The record.
        rules: Returns the rules for the annotations of its chart.
        compare: Keep all its objects whole too, if it is deployed: those of another one are not in the cluster.
    """
    unread = why_manifest_unread(record)
    if unread:
        return Subject(unread=unread)
    objects = expected_objects(manifest_of(record).objects, record.namespace)
    judged = [one for one in objects if is_judged(one.key)]
    times = (parse_time(record.deployed_at), parse_time(record.modified))
    since = max(filter(None, times), default=None)
    subject = Subject(tuple(_slim(one) for one in judged), since=since, rules=rules(record.annotations))
    if not compare or record.status != Status.DEPLOYED:
        return subject
    scalers = tuple(one.object for one in objects if one.key.kind == SCALERS.kind)
    return replace(subject, compared=objects, scalers=scalers)


def _slim(one: Expected) -> Expected:
    """Return an expected object with only the fields that its state depends on."""
    spec = spec_of(one.object)
    kept = {name: spec[name] for name in _KEPT if name in spec}
    if "volumeClaimTemplates" in spec:
        kept["volumeClaimTemplates"] = [{}] if spec["volumeClaimTemplates"] else []
    metadata = {"name": one.key.name, "namespace": one.key.namespace, "labels": labels_of(one.object)}
    kept["template"] = {"metadata": {"labels": labels_of(pod_template(one.object))}}
    slim = {"apiVersion": one.object.get("apiVersion"), "kind": one.key.kind, "metadata": metadata, "spec": kept}
    return replace(one, object=slim)


def health_of(subject: Subject, snapshot: Snapshot) -> ReleaseHealth:
    """Return the health of a release.

    Args:
        subject: The release.
        snapshot: The objects as the cluster shows them now.
    """
    if subject.unread:
        return ReleaseHealth(status=HealthStatus.UNKNOWN, reason=subject.unread)
    states = workload_states(subject.expected, snapshot)
    by_key = {one.key: one.object for one in subject.expected}
    found = [_Look(subject, snapshot, states, state, by_key[state.key]).health() for state in states]
    worst = min(found, key=lambda health: WORST_FIRST.index(health.status), default=HEALTHY)
    if worst.status is HealthStatus.HEALTHY and snapshot.unreadable:
        return ReleaseHealth(status=HealthStatus.HEALTHY, reason=next(iter(snapshot.unreadable.values())))
    return worst


def with_drift(health: ReleaseHealth, found: Sequence[Changed]) -> ReleaseHealth:
    """Return a health with what others changed; its status stays, since what runs may be well."""
    if not found:
        return health
    drift = tuple(
        Drift(object=str(change.object), field=clean(change.field), manager=clean(change.manager), since=change.since)
        for change in found
    )
    return health.model_copy(update={"drift": drift, "reason": "; ".join(filter(None, (health.reason, sentence(found))))})


@dataclass(frozen=True)
class _Look:
    """One object of a release."""

    subject: Subject
    snapshot: Snapshot
    states: Sequence[WorkloadState]
    state: WorkloadState
    wanted: Object

    def health(self) -> ReleaseHealth:
        state = self.state
        if not state.exists:
            return self._absent()
        if state.phase is Phase.SUSPENDED:
            return self._health(HealthStatus.SUSPENDED, state.summary)
        if state.phase is Phase.PROGRESSING:
            return self._not_ready()
        if state.phase is Phase.READY and state.key.kind in _SCALABLE and not state.desired:
            return self._without_replicas()
        return self._unsettled() or HEALTHY

    def _absent(self) -> ReleaseHealth:
        key = self.state.key
        unreadable = self.snapshot.unreadable.get(key.kind)
        if unreadable is not None:
            return ReleaseHealth(status=HealthStatus.UNKNOWN, reason=unreadable)
        if key.kind == "Job" and spec_of(self.wanted).get("ttlSecondsAfterFinished") is not None:
            return HEALTHY  # the cluster deletes it some time after it has finished
        being_deleted = key in self.snapshot.objects
        return ReleaseHealth(
            status=HealthStatus.MISSING, reason=f"{key} {'is being deleted' if being_deleted else 'does not exist'}"
        )

    def _without_replicas(self) -> ReleaseHealth:
        wants = number(spec_of(self.wanted), "replicas", 1)
        return self._health(HealthStatus.SUSPENDED, f"scaled to 0, and its manifest has {wants}") if wants > 0 else HEALTHY

    def _unsettled(self) -> ReleaseHealth | None:
        """Return the health of a workload with a ready pod that is not believed to stay ready; ``None`` if it has none."""
        rules, at = self.subject.rules, self.snapshot.at
        for pod in self.state.pods:
            restarted = pod.believed_at(seen_at=at, least=0, unprobed=0, settle=rules.settle_time)
            believed = pod.believed_at(seen_at=at, least=self.state.min_ready, unprobed=rules.unprobed_time, settle=0)
            if pod.ready and restarted is not None and restarted > at:
                again = pod.restarts >= rules.crash_restarts
                count = f"{pod.restarts} restart{'' if pod.restarts == 1 else 's'}"
                status = HealthStatus.DEGRADED if again else HealthStatus.PROGRESSING
                return self._health(status, f"pod {pod.key.name} has just started again, with {count}")
            if pod.ready and believed is not None and believed > at:
                return self._health(HealthStatus.PROGRESSING, f"pod {pod.key.name} has just become ready")
        return None

    def _not_ready(self) -> ReleaseHealth:
        problems = self._problems()
        counting = [problem for problem in problems if self.subject.rules.given_up(problem, self._lasted(problem))]
        why = next(iter([*counting, *problems]), None)
        status = HealthStatus.DEGRADED if counting or self._is_late() else HealthStatus.PROGRESSING
        return self._health(status, _clause(why) if why is not None else self.snapshot.unreadable.get("Pod", ""))

    def _problems(self) -> Sequence[Problem]:
        """Return the problems that count: missing endpoints only when the pods are ready, as in a rollout."""
        if pods_are_ready(self.states):
            return self.state.problems
        return [problem for problem in self.state.problems if problem.cause is not Cause.SERVICE_WITHOUT_ENDPOINTS]

    def _lasted(self, problem: Problem) -> timedelta:
        since = problem.since or created_at(self.snapshot.objects.get(problem.object, {}))
        if problem.cause is Cause.SERVICE_WITHOUT_ENDPOINTS:
            since = _latest([self.subject.since, *(pod.ready_at for state in self.states for pod in state.pods)])
        return timedelta() if since is None else self.snapshot.at - since

    def _is_late(self) -> bool:
        """Return whether the object should have been ready by now: it lost a pod that it had, or does not get on."""
        state, at = self.state, self.snapshot.at
        live = self.snapshot.objects[state.key]
        if state.key.kind == "Job":  # it may run as long as it needs
            return False
        if state.key.kind == "Service" and not pods_are_ready(self.states):
            return False  # it waits for them
        created = {pod.key: created_at(self.snapshot.objects[pod.key]) for pod in state.pods}
        if any(_is_before(created[pod.key], at - PATIENCE) for pod in state.pods if not pod.ready):
            return True
        moves = (time_in(condition(live, "Progressing"), "lastUpdateTime"), *created.values(), created_at(live))
        problem = next(iter(state.problems), None)
        ready = (pod.ready_at for other in self.states for pod in other.pods) if state.key.kind == "Service" else ()
        return _is_before(_latest([self.subject.since, *moves, *ready, problem.since if problem else None]), at - PATIENCE)

    def _health(self, status: HealthStatus, why: str) -> ReleaseHealth:
        words = [f"{self.state.key}: {self.state.summary}"]
        words += [why] if why and why != self.state.summary else []
        return ReleaseHealth(status=status, reason="; ".join(words))


def _clause(problem: Problem) -> str:
    """Return a problem as a clause that names its pod."""
    key = problem.object
    return f"pod {key.name}: {problem.message}" if key.kind == "Pod" and key.name not in problem.message else problem.message


def _latest(times: Iterable[datetime | None]) -> datetime | None:
    return max(filter(None, times), default=None)


def _is_before(time: datetime | None, limit: datetime) -> bool:
    """Return whether a time is before another; one that is not known is."""
    return time is None or time < limit
