"""Jobs, bare pods, hooks, claims, Services and kinds outside Kubernetes."""

from __future__ import annotations

import pytest
from support.kube_objects import (
    NAMESPACE,
    Json,
    changed,
    claim,
    condition,
    deployment,
    ended,
    endpoint_slice,
    event,
    job,
    job_pod,
    manifest,
    metadata,
    pod,
    running,
    service,
    terminated,
    waiting,
)
from support.rollouts import snapshot_of

from kubernaut.rollout.objects import expected_objects
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.workloads import Phase, WorkloadState, workload_states

BAD_COMMAND = ended(128, reason="StartError", message='exec: "/migrate": stat /migrate: no such file or directory')


def states_of(*live: Json, release: tuple[Json, ...] = (), unreadable: tuple[str, ...] = ()) -> list[WorkloadState]:
    """Return the states of a release, by default of the first object."""
    expected = expected_objects([manifest(item) for item in release or live[:1]], NAMESPACE)
    why = dict.fromkeys(unreadable, "no right")
    return list(workload_states(expected, snapshot_of(60, expected, *live, unreadable=why)))


def state_of(*live: Json, **options: tuple[str, ...]) -> WorkloadState:
    return states_of(*live, **options)[0]


# Jobs


def test_job_is_ready_when_it_is_complete() -> None:
    assert not state_of(job(active=1)).is_ready
    assert state_of(job(succeeded=1, conditions=[condition("SuccessCriteriaMet"), condition("Complete")])).is_ready


def test_failed_tries_of_a_job_do_not_end_it() -> None:
    live = job(failed=2, active=1)
    pods = [job_pod(live, name, terminated(ended(1)), phase="Failed") for name in "ab"]
    found = state_of(live, *pods, job_pod(live, "c", running()))
    assert "2 failed" in found.summary
    assert [(problem.passing, problem.fatal) for problem in found.problems] == [(True, False)] * 2


@pytest.mark.parametrize("type", ["Failed", "FailureTarget"])
def test_job_without_tries_left_has_failed(type: str) -> None:
    live = job(
        failed=7, conditions=[condition(type, "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")]
    )
    found = state_of(live, job_pod(live, "a", terminated(ended(3)), phase="Failed"))
    assert [problem.cause for problem in found.problems] == [Cause.JOB_FAILED, Cause.CONTAINER_CRASHED]
    assert found.problems[0].fatal
    assert not found.is_ready


def test_bad_command_of_a_job_is_counted_over_its_pods() -> None:
    live = job(failed=2)
    pods = [job_pod(live, name, terminated(BAD_COMMAND), phase="Failed") for name in "ab"]
    assert [problem.failures for problem in state_of(live, *pods[:1]).problems] == [1]
    found = state_of(live, *pods).problems
    assert [(problem.cause, problem.failures, problem.fatal) for problem in found] == [
        (Cause.CONTAINER_COMMAND_INVALID, 2, False)
    ] * 2


def test_suspended_job() -> None:
    assert state_of(changed(job(), spec={"suspend": True})).phase is Phase.SUSPENDED


def test_image_of_a_job_that_cannot_be_pulled_is_a_problem() -> None:
    live = job(active=1)
    found = state_of(live, job_pod(live, "a", waiting("ImagePullBackOff", "not found")))
    assert (found.problems[0].cause, found.problems[0].passing) == (Cause.IMAGE_NOT_FOUND, False)


# bare pods


def test_bare_pod_runs_or_has_succeeded() -> None:
    assert state_of(pod("tool")).is_ready
    assert state_of(pod("tool", terminated(ended(0)), phase="Succeeded")).is_ready
    assert not state_of(pod("tool", waiting("ContainerCreating"))).is_ready


def test_bare_pod_that_failed_is_fatal() -> None:
    found = state_of(pod("tool", terminated(ended(1)), phase="Failed", restartPolicy="Never"))
    assert found.problems[0].fatal


def test_object_that_is_being_deleted_is_not_ready() -> None:
    found = state_of(changed(pod("tool"), metadata={"deletionTimestamp": "2026-03-01T12:00:10Z"}))
    assert (found.phase, found.exists) == (Phase.PROGRESSING, False)


# hooks


def hook(live: Json, *others: Json) -> WorkloadState:
    item = {**live, "metadata": {**live["metadata"], "annotations": {"helm.sh/hook": "pre-upgrade, pre-install"}}}
    expected = expected_objects([], NAMESPACE, [item])
    return workload_states(expected, snapshot_of(60, expected, live, *others))[0]


@pytest.mark.parametrize(
    "live",
    [
        job(conditions=[condition("Failed", "True", "BackoffLimitExceeded", "limit reached")]),
        pod("migrate", terminated(ended(4)), phase="Failed", restartPolicy="Never"),
    ],
)
def test_failed_hook_is_named_with_its_event(live: Json) -> None:
    found = hook(live)
    assert (found.problems[0].cause, found.problems[0].fatal, found.problems[0].object) == (Cause.HOOK_FAILED, True, found.key)
    assert "migrate" in found.problems[0].message
    assert "pre-upgrade" in found.problems[0].message
    assert found.problems[1].cause in (Cause.JOB_FAILED, Cause.CONTAINER_CRASHED)


def test_running_hook_has_no_failure() -> None:
    assert hook(job(active=1)).problems == ()


# claims


@pytest.mark.parametrize(
    ("storage_class", "reason", "message", "words"),
    [
        ("fast", "ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found', "storage class fast"),
        (None, "FailedBinding", "no persistent volumes available for this claim and no storage class is set", "no storage class"),
        ("", "FailedBinding", "no persistent volumes available", "no storage class"),
    ],
)
def test_claim_that_is_not_bound(storage_class: str | None, reason: str, message: str, words: str) -> None:
    live = claim(phase="Pending", storage_class=storage_class)
    found = state_of(live, event(live, reason, message))
    assert not found.is_ready
    assert found.problems[0].cause is Cause.CLAIM_NOT_BOUND
    assert words in found.problems[0].message
    assert message in found.problems[0].message


def test_bound_claim_is_ready() -> None:
    assert state_of(claim()).is_ready


def test_claim_that_waits_for_its_pod_is_named_and_never_given_up() -> None:
    live = claim(phase="Pending")
    found = state_of(live, event(live, "WaitForFirstConsumer", "waiting for first consumer to be created before binding"))
    assert [problem.passing for problem in found.problems] == [True]


# Services


def service_state(*live: Json, workload: Json | None = None, **options: tuple[str, ...]) -> WorkloadState:
    web = workload or deployment()
    return states_of(*live, web, release=(live[0], web), **options)[0]


def test_service_wants_a_ready_endpoint() -> None:
    live = service()
    assert service_state(live, endpoint_slice(live, True, False)).ready == 1
    found = service_state(live, endpoint_slice(live, False))
    assert (found.phase, found.problems[0].cause) == (Phase.PROGRESSING, Cause.SERVICE_WITHOUT_ENDPOINTS)
    assert "app=web" in found.problems[0].message


def test_service_with_a_misspelt_selector_is_not_ready() -> None:
    assert not service_state(service(selector={"app": "wbe"})).is_ready
    assert not service_state(service(selector={"ap": "web", "tier": "x"})).is_ready


def test_service_for_a_target_port_that_no_pod_has() -> None:
    live = service()
    assert not service_state(live, endpoint_slice(live, True, ports=False)).is_ready


def test_service_for_a_label_that_the_application_sets_is_not_waited_for() -> None:
    assert service_state(service(selector={"app": "web", "role": "leader"})).is_ready


def test_service_for_the_pods_of_an_operator_is_not_waited_for() -> None:
    live, web, database = service(selector={"cluster": "db"}), deployment(), {"apiVersion": "db.example/v1", "kind": "Database"}
    database["metadata"] = metadata("db")
    assert states_of(live, web, database, release=(live, web, database))[0].is_ready


@pytest.mark.parametrize("workload", [deployment(replicas=0), deployment(paused=True)])
def test_service_of_a_workload_without_pods_is_not_waited_for(workload: Json) -> None:
    assert service_state(service(), workload=workload).is_ready


@pytest.mark.parametrize(
    "live",
    [
        service(selector={}),
        changed(service(), spec={"type": "ExternalName", "externalName": "db.example"}),
    ],
)
def test_service_without_endpoints_of_its_own(live: Json) -> None:
    assert service_state(live).is_ready


def test_service_whose_endpoints_may_not_be_read_is_not_judged() -> None:
    found = service_state(service(), unreadable=("EndpointSlice",))
    assert (found.phase, found.summary) == (Phase.NOT_JUDGED, "no right")


def test_load_balancer_wants_an_address() -> None:
    live = service(type="LoadBalancer")
    found = service_state(live, endpoint_slice(live, True), event(live, "SyncLoadBalancerFailed", "quota of addresses"))
    assert found.problems[0].cause is Cause.LOAD_BALANCER_PENDING
    assert "quota of addresses" in found.problems[0].message
    ready = changed(live, status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})
    assert service_state(ready, endpoint_slice(ready, True)).is_ready


# kinds outside Kubernetes


def custom(kind: str = "Certificate", group: str = "cert.example/v1", **status: object) -> Json:
    return {"apiVersion": group, "kind": kind, "metadata": metadata("web", generation=2), "spec": {}, "status": status}


def test_custom_resource_counts_by_its_ready_condition() -> None:
    assert state_of(custom(conditions=[condition("Ready")])).phase is Phase.READY
    found = state_of(custom(conditions=[condition("Ready", "False", "Pending", "issuer missing")]))
    assert (found.phase, found.problems[0].cause) == (Phase.PROGRESSING, Cause.CONDITION_FALSE)
    assert "issuer missing" in found.problems[0].message


def test_custom_resource_that_its_controller_has_not_seen() -> None:
    assert state_of(custom(conditions=[condition("Ready")], observedGeneration=1)).phase is Phase.PROGRESSING


def test_custom_resource_without_the_condition_is_not_judged() -> None:
    assert state_of(custom()).phase is Phase.NOT_JUDGED


def test_custom_resource_definition_has_to_be_established() -> None:
    group = "apiextensions.k8s.io/v1"
    assert state_of(custom("CustomResourceDefinition", group)).phase is Phase.PROGRESSING
    assert state_of(custom("CustomResourceDefinition", group, conditions=[condition("Established")])).phase is Phase.READY


def test_kind_with_the_name_of_a_builtin_one_is_another() -> None:
    foreign = custom("Service", "serving.knative.dev/v1", conditions=[condition("Ready")])
    own = service()
    web = deployment()
    found = states_of(foreign, own, endpoint_slice(own, False), web, release=(foreign, own, web))
    assert [state.phase for state in found][:2] == [Phase.READY, Phase.PROGRESSING]


def test_kinds_that_run_nothing_have_no_state() -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("web"), "data": {}}
    assert states_of(settings) == []


def test_service_of_a_bare_pod_waits_for_it() -> None:
    live, bare = service(), pod("web")
    assert not states_of(live, bare, release=(live, bare))[0].is_ready
