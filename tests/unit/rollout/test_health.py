"""The health of a release, by what the cluster shows at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
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
    stamp,
    stateful_set,
    terminated,
    unschedulable,
    waiting,
)
from support.records import record
from support.rollouts import snapshot_of

from kubernaut.history.releases import ReleaseHealth
from kubernaut.rollout.health import Subject, health_of, subject_of
from kubernaut.rollout.objects import expected_objects
from kubernaut.rollout.rules import Rules

LONG_AGO = 24 * 3600.0
NOW = LONG_AGO + 3600
WEB = deployment("web", 3)
SET = replica_set(WEB)
PULLING = waiting("ImagePullBackOff", "Back-off pulling image")
PULL_FAILURE = 'Failed to pull image "x": manifest unknown'
OLD_POD: dict[str, Any] = {"created": LONG_AGO}
NEW_POD: dict[str, Any] = {"created": NOW - 30}


def health(
    *live: Json, release: Sequence[Json] = (), at: float = NOW, unreadable: Sequence[str] = (), since: float = 0
) -> ReleaseHealth:
    """Return the health of a release of these objects, by default of the first one, that was deployed at a time."""
    expected = expected_objects([manifest(item) for item in release or live[:1]], NAMESPACE)
    why = {kind: f"no right to list {kind}" for kind in unreadable}
    return health_of(Subject(expected, moment(since)), snapshot_of(at, expected, *live, unreadable=why))


def pods_of(owner: Json, *statuses: Json, **fields: Any) -> list[Json]:
    return [owned_pod(owner, f"p{number}", status, **fields) for number, status in enumerate(statuses)]


def three(*others: Json, **fields: Any) -> list[Json]:
    """Return the Deployment of three pods: the given ones, and old ones that are ready."""
    ready = [owned_pod(SET, f"r{number}", running(LONG_AGO), **OLD_POD) for number in range(3 - len(others))]
    return [WEB, SET, *ready, *pods_of(SET, *others, **fields)]


def database(status: str | None = "True", since: float = LONG_AGO) -> Json:
    found = {"apiVersion": "db.example/v1", "kind": "Database", "metadata": metadata("db"), "spec": {}}
    conditions = [] if status is None else [condition("Ready", status, "Syncing", "2 of 3 members", since=since)]
    return {**found, "status": {"conditions": conditions}}


def test_release_whose_objects_are_ready_is_healthy() -> None:
    everything = [*three(), service(), endpoint_slice(service(), True), claim(), database()]
    assert health(*everything, release=[WEB, service(), claim(), database()]) == ReleaseHealth(status="healthy")


def test_release_without_objects_is_healthy() -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("settings")}
    assert health(release=[config]).status == "healthy"
    assert health_of(Subject(), snapshot_of(NOW, ())).status == "healthy"


UPDATED = condition("Progressing", reason="ReplicaSetUpdated")
SLOW = deployment("web", 1, minReadySeconds=60)
UNSCHEDULABLE = unschedulable("web-7f1-p0", owner=SET, since=NOW - 90)
CASES: dict[str, tuple[str, list[Json]]] = {
    "container that crashes again and again": ("degraded", three(crashed(3), **OLD_POD)),
    "container that crashed twice in a new pod": ("progressing", three(crashed(2), **NEW_POD)),
    "container that crashed once in an old pod": ("degraded", three(crashed(1), **OLD_POD)),
    "old pod that is not ready any more": ("degraded", three(running(LONG_AGO, ready=False), **OLD_POD)),
    "new pod that is not ready yet": ("progressing", three(running(NOW - 20, ready=False), **NEW_POD)),
    "new pod that starts": ("progressing", three(waiting("ContainerCreating"), **NEW_POD)),
    "pod that has been starting for too long": ("degraded", three(waiting("ContainerCreating"), created=NOW - 301)),
    "image that is not found, twice": (
        "degraded",
        [*(found := three(PULLING, **NEW_POD)), event(found[-1], "Failed", PULL_FAILURE, count=2, container="web")],
    ),
    "image that is not found, once": (
        "progressing",
        [*(once := three(PULLING, **NEW_POD)), event(once[-1], "Failed", PULL_FAILURE, container="web")],
    ),
    "image whose name is invalid": ("degraded", three(waiting("InvalidImageName"), **NEW_POD)),
    "pod that no node fits for 90 s": ("degraded", [WEB, SET, UNSCHEDULABLE]),
    "pod that no node fits for 10 s": ("progressing", [WEB, SET, unschedulable("web-7f1-p0", owner=SET, since=NOW - 10)]),
    "pods that are gone": ("degraded", [WEB, SET]),
    "Deployment that its controller has not seen": ("degraded", [deployment(generation=2, observed=1)]),
    "paused Deployment": ("suspended", [deployment(paused=True)]),
    "Deployment that was scaled to 0": ("suspended", [deployment("web", 0)]),
    "Deployment past its own deadline": (
        "degraded",
        [changed(WEB, status={"conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", since=NOW - 70)]}), SET],
    ),
    "Deployment whose rollout has just begun": (
        "progressing",
        [changed(WEB, status={"updatedReplicas": 0, "conditions": [{**UPDATED, "lastUpdateTime": stamp(NOW - 2)}]})],
    ),
    "Deployment whose rollout does not get on": (
        "degraded",
        [changed(WEB, status={"updatedReplicas": 0, "conditions": [{**UPDATED, "lastUpdateTime": stamp(NOW - 400)}]})],
    ),
    "pod that has to be ready for longer": ("progressing", [SLOW, replica_set(SLOW), owned_pod(replica_set(SLOW), "a", **NEW_POD)]),
    "StatefulSet without a pod": ("degraded", [stateful_set(), *(ordinal_pod(stateful_set(), one, **OLD_POD) for one in (0, 1))]),
    "StatefulSet that is updated": (
        "progressing",
        [
            stateful_set(),
            ordinal_pod(stateful_set(), 2, waiting("ContainerCreating"), **NEW_POD),
            *(ordinal_pod(stateful_set(), one, revision="db-1", **OLD_POD) for one in (0, 1)),
        ],
    ),
    "DaemonSet with a crashing pod": ("degraded", [daemon_set(), node_pod(daemon_set(), 1), node_pod(daemon_set(), 2, crashed(9))]),
    "bare pod that has failed": ("degraded", [pod("tool", terminated(ended(1)), phase="Failed", restartPolicy="Never")]),
    "Job that runs for a day": ("progressing", [job(active=1), job_pod(job(), "a", running())]),
    "Job that has failed": ("degraded", [job(failed=7, conditions=[condition("Failed", message="backoff limit reached")])]),
    "complete Job": ("healthy", [job(succeeded=1, conditions=[condition("Complete")])]),
    "suspended Job": ("suspended", [changed(job(), spec={"suspend": True})]),
    "claim that is not bound": ("degraded", [claim(phase="Pending")]),
    "balancer without an address": ("degraded", [service("front", type="LoadBalancer")]),
    "object of another group that is not ready": ("degraded", [database("False")]),
    "object of another group that gets ready": ("progressing", [database("False", since=NOW - 20)]),
    "object of another group without a condition": ("healthy", [database(None)]),
}


@pytest.mark.parametrize("case", CASES)
def test_health_follows_the_rules_of_a_rollout(case: str) -> None:
    status, live = CASES[case]
    release = [deployment("web", 1)] if "scaled" in case else live[:1]
    found = health(*live, release=release)
    assert found.status == status, found
    assert bool(found.reason) == (status != "healthy")
    assert not found.reason or str(live[0]["metadata"]["name"]) in found.reason


@pytest.mark.parametrize("kind", [WEB, stateful_set(), daemon_set(), job(), claim(), service(), database(), pod("tool")])
def test_object_that_does_not_exist_is_missing(kind: Json) -> None:
    found = health(release=[kind])
    assert found.status == "missing"
    assert f"{kind['kind']} {kind['metadata']['name']}" in found.reason
    gone = changed(kind, metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"})
    assert health(gone, release=[kind]).status == "missing"


def test_job_that_the_cluster_deletes_when_it_has_finished_is_not_missing() -> None:
    assert health(release=[changed(job(), spec={"ttlSecondsAfterFinished": 60})]).status == "healthy"


def test_reason_names_the_workload_its_numbers_and_the_pod() -> None:
    reason = health(*three(crashed(5, code=3), **OLD_POD)).reason
    assert reason.startswith("Deployment web: 2 of 3 ready; ")
    assert "web-7f1-p0" in reason
    assert "exit status 3" in reason


def test_worst_object_decides() -> None:
    ill, paused = three(crashed(5), **OLD_POD), changed(deployment("other"), spec={"paused": True})
    release = [paused, WEB, claim("gone")]
    assert health(paused, *ill, release=release[:1]).status == "suspended"
    assert health(paused, *ill, release=release[:2]).status == "degraded"
    assert health(paused, *ill, release=release).status == "missing"


def test_ready_pod_that_restarts_again_and_again_is_not_believed() -> None:
    often = running(NOW - 3, restarts=7, last=ended(1))
    assert health(*three(often, **OLD_POD)).status == "degraded"
    assert health(*three(running(NOW - 3, restarts=1, last=ended(1)), **OLD_POD)).status == "progressing"
    assert health(*three(running(NOW - 30, restarts=7, last=ended(1)), **OLD_POD)).status == "healthy"


def test_container_without_a_readiness_probe_is_believed_after_some_seconds() -> None:
    web = deployment("web", 1, container(probed=False))
    made = replica_set(web)
    assert health(web, made, owned_pod(made, "a", running(NOW - 3), created=NOW - 4)).status == "progressing"
    assert health(web, made, owned_pod(made, "a", running(NOW - 6), created=NOW - 7)).status == "healthy"


def test_service_without_endpoints_is_judged_when_the_pods_are_ready() -> None:
    empty = endpoint_slice(service(), False)
    release = [WEB, service()]
    assert health(*three(), service(), empty, release=release).status == "degraded"
    restarting = health(*three(waiting("ContainerCreating"), **NEW_POD), service(), empty, release=release)
    assert restarting.status == "progressing"
    assert restarting.reason.startswith("Deployment web")


def test_what_may_not_be_read_is_unknown_with_the_reason() -> None:
    found = health(release=[WEB], unreadable=["Deployment"])
    assert (found.status, found.reason) == ("unknown", "no right to list Deployment")


def test_known_problem_outweighs_what_is_unknown() -> None:
    release = [WEB, claim()]
    assert health(*three(crashed(5), **OLD_POD), release=release, unreadable=["PersistentVolumeClaim"]).status == "degraded"


def test_numbers_of_the_controller_do_for_pods_that_may_not_be_read() -> None:
    found = health(WEB, unreadable=["Pod", "ReplicaSet"])
    assert (found.status, found.reason) == ("healthy", "no right to list ReplicaSet")
    found = health(deployment("web", 3, ready=1), unreadable=["Pod"])
    assert found.status == "degraded"
    assert "1 of 3" in found.reason
    assert "no right to list Pod" in found.reason


def test_release_that_was_just_deployed_has_time() -> None:
    assert health(WEB, SET, at=60).status == "progressing"
    assert health(WEB, SET, at=60 + 3600).status == "degraded"
    assert health(claim(phase="Pending"), at=60).status == "progressing"


# subjects


DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 2, selector: {matchLabels: {app: web}}}
"""


def test_subject_has_the_objects_that_run_or_serve_something() -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
    found = subject_of(record(1, "deployed", manifest=f"{DEPLOYMENT}---\n{config}"))
    assert [str(one.key) for one in found.expected] == ["Deployment web"]
    assert found.since is not None


def test_subject_has_the_rules_of_its_chart() -> None:
    annotations = {"kubernaut/crash-restarts": "9"}
    found = subject_of(record(1, "deployed", annotations=annotations), lambda found: Rules(crash_restarts=len(found)))
    assert found.rules.crash_restarts == 1


@pytest.mark.parametrize("fields", [{"manifest": "a: [1"}, {"payload": "broken"}])
def test_release_whose_manifest_cannot_be_read_is_unknown(fields: dict[str, str]) -> None:
    found = health_of(subject_of(record(1, "deployed", **fields)), snapshot_of(NOW, ()))
    assert found.status == "unknown"
    assert "demo.hello.v1" in found.reason
