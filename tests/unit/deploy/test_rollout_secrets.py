"""Secrets of a release, in all that its pods, the cluster and Helm say, are shown and kept nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.deploy_harness import CRASHING, WORKLOAD, DeployHarness
from support.in_process_server import InProcessServer
from support.kube_objects import crashed, deployment, event, owned_pod, replica_set
from support.waiting import until

from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import DeployFailed, DeployKept, DeployRolledBack, HelmFailed
from kubernaut.history.explain import read_explanation
from kubernaut.history.records import Status
from kubernaut.history.releases import ReleaseId
from kubernaut.history.store import HistoryStore

VALUE, HELD, VARIABLE = "c4nary-value-81", "c4nary/held;82", "c4nary_variable_83"
"""A value below a secret key, the data of a Secret under a harmless key, and a secret variable of this process."""
CANARIES = f"{VALUE} {HELD} {VARIABLE}"
TEMPLATE = WORKLOAD + f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: db}}\nstringData: {{dsn: '{HELD}'}}\n"
VALUES = {"db": {"password": VALUE}}


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    harness = DeployHarness(tmp_path)
    harness.environment["DB_PASSWORD"] = VARIABLE
    harness.cluster.logs["demo", CRASHING, "web"] = [f"cannot connect with {CANARIES} to db"]
    return harness


def put(harness: DeployHarness, restarts: int) -> None:
    """Put a pod whose log, exit message and events repeat the secrets."""
    web = deployment("web", ready=0)
    replicas, at = replica_set(web), harness.cluster.server_time.isoformat()
    reason = "StartError"  # the only end whose message is quoted
    pod = owned_pod(replicas, "1", crashed(restarts, message=f"cannot start with {CANARIES}", reason=reason))
    reported = event(pod, "Unhealthy", f"Readiness probe failed: got {CANARIES}")
    for item in (web, replicas, pod):
        harness.cluster.put(item | {"metadata": {**item["metadata"], "creationTimestamp": at}})
    harness.cluster.put(reported | {"firstTimestamp": at, "lastTimestamp": at})


def by_rule(harness: DeployHarness) -> None:
    def during(check: Callable[[], None]) -> None:
        put(harness, restarts=3)
        until(check, "the rollout is given up")

    harness.helm.end_with(Status.FAILED, during=during)


def by_helm(harness: DeployHarness) -> None:
    error = HelmFailed(f"Deploying demo.hello failed: the server refuses {CANARIES}", details=[f"it had {CANARIES}"])
    harness.helm.end_with(Status.FAILED, error, during=lambda check: put(harness, restarts=1))


def deploy(harness: DeployHarness, version: str = "1.0.0", on_failure: str = "keep") -> DeployFailed:
    with pytest.raises((DeployKept, DeployRolledBack)) as caught:
        harness.deploy(version, template=TEMPLATE, values=read_values(VALUES), on_failure=on_failure)
    return caught.value


def shown(harness: DeployHarness, error: DeployFailed, folder: Path) -> dict[str, str]:
    """Return all that is shown and kept of a failed deploy."""
    server = InProcessServer(folder, cluster=harness.cluster)
    try:
        server.context.index.start()
        rest = [server.get(f"/api/releases/demo.hello.v1{path}").get_data(as_text=True) for path in ("", "/report", "/explanation")]
    finally:
        server.close()
    return {
        "error": f"{error.message} {error.details} {error.hint} {error.http_hint} {json.dumps(error.problem())}",
        "events": str(harness.events),
        "operation": "".join(one.model_dump_json() for one in harness.history.operations),
        "descriptions": " ".join(record.description for record in harness.history.records),
        "explanation": read_explanation(HistoryStore(harness.cluster), ReleaseId("demo", "hello", 1)).model_dump_json(),  # type: ignore[arg-type]
        "REST": " ".join(rest),
    }


@pytest.mark.parametrize(("end", "quoted"), [(by_rule, "Readiness probe failed: got"), (by_helm, "the server refuses")])
def test_secrets_of_a_failed_release_are_nowhere(
    harness: DeployHarness, end: Callable[[DeployHarness], None], quoted: str, tmp_path: Path
) -> None:
    end(harness)
    error = deploy(harness)
    found = shown(harness, error, tmp_path)
    assert {where: canary for where, text in found.items() for canary in (VALUE, HELD, VARIABLE) if canary in text} == {}
    for where in ("error", "explanation", "REST"):
        assert f"{quoted} *** *** ***" in found[where]
        assert "cannot connect with *** *** *** to db" in found[where]


def test_secrets_of_a_failed_rollback_are_not_reported(harness: DeployHarness) -> None:
    harness.deploy(template=TEMPLATE, values=read_values(VALUES))
    by_rule(harness)
    by_helm(harness)
    error = deploy(harness, "1.1.0", on_failure="rollback")
    assert harness.statuses == ["deployed", "failed", "failed"]
    assert "the server refuses ***" in error.message
    assert not [canary for canary in (VALUE, HELD, VARIABLE) if canary in f"{error.message} {error.details}"]
