"""Objects that the cluster has not deleted: a finalizer holds them, or it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deploy_harness import DeployHarness, verbs
from support.messages import facts

from kubernaut.adapters.kube_resources import Resource
from kubernaut.deploy.cleanup import refused_deletes
from kubernaut.deploy.endings import Ending, endings_of
from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import OperationRequest, RestoreRequest, UninstallRequest
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, DeployKept, HelmFailed
from kubernaut.events import Notice
from kubernaut.history.records import Status
from kubernaut.rollout.objects import ObjectKey

CONFIG_MAPS = Resource("v1", "ConfigMap", "configmaps")
TEMPLATE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
DENIED = ClusterDenied("ValidatingAdmissionPolicy 'keeps' with binding 'keeps' denied request: it is under legal hold.")
_OWNED = {"meta.helm.sh/release-name": "hello", "meta.helm.sh/release-namespace": "demo"}


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    """A release of two ConfigMaps."""
    found = DeployHarness(tmp_path)
    found.cluster.resources.append(CONFIG_MAPS)
    found.deploy(template=TEMPLATE)
    return found


def put(harness: DeployHarness, name: str, **metadata: Any) -> None:
    harness.cluster.put(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "annotations": _OWNED, **metadata}}, "demo"
    )


def hold(harness: DeployHarness, name: str, *finalizers: str) -> None:
    """Have finalizers hold an object that is being deleted."""
    put(harness, name, deletionTimestamp="2026-11-29T12:00:05Z", finalizers=[*finalizers])


def notices(harness: DeployHarness) -> str:
    return "\n".join(event.text for event in harness.events if isinstance(event, Notice))


def delete(harness: DeployHarness) -> None:
    execute(UninstallRequest("demo", "hello"), context=harness.context)


# a finalizer


def test_delete_names_what_a_finalizer_holds(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.testing.helm.remove_manifest", lambda *_: hold(harness, "a", "example.org/kept"))
    harness.helm.end_with(Status.UNINSTALLED, HelmFailed("uninstallation completed with 1 error(s): timed out"))
    delete(harness)
    assert harness.statuses == ["uninstalled"]
    assert [str(one) for one in endings_of(harness.history.records[0], harness.cluster)] == [  # type: ignore[arg-type]
        "ConfigMap a since 12:00:05 UTC (finalizer example.org/kept)"
    ]
    assert "ConfigMap a since 12:00:05 UTC (finalizer example.org/kept)" in notices(harness)


def test_delete_that_leaves_nothing_names_nothing(harness: DeployHarness) -> None:
    delete(harness)
    assert notices(harness) == ""


@pytest.mark.parametrize("verb", ["deploy", "restore"])
def test_next_verb_fails_at_the_deadline_and_changes_nothing(harness: DeployHarness, verb: str) -> None:
    delete(harness)
    hold(harness, "a", "example.org/kept")
    request: OperationRequest = RestoreRequest("demo", "hello", timeout=0.0)
    if verb == "deploy":
        request = harness.request("1.1.0", template=TEMPLATE, timeout=0.0)
    harness.helm.starts.clear()
    with pytest.raises(Conflict) as caught:
        execute(request, context=harness.context)
    assert re.search(facts("ConfigMap a", "example.org/kept"), caught.value.message)
    assert "`kubectl get configmap a -n demo -o yaml`" in caught.value.hint
    assert "kubectl" not in caught.value.http_hint
    assert verbs(harness) == []
    assert harness.statuses == ["uninstalled"]
    assert harness.operation.outcome is not None
    assert harness.operation.outcome.reason == "conflict"


def test_next_deploy_waits_until_it_is_gone(harness: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    delete(harness)
    hold(harness, "a", "example.org/kept")
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "demo"}}
    monkeypatch.setattr("kubernaut.deploy.endings.time.sleep", lambda _: harness.cluster.remove(held))
    assert harness.deploy("1.1.0", template=TEMPLATE).changed
    assert re.search(facts("ConfigMap a", "example.org/kept"), notices(harness))
    assert harness.statuses == ["superseded", "deployed"]


def test_release_that_runs_waits_for_nothing(harness: DeployHarness) -> None:
    hold(harness, "a", "example.org/kept")
    assert harness.deploy("1.1.0", template=TEMPLATE, timeout=0.0).changed


@given(finalizers=st.lists(st.text(max_size=5), max_size=3))
def test_ending_names_every_finalizer(finalizers: list[str]) -> None:
    text = str(Ending(ObjectKey("ConfigMap", "demo", "a"), tuple(finalizers), None))
    assert text.startswith("ConfigMap a")
    assert all(name in text for name in finalizers)


# a refusal


def test_refusal_that_helm_does_not_report_is_explained(harness: DeployHarness) -> None:
    put(harness, "a")
    put(harness, "b")
    harness.helm.end_with(Status.UNINSTALLING, HelmFailed("Deleting demo.hello failed: failed to delete release: hello"))
    harness.cluster.fail("delete configmap demo/a", DENIED, times=None)
    with pytest.raises(DeployKept) as caught:
        delete(harness)
    assert caught.value.members["cause"] == "admission_denied"
    assert re.search(facts("demo.hello.v1", "policy keeps", "it is under legal hold"), caught.value.message)
    assert "`kubernaut delete hello -n demo`" in caught.value.hint
    assert "`kubernaut unlock hello -n demo`" in caught.value.hint
    assert "`" not in caught.value.http_hint
    assert harness.statuses == ["uninstalling"]
    delete(harness)
    assert harness.statuses == ["uninstalled"]


def test_missing_right_is_explained(harness: DeployHarness) -> None:
    put(harness, "a")
    harness.helm.end_with(Status.UNINSTALLING, HelmFailed("failed to delete release: hello"))
    message = 'The cluster refuses: configmaps "a" is forbidden: User "ada" cannot delete resource "configmaps" in API group "" in the namespace "demo".'  # noqa: E501
    harness.cluster.fail("delete configmap demo/a", ClusterDenied(message))
    with pytest.raises(DeployKept) as caught:
        delete(harness)
    assert caught.value.members["cause"] == "access_denied"
    assert "`kubectl auth can-i delete configmaps -n demo --as ada`" in caught.value.hint


def test_failure_without_a_refusal_is_helms(harness: DeployHarness) -> None:
    harness.helm.end_with(Status.UNINSTALLING, HelmFailed("failed to delete release: hello"))
    with pytest.raises(DeployKept) as caught:
        delete(harness)
    assert "failed to delete release" in caught.value.message
    assert "cause" not in caught.value.members


def test_few_refusals_say_enough(harness: DeployHarness) -> None:
    for name in "ab":
        put(harness, name)
    (record,) = harness.history.records
    harness.cluster.fail("delete configmap", DENIED, times=None)
    assert len(refused_deletes(harness.cluster, record)) == 2  # type: ignore[arg-type]


def test_cluster_that_does_not_answer_is_asked_once(harness: DeployHarness) -> None:
    (record,) = harness.history.records
    harness.cluster.fail("get configmap", ClusterUnreachable("it does not answer"), times=None)
    assert len(refused_deletes(harness.cluster, record)) == 1  # type: ignore[arg-type]
