"""Whether a release is ready, still progressing, or has failed: by rule, with the cause. Pure.

A problem is not a failure yet: a node may come, a quota may be freed, a container that crashed twice may start. :class:`Rules` says
how often or how long each kind of problem may last. The first verdict ``failed`` stops Helm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from kubernaut.rollout.objects import Expected, ObjectKey, number, spec_of
from kubernaut.rollout.problems import Cause, Problem
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.workloads import Phase, WorkloadState, workload_states


@dataclass(frozen=True)
class Rules:
    """How much a rollout may go wrong before it is given up; each is a setting, and an annotation of the chart.

    Attributes:
        image_failures: Failed pulls of an image that is not found or denied.
        crash_restarts: Restarts of a container that crashes, runs out of memory or fails its liveness or startup probe.
        command_failures: Starts of a container whose command cannot be run.
        config_seconds: Seconds that a missing ConfigMap, Secret, key or volume may take to appear.
        pending_seconds: Seconds that pods may be unschedulable, over quota or not admitted.
        endpoints_seconds: Seconds that a Service may have no endpoints although the pods are ready.
        settle_seconds: Seconds that a container which has restarted must stay ready.
        unprobed_seconds: Seconds that a container without a readiness probe must run.
    """

    image_failures: int = 2
    crash_restarts: int = 3
    command_failures: int = 2
    config_seconds: float = 20.0
    pending_seconds: float = 60.0
    endpoints_seconds: float = 20.0
    settle_seconds: float = 10.0
    unprobed_seconds: float = 5.0

    def failures(self, cause: Cause) -> int | None:
        """Return how many failures of a cause end the rollout; ``None`` for a cause that is not counted."""
        if cause in (Cause.IMAGE_NOT_FOUND, Cause.IMAGE_DENIED):
            return self.image_failures
        if cause in _CRASHES:
            return self.crash_restarts
        return self.command_failures if cause is Cause.CONTAINER_COMMAND_INVALID else None

    def seconds(self, cause: Cause) -> float | None:
        """Return how many seconds a cause may last; ``None`` for as long as the deadline allows."""
        if cause in _AT_ONCE:
            return 0.0
        if cause in _CONFIGURATION:
            return self.config_seconds
        if cause in _PENDING:
            return self.pending_seconds
        return self.endpoints_seconds if cause is Cause.SERVICE_WITHOUT_ENDPOINTS else None


_CRASHES = frozenset(
    {Cause.CONTAINER_CRASHED, Cause.CONTAINER_OUT_OF_MEMORY, Cause.LIVENESS_PROBE_FAILED, Cause.STARTUP_PROBE_FAILED}
)
_AT_ONCE = frozenset({Cause.IMAGE_NAME_INVALID, Cause.JOB_FAILED, Cause.HOOK_FAILED})
_CONFIGURATION = frozenset({Cause.CONTAINER_CONFIG_INVALID, Cause.OBJECT_DELETED})
_PENDING = frozenset({Cause.POD_UNSCHEDULABLE, Cause.QUOTA_EXCEEDED, Cause.ADMISSION_DENIED})


class Judgement(StrEnum):
    """The three verdicts."""

    PROGRESSING = "progressing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """A judgement of a release at one moment.

    Attributes:
        judgement: Whether it is ready, progressing or failed.
        states: The states of its objects.
        problem: Why it failed, or the most important thing that it waits for, if any.
        rule: By which rule it failed: ``after 3 restarts``.
        believed_at: From when on pods that are ready are believed to stay so, if that is all that is waited for.
    """

    judgement: Judgement
    states: tuple[WorkloadState, ...] = ()
    problem: Problem | None = None
    rule: str = ""
    believed_at: datetime | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the release is ready."""
        return self.judgement is Judgement.READY

    @property
    def is_failed(self) -> bool:
        """Whether the rollout is given up."""
        return self.judgement is Judgement.FAILED


@dataclass(frozen=True)
class Watched:
    """What the judgement remembers of a rollout from one snapshot to the next.

    Attributes:
        rules: The rules in force.
        before: The generation of each object when the rollout began; a new object has none.
        restarts: How often each container, by pod and name, had failed when the rollout began.
        applied: The objects that Helm has changed, created, or left as they are.
        seen: The objects that existed at some time.
        first_seen: When each present problem was seen first.
    """

    rules: Rules = Rules()
    before: Mapping[ObjectKey, int] = field(default_factory=dict)
    restarts: Mapping[tuple[ObjectKey, str], int] = field(default_factory=dict)
    applied: frozenset[ObjectKey] = frozenset()
    seen: frozenset[ObjectKey] = frozenset()
    first_seen: Mapping[tuple[Cause, ObjectKey, str], datetime] = field(default_factory=dict)


def begin(rules: Rules, expected: Iterable[Expected], snapshot: Snapshot) -> Watched:
    """Return what to remember of the objects as they are before Helm starts."""
    states = workload_states(expected, snapshot)
    restarts = {
        (problem.object, problem.container): problem.failures
        for state in states
        for problem in state.problems
        if problem.container and rules.failures(problem.cause) is not None
    }
    return Watched(rules, {state.key: state.generation for state in states if state.exists}, restarts)


def judge(
    watched: Watched, expected: Sequence[Expected], snapshot: Snapshot, *, helm_done: bool = False
) -> tuple[Verdict, Watched]:
    """Judge a release, and return what to remember for the next snapshot.

    Before Helm has applied an object, what is wrong with it is the old revision's, and does not count.

    Args:
        watched: What was remembered of the snapshots before.
        expected: The objects of the new revision, with its hooks.
        snapshot: What the cluster shows now.
        helm_done: Whether Helm has ended, so that every object is the new revision's.
    """
    states = tuple(_with_deletion(state, watched) for state in workload_states(expected, snapshot))
    ordinary = tuple(state for state in states if not state.hook)
    by_key = {one.key: one for one in expected}
    applied = watched.applied | {
        state.key
        for state in states
        if state.exists and (helm_done or state.hook or _is_applied(state, by_key[state.key], snapshot, watched))
    }
    counting = [state for state in states if state.key in applied or state.key in watched.seen]
    pods_ready = all(state.is_ready for state in ordinary if state.key.kind != "Service")
    problems = [
        _since_begin(problem, watched)
        for state in counting
        for problem in state.problems
        if pods_ready or problem.cause is not Cause.SERVICE_WITHOUT_ENDPOINTS  # their clock starts when the pods are ready
    ]
    first_seen = {one.identity: watched.first_seen.get(one.identity) or _first(one, snapshot.at) for one in problems}
    seen = watched.seen | {state.key for state in states if state.exists and state.key in applied}
    watched = replace(watched, applied=frozenset(applied), seen=frozenset(seen), first_seen=first_seen)
    for problem in problems:
        rule = _given_up(problem, watched, snapshot)
        if rule is not None:
            return Verdict(Judgement.FAILED, states, problem, rule), watched
    first = problems[0] if problems else None
    if not all(state.is_ready for state in ordinary) or any(state.key not in applied for state in ordinary if state.exists):
        return Verdict(Judgement.PROGRESSING, states, first), watched
    believed = _believed_at(ordinary, watched.rules, expected)
    if believed is not None and believed > snapshot.at:
        return Verdict(Judgement.PROGRESSING, states, first, believed_at=believed), watched
    return Verdict(Judgement.READY, states), watched


def _first(problem: Problem, at: datetime) -> datetime:
    """Return when a problem was seen first: now, unless the cluster knows it for longer."""
    return min(problem.since, at) if problem.since is not None else at


def _is_applied(state: WorkloadState, one: Expected, snapshot: Snapshot, watched: Watched) -> bool:
    before = watched.before.get(state.key)
    if before is None or before != state.generation:
        return True
    live = snapshot.objects.get(state.key)
    return live is not None and _contains(spec_of(live), spec_of(one.object))


def _contains(live: object, wanted: object) -> bool:
    """Return whether a live object has all that a manifest says; the cluster adds its defaults, and may write a value otherwise."""
    if isinstance(wanted, Mapping):
        stated = ((name, value) for name, value in wanted.items() if value is not None)
        return isinstance(live, Mapping) and all(_contains(live.get(name), value) for name, value in stated)
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(_contains, live, wanted))
    return live == wanted


def _with_deletion(state: WorkloadState, watched: Watched) -> WorkloadState:
    """Add the problem of an object that existed in this rollout and is gone; hooks are deleted on purpose."""
    if state.exists or state.hook or state.phase is Phase.NOT_JUDGED or state.key not in watched.seen:
        return state
    message = f"{state.key.kind.lower()} {state.key.name} was deleted during the rollout"
    problem = Problem(Cause.OBJECT_DELETED, state.key, message)
    return replace(state, problems=(problem, *state.problems))


def _since_begin(problem: Problem, watched: Watched) -> Problem:
    """Count a problem's failures from the beginning of the rollout."""
    before = watched.restarts.get((problem.object, problem.container), 0)
    return replace(problem, failures=problem.failures - before) if before else problem


def _given_up(problem: Problem, watched: Watched, snapshot: Snapshot) -> str | None:
    """Return the rule by which a problem ends the rollout, for a person; ``None`` while it may pass."""
    if problem.fatal:
        return "at once"
    most = watched.rules.failures(problem.cause)
    if most is not None and problem.failures >= most:
        return f"after {most} {'restarts' if problem.cause in _CRASHES else 'tries'}"
    seconds = watched.rules.seconds(problem.cause)
    if seconds is not None and snapshot.at - watched.first_seen[problem.identity] >= timedelta(seconds=seconds):
        return f"after {seconds:g} s" if seconds else "at once"
    return None


def _believed_at(states: Iterable[WorkloadState], rules: Rules, expected: Sequence[Expected]) -> datetime | None:
    """Return from when on all pods are believed to stay ready."""
    least = {one.key: number(spec_of(one.object), "minReadySeconds") for one in expected}
    times = (
        pod.believed_at(unprobed=max(rules.unprobed_seconds, least.get(state.key, 0)), settle=rules.settle_seconds)
        for state in states
        if state.phase is Phase.READY
        for pod in state.pods
        if pod.ready
    )
    return max((time for time in times if time is not None), default=None)
