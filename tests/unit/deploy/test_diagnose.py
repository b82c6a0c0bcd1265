"""The explanation of pods that are not ready; the pods are as a real cluster shows them."""

# ruff: noqa: E501 - messages stand as the cluster says them
from __future__ import annotations

from typing import Any

import pytest

from kubernaut.deploy.diagnose import LogSource, explain, logs_to_read


def pod(
    pod_name: str = "web-1", *, phase: str = "Pending", conditions: tuple[dict[str, Any], ...] = (), **container: Any
) -> dict[str, Any]:
    containers = [{"name": "web", "image": "r/web:1", "ready": False, "restartCount": 0, **container}] if container else []
    return {
        "metadata": {"name": pod_name},
        "status": {"phase": phase, "conditions": list(conditions), "containerStatuses": containers},
    }


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, **more}


def event(reason: str, message: str, *, kind: str = "Pod", name: str = "web-1", type: str = "Warning") -> dict[str, Any]:
    return {"involvedObject": {"kind": kind, "name": name}, "reason": reason, "message": message, "type": type}


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}
RUNNING = {"state": {"running": {"startedAt": "x"}}}
PULL = (
    'Failed to pull image "r/web:1": rpc error: code = NotFound desc = failed to pull and unpack image "r/web:1": failed to resolve '
    'reference "r/web:1": r/web:1: not found'
)


@pytest.mark.parametrize(
    ("pods", "events", "problem"),
    [
        ([pod(**waiting("ImagePullBackOff", "Back-off"))], [event("Failed", PULL)], "the image r/web:1 of the container web cannot be pulled: r/web:1: not found"),
        ([pod(**waiting("ErrImagePull", "no such host"))], [], "the image r/web:1 of the container web cannot be pulled: no such host"),
        (
            [pod(**waiting("CrashLoopBackOff", "back-off", restartCount=3, lastState={"terminated": {"exitCode": 1, "reason": "Error"}}))],
            [],
            "the container web keeps crashing with exit status 1",
        ),
        (
            [pod(**waiting("CrashLoopBackOff", restartCount=1, lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))],
            [],
            "the container web keeps crashing: it used more memory than its limit (OOMKilled)",
        ),
        ([pod(state={"terminated": {"exitCode": 3, "reason": "Error"}})], [], "the container web ended with exit status 3"),
        (
            [pod(**waiting("CreateContainerConfigError", 'secret "db" not found'))],
            [],
            'the container web cannot start: CreateContainerConfigError: secret "db" not found',
        ),
        ([pod(conditions=(UNSCHEDULED,))], [], "a pod cannot be scheduled: 0/1 nodes are available: 1 Insufficient cpu"),
        (
            [pod(phase="Running", **RUNNING)],
            [event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")],
            "the container web is running but not ready: Readiness probe failed: HTTP probe failed with statuscode: 503",
        ),
        ([pod(phase="Running", **RUNNING)], [], "the container web is running but not ready"),
        (
            [],
            [event("FailedCreate", 'pods "web-" is forbidden: exceeded quota: q', kind="ReplicaSet", name="web-6f")],
            'replicaset FailedCreate: pods "web-" is forbidden: exceeded quota: q',
        ),
        (
            [pod(**waiting("ContainerCreating"))],
            [event("FailedMount", 'configmap "c" not found')],
            'pod FailedMount: configmap "c" not found',
        ),
    ],
)  # fmt: skip
def test_each_problem_is_explained(pods: list[dict[str, Any]], events: list[dict[str, Any]], problem: str) -> None:
    assert explain(pods, events, workloads=["web"]).problems == (problem,)


def test_healthy_pods_are_no_problem() -> None:
    well = pod(phase="Running", conditions=({"type": "Ready", "status": "True"},), state={"running": {}}, ready=True)
    assert explain([well], [event("Unhealthy", "at first")]).problems == ()
    done = pod(phase="Succeeded", state={"terminated": {"exitCode": 0}})
    assert explain([done], []).problems == ()


def test_terminating_pods_are_ignored() -> None:
    going = pod(**waiting("CrashLoopBackOff"))
    going["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert explain([going], []).problems == ()


def test_events_of_other_objects_are_ignored() -> None:
    others = [
        event("FailedCreate", "x", kind="ReplicaSet", name="other-1"),
        event("Failed", "x", name="other-1"),
        event("BackOff", "x", kind="Node"),
    ]
    assert explain([], others, workloads=["web"]).problems == ()


def test_repeated_problem_is_counted() -> None:
    pods = [pod(f"web-{number}", **waiting("ErrImagePull", "not found")) for number in range(3)]
    assert explain(pods, []).problems == ("the image r/web:1 of the container web cannot be pulled: not found (3 times)",)


def test_last_log_lines_are_quoted() -> None:
    crashing = pod(**waiting("CrashLoopBackOff", restartCount=2, lastState={"terminated": {"exitCode": 1}}))
    ended = pod("web-2", state={"terminated": {"exitCode": 1}}, name="job")
    fine = pod("web-3", phase="Running", state={"running": {}}, ready=True, name="ok")
    sources = logs_to_read([crashing, ended, fine, crashing])
    assert sources == (LogSource("web-1", "web", previous=True), LogSource("web-2", "job", previous=False))
    lines = [f"line {number}" for number in range(50)] + ["password=hunter2hunter2"]
    explanation = explain([crashing], [], {sources[0]: lines})
    assert "The last lines of web in web-1:" in explanation.details
    assert "  line 49" in explanation.details
    assert "  line 1" not in explanation.details
    assert "hunter2" not in "".join(explanation.details)


@pytest.mark.parametrize(
    "odd",
    [{}, {"metadata": {}}, {"metadata": {"name": "x"}, "status": None}, {"metadata": None, "status": {"containerStatuses": None}}],
)
def test_odd_pods_are_ignored(odd: dict[str, Any]) -> None:
    assert explain([odd], [{}, {"involvedObject": None}]).problems == ()
    assert logs_to_read([odd]) == ()
