"""A deployer without one right after the other: what may not be read is named, and costs only its evidence; with both Helms."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness
from support.rollout_cases import deployment, service, shell

from kubernaut.errors import ClusterDenied, KubernautError
from kubernaut.events import Notice
from kubernaut.settings import Settings, load_settings

pytestmark = pytest.mark.platform

_READ, _WRITE = ["get", "list", "watch"], ["get", "list", "watch", "create", "update", "patch", "delete"]
_ACCOUNT = "deployer"
_RIGHTS = {
    "secrets": ("", _WRITE),
    "services": ("", _WRITE),
    "pods": ("", _READ),
    "pods/log": ("", ["get"]),
    "events": ("", _READ),
    "deployments": ("apps", _WRITE),
    "replicasets": ("apps", _READ),
    "endpointslices": ("discovery.k8s.io", _READ),
    "leases": ("coordination.k8s.io", _WRITE),
}
WITHOUT = ("pods", "pods/log", "events", "replicasets", "endpointslices", "leases")
"""The rights that are missing in turn."""
_OF_HELM = ("replicasets", "leases")
"""Those without which nothing can be deployed: Helm reads ReplicaSets, and the lock is a Lease."""
GOOD = deployment() + service()
CRASHING = deployment(beside=f"- {shell('echo no database; sleep 1; exit 4', name='side')}") + service()


@dataclass(frozen=True)
class Deploys:
    """What came of a good release and of a crashing one: their errors, their notices, and the statuses of the records."""

    good: KubernautError | None
    failed: KubernautError | None
    notices: tuple[str, ...]
    statuses: tuple[str, ...]


def grant(admin: ClusterHarness, without: str) -> dict[str, Any]:
    """Create a namespace and an account in it that lacks a right; return the account's user in a kubeconfig."""
    namespace, role = f"/api/v1/namespaces/{admin.namespace}", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{admin.namespace}"
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": verbs}
        for resource, (group, verbs) in _RIGHTS.items()
        if resource != without
    ]
    named = {"metadata": {"name": _ACCOUNT}}
    subject = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": admin.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": _ACCOUNT}
    for path, body in (
        ("/api/v1/namespaces", {"metadata": {"name": admin.namespace}}),
        (f"{namespace}/serviceaccounts", named),
        (f"{role}/roles", {**named, "rules": rules}),
        (f"{role}/rolebindings", {**named, "roleRef": reference, "subjects": [subject]}),
    ):
        call_api(admin.cluster, "POST", path, body=body)
    request = {"spec": {"expirationSeconds": 3600}}
    made = call_api(admin.cluster, "POST", f"{namespace}/serviceaccounts/{_ACCOUNT}/token", body=request)
    return {"token": made["status"]["token"]}


def deploys(admin: ClusterHarness, without: str) -> Deploys:
    config = yaml.safe_load(Path(str(admin.settings.kubeconfig)).read_text())
    config["users"][0]["user"] = grant(admin, without)
    kubeconfig = admin.folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    kubeconfig.chmod(0o600)
    deployer = ClusterHarness(admin.folder, replace(admin.settings, kubeconfig=str(kubeconfig)), admin.namespace)

    def deploy(template: str) -> KubernautError | None:
        try:
            deployer.deploy(template, timeout=30.0, create_namespace=False, on_failure="keep")
        except KubernautError as error:
            return error
        return None

    good, failed = deploy(GOOD), deploy(CRASHING)
    deployer.cluster.close()
    notices = tuple(event.text for event in deployer.events if isinstance(event, Notice))
    return Deploys(good, failed, notices, tuple(admin.statuses))


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def outcomes(
    request: pytest.FixtureRequest, platform: Mapping[str, str], helms: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Deploys]]:
    environment = {**os.environ, **platform, "KUBERNAUT_HELM": helms[request.param], "KUBERNAUT_ACTOR": "ada"}
    settings: Settings = load_settings(environment=environment, directory=tmp_path_factory.mktemp("settings"))
    harnesses = {without: ClusterHarness(tmp_path_factory.mktemp("chart"), settings) for without in WITHOUT}
    with ThreadPoolExecutor(3) as pool:
        yield dict(zip(WITHOUT, pool.map(lambda without: deploys(harnesses[without], without), WITHOUT), strict=True))
    for harness in harnesses.values():
        call_api(harness.cluster, "DELETE", f"/api/v1/namespaces/{harness.namespace}")
        harness.cluster.close()


@pytest.mark.parametrize("without", [one for one in WITHOUT if one not in _OF_HELM])
def test_what_may_not_be_read_is_named_once_and_costs_only_its_evidence(outcomes: Mapping[str, Deploys], without: str) -> None:
    found = outcomes[without]
    assert found.good is None, found.good
    assert found.failed is not None
    assert len(found.statuses) == 2  # whether Helm sees the container while it runs for a second is chance
    assert found.failed.members["cause"] == ("deadline_exceeded" if without == "pods" else "container_crashed")
    assert "Deployment web" in found.failed.message
    lines = found.failed.details
    unknown = [line for line in lines if line.startswith("Not known: ") and "no right to" in line]
    if without == "pods/log":
        assert unknown
        assert found.notices == ()
    else:
        assert [line.partition(": no right")[2] for line in unknown] == [f" to list {without}"]
        assert [notice.count(f"no right to list {without}") for notice in found.notices] == [1, 1], "once for each deploy"
    assert ("  no database" in lines) is (without not in ("pods", "pods/log"))


def test_right_that_helm_needs_is_named(outcomes: Mapping[str, Deploys]) -> None:
    """Helm 3 says so itself; Helm 4 says only that it does not know the state of the Deployment."""
    found = outcomes["replicasets"]
    for error in (found.good, found.failed):
        assert error is not None
        assert [line for line in error.details if "no right to list replicasets" in line]
    assert found.good is not None
    assert found.good.members["cause"] in ("access_denied", "deadline_exceeded")
    assert found.statuses == ("failed", "failed")


def test_deploy_without_leases_changes_nothing(outcomes: Mapping[str, Deploys]) -> None:
    found = outcomes["leases"]
    for error in (found.good, found.failed):
        assert isinstance(error, ClusterDenied)
        assert "leases" in f"{error.message} {error.hint}"
    assert found.statuses == ()
