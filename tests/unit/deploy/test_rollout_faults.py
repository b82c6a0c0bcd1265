"""A rollout without rights, without an API server, and with silent watches: the outcome is right, and what is missing is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import CRASHING, LATE, WORKLOAD, DeployHarness, put_crashing
from support.deploy_rollouts import Check, crash_for_good, deployed, failed, new, notices, progress, rolls_out
from support.kube_objects import deployment, endpoint_slice, event, owned_pod, replica_set, service
from support.waiting import until
from support.watching import GONE

from kubernaut.errors import ClusterDenied, ClusterUnreachable, DeployRolledBack
from kubernaut.events import WorkloadProgress
from kubernaut.history.records import Status

DENIED = ClusterDenied("no")


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


# rights


@pytest.mark.parametrize("plural", ["pods", "events", "replicasets", "deployments", "services"])
def test_kind_that_may_not_be_read_is_named_once_and_a_good_release_is_deployed(harness: DeployHarness, plural: str) -> None:
    harness.environment["KUBERNAUT_SETTLE_TIME"] = "0"  # pods that are not seen would have to stay ready for it
    harness.cluster.fail(f"list {plural}", DENIED, times=None)
    deployed(harness)
    assert notices(harness) == [f"Cannot read {plural} in demo: no right to list {plural}."]


def test_kind_that_may_not_be_read_is_named_once_with_the_rollback(harness: DeployHarness) -> None:
    deployed(harness)
    harness.cluster.fail("list events", DENIED, times=None)
    rolls_out(harness, lambda check: put_crashing(harness.cluster, restarts=3))
    with pytest.raises(DeployRolledBack):
        harness.deploy("1.1.0", template=WORKLOAD)
    assert notices(harness) == ["Cannot read events in demo: no right to list events."]


@pytest.mark.parametrize("plural", ["events", "replicasets", "services"])
def test_kind_that_may_not_be_read_costs_only_its_evidence(harness: DeployHarness, plural: str) -> None:
    harness.cluster.logs["demo", CRASHING, "web"] = ["no database"]
    harness.cluster.fail(f"list {plural}", DENIED, times=None)
    rolls_out(harness, lambda check: put_crashing(harness.cluster, restarts=3))
    error = failed(harness)
    assert error.members["cause"] == "container_crashed"
    assert f"Not known: cannot read {plural} in demo: no right to list {plural}" in error.details
    assert "  no database" in error.details
    assert any(CRASHING in line and "3 restarts" in line for line in error.details)


def test_pods_that_may_not_be_read_leave_the_workload_and_its_events(harness: DeployHarness) -> None:
    def put(check: Check) -> None:
        put_crashing(harness.cluster)
        at = harness.cluster.server_time.isoformat()
        about = owned_pod(replica_set(deployment("web")), "1")
        reported = event(about, "BackOff", "Back-off restarting failed container web")
        harness.cluster.put(reported | {"firstTimestamp": at, "lastTimestamp": at})

    harness.cluster.fail("list pods", DENIED, times=None)
    rolls_out(harness, put, error=LATE)
    error = failed(harness)
    assert error.members["cause"] == "deadline_exceeded"
    assert "Deployment web" in error.message
    assert "Not known: cannot read pods in demo: no right to list pods" in error.details


def test_service_of_pods_that_may_not_be_read_is_not_the_reason(harness: DeployHarness) -> None:
    def put(check: Check) -> None:
        put_crashing(harness.cluster)
        harness.cluster.put(new(harness, service("web", {"app": "web"})))
        harness.cluster.put(new(harness, endpoint_slice(service("web"), False)))

    harness.cluster.fail("list pods", DENIED, times=None)
    rolls_out(harness, put, error=LATE)
    error = failed(harness, template=WORKLOAD.replace("spec: {ports", "spec: {selector: {app: web}, ports"))
    assert error.members["cause"] == "deadline_exceeded"
    assert "Deployment web" in error.message


def test_log_that_may_not_be_read_costs_only_itself(harness: DeployHarness) -> None:
    harness.cluster.fail("get log", DENIED, times=None)
    rolls_out(harness, lambda check: put_crashing(harness.cluster, restarts=3))
    error = failed(harness)
    assert error.members["cause"] == "container_crashed"
    assert [line for line in error.details if line.startswith("Not known: ") and "no right to read the logs of pods" in line]


def test_lease_that_may_not_be_used_changes_nothing(harness: DeployHarness) -> None:
    harness.cluster.fail("create lease", DENIED, times=None)
    with pytest.raises(ClusterDenied) as caught:
        harness.deploy(template=WORKLOAD)
    assert "lease" in f"{caught.value.message} {caught.value.hint}".lower()
    assert (harness.helm.starts, harness.statuses) == ([], [])


# an API server that does not answer


def test_api_server_that_is_gone_during_the_rollout(harness: DeployHarness) -> None:
    def during(check: Check) -> None:
        harness.cluster.fail("list ", GONE, times=None)
        harness.cluster.changes.cut()
        for _ in range(3):
            check()
        harness.cluster.heal()

    harness.helm.end_with(Status.DEPLOYED, during=during)
    deployed(harness)
    assert notices(harness) == []


def test_api_server_that_is_gone_after_helm_is_waited_for(harness: DeployHarness) -> None:
    harness.helm.end_with(Status.DEPLOYED, during=lambda check: harness.cluster.fail("list pods", GONE, times=3))
    deployed(harness)


class Outage(list[Any]):
    """Events; the cluster is gone once a workload is reported ready, after the record was read back."""

    def __init__(self, harness: DeployHarness, step: str) -> None:
        super().__init__()
        self._harness, self._step = harness, step

    def append(self, event: Any) -> None:
        super().append(event)
        if isinstance(event, WorkloadProgress) and event.ready and event.step == self._step:
            self._harness.cluster.fail("", GONE, times=None)
            self._harness.cluster.changes.cut()


def test_api_server_that_is_gone_at_the_deadline_leaves_the_result_unknown(harness: DeployHarness) -> None:
    harness.events = Outage(harness, "deploy")
    with pytest.raises(ClusterUnreachable) as caught:
        harness.deploy(template=WORKLOAD, timeout=0.1)
    assert "unknown" in caught.value.message
    harness.cluster.heal()
    assert harness.statuses == ["deployed"]
    assert harness.operation.finished_at is None, "the next operation reads the result from the record"


def test_api_server_that_is_gone_at_the_deadline_of_a_rollback_is_reported(harness: DeployHarness) -> None:
    deployed(harness)
    rolls_out(harness, lambda check: crash_for_good(harness), error=LATE)
    harness.events = Outage(harness, "rollback")
    error = failed(harness, "1.1.0", timeout=0.1)
    assert re.search(r"3 times\..*v1 .*unknown", error.message)
    assert error.members["cause"] == "container_crashed"


def test_api_server_that_stays_away_explains_by_what_was_seen(harness: DeployHarness) -> None:
    def put(check: Check) -> None:
        put_crashing(harness.cluster)
        until(lambda: check() or [text for text, _ in progress(harness, "Deployment web") if "crashing" in text], "it is seen")
        harness.cluster.fail("get log", GONE, times=None)
        harness.cluster.fail("list pods", GONE, times=None)

    rolls_out(harness, put, error=LATE)
    error = failed(harness)
    assert error.members["cause"] == "container_crashed"
    assert [line for line in error.details if line.startswith("Not known: ") and "does not answer" in line]


# watches that report nothing, as over a dead connection


def silenced(harness: DeployHarness, check: Check) -> None:
    """Let the watches of the release report nothing any more."""
    opened = ("watch deployments demo", "watch pods demo", "watch services demo", "watch endpointslices demo")
    until(lambda: check() or set(opened) <= set(harness.cluster.requests), "the watches are open")
    harness.cluster.changes.silent = True


SERVED = WORKLOAD.replace("spec: {ports", "spec: {selector: {app: web}, ports")


def test_release_is_ready_although_the_watches_are_silent(harness: DeployHarness) -> None:
    harness.helm.end_with(Status.DEPLOYED, during=lambda check: silenced(harness, check))
    deployed(harness, SERVED, timeout=1.0)


def test_nothing_is_given_up_because_the_watches_are_silent(harness: DeployHarness) -> None:
    """Their silence is noticed later than a missing object is given up."""
    harness.environment["KUBERNAUT_CONFIG_TIMEOUT"] = "0"
    harness.helm.end_with(Status.DEPLOYED, during=lambda check: silenced(harness, check))
    deployed(harness, SERVED, timeout=30.0)


def test_crash_is_the_reason_although_the_watches_are_silent(harness: DeployHarness) -> None:
    def put(check: Check) -> None:
        silenced(harness, check)
        put_crashing(harness.cluster)

    rolls_out(harness, put, error=LATE)
    assert failed(harness, template=SERVED).members["cause"] == "container_crashed"
