"""When a rollout is given up: each rule just below its limit, and at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from support.kube_objects import (
    Json,
    changed,
    condition,
    container,
    crashed,
    deployment,
    ended,
    event,
    job,
    manifest,
    owned_pod,
    pod,
    replica_set,
    running,
    service,
    terminated,
    unschedulable,
    waiting,
)
from support.rollouts import Rollout

from kubernaut.rollout.problems import Cause
from kubernaut.rollout.rules import Rules
from kubernaut.rollout.verdict import Verdict

WEB = deployment()
NEWEST = replica_set(WEB)
NOT_FOUND = waiting("ErrImagePull", "failed to resolve reference: not found")
BACK_OFF = waiting("ImagePullBackOff", "Back-off pulling image: failed to resolve reference: not found")
BAD_COMMAND = 'exec: "/srv/run": stat /srv/run: no such file or directory'


def rollout(rules: Rules | None = None) -> Rollout:
    return Rollout(WEB, rules=rules)


def see(watched: Rollout, seconds: float, status: Json, *others: Json, blind: bool = False, **fields: object) -> Verdict:
    unreadable = {"Event": "no right to list events"} if blind else {}
    return watched.see(seconds, WEB, NEWEST, owned_pod(NEWEST, "a", status, **fields), *others, unreadable=unreadable)


def assert_given_up(verdict: Verdict, cause: Cause, words: str) -> None:
    assert verdict.is_failed
    assert verdict.problem is not None
    assert verdict.problem.cause is cause
    assert words in verdict.rule


# counted


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize(
    ("text", "cause"), [("not found", Cause.IMAGE_NOT_FOUND), ("pull access denied", Cause.IMAGE_DENIED)], ids=["missing", "denied"]
)
def test_image_is_given_up_at_the_second_failed_pull(text: str, cause: Cause, blind: bool) -> None:
    watched, item = rollout(), owned_pod(NEWEST, "a")
    failed = [event(item, "Failed", f'Failed to pull image "web": {text}', at=12, count=count, container="web") for count in (1, 2)]
    for seconds in (1, 1.2):
        assert not see(watched, seconds, waiting("ErrImagePull", text), failed[0], blind=blind).is_failed
    for seconds in (2, 11):
        assert not see(watched, seconds, waiting("ImagePullBackOff", f"Back-off: {text}"), failed[0], blind=blind).is_failed
    assert_given_up(see(watched, 12, waiting("ErrImagePull", text), failed[1], blind=blind), cause, "2 tries")


def test_pulls_are_counted_for_each_container() -> None:
    watched = rollout()
    items = [owned_pod(NEWEST, name, NOT_FOUND) for name in "abc"]
    assert not watched.see(3, WEB, NEWEST, *items).is_failed


def test_pulls_that_were_missed_count_from_their_events() -> None:
    watched, item = rollout(), owned_pod(NEWEST, "a")
    failed = event(item, "Failed", 'Failed to pull image "web": not found', at=12, count=2, container="web")
    assert_given_up(see(watched, 13, BACK_OFF, failed), Cause.IMAGE_NOT_FOUND, "2 tries")


def test_image_that_cannot_be_pulled_for_another_reason_is_waited_for() -> None:
    watched = rollout()
    for seconds in range(1, 400, 10):
        status = ("ErrImagePull", "ImagePullBackOff")[seconds % 20 == 1]
        assert not see(watched, seconds, waiting(status, "dial tcp: connection refused")).is_failed


def test_invalid_image_name_is_given_up_at_once() -> None:
    assert_given_up(see(rollout(), 1, waiting("InvalidImageName")), Cause.IMAGE_NAME_INVALID, "at once")


@pytest.mark.parametrize(
    ("fields", "cause"),
    [({"code": 1}, Cause.CONTAINER_CRASHED), ({"code": 137, "reason": "OOMKilled"}, Cause.CONTAINER_OUT_OF_MEMORY)],
    ids=["crash", "memory"],
)
def test_crashing_container_is_given_up_after_three_restarts(fields: dict[str, object], cause: Cause) -> None:
    watched = rollout()
    for restarts in range(3):
        assert not see(watched, restarts * 10, crashed(restarts, **fields)).is_failed
    assert not see(watched, 40, running(40, ready=False, restarts=3)).is_failed
    assert_given_up(see(watched, 41, crashed(3, **fields)), cause, "3 restarts")


@pytest.mark.parametrize(("kind", "cause"), [("liveness", Cause.LIVENESS_PROBE_FAILED), ("startup", Cause.STARTUP_PROBE_FAILED)])
def test_failing_probe_is_given_up_after_three_restarts(kind: str, cause: Cause) -> None:
    watched, item = rollout(), owned_pod(NEWEST, "a")
    killing = event(item, "Killing", f"Container web failed {kind} probe, will be restarted", at=50, container="web")
    assert not see(watched, 50, running(50, ready=False, restarts=2), killing).is_failed
    assert_given_up(see(watched, 51, running(51, ready=False, restarts=3), killing), cause, "3 restarts")


def test_bad_command_is_given_up_at_the_second_try() -> None:
    watched = rollout()
    assert not see(watched, 1, waiting("RunContainerError", BAD_COMMAND)).is_failed
    again = crashed(0, code=128, reason="StartError", message=BAD_COMMAND)
    assert not see(watched, 2, again).is_failed
    assert_given_up(
        see(watched, 3, waiting("RunContainerError", BAD_COMMAND, restarts=1)), Cause.CONTAINER_COMMAND_INVALID, "2 tries"
    )


# timed


def endpoints(seconds: float) -> Sequence[Json]:
    return [owned_pod(NEWEST, "a")]


def mounting(seconds: float) -> Sequence[Json]:
    item = owned_pod(NEWEST, "a", waiting("ContainerCreating"))
    return [item, event(item, "FailedMount", 'configmap "web" not found', at=seconds, first=10)]


def creating(message: str) -> Callable[[float], Sequence[Json]]:
    return lambda seconds: [event(NEWEST, "FailedCreate", message, at=seconds, first=10)]


CONFIG, MEMORY = 'secret "token" not found', "0/1 nodes are available: Insufficient memory"


@pytest.mark.parametrize(
    ("cause", "limit", "objects"),
    [
        (Cause.CONTAINER_CONFIG_INVALID, 20, lambda _: [owned_pod(NEWEST, "a", waiting("CreateContainerConfigError", CONFIG))]),
        (Cause.CONTAINER_CONFIG_INVALID, 20, mounting),
        (Cause.POD_UNSCHEDULABLE, 60, lambda _: [unschedulable("web-7f1-a", MEMORY, since=10, owner=NEWEST)]),
        (Cause.QUOTA_EXCEEDED, 60, creating("forbidden: exceeded quota: small")),
        (Cause.ADMISSION_DENIED, 60, creating('admission webhook "x" denied the request: no')),
        (Cause.SERVICE_WITHOUT_ENDPOINTS, 20, endpoints),
    ],
)
def test_timed_rule(cause: Cause, limit: float, objects: Callable[[float], Sequence[Json]]) -> None:
    with_service = cause is Cause.SERVICE_WITHOUT_ENDPOINTS
    watched = Rollout(WEB, service()) if with_service else rollout()
    others = [WEB, NEWEST, *([service()] if with_service else [])]
    assert not watched.see(10, *others, *objects(10)).is_failed
    assert not watched.see(10 + limit - 0.1, *others, *objects(10 + limit - 0.1)).is_failed
    assert_given_up(watched.see(10 + limit, *others, *objects(10 + limit)), cause, f"{limit} s")


def test_problem_that_passed_counts_anew() -> None:
    watched, broken = rollout(), waiting("CreateContainerConfigError", CONFIG)
    for seconds, status in ((1, broken), (19, broken), (20, running(20, ready=False)), (22, broken), (41, broken)):
        assert not see(watched, seconds, status).is_failed
    assert see(watched, 42, broken).is_failed


def test_endpoints_are_waited_for_from_when_the_pods_are_ready() -> None:
    watched = Rollout(WEB, service())
    for seconds, status in ((1, running(1, ready=False)), (50, running(1, ready=False)), (51, running(1)), (70.9, running(1))):
        assert not watched.see(seconds, WEB, NEWEST, service(), owned_pod(NEWEST, "a", status)).is_failed
    assert watched.see(71, WEB, NEWEST, service(), owned_pod(NEWEST, "a")).is_failed


def test_progress_deadline_of_the_deployment() -> None:
    late = changed(WEB, status={"conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", since=10)]})
    watched, item = rollout(), owned_pod(NEWEST, "a", running(ready=False))
    watched.see(10, late, NEWEST, item)
    assert not watched.see(69.9, late, NEWEST, item).is_failed
    assert_given_up(watched.see(70, late, NEWEST, item), Cause.DEADLINE_EXCEEDED, "60 s")


def test_deleted_workload_is_given_up_unless_it_is_created_again() -> None:
    watched = rollout()
    see(watched, 1, running(ready=False))
    assert not watched.see(2).is_failed
    assert not watched.see(21.9).is_failed
    assert_given_up(watched.see(22), Cause.OBJECT_DELETED, "20 s")


def test_object_that_is_missing_when_helm_is_done_is_given_up() -> None:
    watched = rollout()
    assert not watched.see(5, helm_done=False).is_failed
    assert not watched.see(24.9).is_failed
    assert_given_up(watched.see(45), Cause.OBJECT_DELETED, "20 s")


# at once


def failed_job(name: str = "migrate", **fields: object) -> Json:
    return job(name, failed=7, conditions=[condition("Failed", "True", "BackoffLimitExceeded", "limit reached")], **fields)


def test_failed_job_is_given_up_at_once() -> None:
    watched = Rollout(job())
    assert not watched.see(1, job(failed=6, active=1)).is_failed
    assert_given_up(watched.see(2, failed_job()), Cause.JOB_FAILED, "at once")


def test_failed_pod_is_given_up_at_once() -> None:
    item = pod("tool", terminated(ended(1)), phase="Failed", restartPolicy="Never")
    assert_given_up(Rollout(item).see(2, item), Cause.CONTAINER_CRASHED, "at once")


def test_namespace_that_is_being_deleted_is_given_up_at_once() -> None:
    failed = event(NEWEST, "FailedCreate", "unable to create new content in namespace demo because it is being terminated", at=2)
    assert_given_up(rollout().see(2, WEB, NEWEST, failed), Cause.NAMESPACE_TERMINATING, "at once")


HOOK = {**manifest(job()), "metadata": {"name": "migrate", "annotations": {"helm.sh/hook": "pre-upgrade"}}}


def test_failed_hook_is_given_up_at_once() -> None:
    watched = Rollout(WEB, hooks=[HOOK])
    assert not watched.see(2, job(created=1, active=1), helm_done=False).is_failed
    assert_given_up(watched.see(3, failed_job(created=1), helm_done=False), Cause.HOOK_FAILED, "at once")


def test_hook_that_an_earlier_operation_left_behind_does_not_count() -> None:
    left = failed_job(created=-600, uid="left")
    assert not Rollout(WEB, hooks=[HOOK], before=[left]).see(2, left, helm_done=False).is_failed
    assert not Rollout(WEB, hooks=[HOOK]).see(2, left).is_failed
    replaced = Rollout(WEB, hooks=[HOOK], before=[left])
    assert replaced.see(3, failed_job(created=2, uid="new"), helm_done=False).is_failed


# settings


@pytest.mark.parametrize(
    ("rules", "cause", "item"),
    [
        (
            Rules(config_timeout=0),
            Cause.CONTAINER_CONFIG_INVALID,
            owned_pod(NEWEST, "a", waiting("CreateContainerConfigError", CONFIG)),
        ),
        (Rules(pending_timeout=0), Cause.POD_UNSCHEDULABLE, unschedulable("web-7f1-a", MEMORY, owner=NEWEST)),
    ],
)
def test_timeout_of_zero_ends_the_rollout_at_once(rules: Rules, cause: Cause, item: Json) -> None:
    assert not rollout().see(1, WEB, NEWEST, item).is_failed
    assert_given_up(rollout(rules).see(1, WEB, NEWEST, item), cause, "at once")


def test_rules_are_settings() -> None:
    patient = Rules(crash_restarts=5, config_timeout=90)
    assert not see(rollout(patient), 50, crashed(4)).is_failed
    assert see(rollout(patient), 50, crashed(5)).is_failed
    watched = rollout(replace(patient, unprobed_time=0))
    bare = changed(WEB, spec={"template": {"spec": {"containers": [container(probed=False)]}}})
    item = owned_pod(NEWEST, "a", running(3), containers=[container(probed=False)])
    assert watched.see(3, bare, NEWEST, item).is_ready
