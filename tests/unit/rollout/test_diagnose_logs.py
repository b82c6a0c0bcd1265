"""Which containers' logs are read to explain a failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.cluster_objects import IMAGE, Failing, at, deployment, ended, pod, running, statuses, terminated, waiting
from support.failing_releases import FAILING

from kubernaut.rollout.logs import LogSource


def _sources(failing: Failing) -> list[tuple[str, bool]]:
    return [(source.container, source.previous) for source in failing.sources]


def _one_pod(*found: dict[str, Any], phase: str = "Running", **more: Any) -> Failing:
    wanted, live, replica_set = deployment("web", *({"name": one["name"], "image": IMAGE} for one in found))
    one = pod(replica_set, spec=live["spec"]["template"]["spec"], status=statuses(*found, phase=phase))
    return Failing([wanted], live=[live, replica_set, one], **more)


def test_failing_container_comes_first_with_its_previous_run() -> None:
    failing = _one_pod(
        running("proxy", seconds=50),
        waiting("CrashLoopBackOff", name="app", restarts=3, last=ended()),
        running("other", seconds=50),
    )
    assert _sources(failing) == [("app", True), ("proxy", False), ("other", False)]


def test_running_container_that_was_restarted_is_read_twice() -> None:
    assert _sources(_one_pod(running(restarts=2, last=ended()))) == [("app", True), ("app", False)]


def test_container_that_has_not_started_is_not_read() -> None:
    assert _sources(FAILING["image not found"]) == []


def test_ready_container_is_not_read() -> None:
    assert _sources(_one_pod(running("good", ready=True), running("bad"))) == [("bad", False)]


def test_each_container_is_read_in_one_pod_only() -> None:
    wanted, live, replica_set = deployment(replicas=5)
    crashing = statuses(waiting("CrashLoopBackOff", restarts=3, last=ended()))
    pods = [pod(replica_set, f"a{number}b2c", status=crashing) for number in range(5)]
    assert len(Failing([wanted], live=[live, replica_set, *pods]).sources) == 1


@pytest.mark.parametrize("name", ["hook failed", "hook hangs, Helm 3", "hook hangs, Helm 4", "hook hangs, Helm stopped"])
def test_pods_of_hooks_are_read(name: str) -> None:
    assert FAILING[name].sources == (LogSource("demo", "migrate-q8z", "migrate"),)


def test_newest_pod_of_a_failed_job_is_read() -> None:
    failing = FAILING["Job failed"]
    job = failing.live[0]
    older = pod(job, "old", spec=job["spec"]["template"]["spec"], status=statuses(terminated("seed"), phase="Failed"))
    older["metadata"]["creationTimestamp"] = at(300)
    assert [source.pod for source in replace(failing, live=[*failing.live, older]).sources] == ["seed-k2x"]


def test_without_a_verdict_pods_that_are_not_ready_are_read() -> None:
    assert _sources(replace(FAILING["crash"], judged=False)) == [("app", True)]
