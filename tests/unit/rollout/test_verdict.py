"""When a release is ready, and what does not count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kube_objects import (
    Json,
    changed,
    condition,
    container,
    crashed,
    daemon_set,
    deployment,
    ended,
    endpoint_slice,
    event,
    job,
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
from support.rollouts import Rollout

from kubernaut.rollout.problems import Cause
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.workloads import Phase

WEB = deployment()
NEWEST = replica_set(WEB)
UNPROBED = container(probed=False)


# believed


def test_probed_pods_are_believed_at_once() -> None:
    assert Rollout(WEB).see(2, WEB, NEWEST, owned_pod(NEWEST, "a", running(2))).is_ready


def test_unprobed_container_is_believed_when_it_has_run_for_five_seconds() -> None:
    live = deployment("web", 1, container("web"), container("helper", probed=False))
    newest, rollout = replica_set(live), Rollout(live)
    verdict = rollout.see(3, live, newest, owned_pod(newest, "a", running(1), running(2)))
    assert (verdict.is_ready, verdict.believed_at) == (False, moment(7))
    assert not rollout.see(6.9, live, newest, owned_pod(newest, "a", running(1), running(2))).is_ready
    assert rollout.see(7, live, newest, owned_pod(newest, "a", running(1), running(2))).is_ready


def test_restarted_container_is_believed_when_it_has_settled() -> None:
    rollout, item = Rollout(WEB), owned_pod(NEWEST, "a", running(4, restarts=1))
    assert not rollout.see(5, WEB, NEWEST, item).is_ready
    assert not rollout.see(13.9, WEB, NEWEST, item).is_ready
    assert rollout.see(14, WEB, NEWEST, item).is_ready


def test_restart_that_is_too_quick_to_be_seen_as_not_ready_settles_as_well() -> None:
    rollout = Rollout(WEB)
    rollout.see(1, WEB, NEWEST, owned_pod(NEWEST, "a", running(1)), helm_done=False)
    again = owned_pod(NEWEST, "a", running(4, restarts=1))
    assert not rollout.see(5, WEB, NEWEST, again).is_ready
    assert not rollout.see(13.9, WEB, NEWEST, again).is_ready
    assert rollout.see(14, WEB, NEWEST, again).is_ready


def test_min_ready_seconds_count() -> None:
    live = deployment(minReadySeconds=30)
    newest, rollout = replica_set(live), Rollout(live)
    assert not rollout.see(30.9, live, newest, owned_pod(newest, "a", created=0)).is_ready
    assert rollout.see(31, live, newest, owned_pod(newest, "a", created=0)).is_ready


def test_pod_that_was_not_ready_in_between_is_believed_anew() -> None:
    live = deployment("web", 1, UNPROBED)
    newest, rollout = replica_set(live), Rollout(live)
    rollout.see(3, live, newest, owned_pod(newest, "a", running(3600)))
    rollout.see(6, live, newest, owned_pod(newest, "a", running(3600, ready=False)))
    assert not rollout.see(9, live, newest, owned_pod(newest, "a", running(3600))).is_ready


def test_finished_pod_has_nothing_to_settle() -> None:
    item = pod("tool", terminated(ended(0), restarts=1), phase="Succeeded", containers=[UNPROBED], restartPolicy="OnFailure")
    assert Rollout(item).see(2, item).is_ready


def test_nothing_is_ready_before_helm_is_done() -> None:
    rollout, item = Rollout(WEB), owned_pod(NEWEST, "a")
    assert not rollout.see(3, WEB, NEWEST, item, helm_done=False).is_ready
    assert rollout.see(4, WEB, NEWEST, item).is_ready


def test_job_that_is_deleted_as_soon_as_it_succeeds_is_ready() -> None:
    done = job(succeeded=1, conditions=[condition("Complete")])
    assert Rollout(job()).see(2, removed=[done]).is_ready
    assert Rollout(job()).see(2, changed(done, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})).is_ready


def test_job_that_is_deleted_as_soon_as_it_fails_has_failed() -> None:
    gone = job(failed=1, conditions=[condition("Failed", message="Job has reached the specified backoff limit")])
    verdict = Rollout(job()).see(2, removed=[gone])
    assert (verdict.is_failed, verdict.problem and verdict.problem.cause) == (True, Cause.JOB_FAILED)


def test_job_of_the_old_revision_that_was_deleted_is_not_the_new_one() -> None:
    old = job(succeeded=1, conditions=[condition("Complete")])
    verdict = Rollout(job(), before=[old]).see(2, removed=[old])
    assert (verdict.is_ready, verdict.problem and verdict.problem.cause) == (False, Cause.OBJECT_DELETED)


def test_job_that_was_deleted_while_it_ran_is_missing() -> None:
    verdict = Rollout(job()).see(2, removed=[job(active=1)])
    assert (verdict.is_ready, verdict.problem and verdict.problem.cause) == (False, Cause.OBJECT_DELETED)


# never ready


def test_second_container_that_crashes_after_a_second() -> None:
    live = deployment("web", 1, container("web"), container("helper", probed=False))
    newest, rollout = replica_set(live), Rollout(live)

    def see(seconds: float, status: Json) -> None:
        rollout.see(seconds, live, newest, owned_pod(newest, "a", running(1), status))

    see(1.5, running(1))
    see(2, terminated(ended(1)))
    for restarts, start in ((1, 3), (2, 15), (3, 37)):
        see(start + 0.5, running(start, restarts=restarts))
        see(start + 1, terminated(ended(1, start=start, end=start + 1), restarts=restarts))
        see(start + 2, crashed(restarts, start=start, end=start + 1))
    assert "ready" not in rollout.words
    assert rollout.words[-1] == "failed"


def test_stateful_set_whose_second_pod_crashes() -> None:
    db = stateful_set(replicas=2)
    rollout = Rollout(db)
    for restarts in range(4):
        for status in (running(restarts * 20, ready=False, restarts=restarts), crashed(restarts)):
            rollout.see(restarts * 20 + 5, db, ordinal_pod(db, 0), ordinal_pod(db, 1, status))
    assert "ready" not in rollout.words
    assert rollout.verdicts[-1].problem is not None
    assert rollout.verdicts[-1].problem.object.name == "db-1"


def test_job_that_fails_beside_a_ready_deployment() -> None:
    rollout, item = Rollout(WEB, job()), owned_pod(NEWEST, "a")
    rollout.see(2, WEB, NEWEST, item, job(active=1, failed=1))
    rollout.see(9, WEB, NEWEST, item, job(conditions=[condition("Failed", "True", "BackoffLimitExceeded", "limit")]))
    assert rollout.words == ["progressing", "failed"]


def test_bare_pod_with_a_missing_image() -> None:
    rollout = Rollout(pod("tool"))
    for seconds, reason in ((1, "ErrImagePull"), (2, "ImagePullBackOff"), (13, "ErrImagePull")):
        rollout.see(seconds, pod("tool", waiting(reason, "not found"), containers=[UNPROBED]))
    assert rollout.words == ["progressing", "progressing", "failed"]


def test_old_pods_beside_a_new_one_that_is_missing() -> None:
    live = deployment(revision=2)
    old, new = replica_set(live, 1), replica_set(live, 2)
    assert not Rollout(live).see(2, live, old, new, owned_pod(old, "a")).is_ready


# the old revision


def old_and_new() -> tuple[Json, Json, Json, Json]:
    old = deployment("web", 1, container(image="old"))
    new = deployment(revision=2, generation=2)
    return old, replica_set(old, 1), new, replica_set(new, 2)


BROKEN = [waiting("InvalidImageName"), waiting("CreateContainerConfigError", "secret not found"), crashed(7)]


@pytest.mark.parametrize("status", BROKEN)
def test_old_pods_do_not_count_before_helm_applies_the_new_revision(status: Json) -> None:
    old, first, new, _ = old_and_new()
    rollout = Rollout(new, before=[old, first, owned_pod(first, "a", status)])
    for seconds in (1, 30, 90):
        broken = changed(status, restartCount=7 + seconds)
        assert rollout.see(seconds, old, first, owned_pod(first, "a", broken), helm_done=False).problem is None


@pytest.mark.parametrize("status", BROKEN)
def test_old_pods_do_not_count_after_helm_has_applied_the_new_revision(status: Json) -> None:
    old, first, new, second = old_and_new()
    rollout = Rollout(new, before=[old, first, owned_pod(first, "a", status)])
    unseen = changed(new, status={"observedGeneration": 1}, metadata={"annotations": old["metadata"]["annotations"]})
    old_pod = owned_pod(first, "a", changed(status, restartCount=60))
    assert rollout.see(2, unseen, first, old_pod).problem is None
    assert rollout.see(40, new, first, second, old_pod, owned_pod(second, "b", waiting("ContainerCreating"))).problem is None
    assert rollout.see(90, new, first, second, old_pod, owned_pod(second, "b")).is_ready


def test_unchanged_pod_counts_its_failures_from_the_beginning() -> None:
    before = [WEB, NEWEST, owned_pod(NEWEST, "a", running(-900, restarts=8))]
    rollout = Rollout(WEB, before=before)
    assert not rollout.see(5, WEB, NEWEST, owned_pod(NEWEST, "a", crashed(9))).is_failed
    assert not rollout.see(15, WEB, NEWEST, owned_pod(NEWEST, "a", crashed(10))).is_failed
    assert rollout.see(35, WEB, NEWEST, owned_pod(NEWEST, "a", crashed(11))).is_failed


@given(st.integers(1, 600), st.integers(0, 30), st.integers(1, 10))
def test_what_was_created_before_the_first_look_is_not_from_before(created: int, more: int, limit: int) -> None:
    """A busy cluster may answer the first lists when Helm has made the pods, and they have crashed, already."""
    live = changed(WEB, metadata={"creationTimestamp": stamp(created)})
    crashing = owned_pod(replica_set(live), "a", crashed(limit), created=created)
    objects = (live, replica_set(live), crashing)
    rollout = Rollout(WEB, before=objects, read_at=created + more, rules=Rules(crash_restarts=limit))
    assert rollout.see(created + more, *objects, helm_done=False).is_failed


def test_pod_of_the_same_name_counts_anew() -> None:
    db = stateful_set(replicas=1)
    rollout = Rollout(db, before=[db, ordinal_pod(db, 0, crashed(30), revision="db-1", uid="old")])
    for restarts in range(4):
        rollout.see(restarts * 20, db, ordinal_pod(db, 0, crashed(restarts), uid="new"))
    assert rollout.words == ["progressing", "progressing", "progressing", "failed"]


def test_problem_that_began_before_the_rollout_is_given_its_time() -> None:
    scheduled = condition("PodScheduled", "False", "Unschedulable", "no node", since=-9000)
    stuck = changed(owned_pod(NEWEST, "a"), status={"phase": "Pending", "conditions": [scheduled], "containerStatuses": []})
    rollout = Rollout(WEB, before=[WEB, NEWEST, stuck])
    assert not rollout.see(1, WEB, NEWEST, stuck).is_failed
    assert not rollout.see(60.9, WEB, NEWEST, stuck).is_failed
    assert rollout.see(61, WEB, NEWEST, stuck).is_failed


def test_pod_that_a_ready_deployment_no_longer_wants_does_not_count() -> None:
    verdict = Rollout(WEB).see(9, WEB, NEWEST, owned_pod(NEWEST, "a"), owned_pod(NEWEST, "b", crashed(9)))
    assert verdict.is_ready


def test_clock_of_a_node_that_is_behind_gives_nothing_up() -> None:
    rollout, item = Rollout(WEB), owned_pod(NEWEST, "a", waiting("ContainerCreating"))
    mount = event(item, "FailedMount", 'secret "tls" not found', at=-50, first=-60)
    assert not rollout.see(1, WEB, NEWEST, item, mount).is_failed
    assert not rollout.see(20, WEB, NEWEST, item, mount).is_failed


def test_what_is_wrong_is_shown_by_importance() -> None:
    live = deployment("web", 2)
    newest = replica_set(live)
    pods = [owned_pod(newest, "a", running(ready=False)), owned_pod(newest, "b", crashed(1))]
    verdict = Rollout(live).see(3, live, newest, *pods)
    assert verdict.problem is not None
    assert verdict.problem.cause is Cause.CONTAINER_CRASHED


# what may not be read


def release() -> tuple[list[Json], list[Json]]:
    """Return a healthy release: its objects, and what belongs to them."""
    db, agent, live, tool = stateful_set(), daemon_set(), service(), pod("tool")
    wanted = [WEB, db, agent, job(succeeded=1, conditions=[condition("Complete")]), live, tool]
    pods = [
        owned_pod(NEWEST, "a"),
        *(ordinal_pod(db, number) for number in range(3)),
        *(node_pod(agent, number) for number in (1, 2)),
    ]
    return wanted, [NEWEST, *pods, endpoint_slice(live, True)]


@pytest.mark.parametrize(
    "kind",
    [
        "Pod",
        "ReplicaSet",
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "Job",
        "Service",
        "EndpointSlice",
        "Event",
        "PersistentVolumeClaim",
    ],
)
def test_release_is_judged_without_a_kind_that_may_not_be_read(kind: str) -> None:
    wanted, others = release()
    rollout, unreadable = Rollout(*wanted), {kind: f"cannot read {kind}: no right"}
    verdict = rollout.see(20, *wanted, *others, unreadable=unreadable)
    assert verdict.unreadable == (f"cannot read {kind}: no right",)
    assert verdict.is_ready is (kind not in ("Pod", "ReplicaSet"))
    assert rollout.see(30, *wanted, *others, unreadable=unreadable).is_ready


def test_pods_that_may_not_be_read_have_to_stay_ready_for_a_while() -> None:
    rollout, unreadable = Rollout(WEB), {"Pod": "no right"}
    rollout.see(2, WEB, NEWEST, unreadable=unreadable)
    rollout.see(3, changed(WEB, status={"readyReplicas": 0}), NEWEST, unreadable=unreadable)
    assert not rollout.see(12, WEB, NEWEST, unreadable=unreadable).is_ready
    assert rollout.see(22, WEB, NEWEST, unreadable=unreadable).is_ready


def test_three_hundred_pods_are_judged_by_the_controllers_numbers() -> None:
    live = deployment("web", 300)
    newest = replica_set(live)
    pods = [owned_pod(newest, str(number), created=number) for number in range(300)]
    rollout = Rollout(live)
    behind = changed(live, status={"readyReplicas": 299})
    assert not rollout.see(301, behind, newest, *pods).is_ready
    verdict = rollout.see(302, live, newest, *pods)
    assert (verdict.states[0].desired, len(verdict.states[0].pods)) == (300, 200)
    assert rollout.see(312, live, newest, *pods).is_ready


def test_crash_in_the_newest_of_three_hundred_pods_is_seen() -> None:
    old, new = deployment("web", 300), deployment("web", 300, revision=2, updated=1, ready=300, total=301)
    first, second = replica_set(old, 1), replica_set(new, 2)
    pods = [owned_pod(first, str(number), created=number) for number in range(300)]
    rollout = Rollout(new, before=[old])
    assert rollout.see(400, new, first, second, owned_pod(second, "x", crashed(3), created=390), *pods).is_failed


# a cluster that is not heard


def test_no_time_runs_out_while_the_cluster_is_not_heard() -> None:
    rollout, stuck = Rollout(WEB), unschedulable("web-7f1-a", owner=NEWEST)
    rollout.see(1, WEB, NEWEST, stuck)
    rollout.see(120, WEB, NEWEST, stuck, disconnected="connection refused")
    rollout.see(121, WEB, NEWEST, stuck)
    rollout.see(121.9, WEB, NEWEST, stuck)
    assert rollout.words == ["progressing"] * 4
    assert rollout.see(122, WEB, NEWEST, stuck).is_failed


def test_nothing_is_ready_while_the_cluster_is_not_heard() -> None:
    rollout, item = Rollout(WEB), owned_pod(NEWEST, "a")
    assert not rollout.see(5, WEB, NEWEST, item, disconnected="connection refused").is_ready
    assert rollout.see(6, WEB, NEWEST, item).is_ready


# other


def test_suspended_and_unjudged_objects_are_not_waited_for() -> None:
    paused = deployment(paused=True)
    foreign: Json = {"apiVersion": "db.example/v1", "kind": "Database", "metadata": metadata("db"), "spec": {}}
    verdict = Rollout(paused, foreign).see(2, paused, foreign)
    assert verdict.is_ready
    assert [state.phase for state in verdict.states] == [Phase.SUSPENDED, Phase.NOT_JUDGED]


def test_release_without_workloads_is_ready_when_helm_is_done() -> None:
    rollout = Rollout()
    assert not rollout.see(1, helm_done=False).is_ready
    assert rollout.see(2).is_ready
