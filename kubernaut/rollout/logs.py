"""Which containers' logs explain a failure. Pure; :class:`~kubernaut.rollout.watch.RolloutWatch` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kubernaut.rollout.containers import Container, containers
from kubernaut.rollout.objects import Object, ObjectKey, created_at, is_deleted, key_of, number, owner_uids, spec_of
from kubernaut.rollout.pods import pod_state
from kubernaut.rollout.problems import Problem
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.verdict import Verdict

MOST_LOGS = 3
UNREADABLE = "cannot read logs: "
"""The beginning of the only line of a log that could not be read; the reason follows."""


@dataclass(frozen=True, slots=True, order=True)
class LogSource:
    """The log of one run of a container; ``previous`` is the run before the last restart."""

    namespace: str
    pod: str
    container: str
    previous: bool = False


def logs_to_read(verdict: Verdict | None, snapshot: Snapshot) -> tuple[LogSource, ...]:
    """Return the logs that help to explain a failure, the failing container's first; at most three.

    Pods of Jobs and hooks count as well. Of several pods of one workload, each container is read once. Pods of an older revision
    are read only without a verdict.
    """
    found: dict[LogSource, None] = {}
    seen: set[tuple[str, str]] = set()
    problem = verdict.problem if verdict is not None else None
    for pod in _pods(verdict, snapshot):
        owner = next(owner_uids(pod), "") or str(id(pod))
        for one in _by_interest(pod, problem):
            if (owner, one.name) in seen:
                continue
            wanted = (verdict is not None and verdict.is_ready) or spec_of(pod).get("restartPolicy") in ("Never", "OnFailure")
            runs = list(_runs(one, failing=_is_failing(one, problem), wanted=wanted))
            if runs:
                seen.add((owner, one.name))
                found.update(dict.fromkeys(LogSource(one.pod.namespace, one.pod.name, one.name, run) for run in runs))
    return tuple(found)[:MOST_LOGS]


def failing_pods(verdict: Verdict | None, snapshot: Snapshot) -> list[Object]:
    """Return the pods of the newest revision that are not ready, the one with the verdict's problem first."""
    return list(_pods(verdict, snapshot))


def _pods(verdict: Verdict | None, snapshot: Snapshot) -> Iterator[Object]:
    if verdict is None:
        every = [pod for pod in snapshot.of_kind("Pod") if not is_deleted(pod)]
        waiting = (pod for pod in every if not pod_state(pod, snapshot.events_about(pod)).ready)
        yield from sorted(waiting, key=_age)
        return
    keys: dict[ObjectKey, None] = {}
    problem = verdict.problem
    if problem is not None and problem.object in snapshot.objects and problem.object.kind == "Pod":
        keys[problem.object] = None
    with_problem = [state for state in verdict.states if problem is not None and _has(state.key, problem, state.problems)]
    others = [state for state in verdict.states if not state.is_ready or verdict.is_ready]
    for state in (*with_problem, *others):
        pods = [snapshot.objects[pod.key] for pod in state.pods if pod.key in snapshot.objects]
        # A pod of a Job is ready while it runs.
        all_pods = verdict.is_ready or state in with_problem or state.key.kind == "Job"
        unready = {pod.key for pod in state.pods if all_pods or not pod.ready}
        for pod in sorted(pods, key=_age):
            key = key_of(pod)
            if key in unready:
                keys[key] = None
    yield from (snapshot.objects[key] for key in keys)


def _has(key: ObjectKey, problem: Problem, problems: Sequence[Problem]) -> bool:
    return key == problem.object or any(one.identity == problem.identity for one in problems)


def _age(pod: Object) -> float:
    """Order pods by age, the newest first."""
    created = created_at(pod)
    return -created.timestamp() if created is not None else 0.0


def _by_interest(pod: Object, problem: Problem | None) -> list[Container]:
    return sorted(containers(pod), key=lambda one: not _is_failing(one, problem))


def _is_failing(one: Container, problem: Problem | None) -> bool:
    return problem is not None and problem.object == one.pod and problem.container == one.name


def _runs(one: Container, *, failing: bool, wanted: bool) -> Iterator[bool]:
    """Yield the runs of a container to read: ``False`` for the last one, ``True`` for the one before."""
    restarted = one.restarts > 0 and bool(one.last)
    if one.state("running"):
        is_task = one.init and not one.is_sidecar
        if restarted and (failing or not one.status.get("ready")):
            yield True
        if failing or wanted or is_task or not one.status.get("ready"):
            yield False
    elif one.state("terminated"):
        if number(one.state("terminated"), "exitCode") != 0:
            yield False
            if restarted:
                yield True
    elif restarted:  # it waits for its next start: "previous" is a run that has ended for certain
        yield True
