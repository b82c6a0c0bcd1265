"""The rollout beside Helm, as a deploy goes through it: given up by rule, waited for, and explained."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import CRASHING, LATE, WORKLOAD, DeployHarness, after_helm, put_crashing
from support.deploy_rollouts import Check, crash_for_good, deployed, failed, new, notices, progress, rolls_out
from support.kube_objects import deployment, event, owned_pod, replica_set, waiting
from support.waiting import until
from support.watching import SOON, WIDGETS

from kubernaut.adapters.kube_resources import Resource
from kubernaut.errors import ClusterDenied, DeployRolledBack, HelmFailed
from kubernaut.events import LogLine
from kubernaut.history.records import Status

DENIED = ClusterDenied("no")
CUSTOM = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: lamp}\n"


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


# given up, or ready


def test_crash_stops_helm_by_rule(harness: DeployHarness) -> None:
    rolls_out(harness, lambda check: put_crashing(harness.cluster, restarts=3))
    error = failed(harness)
    assert error.members["cause"] == "container_crashed"
    assert any("given up after 3 restarts" in line for line in error.details)
    assert not any(line.startswith("Helm: ") for line in error.details), "it was stopped, and has nothing to add"
    assert harness.statuses == ["failed"]
    assert progress(harness, "Deployment web")[-1][1] is False


def test_crash_before_the_first_answer_of_the_cluster_counts(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(harness)
    answers = threading.Event()
    list_objects = harness.cluster.list_objects

    def late(resource: Resource, *arguments: Any, **options: Any) -> Any:
        assert resource.kind == "Secret" or answers.wait(SOON)
        return list_objects(resource, *arguments, **options)

    def during(check: Check) -> None:
        put_crashing(harness.cluster, restarts=3)
        answers.set()
        until(check, "the rollout is given up")

    monkeypatch.setattr(harness.cluster, "list_objects", late)
    harness.helm.end_with(Status.FAILED, during=during)
    assert failed(harness, "1.1.0", on_failure="keep").members["cause"] == "container_crashed"


def test_cause_is_in_the_description_that_plain_helm_shows(harness: DeployHarness) -> None:
    rolls_out(harness, lambda check: put_crashing(harness.cluster, restarts=3))
    error = failed(harness)
    (record,) = harness.history.records
    assert record.description == error.message.partition(" There is no earlier")[0]
    assert len(record.description) <= 200


def test_ready_workloads_are_reported_once(harness: DeployHarness) -> None:
    deployed(harness)
    assert progress(harness, "Deployment web")[-1] == ("1 of 1 ready", True)
    shown = progress(harness, "Deployment web")
    assert len(shown) == len(set(shown))


def test_crash_after_helm_has_ended_is_the_reason_at_the_deadline(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Helm deployed it; two restarts are too few to give it up."""
    monkeypatch.setattr("kubernaut.deploy.rollout._LAST_LOOK_SECONDS", 0.3)
    harness.cluster.logs["demo", CRASHING, "web"] = ["no database"]
    after_helm(harness, "upgrade", lambda: put_crashing(harness.cluster))
    error = failed(harness, timeout=0.1)
    assert error.members["cause"] == "container_crashed"
    assert "not ready in time" in error.message
    assert "no database" in error.message
    assert any(CRASHING in line and "2 restarts" in line for line in error.details)
    assert not any(line.startswith("Helm: ") for line in error.details)


def test_rollback_that_is_not_ready_says_what_it_waited_for(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.deploy.rollout._LAST_LOOK_SECONDS", 0.3)
    deployed(harness)
    rolls_out(harness, lambda check: put_crashing(harness.cluster, restarts=3), error=LATE)
    after_helm(harness, "rollback", lambda: put_crashing(harness.cluster, restarts=4))
    error = failed(harness, "1.1.0", timeout=0.1)
    assert re.search(r"3 times\..* failed as well: .*container web keeps crashing", error.message, re.IGNORECASE)


def test_rollback_is_followed_and_explained_as_well(harness: DeployHarness) -> None:
    deployed(harness)
    rolls_out(harness, lambda check: crash_for_good(harness))
    with pytest.raises(DeployRolledBack) as caught:
        harness.deploy("1.1.0", template=WORKLOAD)
    assert caught.value.members["cause"] == "container_crashed"
    assert harness.statuses == ["superseded", "failed", "deployed"]


def test_manifest_that_cannot_be_read_leaves_the_result_to_helm(harness: DeployHarness) -> None:
    deployed(harness, f"{WORKLOAD}---\nkind: A\nspec: .nan\n")
    assert [text for text in notices(harness) if "demo.hello.v1" in text and ".nan" in text]
    assert progress(harness, "Deployment web") == []


def test_annotation_that_is_ignored_is_named(harness: DeployHarness) -> None:
    deployed(harness, annotations="{kubernaut/crash-restarts: many}")
    assert [text for text in notices(harness) if "kubernaut/crash-restarts" in text and "many" in text]


# warnings


def test_warning_of_the_api_server_is_one_notice(harness: DeployHarness) -> None:
    line = "W1128 20:57:47.701948    2084 warnings.go:70] batch/v1beta1 CronJob is deprecated"

    def warn(*arguments: Any, log: Callable[[str], None], **named: Any) -> None:
        for text in (line, "Pulled: r/charts/hello", line):
            log(text)
        upgrade(*arguments, log=log, **named)

    upgrade = harness.helm.upgrade
    harness.helm.upgrade = warn  # type: ignore[method-assign]
    deployed(harness)
    assert [text for text in notices(harness) if "batch/v1beta1 CronJob is deprecated" in text] == notices(harness)
    assert len(notices(harness)) == 1
    assert [event.text for event in harness.events if isinstance(event, LogLine)] == ["Pulled: r/charts/hello"]


# the cluster changes under the rollout


def test_workload_that_is_deleted_by_hand_is_named(harness: DeployHarness) -> None:
    harness.environment["KUBERNAUT_CONFIG_TIMEOUT"] = "0"

    def put(check: Check) -> None:
        made = harness.cluster.put(new(harness, deployment("web", ready=0)))
        until(lambda: check() or [ready for text, ready in progress(harness, "Deployment web") if "0 of 1" in text], "it is seen")
        harness.cluster.remove(made)

    rolls_out(harness, put)
    error = failed(harness)
    assert error.members["cause"] == "object_deleted"
    assert re.search(r"[Dd]eployment web", error.message)


def test_namespace_that_is_being_deleted_is_named(harness: DeployHarness) -> None:
    why = 'pods "web-7f1-1" is forbidden: unable to create new content in namespace demo because it is being terminated'

    def put(check: Check) -> None:
        web = deployment("web", ready=0, updated=0, total=0)
        web["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": why}]
        harness.cluster.put(new(harness, web))
        harness.cluster.put(new(harness, replica_set(web)))

    rolls_out(harness, put)
    error = failed(harness)
    assert error.members["cause"] == "namespace_terminating"
    assert "namespace demo" in error.message


@pytest.mark.parametrize(
    ("spec", "text"), [("{paused: true, replicas: 1", "paused"), ("{replicas: 0", "0 of 0 ready")], ids=["paused", "no replicas"]
)
def test_workload_that_needs_no_pods_is_deployed(harness: DeployHarness, spec: str, text: str) -> None:
    deployed(harness, WORKLOAD.replace("spec:\n  selector", f"spec:\n  {spec[1:].replace(', ', chr(10) + '  ')}\n  selector"))
    shown, ready = progress(harness, "Deployment web")[-1]
    assert ready
    assert text in shown


# custom resources


@pytest.fixture
def widgets(harness: DeployHarness) -> DeployHarness:
    harness.cluster.resources.append(WIDGETS)
    return harness


def widget(status: str) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": status, "reason": "Bulb", "message": "the bulb is broken"}] if status else []
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "lamp"},
        "status": {"conditions": conditions},
    }


@pytest.mark.parametrize(("status", "text"), [("True", "ready"), ("", "not judged: it has no Ready condition")])
def test_custom_resource_counts_by_its_condition(widgets: DeployHarness, status: str, text: str) -> None:
    widgets.cluster.put(widget(status), "demo")
    deployed(widgets, CUSTOM)
    assert progress(widgets, "Widget lamp")[-1] == (text, True)


def test_custom_resource_that_is_not_ready_fails_the_deploy(widgets: DeployHarness) -> None:
    rolls_out(widgets, lambda check: widgets.cluster.put(widget("False"), "demo"), error=LATE)
    error = failed(widgets, template=CUSTOM)
    assert error.members["cause"] == "condition_false"
    assert "the bulb is broken" in error.message


def test_custom_resource_that_may_not_be_read_is_named_and_not_waited_for(widgets: DeployHarness) -> None:
    widgets.cluster.fail("get widget ", DENIED, times=None)
    deployed(widgets, CUSTOM)
    assert [text for text in notices(widgets) if "lamp" in text or "widgets" in text]


# bounds


def test_two_hundred_pods_and_two_thousand_events_are_explained_briefly(harness: DeployHarness) -> None:
    def put(check: Check) -> None:
        web = deployment("web", 200, ready=0)
        replicas = replica_set(web)
        at = harness.cluster.server_time.isoformat()
        message = "Back-off pulling image r/web: not found"
        pods = [owned_pod(replicas, f"{number:03}", waiting("ImagePullBackOff", message)) for number in range(250)]
        for item in (web, replicas, *pods):
            harness.cluster.put(item | {"metadata": {**item["metadata"], "creationTimestamp": at}})
        for number in range(2_500):
            pod = pods[number % 250]
            reported = event(pod, "Failed", f"\x1b[31mFailed to pull image r/web: not found, try {number}", at=number)
            harness.cluster.put(reported | {"firstTimestamp": at, "lastTimestamp": at})

    rolls_out(harness, put, error=LATE)
    error = failed(harness)
    assert error.members["cause"] == "image_not_found"
    assert len(error.details) < 60
    assert "\x1b" not in "".join((error.message, *error.details))
    assert max(map(len, error.details)) < 1_000


def test_log_of_binary_lines_and_escapes_is_safe_to_show(harness: DeployHarness) -> None:
    junk = ["\x00\x01\x02", "\x1b]0;title\x07\x1b[31mred", "x" * (1 << 20), "no database"]
    harness.cluster.logs["demo", CRASHING, "web"] = junk
    rolls_out(harness, lambda check: put_crashing(harness.cluster, restarts=3))
    error = failed(harness)
    shown = "\n".join(error.details)
    assert "  no database" in error.details
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert len(shown) < 40_000


def test_helm_that_reports_no_reason_is_a_failure(harness: DeployHarness) -> None:
    harness.helm.end_with(Status.FAILED, HelmFailed("Helm ended with exit status 1."))
    error = failed(harness)
    assert error.members["cause"] == "helm_failed"
