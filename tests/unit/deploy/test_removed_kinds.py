"""Records with kinds that the cluster does not serve any more."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deploy_harness import DeployHarness, verbs
from support.messages import facts
from support.planning import deploy_request
from support.records import history, own

from kubernaut.deploy.cluster_facts import missing_in
from kubernaut.deploy.execute import execute
from kubernaut.deploy.lock.lease import Lock
from kubernaut.deploy.planning.plan import plan
from kubernaut.deploy.planning.removed_kinds import mapped_manifest
from kubernaut.deploy.requests import RollbackRequest, UninstallRequest
from kubernaut.errors import ClusterUnreachable
from kubernaut.history.manifest import read_manifest
from kubernaut.testing.cluster import FakeCluster
from kubernaut.yaml_reader import split_documents

WIDGET = "---\n# Source: hello/templates/widget.yaml\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one}\n"
BUDGET = "---\napiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata:\n  name: web\n"
CONFIG_MAP = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"
REMOVED = {("example.com/v1", "Widget"): "", ("policy/v1beta1", "PodDisruptionBudget"): "policy/v1"}
OTHER = "sha256:" + "b" * 64


def kinds(manifest: str) -> list[tuple[str, str]]:
    return [(str(item["apiVersion"]), str(item["kind"])) for item in read_manifest(manifest).objects]


# the manifest


def test_objects_that_are_gone_are_taken_out_and_others_mapped() -> None:
    found = mapped_manifest(CONFIG_MAP + WIDGET + BUDGET, REMOVED)
    assert kinds(found) == [("v1", "ConfigMap"), ("policy/v1", "PodDisruptionBudget")]
    assert found.startswith(CONFIG_MAP)
    assert mapped_manifest(CONFIG_MAP, REMOVED) == CONFIG_MAP
    assert mapped_manifest(WIDGET.removeprefix("---\n"), REMOVED).strip() == ""


def test_items_of_a_list_are_taken_out_one_by_one() -> None:
    budget = "{apiVersion: policy/v1beta1, kind: PodDisruptionBudget}"
    items = f"[{{apiVersion: v1, kind: ConfigMap}}, {{apiVersion: example.com/v1, kind: Widget}}, {budget}]"
    found = mapped_manifest(f"{CONFIG_MAP}---\napiVersion: v1\nkind: List\nitems: {items}\n", REMOVED)
    assert kinds(found) == [("v1", "ConfigMap"), ("v1", "ConfigMap"), ("policy/v1", "PodDisruptionBudget")]


@given(st.lists(st.sampled_from([WIDGET, BUDGET, CONFIG_MAP]), max_size=6))
def test_what_is_left_is_served(documents: list[str]) -> None:
    found = mapped_manifest("".join(documents), REMOVED)
    assert not set(kinds(found)) & set(REMOVED)
    assert len(kinds(found)) == len([one for one in documents if one != WIDGET])
    assert mapped_manifest(found, REMOVED) == found


@given(st.text(alphabet="a-\n #", max_size=60))
def test_documents_together_are_the_manifest(text: str) -> None:
    assert "".join(separator + document for separator, document in split_documents(text)) == text


# the cluster


def test_only_kinds_outside_of_kubernetes_own_versions_are_looked_up() -> None:
    cluster = FakeCluster("demo")
    record = own(1, "deployed", manifest=CONFIG_MAP + WIDGET + BUDGET)
    assert missing_in(cluster, [record]) == {**REMOVED, ("policy/v1beta1", "PodDisruptionBudget"): "policy/v1"}  # type: ignore[arg-type]
    assert "get resources v1" not in cluster.requests
    assert missing_in(cluster, [own(1, "deployed", manifest=CONFIG_MAP)]) == {}  # type: ignore[arg-type]


def test_kind_that_cannot_be_looked_up_counts_as_served() -> None:
    cluster = FakeCluster("demo")
    cluster.fail("get resources", ClusterUnreachable("away"), times=None)
    assert missing_in(cluster, [own(1, "deployed", manifest=WIDGET)]) == {}  # type: ignore[arg-type]


# the plan


def test_records_that_helm_builds_are_mapped_first() -> None:
    first, current = own(1, "superseded", manifest=WIDGET), own(2, "deployed", manifest=BUDGET)
    known = history(first, current)

    def actions(request: object, known: object = known) -> list[tuple[str, str]]:
        found = plan(known, Lock(), request, removed=REMOVED)  # type: ignore[arg-type]
        return [(action.kind, action.subject.rpartition(".")[2]) for action in found.actions]

    assert actions(deploy_request(OTHER)) == [("map-record", "v2"), ("helm-upgrade", "hello")]
    assert actions(RollbackRequest("demo", "hello")) == [("map-record", "v2"), ("map-record", "v1"), ("helm-rollback", "v1")]
    assert actions(UninstallRequest("demo", "hello")) == [("map-record", "v2"), ("helm-uninstall", "v2")]
    fenced = history(first, replace(current, immutable=True))
    assert actions(deploy_request(OTHER), fenced)[:2] == [("recreate-record", "v2"), ("map-record", "v2")]
    (mapped, *_) = plan(known, Lock(), deploy_request(OTHER), removed=REMOVED).actions
    assert re.search(facts("PodDisruptionBudget web", "policy/v1", "policy/v1beta1"), mapped.reason)


def test_upgrade_after_a_failure_maps_what_it_is_compared_with() -> None:
    known = history(own(1, "deployed", manifest=WIDGET), own(2, "failed", manifest=CONFIG_MAP))
    found = plan(known, Lock(), deploy_request(OTHER), removed=REMOVED)
    assert [action.kind for action in found.actions] == ["map-record", "helm-upgrade"]
    assert found.actions[0].subject == "demo.hello.v1"
    assert "Widget one" in found.actions[0].reason


# the execution


@pytest.mark.parametrize("verb", ["deploy", "delete"])
def test_record_is_mapped_once_and_not_fenced(tmp_path: Path, verb: str) -> None:
    harness = DeployHarness(tmp_path)
    harness.deploy(template=CONFIG_MAP + WIDGET)
    harness.helm.starts.clear()
    if verb == "deploy":
        planned = harness.deploy("1.1.0").plan
    else:
        planned = execute(UninstallRequest("demo", "hello"), context=harness.context).plan
    assert planned.actions[-1].kind == ("helm-upgrade" if verb == "deploy" else "helm-uninstall")
    assert len(verbs(harness)) >= 1
    first = harness.history.records[-1]
    assert kinds(first.manifest) == [("v1", "ConfigMap")]
    assert not first.immutable
    assert first.labelled_status == first.status == ("superseded" if verb == "deploy" else "uninstalled")
