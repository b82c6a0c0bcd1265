"""Deployments, StatefulSets and DaemonSets: which of their pods count."""

from __future__ import annotations

import pytest
from support.kube_objects import (
    NAMESPACE,
    Json,
    changed,
    claim,
    condition,
    crashed,
    daemon_set,
    deployment,
    ended,
    event,
    manifest,
    node_pod,
    ordinal_pod,
    owned_pod,
    replica_set,
    running,
    stateful_set,
    terminated,
    unschedulable,
    waiting,
)
from support.rollouts import snapshot_of

from kubernaut.rollout.objects import expected_objects
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.workloads import Phase, WorkloadState, workload_states

NO_RIGHT = "cannot read them: no right"


def state_of(live: Json, *others: Json, unreadable: tuple[str, ...] = ()) -> WorkloadState:
    expected = expected_objects([manifest(live)], NAMESPACE)
    why = dict.fromkeys(unreadable, NO_RIGHT)
    return workload_states(expected, snapshot_of(60, expected, live, *others, unreadable=why))[0]


# Deployments


def test_deployment_counts_the_pods_of_its_newest_replica_set() -> None:
    web = deployment(replicas=2, revision=2)
    old, new = replica_set(web, 1), replica_set(web, 2)
    pods = [owned_pod(old, "a"), owned_pod(old, "b"), owned_pod(new, "c"), owned_pod(new, "d", running(ready=False))]
    found = state_of(web, old, new, *pods)
    assert (found.phase, found.ready, found.desired) == (Phase.PROGRESSING, 1, 2)
    assert [pod.key.name for pod in found.pods] == ["web-7f2-c", "web-7f2-d"]


def test_deployment_ignores_what_is_wrong_with_old_pods() -> None:
    web = deployment(revision=2)
    old, new = replica_set(web, 1), replica_set(web, 2)
    found = state_of(web, old, new, owned_pod(old, "a", crashed(9)), owned_pod(new, "b"))
    assert found.is_ready
    assert found.problems == ()


def test_deployment_that_its_controller_has_not_seen_shows_no_problems() -> None:
    web = deployment(generation=2, observed=1)
    old = replica_set(web, 1)
    found = state_of(web, old, owned_pod(old, "a", waiting("InvalidImageName")))
    assert (found.phase, found.problems, found.pods) == (Phase.PROGRESSING, (), ())


def test_replica_set_that_cannot_be_created() -> None:
    message = 'replicasets.apps "web-7f2" is forbidden: exceeded quota: small'
    failed = condition("Progressing", "False", "ReplicaSetCreateError", message)
    web = changed(deployment(generation=2, observed=1), status={"conditions": [failed]})
    found = state_of(web, replica_set(web, 1))
    assert [problem.cause for problem in found.problems] == [Cause.QUOTA_EXCEEDED]
    assert message in found.problems[0].message


def test_deployment_without_a_status_is_not_ready() -> None:
    web = deployment(replicas=0)
    del web["status"]
    assert not state_of(web).is_ready


def test_terminating_pods_do_not_count() -> None:
    web = deployment()
    new = replica_set(web)
    found = state_of(web, new, changed(owned_pod(new, "a"), metadata={"deletionTimestamp": "2026-03-01T12:00:10Z"}))
    assert (found.phase, found.ready) == (Phase.PROGRESSING, 0)


def test_paused_deployment_is_suspended() -> None:
    assert state_of(deployment(paused=True)).phase is Phase.SUSPENDED


def test_deployment_of_no_replicas_is_ready() -> None:
    found = state_of(deployment(replicas=0))
    assert (found.phase, found.desired) == (Phase.READY, 0)


def test_evicted_pod_that_was_replaced_never_ends_a_rollout() -> None:
    web = deployment()
    new = replica_set(web)
    evicted = changed(owned_pod(new, "a", phase="Failed"), status={"reason": "Evicted"})
    found = state_of(web, new, evicted, owned_pod(new, "b", waiting("ContainerCreating")))
    assert [(problem.cause, problem.passing, problem.fatal) for problem in found.problems] == [(Cause.POD_EVICTED, True, False)]
    assert state_of(web, new, evicted, owned_pod(new, "b")).is_ready


def test_pod_that_succeeded_serves_no_deployment() -> None:
    web = deployment()
    new = replica_set(web)
    assert not state_of(web, new, owned_pod(new, "a", terminated(ended(0)), phase="Succeeded")).is_ready


def test_progress_deadline_is_reported() -> None:
    web = changed(
        deployment(progressDeadlineSeconds=30),
        status={"conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", since=30)]},
    )
    new = replica_set(web)
    found = state_of(web, new, owned_pod(new, "a", running(ready=False)))
    assert found.problems[-1].cause is Cause.DEADLINE_EXCEEDED
    assert "30 s" in found.problems[-1].message


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            'pods "web-1" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2',
            Cause.QUOTA_EXCEEDED,
        ),
        ('pods "web-1" is forbidden: failed quota: small: must specify limits.cpu', Cause.QUOTA_EXCEEDED),
        ('pods "web-1" is forbidden: violates PodSecurity "restricted:latest"', Cause.ADMISSION_DENIED),
        ('admission webhook "policy.example" denied the request: no', Cause.ADMISSION_DENIED),
        ("Internal error occurred: failed calling webhook", Cause.PODS_NOT_CREATED),
        (
            'pods "web-1" is forbidden: unable to create new content in namespace demo because it is being terminated',
            Cause.NAMESPACE_TERMINATING,
        ),
    ],
)
@pytest.mark.parametrize("source", ["event", "condition"])
def test_pods_that_cannot_be_created(source: str, message: str, cause: Cause) -> None:
    web = deployment()
    new = replica_set(web)
    failed = event(new, "FailedCreate", f"Error creating: {message}", at=2)
    failing = changed(new, status={"conditions": [condition("ReplicaFailure", "True", "FailedCreate", message)]})
    found = state_of(web, new, failed) if source == "event" else state_of(web, failing, unreadable=("Event",))
    assert found.problems[0].cause is cause
    assert message in found.problems[0].message


def test_pods_that_were_created_after_all_are_no_problem() -> None:
    web = deployment(replicas=2)
    new = replica_set(web)
    failed, created = event(new, "FailedCreate", "exceeded quota", at=2), event(new, "SuccessfulCreate", "Created pod: b", at=2)
    created["metadata"]["resourceVersion"], failed["metadata"]["resourceVersion"] = "12", "9"
    assert state_of(web, new, created, failed, owned_pod(new, "a")).problems == ()


def test_claim_explains_why_its_pod_cannot_be_scheduled() -> None:
    web = deployment()
    new, data = replica_set(web), claim("web-data", "Pending", storage_class="fast")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "web-data"}}]
    item = unschedulable("web-7f1-a", "pod has unbound immediate PersistentVolumeClaims", owner=new, volumes=volumes)
    expected = expected_objects([manifest(web), manifest(data)], NAMESPACE)
    snapshot = snapshot_of(60, expected, web, new, item, data, event(data, "ProvisioningFailed", 'storageclass "fast" not found'))
    found = workload_states(expected, snapshot)[0]
    assert [problem.object.kind for problem in found.problems] == ["PersistentVolumeClaim", "Pod"]
    assert "fast" in found.problems[0].message


# what may not be read


def test_deployment_without_replica_sets_counts_by_its_own_numbers() -> None:
    web = deployment(replicas=2, revision=2, total=3, updated=2, ready=3)
    old, new = replica_set(web, 1), replica_set(web, 2)
    pods = [owned_pod(old, "a"), owned_pod(new, "b", created=5), owned_pod(new, "c", crashed(1), created=6)]
    found = state_of(web, *pods, unreadable=("ReplicaSet",))
    assert (found.phase, found.by_numbers) == (Phase.PROGRESSING, True)
    assert [pod.key.name for pod in found.pods] == ["web-7f2-b", "web-7f2-c"]
    assert found.problems[0].cause is Cause.CONTAINER_CRASHED
    assert state_of(deployment(replicas=2, revision=2), *pods[1:], unreadable=("ReplicaSet",)).is_ready


def test_deployment_without_pods_counts_by_its_own_numbers() -> None:
    web = deployment(replicas=2, revision=2, total=3, updated=2, ready=3)
    assert not state_of(web, replica_set(web, 2), unreadable=("Pod",)).is_ready
    found = state_of(deployment(replicas=2), unreadable=("Pod",))
    assert (found.phase, found.by_numbers, found.ready) == (Phase.READY, True, 2)


@pytest.mark.parametrize(
    ("live", "ready"),
    [
        (stateful_set(), True),
        (stateful_set(updated=2), False),
        (stateful_set(partition=2), True),
        (daemon_set(), True),
        (daemon_set(updated=1), False),
    ],
)
def test_workloads_without_pods_count_by_their_numbers(live: Json, ready: bool) -> None:
    assert state_of(live, unreadable=("Pod",)).is_ready is ready


def test_workload_that_may_not_be_read_is_not_judged() -> None:
    found = state_of(deployment(), unreadable=("Deployment",))
    assert (found.phase, found.summary) == (Phase.NOT_JUDGED, NO_RIGHT)


# StatefulSets


def test_stateful_set_wants_every_ordinal() -> None:
    db = stateful_set()
    assert state_of(db, *(ordinal_pod(db, number) for number in range(3))).is_ready
    found = state_of(db, ordinal_pod(db, 0), ordinal_pod(db, 1, crashed(1)))
    assert (found.phase, found.ready, found.problems[0].object.name) == (Phase.PROGRESSING, 1, "db-1")


def test_stateful_set_from_another_start() -> None:
    db = stateful_set(start=5)
    assert state_of(db, *(ordinal_pod(db, number) for number in range(5, 8))).is_ready
    assert not state_of(db, *(ordinal_pod(db, number) for number in range(3, 6))).is_ready


def test_stateful_set_keeps_old_pods_below_its_partition() -> None:
    db = stateful_set(partition=2)
    pods = [ordinal_pod(db, 0, revision="db-1"), ordinal_pod(db, 1, revision="db-1"), ordinal_pod(db, 2)]
    assert state_of(db, *pods).is_ready
    assert not state_of(stateful_set(partition=1), *pods).is_ready


def test_stateful_set_waits_for_an_old_pod_without_giving_up() -> None:
    db = stateful_set(updated=0)
    found = state_of(db, ordinal_pod(db, 0, crashed(9), revision="db-1"), *(ordinal_pod(db, n, revision="db-1") for n in (1, 2)))
    assert (found.phase, found.ready) == (Phase.PROGRESSING, 0)
    assert [(problem.object.name, problem.passing) for problem in found.problems] == [("db-0", True)]


def test_stateful_set_that_is_updated_by_hand_counts_all_pods() -> None:
    db = stateful_set(replicas=1, updated=0, updateStrategy={"type": "OnDelete"})
    assert state_of(db, ordinal_pod(db, 0, revision="db-1")).is_ready


def test_stateful_set_with_very_many_replicas_is_cheap() -> None:
    db = stateful_set(replicas=2**31 - 1)
    assert state_of(db, ordinal_pod(db, 0)).ready == 1


# DaemonSets


def test_daemon_set_counts_the_pods_of_its_newest_template() -> None:
    agent = daemon_set(generation=2, updated=1)
    found = state_of(agent, node_pod(agent, 1, crashed(4), generation=1), node_pod(agent, 2, generation=2))
    assert (found.phase, found.ready, found.desired) == (Phase.PROGRESSING, 1, 2)
    assert [problem.passing for problem in found.problems] == [True]


def test_daemon_set_on_every_eligible_node() -> None:
    agent = daemon_set(generation=2)
    pods = [node_pod(agent, number, generation=2) for number in (1, 2)]
    assert state_of(agent, *pods).is_ready
    assert not state_of(agent, pods[0], node_pod(agent, 2, running(ready=False), generation=2)).is_ready


def test_daemon_set_that_went_back_keeps_pods_with_an_older_number() -> None:
    agent = daemon_set(generation=3)
    assert state_of(agent, node_pod(agent, 1, generation=1), node_pod(agent, 2, generation=3)).is_ready


def test_daemon_set_without_an_eligible_node_is_ready() -> None:
    assert state_of(daemon_set(nodes=0)).is_ready


def test_daemon_set_that_is_updated_by_hand_counts_all_pods() -> None:
    agent = daemon_set(generation=2, updated=0, updateStrategy={"type": "OnDelete"})
    assert state_of(agent, node_pod(agent, 1), node_pod(agent, 2)).is_ready


# ReplicaSets


def test_replica_set_on_its_own() -> None:
    bare = replica_set(deployment(replicas=2))
    del bare["metadata"]["ownerReferences"]
    assert state_of(bare, owned_pod(bare, "a"), owned_pod(bare, "b")).is_ready
    assert not state_of(bare, owned_pod(bare, "a")).is_ready
