"""Objects that others have changed, deleted or made before: what a deploy does, and the command in its hint that leads out."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from support.api_calls import call_api
from support.fault_chart import NAME
from support.faults import FaultScenario, Subject
from support.processes import Ended
from support.waiting import until

from kubernaut.errors import NotFound

pytestmark = pytest.mark.platform

JSON = ("-o", "json")
REFUSED = r"x\, ports: [{containerPort: 99999}]"  # an image, and a port that the API server rejects


def way_out(ended: Ended) -> list[str]:
    """Return the arguments of the kubernaut command in the hint."""
    found = re.search(r"`kubernaut ([^`]+)`", ended.problem()["hint"])
    assert found is not None, ended.problem()["hint"]
    return shlex.split(found[1])


def path(scenario: FaultScenario, name: str = "web", *more: str) -> str:
    return "/".join([f"/apis/apps/v1/namespaces/{scenario.namespace}/deployments", name, *more])


def patch(scenario: FaultScenario, manager: str, body: Mapping[str, Any], *subresource: str) -> None:
    """Change the Deployment as another field manager."""
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    if subresource:
        headers["Content-Type"] = "application/merge-patch+json"
    address = f"{path(scenario, 'web', *subresource)}?fieldManager={manager}"
    call_api(scenario.cluster, "PATCH", address, body=body, headers=headers)


def scale(scenario: FaultScenario, replicas: int) -> None:
    """Do what ``kubectl scale`` does."""
    patch(scenario, "kubectl", {"spec": {"replicas": replicas}}, "scale")


def set_command(scenario: FaultScenario) -> None:
    """Do what ``kubectl edit`` does to a container's command."""
    containers = [{"name": "web", "command": ["node", "-e", "setInterval(() => {}, 5000)"]}]
    patch(scenario, "kubectl-edit", {"spec": {"template": {"spec": {"containers": containers}}}})


def remove(scenario: FaultScenario) -> None:
    """Do what ``kubectl delete deployment`` does."""
    call_api(scenario.cluster, "DELETE", path(scenario))

    def is_gone() -> bool:
        try:
            call_api(scenario.cluster, "GET", path(scenario))
        except NotFound:
            return True
        return False

    until(is_gone, "the Deployment is gone")


def live(scenario: FaultScenario) -> tuple[int, str]:
    """The replicas and the command of the Deployment."""
    spec = call_api(scenario.cluster, "GET", path(scenario))["spec"]
    return spec["replicas"], spec["template"]["spec"]["containers"][0]["command"][2]


def deploy(user: Subject, text: str = "a", *more: str, replicas: int = 1, status: int = 0) -> Ended:
    sets = ("--set", f"image={user.image}", "--set", f"replicas={replicas}")
    return user.deploy(text, *sets, *JSON, *more, status=status)


@pytest.fixture
def user(scenario: FaultScenario, helm: str) -> Subject:
    """A user with each Helm, whose release runs a Deployment."""
    made = scenario.subject(helm)
    deploy(made)
    return made


CHANGES = {
    "scaled to 0": (lambda scenario: scale(scenario, 0), "spec.replicas", ""),  # the API server then notes no manager
    "scaled": (lambda scenario: scale(scenario, 2), "spec.replicas", "kubectl"),
    "edited": (set_command, "spec.template.spec.containers[web].command[2]", "kubectl-edit"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_object_is_repaired_by_the_same_deploy(scenario: FaultScenario, user: Subject, helm: str, change: str) -> None:
    act, field, manager = CHANGES[change]
    before = live(scenario)
    act(scenario)
    shown = json.loads(user.run("show", NAME, "-n", scenario.namespace, *JSON).stdout)
    assert [drift["field"] for drift in shown["health"]["drift"]] == [field]
    assert shown["health"]["drift"][0]["manager"] == manager
    if helm == "helm4" and manager:
        refused = deploy(user, status=5)
        assert refused.problem()["cause"] == "apply_conflict"
        detail = refused.problem()["detail"]
        assert f"{field} ({manager}{'' if manager == 'kubectl' else ', 20'}" in detail  # a scale has no time
        assert scenario.statuses() == ["deployed"]
        user.run(*way_out(refused))
    else:
        deploy(user)
    assert live(scenario) == before
    assert scenario.statuses() == ["superseded", "deployed"]
    deploy(user)
    assert scenario.statuses() == ["superseded", "deployed"]
    scenario.check_settled()


def test_deleted_object_is_made_anew_by_the_same_deploy(scenario: FaultScenario, user: Subject) -> None:
    before = live(scenario)
    remove(scenario)
    deploy(user)
    assert live(scenario) == before
    assert scenario.statuses() == ["superseded", "deployed"]


def test_deploy_that_meets_a_conflict_is_rolled_back_and_leads_out(scenario: FaultScenario, user: Subject, helm: str) -> None:
    scale(scenario, 2)
    ended = deploy(user, "b", status=6 if helm == "helm4" else 0)
    if helm == "helm4":
        problem = ended.problem()
        assert (problem["code"], problem["cause"]) == ("deploy_rolled_back", "apply_conflict")
        assert ".spec.replicas of Deployment web is managed by kubectl" in problem["detail"]
        assert (scenario.text(), scenario.statuses()) == ("a", ["superseded", "failed", "deployed"])
        scale(scenario, 2)
        user.run(*way_out(ended))
        assert scenario.statuses() == ["superseded", "failed", "superseded", "deployed"]
    assert (scenario.text(), live(scenario)[0]) == ("b", 1)
    scenario.check_settled()


def test_deploy_that_changes_nothing_but_what_it_may_not_is_not_rolled_back(
    scenario: FaultScenario, user: Subject, helm: str
) -> None:
    scale(scenario, 2)
    if helm == "helm3":  # it overwrites the fields of others
        deploy(user, replicas=3)
        assert live(scenario)[0] == 3
        return
    refused = deploy(user, replicas=3, status=6)
    assert scenario.statuses() == ["deployed", "failed"]
    assert live(scenario)[0] == 2
    assert json.loads(user.run("show", NAME, "-n", scenario.namespace, *JSON).stdout)["serving"] == 1
    user.run(*way_out(refused))
    assert (scenario.statuses(), live(scenario)[0]) == (["superseded", "failed", "deployed"], 3)
    user.run("rollback", NAME, "-n", scenario.namespace)
    assert live(scenario)[0] == 1
    scenario.check_settled()


def test_way_back_takes_what_others_changed(scenario: FaultScenario, user: Subject) -> None:
    deploy(user, "b")
    scale(scenario, 2)
    user.run("rollback", NAME, "-n", scenario.namespace, *JSON)
    assert (scenario.text(), live(scenario)[0]) == ("a", 1)
    user.run("delete", NAME, "-n", scenario.namespace, "--yes")
    user.run("restore", NAME, "-n", scenario.namespace)
    assert live(scenario)[0] == 1
    scenario.check_settled()


def test_rollback_may_be_held_back_by_a_conflict(scenario: FaultScenario, user: Subject, helm: str) -> None:
    deploy(user, "b")
    scale(scenario, 2)
    status = 7 if helm == "helm4" else 0
    arguments = ("--revision", "1", "--on-conflict", "fail", *JSON)
    ended = user.run("rollback", NAME, "-n", scenario.namespace, *arguments, status=status)
    if helm == "helm4":
        assert ended.problem()["cause"] == "apply_conflict"
        user.run(*way_out(ended))
    assert (scenario.text(), live(scenario)[0]) == ("a", 1)


def test_failed_first_release_stays_failed(scenario: FaultScenario, helm: str) -> None:
    user = scenario.subject(helm)
    user.deploy("a", "--set", f"image={REFUSED}", status=7)
    user.deploy("b")
    assert scenario.statuses() == ["failed", "deployed"]
    user.run("rollback", NAME, "-n", scenario.namespace, status=4)


def test_release_is_applied_always_on_request(scenario: FaultScenario, user: Subject) -> None:
    deploy(user)
    assert scenario.statuses() == ["deployed"]
    deploy(user, "a", "--always")
    assert scenario.statuses() == ["superseded", "deployed"]


# objects that are not Helm's


def put_config_map(scenario: FaultScenario, **metadata: Any) -> None:
    address = f"/api/v1/namespaces/{scenario.namespace}/configmaps?fieldManager=kubectl-create"
    call_api(scenario.cluster, "POST", address, body={"metadata": {"name": NAME, **metadata}, "data": {"text": "theirs"}})


@pytest.mark.parametrize("first", [True, False])
def test_existing_object_is_adopted_by_the_command_in_the_hint(scenario: FaultScenario, helm: str, first: bool) -> None:
    user = scenario.subject(helm)
    scenario.cluster.create_namespace(scenario.namespace)
    if not first:
        user.deploy("a")
        user.run("delete", NAME, "-n", scenario.namespace, "--yes")
    put_config_map(scenario)
    refused = user.deploy("b", *JSON, status=5)
    assert refused.problem()["cause"] == "owned_by_another_release"
    assert scenario.text() == "theirs"
    planned = json.loads(user.run(*way_out(refused), "--dry-run").stdout)["actions"]
    (adopted,) = [action for action in planned if action["kind"] == "adopt-object"]
    assert adopted["subject"] == f"ConfigMap/{NAME}"
    assert "belongs to no release" in adopted["reason"]
    assert "kubectl-create" in adopted["reason"]
    assert scenario.text() == "theirs"
    user.run(*way_out(refused))
    assert scenario.text() == "b"
    found = call_api(scenario.cluster, "GET", f"/api/v1/namespaces/{scenario.namespace}/configmaps/{NAME}")
    assert found["metadata"]["annotations"]["meta.helm.sh/release-name"] == NAME
    user.run("delete", NAME, "-n", scenario.namespace, "--yes")
    assert scenario.text() is None


def test_owner_of_an_object_of_another_release_is_named(scenario: FaultScenario, helm: str) -> None:
    user = scenario.subject(helm)
    scenario.cluster.create_namespace(scenario.namespace)
    owner = {"meta.helm.sh/release-name": "other", "meta.helm.sh/release-namespace": scenario.namespace}
    put_config_map(scenario, annotations=owner, labels={"app.kubernetes.io/managed-by": "Helm"})
    refused = user.deploy("b", *JSON, status=5)
    planned = json.loads(user.run(*way_out(refused), "--dry-run").stdout)["actions"]
    assert any("belongs to the release other" in action["reason"] for action in planned if action["kind"] == "adopt-object")
