"""The problems of pods and their containers, each from what Kubernetes reports."""

from __future__ import annotations

import pytest
from support.kube_objects import (
    IMAGE,
    Json,
    changed,
    condition,
    container,
    crashed,
    ended,
    event,
    moment,
    pod,
    running,
    stamp,
    terminated,
    unschedulable,
    waiting,
)

from kubernaut.rollout.pods import PodState, pod_state
from kubernaut.rollout.problems import Cause, Problem


def state_of(item: Json, *events: Json) -> PodState:
    return pod_state(item, events)


def problem_of(item: Json, *events: Json) -> Problem:
    return state_of(item, *events).problems[0]


def back_off(message: str) -> Json:
    return waiting("ErrImagePull", f'failed to pull and unpack image "{IMAGE}": {message}')


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("failed to resolve reference: not found", Cause.IMAGE_NOT_FOUND),
        ("unexpected status from HEAD request to https://r/v2/: 404 Not Found", Cause.IMAGE_NOT_FOUND),
        ("manifest unknown: manifest unknown", Cause.IMAGE_NOT_FOUND),
        ("pull access denied, repository does not exist or may require authorization", Cause.IMAGE_DENIED),
        ("unexpected status from HEAD request to https://r/v2/: 403 Forbidden", Cause.IMAGE_DENIED),
        ("failed to authorize: 401 Unauthorized", Cause.IMAGE_DENIED),
        ("dial tcp 10.0.0.9:404: connect: connection refused", Cause.IMAGE_PULL_FAILED),
        ("toomanyrequests: You have reached your pull rate limit", Cause.IMAGE_PULL_FAILED),
    ],
)
def test_image_that_cannot_be_pulled(message: str, cause: Cause) -> None:
    assert problem_of(pod("web-1", back_off(message))).cause is cause


def test_words_in_an_image_name_are_not_a_reason() -> None:
    image = "registry.example/denied/not found:403"
    item = pod("web-1", waiting("ErrImagePull", f'rpc error: failed to pull "{image}": EOF'), containers=[container(image=image)])
    assert problem_of(item).cause is Cause.IMAGE_PULL_FAILED


def test_back_off_takes_its_reason_from_the_event() -> None:
    item = pod("web-1", waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'))
    failed = event(item, "Failed", f'Failed to pull image "{IMAGE}": not found', at=3, count=2, container="web")
    other = event(item, "Failed", 'Failed to pull image "x": not found', at=3, count=9, container="helper")
    found = problem_of(item, failed, other)
    assert (found.cause, found.failures) == (Cause.IMAGE_NOT_FOUND, 2)


def test_image_that_must_be_on_the_node() -> None:
    item = pod("web-1", waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never"))
    failed = event(item, "ErrImageNeverPull", "Container image is not present with pull policy of Never", count=2, container="web")
    assert (problem_of(item, failed).cause, problem_of(item, failed).failures) == (Cause.IMAGE_NOT_FOUND, 2)


def test_invalid_image_name() -> None:
    found = problem_of(pod("web-1", waiting("InvalidImageName", "couldn't parse image name"), containers=[container(image="UP:1")]))
    assert found.cause is Cause.IMAGE_NAME_INVALID
    assert "UP:1" in found.message


def test_crash_names_exit_status_and_container() -> None:
    found = problem_of(pod("web-1", crashed(2, code=3)))
    assert (found.cause, found.container, found.failures) == (Cause.CONTAINER_CRASHED, "web", 2)
    assert "exit status 3" in found.message


def test_container_that_ends_successfully_again_and_again() -> None:
    found = problem_of(pod("web-1", crashed(2, code=0)))
    assert found.cause is Cause.CONTAINER_CRASHED
    assert "crash" not in found.message


def test_crash_by_a_signal_names_it() -> None:
    assert "SIGSEGV" in problem_of(pod("web-1", crashed(1, code=139))).message


def test_out_of_memory_names_the_limit() -> None:
    limited = container(resources={"limits": {"memory": "64Mi"}})
    found = problem_of(pod("web-1", crashed(1, code=137, reason="OOMKilled"), containers=[limited]))
    assert found.cause is Cause.CONTAINER_OUT_OF_MEMORY
    assert "64Mi" in found.message


@pytest.mark.parametrize(
    "status",
    [
        waiting("RunContainerError", 'exec: "/srv/run": stat /srv/run: no such file or directory: unknown', restarts=1),
        crashed(1, code=128, reason="StartError", message='exec: "/srv/run": stat /srv/run: no such file or directory: unknown'),
    ],
)
def test_command_that_cannot_be_run_counts_every_try(status: Json) -> None:
    found = problem_of(pod("web-1", status))
    assert (found.cause, found.failures) == (Cause.CONTAINER_COMMAND_INVALID, 2)
    assert "/srv/run" in found.message


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('exec: "runn": executable file not found in $PATH', Cause.CONTAINER_COMMAND_INVALID),
        ("executable file `runn` not found in $PATH", Cause.CONTAINER_COMMAND_INVALID),
        ("exec /srv/run: exec format error", Cause.CONTAINER_COMMAND_INVALID),
        ('exec: "/srv": is a directory: permission denied', Cause.CONTAINER_COMMAND_INVALID),
        ('error mounting "/var/lib/x" to rootfs at "/etc/x": no such file or directory', Cause.CONTAINER_NOT_STARTED),
    ],
)
def test_bad_command_by_the_words_of_the_runtime(text: str, cause: Cause) -> None:
    wrapped = f"failed to create containerd task: OCI runtime create failed: runc create failed: unable to start process: {text}"
    assert problem_of(pod("web-1", waiting("RunContainerError", wrapped))).cause is cause


def test_missing_secret_of_the_environment() -> None:
    found = problem_of(pod("web-1", waiting("CreateContainerConfigError", 'secret "token" not found')))
    assert found.cause is Cause.CONTAINER_CONFIG_INVALID
    assert 'secret "token" not found' in found.message


def test_container_that_the_runtime_does_not_start() -> None:
    assert problem_of(pod("web-1", waiting("CreateContainerError", "name is reserved"))).cause is Cause.CONTAINER_NOT_STARTED


@pytest.mark.parametrize(("kind", "cause"), [("liveness", Cause.LIVENESS_PROBE_FAILED), ("startup", Cause.STARTUP_PROBE_FAILED)])
def test_restart_for_a_failed_probe(kind: str, cause: Cause) -> None:
    item = pod("web-1", crashed(2, code=137, start=10, end=20))
    events = [
        event(item, "Unhealthy", f"{kind.title()} probe failed: HTTP probe failed with statuscode: 500", at=19, container="web"),
        event(item, "Killing", f"Container web failed {kind} probe, will be restarted", at=19, container="web"),
    ]
    found = problem_of(item, *events)
    assert (found.cause, found.failures) == (cause, 2)
    assert "500" in found.message


def test_earlier_kill_does_not_explain_a_later_crash() -> None:
    item = pod("web-1", crashed(2, code=1, start=30, end=31))
    killing = event(item, "Killing", "Container web failed liveness probe, will be restarted", at=19, container="web")
    assert problem_of(item, killing).cause is Cause.CONTAINER_CRASHED


def test_running_container_that_liveness_restarts() -> None:
    last = ended(137, start=10, end=20)
    item = pod("web-1", running(21, ready=False, restarts=3, last=last))
    killing = event(item, "Killing", "Container web failed liveness probe, will be restarted", at=19, container="web")
    assert (problem_of(item, killing).cause, problem_of(item, killing).failures) == (Cause.LIVENESS_PROBE_FAILED, 3)


def test_failed_startup_probe_is_not_yet_a_restart() -> None:
    slow = container(startupProbe={"httpGet": {"port": 80}})
    item = pod("web-1", {**running(21, ready=False, restarts=3), "started": False}, containers=[slow])
    found = problem_of(item, event(item, "Unhealthy", "Startup probe failed: connection refused", at=22, container="web"))
    assert (found.cause, found.failures) == (Cause.STARTUP_PROBE_FAILED, 0)


def test_readiness_probe_that_fails_says_what_it_saw() -> None:
    item = pod("web-1", running(ready=False))
    found = problem_of(item, event(item, "Unhealthy", "Readiness probe failed: connection refused", at=5, container="web"))
    assert found.cause is Cause.READINESS_PROBE_FAILED
    assert "connection refused" in found.message


def test_running_container_is_named_without_events() -> None:
    assert problem_of(pod("web-1", running(ready=False))).cause is Cause.CONTAINER_NOT_READY


def test_readiness_gate_is_named() -> None:
    item = pod("web-1", readinessGates=[{"conditionType": "example.com/attached"}])
    item["status"]["conditions"][1] = condition("Ready", "False", "ReadinessGatesNotReady")
    assert problem_of(item).cause is Cause.POD_NOT_READY
    assert "example.com/attached" in problem_of(item).message


def test_pod_on_a_lost_node_is_not_ready() -> None:
    item = pod("web-1")
    item["status"]["conditions"][1] = condition("Ready", "False", "NodeNotReady")
    assert not state_of(item).ready
    assert "NodeNotReady" in problem_of(item).message


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("FailedMount", 'MountVolume.SetUp failed for volume "nfs" : timed out', Cause.VOLUME_NOT_MOUNTED),
        ("FailedAttachVolume", "Multi-Attach error for volume", Cause.VOLUME_NOT_MOUNTED),
        ("FailedMount", 'MountVolume.SetUp failed for volume "conf" : configmap "web" not found', Cause.CONTAINER_CONFIG_INVALID),
        ("FailedMount", "references non-existent secret key: tls.crt", Cause.CONTAINER_CONFIG_INVALID),
        ("FailedCreatePodSandBox", "failed to setup network for sandbox", Cause.POD_NOT_STARTED),
    ],
)
def test_pod_that_its_node_cannot_start(reason: str, message: str, cause: Cause) -> None:
    item = pod("web-1", waiting("ContainerCreating"))
    assert problem_of(item, event(item, reason, message, at=4)).cause is cause


def test_volume_that_was_mounted_late_is_no_longer_a_problem() -> None:
    item = pod("web-1", waiting("ContainerCreating"))
    events = [event(item, "FailedMount", 'configmap "web" not found', at=4), event(item, "Pulling", "Pulling image", at=9)]
    assert state_of(item, *events).problems == ()
    assert state_of(item, *events).activity == "pulling image"


def test_unschedulable_pod() -> None:
    found = problem_of(unschedulable("web-1", since=4))
    assert (found.cause, found.since, found.passing) == (Cause.POD_UNSCHEDULABLE, moment(4), False)
    assert "Insufficient cpu" in found.message


def test_pod_that_waits_for_its_claim_is_not_unschedulable() -> None:
    found = problem_of(unschedulable("web-1", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."))
    assert found.cause is Cause.CLAIM_NOT_BOUND


@pytest.mark.parametrize(("reasons", "passing"), [(["TriggeredScaleUp"], True), (["TriggeredScaleUp", "NotTriggerScaleUp"], False)])
def test_node_that_an_autoscaler_brings_is_waited_for(reasons: list[str], passing: bool) -> None:
    item = unschedulable("web-1")
    events = [event(item, reason, at=number) for number, reason in enumerate(reasons)]
    assert problem_of(item, *events).passing is passing


def test_scheduling_gate_is_waited_for() -> None:
    item = unschedulable("web-1", "Scheduling is blocked due to non-empty scheduling gates")
    item["status"]["conditions"][0]["reason"] = "SchedulingGated"
    assert problem_of(item).passing


def test_evicted_pod() -> None:
    item = changed(pod("web-1", phase="Failed"), status={"reason": "Evicted", "message": "The node was low on resource: memory."})
    assert (problem_of(item).cause, problem_of(item).fatal) == (Cause.POD_EVICTED, True)


def test_failed_pod_without_a_reason() -> None:
    item = pod("web-1", terminated(ended(0)), phase="Failed")
    assert problem_of(item).cause is Cause.POD_FAILED


@pytest.mark.parametrize("restarts", [0, 2])
def test_container_that_ends_well_although_it_has_to_run_crashes(restarts: int) -> None:
    """The kubelet starts it again: between its ``CrashLoopBackOff``s it is ``Completed``."""
    found = problem_of(pod("web-1", terminated(ended(0), restarts=restarts)))
    assert (found.cause, found.failures, found.fatal) == (Cause.CONTAINER_CRASHED, restarts, False)
    assert "exit status 0" in found.message


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_container_that_may_end_has_no_problem(policy: str) -> None:
    item = pod("web-1", terminated(ended(0)), running(), restartPolicy=policy)
    assert pod_state(item).problems == ()


def test_container_that_is_not_started_again_has_failed_for_good() -> None:
    item = pod("web-1", terminated(ended(1)), running(), restartPolicy="Never")
    assert (problem_of(item).cause, problem_of(item).fatal) == (Cause.CONTAINER_CRASHED, True)
    assert not problem_of(pod("web-1", terminated(ended(1)), running())).fatal


# readiness and activity


def test_pod_is_not_ready_when_a_container_has_ended_though_it_is_called_ready() -> None:
    item = pod("web-1", running(), terminated(ended(1)))
    item["status"]["conditions"][1]["status"] = "True"
    assert not state_of(item).ready


def test_sidecar_has_to_run_as_well() -> None:
    sidecar = container("proxy", restartPolicy="Always")
    item = pod("web-1", init=[(sidecar, terminated(ended(1)))])
    assert not state_of(item).ready
    assert problem_of(item).container == "proxy"


def test_finished_init_container_does_not_matter() -> None:
    item = pod("web-1", init=[(container("setup"), terminated(ended(0)))])
    assert state_of(item).ready


def test_crashing_init_container_is_named() -> None:
    item = pod("web-1", waiting("PodInitializing"), init=[(container("setup"), crashed(2))])
    assert problem_of(item).container == "setup"
    assert "init container setup" in problem_of(item).message


@pytest.mark.parametrize(
    ("item", "activity"),
    [
        (pod("web-1"), "ready"),
        (pod("web-1", waiting("ContainerCreating")), "creating containers"),
        (
            pod("web-1", waiting("PodInitializing"), init=[(container("setup"), running(ready=False))]),
            "running init container setup",
        ),
        (pod("web-1", waiting("ImagePullBackOff", "not found")), "image not found"),
        (unschedulable("web-1"), "no node fits"),
    ],
)
def test_activity(item: Json, activity: str) -> None:
    assert state_of(item).activity == activity


def test_activity_of_a_pod_that_was_just_created() -> None:
    item = pod("web-1", waiting(""), created=3)
    item["status"] = {"phase": "Pending"}
    found = state_of(item)
    assert (found.activity, found.since) == ("waiting for a node", moment(3))


def test_running_since_is_known_for_unprobed_and_restarted_containers() -> None:
    specs = [container("web"), container("helper", probed=False)]
    found = state_of(pod("web-1", running(7, restarts=1), running(5), containers=specs))
    assert (found.restarted_at, found.unprobed_at) == (moment(7), moment(5))
    assert state_of(changed(pod("web-1"), metadata={"creationTimestamp": stamp(0)})).unprobed_at is None
