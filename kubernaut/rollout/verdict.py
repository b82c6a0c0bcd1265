"""Whether a release is ready, still progressing, or has failed: by rule, with the cause. Pure.

A problem is not a failure yet: a node may come, a quota may be freed, a container that crashed twice may start. The
:class:`~kubernaut.rollout.rules.Rules` say how often or how long each kind of problem may last. The first verdict ``failed`` stops
Helm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from kubernaut.rollout.memory import Pulls, Tries, count_pulls, is_applied, ready_since, tries_of
from kubernaut.rollout.objects import Expected, Object, ObjectKey, created_at, uid_of
from kubernaut.rollout.problems import PULLS, Cause, Problem
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.workloads import Phase, WorkloadState, job_state, workload_states

_CATCH_UP = timedelta(seconds=2)  # until the changes of a time without a connection have been read


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
        unreadable: The resources that it was judged without: ``cannot read events in demo: no right to list events``.
    """

    judgement: Judgement
    states: tuple[WorkloadState, ...] = ()
    problem: Problem | None = None
    rule: str = ""
    believed_at: datetime | None = None
    unreadable: tuple[str, ...] = ()

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
    """The memory of a rollout's judgement from one snapshot to the next.

    Attributes:
        rules: The rules in force.
        began_at: When the rollout began, by the cluster's clock; ``None`` if its beginning was not seen.
        before: The objects as they were when the rollout began.
        tries: How often each container, by its pod's UID and its name, had failed when the rollout began.
        applied: The objects that were seen as the new revision has them.
        finished: The Jobs that were complete: they may be deleted.
        pulls: The failed pulls of each container, as far as they were seen.
        ready_since: Since when each ready pod, by its run, and each ready workload, by UID, has been seen ready.
        first_seen: When each present problem was seen first.
        silent_at: When the cluster was not heard last, if ever.
    """

    rules: Rules = field(default_factory=Rules)
    began_at: datetime | None = None
    before: Mapping[ObjectKey, Object] = field(default_factory=dict)
    tries: Mapping[tuple[str, str], Tries] = field(default_factory=dict)
    applied: frozenset[ObjectKey] = frozenset()
    finished: frozenset[ObjectKey] = frozenset()
    pulls: Mapping[tuple[str, str], Pulls] = field(default_factory=dict)
    ready_since: Mapping[str, datetime] = field(default_factory=dict)
    first_seen: Mapping[tuple[Cause, ObjectKey, str], datetime] = field(default_factory=dict)
    silent_at: datetime | None = None


def begin(rules: Rules, expected: Iterable[Expected], snapshot: Snapshot, began_at: datetime | None = None) -> Watched:
    """Return the memory of the objects as they were before Helm started.

    Args:
        rules: The rules in force.
        expected: The objects of the revision before.
        snapshot: The objects as they were read first: perhaps late, when Helm had created some already.
        began_at: When the record of the new revision was created, before which Helm creates no object, if it is known. What was
            created in the same second counts as older.
    """
    if began_at is not None:
        old = {key: one for key, one in snapshot.objects.items() if (created_at(one) or began_at) <= began_at}
        snapshot = replace(snapshot, at=min(began_at, snapshot.at), objects=old)
    before = {one.key: snapshot.objects[one.key] for one in expected if one.key in snapshot.objects}
    return Watched(rules, snapshot.at, before, tries_of(snapshot))


def judge(
    watched: Watched, expected: Sequence[Expected], snapshot: Snapshot, *, helm_done: bool = False
) -> tuple[Verdict, Watched]:
    """Judge a release, and return the memory for the next snapshot.

    Before Helm has applied an object, what is wrong with it is the old revision's, and does not count. A release is ready only when
    Helm has ended and every object is ready. While the cluster is not heard, nothing is called ready, and no time runs out.

    Args:
        watched: The memory of the snapshots before.
        expected: The objects of the new revision, with its hooks.
        snapshot: The objects as the cluster shows them now.
        helm_done: Whether Helm has ended, so that every object is the new revision's.
    """
    states = workload_states(expected, snapshot)
    watched = _remember(watched, states, {one.key: one for one in expected}, snapshot, helm_done=helm_done)
    states = tuple(_with_absence(state, watched, snapshot, helm_done=helm_done) for state in states)
    problems = sorted(_counting(states, watched, snapshot), key=lambda problem: _rank(problem, watched.rules))
    # The cluster's own times do not count: the clocks of nodes differ, and a problem from before the rollout gets its time anew.
    first_seen = {one.identity: watched.first_seen.get(one.identity, snapshot.at) for one in problems}
    watched = replace(watched, first_seen=first_seen)
    verdict = Verdict(
        Judgement.PROGRESSING, states, next(iter(problems), None), unreadable=tuple(sorted(set(snapshot.unreadable.values())))
    )
    for problem in problems:
        rule = watched.rules.given_up(problem, _lasted(problem, watched, snapshot))
        if rule is not None:
            return replace(verdict, judgement=Judgement.FAILED, problem=problem, rule=rule), watched
    ordinary = tuple(state for state in states if not state.hook)
    if not helm_done or snapshot.disconnected or not all(state.is_ready for state in ordinary):
        return verdict, watched
    believed = _believed_at(ordinary, watched)
    if believed is not None and believed > snapshot.at:
        return replace(verdict, believed_at=believed), watched
    return replace(verdict, judgement=Judgement.READY, problem=None), watched


def _remember(
    watched: Watched, states: Sequence[WorkloadState], by_key: Mapping[ObjectKey, Expected], snapshot: Snapshot, *, helm_done: bool
) -> Watched:
    def applies(state: WorkloadState) -> bool:
        live, before = snapshot.objects[state.key], watched.before.get(state.key)
        return (helm_done and not state.hook) or is_applied(by_key[state.key], live, before, watched.began_at)

    applied = (state.key for state in states if state.exists and applies(state))
    finished = (state.key for state in states if state.key.kind == "Job" and state.phase is Phase.READY)
    return replace(
        watched,
        applied=watched.applied.union(applied),
        finished=watched.finished.union(finished),
        pulls=count_pulls(watched.pulls, snapshot),
        ready_since=ready_since(watched.ready_since, states, snapshot.at),
        silent_at=snapshot.at if snapshot.disconnected else watched.silent_at,
    )


def _with_absence(state: WorkloadState, watched: Watched, snapshot: Snapshot, *, helm_done: bool) -> WorkloadState:
    """Return the state of an object that existed in this rollout, or was to exist, and is gone; hooks are deleted on purpose."""
    if state.exists or state.hook or state.phase is Phase.NOT_JUDGED or not (helm_done or state.key in watched.applied):
        return state
    last = _last_state(state, watched, snapshot)
    if state.key in watched.finished or (last is not None and last.phase is Phase.READY):
        return replace(state, phase=Phase.READY, summary="succeeded, and was deleted")
    if last is not None and any(problem.fatal for problem in last.problems):
        return replace(state, summary=last.summary, problems=last.problems)
    message = f"{state.key.kind.lower()} {state.key.name} was deleted during the rollout"
    return replace(state, problems=(Problem(Cause.OBJECT_DELETED, state.key, message), *state.problems))


def _last_state(state: WorkloadState, watched: Watched, snapshot: Snapshot) -> WorkloadState | None:
    """Return the state in which a Job of this rollout ended before it was deleted; ``None`` if that was not seen."""
    last = snapshot.objects.get(state.key) or snapshot.removed.get(state.key)
    if last is None or state.key.kind != "Job" or uid_of(last) == uid_of(watched.before.get(state.key, {})):
        return None
    return job_state(last, snapshot)


def _counting(states: Sequence[WorkloadState], watched: Watched, snapshot: Snapshot) -> list[Problem]:
    """Return the problems that count: of objects that Helm has applied, and that are not ready.

    The clock of a Service's endpoints starts when the pods are ready.
    """
    pods_ready = pods_are_ready(states)
    return [
        _since_begin(problem, watched, snapshot)
        for state in states
        if not state.is_ready and (state.key in watched.applied or not state.exists)
        for problem in state.problems
        if pods_ready or problem.cause is not Cause.SERVICE_WITHOUT_ENDPOINTS
    ]


def pods_are_ready(states: Iterable[WorkloadState]) -> bool:
    """Return whether nothing is waited for but Services and hooks."""
    return all(state.is_ready for state in states if state.key.kind != "Service" and not state.hook)


def _since_begin(problem: Problem, watched: Watched, snapshot: Snapshot) -> Problem:
    """Count a problem's failures from the beginning of the rollout, and failed pulls also as they were seen."""
    container = uid_of(snapshot.objects.get(problem.object, {})), problem.container
    before = watched.tries.get(container, Tries())
    if problem.cause in PULLS:
        seen = watched.pulls.get(container, Pulls()).failures
        return replace(problem, failures=max(problem.failures - before.pulls, seen))
    counts = problem.container and watched.rules.failures(problem.cause) is not None
    return replace(problem, failures=max(0, problem.failures - before.restarts)) if counts else problem


def _rank(problem: Problem, rules: Rules) -> int:
    """Order problems: those that have given up, those that a rule ends, others, and those that pass."""
    if problem.passing:
        return 3
    ruled = rules.failures(problem.cause) is not None or rules.seconds(problem.cause) is not None
    return 0 if problem.fatal else 1 if ruled else 2


def _lasted(problem: Problem, watched: Watched, snapshot: Snapshot) -> timedelta | None:
    """Return how long a problem has been seen; ``None`` until the changes of a time of silence have been read."""
    if watched.silent_at is not None and snapshot.at - watched.silent_at < _CATCH_UP:
        return None
    return snapshot.at - watched.first_seen[problem.identity]


def _believed_at(states: Iterable[WorkloadState], watched: Watched) -> datetime | None:
    """Return from when on all pods are believed to stay ready; those that are not known, when they were ready long enough."""
    rules, since = watched.rules, watched.ready_since
    found = [state for state in states if state.phase is Phase.READY]
    times = [
        pod.believed_at(seen_at=since[pod.run], least=state.min_ready, unprobed=rules.unprobed_time, settle=rules.settle_time)
        for state in found
        for pod in state.pods
        if pod.ready
    ]
    by_numbers = [state for state in found if state.by_numbers]
    unknown = [since[state.uid] + timedelta(seconds=max(rules.settle_time, state.min_ready)) for state in by_numbers]
    return max((*unknown, *(time for time in times if time is not None)), default=None)
