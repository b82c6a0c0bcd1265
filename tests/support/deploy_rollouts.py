"""Deploys whose rollout is in the test's hand: what Helm changes in the cluster, how it ends, and what was reported."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from kubernaut.deploy.execute import Result
from kubernaut.errors import DeployKept, KubernautError
from kubernaut.events import Notice, WorkloadProgress
from kubernaut.history.records import Status
from support.deploy_harness import WORKLOAD, DeployHarness, put_crashing
from support.waiting import until

Check = Callable[[], None]


def rolls_out(harness: DeployHarness, put: Callable[[Check], object], *, error: KubernautError | None = None) -> None:
    """Let the next Helm change the cluster, and then wait until it is stopped; with an error, it ends with that instead."""

    def during(check: Check) -> None:
        put(check)
        if error is None:
            until(check, "the rollout is given up")

    harness.helm.end_with(Status.FAILED, error, during=during)


def crash_for_good(harness: DeployHarness) -> None:
    """Let a container crash until the rollout is given up; what Helm makes after that, it makes later than the pod."""
    put_crashing(harness.cluster, restarts=3)
    harness.cluster.server_time += timedelta(seconds=2)


def failed(harness: DeployHarness, version: str = "1.0.0", template: str = WORKLOAD, **options: Any) -> DeployKept:
    with pytest.raises(DeployKept) as caught:
        harness.deploy(version, template=template, **options)
    return caught.value


def deployed(harness: DeployHarness, template: str = WORKLOAD, **options: Any) -> Result:
    result = harness.deploy(template=template, **options)
    assert harness.statuses[-1] == "deployed"
    return result


def notices(harness: DeployHarness) -> list[str]:
    return [event.text for event in harness.events if isinstance(event, Notice)]


def progress(harness: DeployHarness, workload: str) -> list[tuple[str, bool]]:
    found = (event for event in harness.events if isinstance(event, WorkloadProgress))
    return [(event.text, event.ready) for event in found if event.workload == workload]


def new(harness: DeployHarness, item: dict[str, Any]) -> dict[str, Any]:
    """Return an object that is created now."""
    return item | {"metadata": {**item["metadata"], "creationTimestamp": harness.cluster.server_time.isoformat()}}
