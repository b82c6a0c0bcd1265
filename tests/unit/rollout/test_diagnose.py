"""Explanations of failing releases: the cause, the names and numbers in the sentence, and the evidence."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.cluster_objects import IMAGE, NOW, Failing, deployment, ended, event, pod, statuses, waiting
from support.failing_releases import FAILING

from kubernaut.history.explanation import LOG_LINES, Explanation
from kubernaut.rollout.hints import hint_for
from kubernaut.rollout.problems import Cause

POD = "web-7f9c5d4b6-x2k4p"

EXPECTED: Mapping[str, tuple[Cause, Mapping[str, str], tuple[str, ...]]] = {
    "image not found": (Cause.IMAGE_NOT_FOUND, {"image": IMAGE, "container": "app", "revision": "3"}, (IMAGE, "Deployment web")),
    "image denied, no pull secret": (Cause.IMAGE_DENIED, {"image": IMAGE}, ("no pull secret",)),
    "image denied, pull secret missing": (Cause.IMAGE_DENIED, {"pullSecret": "regcred"}, ("regcred", "does not exist")),
    "image name invalid": (Cause.IMAGE_NAME_INVALID, {"image": "ghcr.io/Acme/web:1"}, ("must be lowercase",)),
    "image never pulled": (Cause.IMAGE_NOT_FOUND, {"pullPolicy": "Never"}, ("imagePullPolicy",)),
    "registry unknown": (Cause.IMAGE_PULL_FAILED, {"image": IMAGE}, ("lookup ghcr.io", "no such host")),
    "crash": (
        Cause.CONTAINER_CRASHED,
        {"exitCode": "1", "restarts": "3"},
        ("exit status 1", "ConnectionError: cannot reach db:5432"),
    ),
    "crash without a log": (Cause.CONTAINER_CRASHED, {"exitCode": "1", "pod": POD}, ("exit status 1", "3 times")),
    "crash of an init container": (Cause.CONTAINER_CRASHED, {"container": "prepare", "init": "true"}, ("init container prepare",)),
    "crash of a second container": (Cause.CONTAINER_CRASHED, {"container": "metrics"}, ("container metrics", "already in use")),
    "exit status 0": (Cause.CONTAINER_CRASHED, {"exitCode": "0"}, ("exit status 0", "keep running")),
    "segmentation fault": (Cause.CONTAINER_CRASHED, {"exitCode": "139"}, ("signal 11 (SIGSEGV)",)),
    "out of memory": (Cause.CONTAINER_OUT_OF_MEMORY, {"limit": "64Mi"}, ("64Mi",)),
    "bad command": (Cause.CONTAINER_COMMAND_INVALID, {"command": "/app/serve"}, ("/app/serve", "no such file or directory")),
    "bad command, first try": (Cause.CONTAINER_COMMAND_INVALID, {"command": "/app/serve"}, ("/app/serve",)),
    "ConfigMap missing": (
        Cause.CONTAINER_CONFIG_INVALID,
        {"missing": "ConfigMap", "missingName": "settings"},
        ("ConfigMap settings",),
    ),
    "Secret missing": (Cause.CONTAINER_CONFIG_INVALID, {"missing": "Secret", "missingName": "db"}, ("Secret db",)),
    "key missing": (Cause.CONTAINER_CONFIG_INVALID, {"key": "password", "missingName": "db"}, ("key password", "Secret db")),
    "runs as root": (Cause.CONTAINER_CONFIG_INVALID, {}, ("runAsNonRoot",)),
    "volume of a missing ConfigMap": (
        Cause.CONTAINER_CONFIG_INVALID,
        {"volume": "config", "missingName": "settings"},
        ("volume config",),
    ),
    "volume with a missing key": (
        Cause.CONTAINER_CONFIG_INVALID,
        {"key": "tls.crt", "missingName": "web-tls"},
        ("tls.crt", "Secret web-tls"),
    ),
    "volume too slow": (Cause.VOLUME_NOT_MOUNTED, {"volume": "data"}, ("volume data", "timed out")),
    "no progress": (Cause.DEADLINE_EXCEEDED, {"limit": "30"}, ("Deployment web", "30 s", "0 of 1 ready")),
    "not ready": (Cause.CONTAINER_NOT_READY, {"container": "app"}, ("container app of Deployment web", "not ready")),
    "no progress, with a reason": (Cause.READINESS_PROBE_FAILED, {"path": "/health"}, ("readiness probe", "503")),
    "hook is a Pod": (Cause.HOOK_FAILED, {"name": "check", "exitCode": "4"}, ("post-upgrade hook check", "exit status 4")),
    "claim that cannot be read": (Cause.CLAIM_NOT_BOUND, {}, ("unbound immediate PersistentVolumeClaims",)),
    "liveness probe": (
        Cause.LIVENESS_PROBE_FAILED,
        {"path": "/health", "port": "8080", "restarts": "3"},
        ("/health", "8080", "503"),
    ),
    "startup probe": (Cause.STARTUP_PROBE_FAILED, {"path": "/health"}, ("startup probe", "connection refused")),
    "readiness probe": (Cause.READINESS_PROBE_FAILED, {"path": "/health"}, ("readiness probe", "2 s")),
    "no node fits": (Cause.POD_UNSCHEDULABLE, {}, ("0/3 nodes", "2 Insufficient cpu")),
    "quota": (Cause.QUOTA_EXCEEDED, {"quota": "small", "limited": "pods=4"}, ("quota small", "4 in use")),
    "quota needs limits": (Cause.QUOTA_EXCEEDED, {"quota": "small"}, ("limits.cpu", "limits.memory")),
    "Pod Security": (Cause.ADMISSION_DENIED, {"podSecurity": "restricted"}, ("restricted", "runAsNonRoot=true")),
    "webhook denies pods": (
        Cause.ADMISSION_DENIED,
        {"webhook": "validate.kyverno.svc-fail"},
        ("team is required", "Deployment web"),
    ),
    "ReplicaSet over quota": (Cause.QUOTA_EXCEEDED, {"quota": "sets"}, ("quota sets", "Deployment web", "2 in use")),
    "service account missing": (
        Cause.PODS_NOT_CREATED,
        {"missing": "ServiceAccount", "missingName": "app"},
        ("ServiceAccount app",),
    ),
    "limit range": (Cause.ADMISSION_DENIED, {}, ("maximum cpu usage",)),
    "claim without storage class": (
        Cause.CLAIM_NOT_BOUND,
        {"kind": "PersistentVolumeClaim", "name": "data"},
        ("no storage class",),
    ),
    "claim of a missing storage class": (Cause.CLAIM_NOT_BOUND, {"storageClass": "fast", "name": "data"}, ("fast does not exist",)),
    "claim without provisioner": (Cause.CLAIM_NOT_BOUND, {"provisioner": "csi.example.com"}, ("fast", "csi.example.com")),
    "Job failed": (Cause.JOB_FAILED, {"name": "seed", "exitCode": "3", "pod": "seed-k2x"}, ("Job seed", "relation users")),
    "Job too slow": (Cause.JOB_FAILED, {"name": "seed", "limit": "30"}, ("30 s",)),
    "hook failed": (
        Cause.HOOK_FAILED,
        {"hook": "pre-upgrade", "name": "migrate", "container": "migrate", "exitCode": "1"},
        ("pre-upgrade hook migrate", "ghcr.io/acme/migrate:1.4.2", "exit status 1", "column email already exists"),
    ),
    "hook failed, deleted since": (Cause.HOOK_FAILED, {"name": "migrate"}, ("ghcr.io/acme/migrate:1.4.2", "backoffLimit")),
    "hook failed, not judged": (Cause.HOOK_FAILED, {"hook": "pre-install", "name": "migrate"}, ("pre-install hook migrate",)),
    "hook hangs, Helm 3": (Cause.HOOK_FAILED, {"name": "migrate", "timedOut": "true"}, ("hook migrate", "lock held by pid 12")),
    "hook hangs, Helm 4": (Cause.HOOK_FAILED, {"name": "migrate", "timedOut": "true"}, ("pre-upgrade hook migrate", "running")),
    "hook hangs, Helm stopped": (Cause.HOOK_FAILED, {"name": "migrate"}, ("hook migrate", "migrate:1.4.2", "30 s", "pid 12")),
    "image of a hook": (Cause.IMAGE_NOT_FOUND, {"hook": "pre-upgrade", "name": "migrate"}, ("migrate:1.4.2", "hook migrate")),
    "hook over quota": (Cause.QUOTA_EXCEEDED, {"quota": "q", "hookName": "migrate"}, ("hook migrate", "quota q")),
    "Service without endpoints": (Cause.SERVICE_WITHOUT_ENDPOINTS, {"kind": "Service", "name": "web"}, ("app=wbe",)),
    "LoadBalancer without address": (Cause.LOAD_BALANCER_PENDING, {"name": "web"}, ("Service web", "LoadBalancer", "no address")),
    "custom resource not ready": (Cause.CONDITION_FALSE, {"kind": "Database", "name": "main"}, ("no space on any node",)),
    "evicted": (Cause.POD_EVICTED, {"reason": "Evicted"}, ("low on resource: memory",)),
    "slow pull": (Cause.DEADLINE_EXCEEDED, {"seconds": "90", "name": "web"}, ("90 s", "pulling image", POD)),
    "nothing known": (Cause.DEADLINE_EXCEEDED, {"seconds": "90"}, ("90 s",)),
    "application probe": (Cause.APPLICATION_PROBE_FAILED, {}, ("GET /", "503")),
    "apply conflict": (
        Cause.APPLY_CONFLICT,
        {"kind": "Deployment", "name": "web", "field": ".spec.replicas", "manager": "kubectl-edit"},
        (".spec.replicas", "kubectl-edit"),
    ),
    "apply conflicts": (Cause.APPLY_CONFLICT, {"manager": "hpa, kubectl-client-side-apply"}, (".image", ".spec.replicas", "hpa")),
    "belongs to another release": (
        Cause.OWNED_BY_ANOTHER_RELEASE,
        {"kind": "ConfigMap", "name": "settings", "namespace": "demo", "owner": "other", "ownerNamespace": "prod"},
        ("ConfigMap settings", "release other", "namespace prod"),
    ),
    "not made by Helm": (Cause.OWNED_BY_ANOTHER_RELEASE, {"kind": "ClusterRole", "name": "reader"}, ("ClusterRole reader",)),
    "selector immutable": (Cause.FIELD_IMMUTABLE, {"name": "web", "field": "spec.selector"}, ("spec.selector", "Deployment web")),
    "StatefulSet immutable": (Cause.FIELD_IMMUTABLE, {"kind": "StatefulSet", "name": "db"}, ("template", "StatefulSet db")),
    "claim immutable": (Cause.FIELD_IMMUTABLE, {"kind": "PersistentVolumeClaim"}, ("resources.requests",)),
    "Job immutable": (Cause.FIELD_IMMUTABLE, {"field": "spec.template"}, ("spec.template", "Job seed")),
    "node port taken": (Cause.NODE_PORT_TAKEN, {"port": "30080", "name": "web"}, ("30080", "Service web")),
    "invalid object": (Cause.OBJECT_INVALID, {"kind": "Service", "field": "spec.ports[0].port"}, ("99999999",)),
    "API version gone": (
        Cause.API_VERSION_MISSING,
        {"kind": "Ingress", "name": "web", "apiVersion": "networking.k8s.io/v1beta1", "replacement": "networking.k8s.io/v1"},
        ("networking.k8s.io/v1beta1", "Ingress web"),
    ),
    "API version gone in the previous revision": (
        Cause.API_VERSION_MISSING,
        {"manifest": "previous"},
        ("policy/v1beta1", "previous"),
    ),
    "CRD not installed": (Cause.API_VERSION_MISSING, {"kind": "Certificate", "installed": "false"}, ("cert-manager.io/v1",)),
    "right missing": (Cause.ACCESS_DENIED, {"verb": "create", "resource": "services"}, ("demo:deployer", "create services")),
    "namespace being deleted": (Cause.NAMESPACE_TERMINATING, {"namespace": "demo"}, ("namespace demo",)),
    "webhook does not answer": (Cause.ADMISSION_DENIED, {"unanswered": "true"}, ("validate.nginx", "connection refused")),
    "webhook denies": (Cause.ADMISSION_DENIED, {"webhook": "validate.kyverno.svc-fail"}, ("team is required",)),
    "policy denies": (Cause.ADMISSION_DENIED, {"policy": "replicas"}, ("at most 5 replicas", "Deployment web")),
    "unknown to us": (Cause.HELM_FAILED, {}, ("something entirely new",)),
}
WRAPPING = re.compile(
    r"rpc error|failed to pull and unpack|Failed to pull image|OCI runtime|failed to create shim|preemption:|cannot patch"
    r"|[Ee]rror creating|1 error occurred|failed failed|failed: failed"
)


def test_every_failing_release_is_expected() -> None:
    assert set(EXPECTED) == set(FAILING)


@pytest.mark.parametrize("name", FAILING)
def test_cause_and_facts_are_found(name: str) -> None:
    cause, facts, words = EXPECTED[name]
    found = FAILING[name].explain()
    assert found.cause == cause
    assert {fact: found.facts.get(fact) for fact in facts} == facts
    assert [word for word in words if word not in found.sentence] == []


@pytest.mark.parametrize("name", FAILING)
def test_sentence_is_one_and_says_each_thing_once(name: str) -> None:
    found = FAILING[name].explain()
    assert found.sentence.startswith("hello 1.4.2 to demo ")
    assert found.sentence.endswith(".")
    assert not WRAPPING.search(found.sentence)
    assert found.cause not in found.sentence
    assert found.sentence.count(IMAGE) <= 1
    assert "\n" not in found.sentence
    assert ".." not in found.sentence


def test_sentences_can_be_read_in_a_table() -> None:
    """Write each sentence with its hints and evidence for a reader: ``pytest -s -k table``."""
    for name, failing in FAILING.items():
        found = failing.explain()
        hints = hint_for(found, "demo", "hello")
        lines = [f"{name}: {found.cause}", f"  {found.sentence}", f"  CLI   {hints.hint}", f"  HTTP  {hints.http_hint}"]
        lines += [f"  {one.kind:10} {one.about}: {one.text} ({one.count})" for one in found.evidence]
        sys.stdout.write("\n".join(["", *lines]))
        assert all(lines)


# the evidence


def test_log_names_the_container_and_the_run() -> None:
    logs = FAILING["crash of an init container"].explain().of_kind("log")
    assert [one.about for one in logs] == [f"pod {POD}, init container prepare, previous run"]


def test_log_keeps_the_last_lines() -> None:
    failing = replace(FAILING["crash"], logs={("app", True): [f"line {number}" for number in range(500)]})
    (log,) = failing.explain().of_kind("log")
    assert log.text.splitlines() == [f"line {number}" for number in range(500 - LOG_LINES, 500)]


def test_status_names_exit_code_restarts_and_revision() -> None:
    status = FAILING["out of memory"].explain().of_kind("status")[0]
    assert status.about == f"pod {POD}, container app"
    assert all(word in status.text for word in ("OOMKilled", "SIGKILL", "3 restarts", "revision 3 of Deployment web", IMAGE))


def test_rule_is_named() -> None:
    found = FAILING["crash"].explain()
    assert found.facts["rule"] == "after 3 restarts"
    assert any("after 3 restarts" in one.text for one in found.of_kind("status"))


def _replicas(count: int) -> tuple[Failing, list[dict[str, Any]]]:
    wanted, live, replica_set = deployment(replicas=count)
    pods = [
        pod(replica_set, f"a{number}b2c", status=statuses(waiting("CrashLoopBackOff", restarts=number + 1, last=ended())))
        for number in range(count)
    ]
    return Failing([wanted], live=[live, replica_set, *pods]), pods


def test_alike_events_of_several_pods_are_one_with_a_count() -> None:
    failing, pods = _replicas(10)
    events = [
        event(
            one,
            "BackOff",
            f"Back-off restarting failed container app in pod {one['metadata']['name']}_demo(0a1b2c3d-0000-0000-0000-{number:012})",
            container="app",
            count=3,
            seconds=10 + number,
        )
        for number, one in enumerate(pods)
    ]
    (found,) = replace(failing, events=events).explain().of_kind("event")
    assert found.count == 30
    assert found.about == "10 pods of Deployment web, container app"
    assert str(found.at) == "2026-11-28 11:59:50+00:00"
    assert str(found.since) == "2026-11-28 11:59:21+00:00"


def test_refusals_of_different_pods_are_one_with_a_count() -> None:
    wanted, live, replica_set = deployment(replicas=1)
    failing = Failing([wanted], live=[live, replica_set])
    refusal = 'Error creating: pods "{}-{}" is forbidden: violates PodSecurity "restricted:latest"'
    messages = [refusal.format(replica_set["metadata"]["name"], suffix) for suffix in ("x7fmd", "m8k2q", "bqr4t")]
    messages.append(f"(combined from similar events): {refusal.format(replica_set['metadata']['name'], 'zzzzz')}")
    events = [event(replica_set, "FailedCreate", message, seconds=10) for message in messages]
    (found,) = replace(failing, events=events).explain().of_kind("event")
    assert found.count == 4
    assert "combined" not in found.text


def test_events_that_differ_are_kept_apart() -> None:
    failing, pods = _replicas(1)
    events = [
        event(pods[0], "Unhealthy", f"Readiness probe failed: HTTP probe failed with statuscode: {code}") for code in (500, 503)
    ]
    assert len(replace(failing, events=events).explain().of_kind("event")) == 2


def test_normal_events_are_left_out_unless_they_explain() -> None:
    failing, pods = _replicas(1)
    events = [event(pods[0], "Pulled", "Container image already present", type="Normal")]
    assert replace(failing, events=events).explain().of_kind("event") == []
    (binding,) = FAILING["claim without storage class"].explain().of_kind("event")
    assert "FailedBinding" in binding.text
    assert binding.count == 12


def test_events_before_the_operation_are_left_out() -> None:
    failing, pods = _replicas(1)
    events = [
        event(failing.live[0], "Old", "of the operation before", seconds=3000),
        event(pods[0], "New", "of this one", seconds=3),
    ]
    found = replace(failing, events=events).explain(since=NOW.replace(minute=0, hour=11, second=30)).of_kind("event")
    assert len(found) == 2
    found = replace(failing, events=events).explain(since=NOW.replace(hour=11, minute=58)).of_kind("event")
    assert [one.text for one in found] == ["of this one (New)"]


def test_pods_of_the_old_revision_are_not_mixed_in() -> None:
    wanted, live, replica_set = deployment()
    old_set = copy.deepcopy(replica_set)
    old_set["metadata"] |= {"name": "web-5b4c3d2e1", "uid": "uid-old", "annotations": {"deployment.kubernetes.io/revision": "2"}}
    old = pod(old_set, "old11", status=statuses(waiting("ImagePullBackOff", "of the old revision", restarts=9)))
    new = pod(replica_set, status=statuses(waiting("CrashLoopBackOff", restarts=3, last=ended(7))))
    events = [event(old, "BackOff", "old pod backs off"), event(old_set, "FailedCreate", "old set fails")]
    failing = Failing([wanted], live=[live, replica_set, old_set, old, new], events=events, logs={("app", True): ["new words"]})
    found = failing.explain()
    assert found.facts["exitCode"] == "7"
    assert "old" not in found.model_dump_json()
    assert {source.pod for source in failing.sources} == {POD}


@pytest.mark.parametrize("kind", ["Event", "Pod", "ReplicaSet", "PersistentVolumeClaim"])
def test_unreadable_kind_is_evidence_and_takes_nothing_else_away(kind: str) -> None:
    why = f"cannot read {kind} objects in demo: no right to list them"
    failing = FAILING["crash"]
    found = replace(failing, unreadable={kind: why}).explain()
    (unreadable,) = found.of_kind("unreadable")
    assert (unreadable.about, unreadable.text) == (kind, why)
    if kind in ("Event", "PersistentVolumeClaim"):
        before = failing.explain()
        assert found.sentence == before.sentence
        assert found.of_kind("log") == before.of_kind("log")


def test_log_that_cannot_be_read_is_evidence_and_not_quoted() -> None:
    why = "cannot read logs: no right to read the logs of pods"
    found = replace(FAILING["crash"], logs={("app", True): [why]}).explain()
    assert found.of_kind("log") == []
    assert [(one.about, one.text) for one in found.of_kind("unreadable")] == [(f"pod {POD}, container app, previous run", why)]
    assert why not in found.sentence
    assert "exit status 1" in found.sentence


def test_hook_that_is_deleted_leaves_its_events() -> None:
    failing = FAILING["hook failed, deleted since"]
    gone = {"kind": "Job", "metadata": {"name": "migrate", "uid": "gone"}}
    events = [event(gone, "BackoffLimitExceeded", "Job has reached the specified backoff limit")]
    (found,) = replace(failing, events=events).explain().of_kind("event")
    assert found.about == "Job migrate"


def test_refusal_is_not_supported_by_the_states_of_pods() -> None:
    crash = FAILING["crash"]
    waiting_web = replace(FAILING["node port taken"], objects=crash.objects, live=[], judged=True)
    assert waiting_web.explain().cause == Cause.NODE_PORT_TAKEN
    slow = replace(FAILING["slow pull"], failure=None, helm=FAILING["node port taken"].helm)
    assert [one.kind for one in slow.explain().evidence] == ["helm"]


def test_helm_words_are_evidence_once() -> None:
    assert FAILING["crash"].explain().of_kind("helm") == []
    (helm,) = FAILING["unknown to us"].explain().of_kind("helm")
    assert "with a second line" in helm.text


# the form that is stored


def test_json_is_camel_case_and_reads_back() -> None:
    found = FAILING["quota"].explain()
    text = found.model_dump_json(by_alias=True)
    assert set(found.model_dump(mode="json", by_alias=True)) == {"cause", "sentence", "facts", "evidence"}
    assert Explanation.model_validate_json(text) == found
