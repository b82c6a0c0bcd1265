"""Any objects that a cluster may return are judged and explained; a release that is called ready has only ready objects."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.kube_objects import (
    NAMESPACE,
    Json,
    changed,
    claim,
    condition,
    container,
    crashed,
    daemon_set,
    deployment,
    ended,
    endpoint_slice,
    event,
    job,
    job_pod,
    manifest,
    metadata,
    moment,
    node_pod,
    ordinal_pod,
    owned_pod,
    pod,
    replica_set,
    running,
    service,
    stateful_set,
    terminated,
    unschedulable,
    waiting,
)
from support.rollouts import snapshot_of

from kubernaut.errors import HelmFailed
from kubernaut.rollout.diagnose import explain
from kubernaut.rollout.health import Subject, health_of
from kubernaut.rollout.objects import Expected, expected_objects
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.store import Store
from kubernaut.rollout.verdict import Verdict, Watched, begin, judge
from kubernaut.rollout.workloads import Phase, workload_states

KINDS = (
    "Pod",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "PersistentVolumeClaim",
    "Service",
    "EndpointSlice",
    "Event",
    "Database",
)

WEB, DB, AGENT = deployment("web", 2, revision=2), stateful_set(partition=1), daemon_set()
OLD, NEWEST = replica_set(WEB, 1), replica_set(WEB, 2)
DATABASE: Json = {"apiVersion": "db.example/v1", "kind": "Database", "metadata": metadata("db"), "spec": {}}
DATABASE["status"] = {"conditions": [condition("Ready")]}
BALANCER = changed(service("front", type="LoadBalancer"), status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
HOOK = {**manifest(job("setup")), "metadata": {"name": "setup", "annotations": {"helm.sh/hook": "pre-install"}}}
WANTED = [WEB, DB, AGENT, job(), service(), BALANCER, claim(), pod("tool"), DATABASE]
HEALTHY = [
    *WANTED,
    OLD,
    NEWEST,
    *(owned_pod(NEWEST, name) for name in "ab"),
    *(ordinal_pod(DB, number) for number in range(3)),
    *(node_pod(AGENT, number) for number in (1, 2)),
    endpoint_slice(service(), True),
    endpoint_slice(BALANCER, True),
    job(conditions=[condition("Complete")], succeeded=1),
]
BAD_COMMAND = ended(128, reason="StartError", message='exec: "/run": no such file or directory')
STATUSES = [
    waiting("ErrImagePull", "not found"),
    waiting("ImagePullBackOff"),
    waiting("CreateContainerConfigError", "secret not found"),
    waiting("RunContainerError", 'exec: "/run": permission denied'),
    crashed(4, code=137),
    terminated(BAD_COMMAND),
    running(2, ready=False, restarts=2, last=ended(1)),
]
SICK = [
    *(owned_pod(NEWEST, name, status) for name, status in zip("abcdefg", STATUSES, strict=True)),
    owned_pod(OLD, "z", crashed(50)),
    unschedulable("web-7f2-h", owner=NEWEST),
    changed(ordinal_pod(DB, 1, phase="Failed"), status={"reason": "Evicted"}),
    ordinal_pod(DB, 0, revision="db-1", init=[(container("setup"), crashed(3))]),
    job_pod(job(), "x", terminated(ended(1)), phase="Failed"),
    job(failed=9, conditions=[condition("Failed", "True", "BackoffLimitExceeded")]),
    claim(phase="Pending", storage_class=None),
    endpoint_slice(service(), False),
    changed(BALANCER, status={"loadBalancer": {}}),
    event(NEWEST, "FailedCreate", "exceeded quota: small"),
    event(owned_pod(NEWEST, "a"), "Unhealthy", "Readiness probe failed: no"),
    event(owned_pod(NEWEST, "a"), "Killing", "Container web failed liveness probe"),
    event(owned_pod(NEWEST, "a"), "FailedMount", 'configmap "x" not found'),
]

TIMES = ["2026-03-01T12:00:03Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"]
TEXTS = st.sampled_from(["", "True", "Running", "web", "db-1", *TIMES, "\x1b[2J", "-", "é"])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MOMENTS = st.lists(st.floats(0, 300), min_size=1, max_size=4).map(sorted)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all parts of a JSON value but the whole."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in parts for place in ((*path, key), *places(part, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn, item: Json) -> Json:
    """Return an object of which some parts are missing or anything."""
    result: Any = copy.deepcopy(item)
    for _ in range(draw(st.integers(0, 3))):
        *parents, last = draw(st.sampled_from(places(result) or [("kind",)]))
        part: Any = result
        for name in parents:
            part = part[name]
        if isinstance(part, dict) and last != "kind" and draw(st.booleans()):
            part.pop(last, None)
        else:
            part[last] = draw(JUNK)
    return result


@st.composite
def clusters(draw: st.DrawFn) -> list[Json]:
    """Return what a cluster may have of the release, some of it damaged."""
    chosen = draw(st.lists(st.sampled_from([*HEALTHY, *SICK]), max_size=30))
    return [draw(damaged(item)) if draw(st.integers(0, 3)) == 0 else item for item in chosen]


NOTHING = st.dictionaries(st.sampled_from(["metadata", "spec", "status", "apiVersion", "involvedObject", "endpoints", "x"]), JUNK)
ANYTHING = st.builds(lambda kind, parts: {**parts, "kind": kind}, st.sampled_from(KINDS), NOTHING)


def verdicts(
    wanted: Sequence[Json], states: Sequence[Sequence[Json]], times: Sequence[float], unreadable: Sequence[str]
) -> list[Verdict]:
    """Judge a rollout through the states of a cluster, and check and explain each verdict."""
    expected: tuple[Expected, ...] = expected_objects([manifest(item) for item in wanted], NAMESPACE, [HOOK])
    watched = Watched()
    found = []
    for number, (seconds, objects) in enumerate(zip(times, states, strict=False)):
        store = Store(expected)
        for item in objects:
            store.apply("MODIFIED", item)
        for kind in unreadable:
            store.set_unreadable(kind, f"cannot read {kind}")
        snapshot = store.snapshot(moment(seconds))
        if number == 0:
            watched = begin(Rules(), expected, snapshot)
        verdict, watched = judge(watched, expected, snapshot, helm_done=number > 0)
        assert_consistent(verdict)
        explanation = explain("web 1.0.0 to demo", HelmFailed("timed out"), snapshot, verdict=verdict, expected=expected)
        assert explanation.sentence
        found.append(verdict)
    return found


def assert_consistent(verdict: Verdict) -> None:
    """Check that a verdict agrees with its states and problems."""
    if verdict.is_ready:
        assert all(state.is_ready for state in verdict.states if not state.hook)
        counted = [state for state in verdict.states if state.phase is Phase.READY and state.pods and not state.by_numbers]
        assert all(sum(pod.ready for pod in state.pods) >= state.desired for state in counted if state.key.kind != "Job")
        assert verdict.problem is None
    if verdict.is_failed:
        assert verdict.problem is not None
        assert verdict.rule
        assert not verdict.problem.passing


@given(st.lists(clusters(), min_size=1, max_size=4), MOMENTS, st.lists(st.sampled_from(KINDS), max_size=2))
def test_damaged_objects_are_judged(states: list[list[Json]], times: list[float], unreadable: list[str]) -> None:
    verdicts(WANTED, states, times, unreadable)


@given(st.lists(st.lists(ANYTHING, max_size=8), min_size=1, max_size=3), MOMENTS)
def test_anything_is_judged(states: list[list[Json]], times: list[float]) -> None:
    verdicts(WANTED, states, times, [])


@given(
    st.lists(damaged(WEB) | damaged(service()) | damaged(job()) | ANYTHING.map(lambda item: {"metadata": {}, **item}), max_size=5)
)
def test_any_manifest_is_judged(wanted: list[Json]) -> None:
    expected = expected_objects(wanted, NAMESPACE, wanted)
    store = Store(expected)
    for item in HEALTHY:
        store.apply("ADDED", item)
    snapshot = store.snapshot(moment(9))
    verdict, _ = judge(begin(Rules(), expected, snapshot), expected, snapshot, helm_done=True)
    assert_consistent(verdict)


@given(st.lists(st.sampled_from(SICK), min_size=1, max_size=3))
def test_nothing_wrong_makes_an_object_ready(sick: list[Json]) -> None:
    healthy = verdicts(WANTED, [HEALTHY, HEALTHY], [100, 120], [])[-1]
    assert healthy.is_ready
    worse = verdicts(WANTED, [HEALTHY, [*HEALTHY, *sick]], [100, 120], [])[-1]
    ready = {state.key: state.is_ready for state in healthy.states}
    assert all(ready[state.key] >= state.is_ready for state in worse.states)


@given(clusters(), st.floats(0, 1e6), st.lists(st.sampled_from(KINDS), max_size=2))
def test_health_of_damaged_objects_is_never_better_than_their_states(
    objects: list[Json], seconds: float, unreadable: list[str]
) -> None:
    expected = expected_objects([manifest(item) for item in WANTED], NAMESPACE)
    found = snapshot_of(seconds, expected, *objects, unreadable=dict.fromkeys(unreadable, "no right"))
    health = health_of(Subject(expected, moment(0)), found)
    states = workload_states(expected, found)
    assert health.reason or health.status == "healthy"
    if health.status == "healthy":
        assert all(state.is_ready for state in states)
        assert all(state.exists for state in states)


@given(clusters(), st.floats(0, 1e6))
def test_release_is_healthy_or_suspended_exactly_if_its_rollout_is_ready(objects: list[Json], seconds: float) -> None:
    expected = expected_objects([manifest(item) for item in WANTED if item is not DATABASE], NAMESPACE)
    found = snapshot_of(seconds, expected, *objects)
    verdict, _ = judge(begin(Rules(), expected, found), expected, found, helm_done=True)
    health = health_of(Subject(expected, moment(0)), found)
    if not any(state.by_numbers for state in verdict.states):  # those have to stay ready for a while
        assert verdict.is_ready == (health.status in ("healthy", "suspended")), (verdict, health)
