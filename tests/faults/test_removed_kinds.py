"""Kinds that the cluster does not serve any more, in the records of a release: no verb is blocked, with both Helms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.cluster_harness import ClusterHarness, cluster_harness
from support.widgets import Widgets

from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.requests import RestoreRequest, RollbackRequest, UninstallRequest
from kubernaut.errors import KubernautError
from kubernaut.events import Notice
from kubernaut.history.repair import manifest_patch

pytestmark = pytest.mark.platform

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {text: {{ .Values.text | quote }}}\n"
BUDGET = """---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 0, selector: {matchLabels: {app: web}}}
"""


@pytest.fixture
def harness(platform: Mapping[str, str], helms: Mapping[str, str], helm: str, tmp_path: Path) -> Iterator[ClusterHarness]:
    with cluster_harness(platform, helms[helm], tmp_path) as made:
        yield made
        with suppress(KubernautError):  # most tests delete it
            widgets(made).delete()


def widgets(harness: ClusterHarness) -> Widgets:
    return Widgets(harness.cluster, f"{harness.namespace}.example.com")


def widget(harness: ClusterHarness) -> str:
    return f"---\napiVersion: {widgets(harness).group}/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {{size: 3}}\n"


def run(harness: ClusterHarness, kind: Any, **more: Any) -> Result:
    return execute(kind(harness.namespace, "web", timeout=60.0, **more), context=harness.context)


def notices(harness: ClusterHarness) -> str:
    return "\n".join(event.text for event in harness.events if isinstance(event, Notice))


@pytest.fixture
def gone(harness: ClusterHarness) -> ClusterHarness:
    """A release with a Widget, whose CustomResourceDefinition was deleted."""
    widgets(harness).create()
    harness.deploy(CONFIG_MAP + widget(harness))
    widgets(harness).delete()
    return harness


def test_upgrade_skips_objects_of_a_deleted_definition_and_names_them(gone: ClusterHarness) -> None:
    planned = execute(gone.request(CONFIG_MAP, "text=b"), context=gone.context, dry_run=True).plan
    assert [action.kind for action in planned.actions] == ["map-record", "helm-upgrade"]
    assert gone.deploy(CONFIG_MAP, "text=b").changed
    assert "Widget one" in notices(gone)
    assert gone.statuses == ["superseded", "deployed"]


def test_delete_and_restore_skip_them(gone: ClusterHarness) -> None:
    assert run(gone, UninstallRequest).changed
    assert gone.statuses == ["uninstalled"]
    assert run(gone, RestoreRequest).changed
    assert gone.statuses == ["uninstalled", "deployed"]


def test_rollback_skips_them(gone: ClusterHarness) -> None:
    gone.deploy(CONFIG_MAP, "text=b")
    assert run(gone, RollbackRequest).changed
    assert "Widget" not in gone.history.records[0].manifest
    assert gone.statuses == ["superseded", "superseded", "deployed"]


def test_rollback_to_a_release_with_them_skips_them(harness: ClusterHarness) -> None:
    widgets(harness).create()
    harness.deploy(CONFIG_MAP + widget(harness))
    harness.deploy(CONFIG_MAP, "text=b")
    widgets(harness).delete()
    assert run(harness, RollbackRequest).changed
    assert "Widget one" in notices(harness)


def test_chart_with_a_kind_that_is_not_served_is_blamed_itself(gone: ClusterHarness) -> None:
    with pytest.raises(KubernautError, match="Widget") as caught:
        gone.deploy(CONFIG_MAP + widget(gone), "text=b")
    assert caught.value.members["cause"] == "api_version_missing"
    assert "CustomResourceDefinition" in caught.value.hint
    assert gone.statuses == ["deployed"]


@pytest.mark.parametrize("verb", ["deploy", "delete"])
def test_removed_version_is_mapped_to_its_successor(harness: ClusterHarness, verb: str) -> None:
    """The record is changed as a cluster's upgrade leaves it: policy/v1beta1 was served when it was made."""
    harness.deploy(CONFIG_MAP + BUDGET)
    record = harness.history.records[0]
    old = record.manifest.replace("policy/v1\n", "policy/v1beta1\n")
    assert old != record.manifest
    harness.cluster.patch_secret(harness.namespace, record.secret, manifest_patch(record, old))
    if verb == "delete":
        assert run(harness, UninstallRequest).changed
    else:
        assert harness.deploy(CONFIG_MAP, "text=b").changed
    assert "PodDisruptionBudget web becomes policy/v1" in notices(harness)
    budgets = harness.cluster.find_resource("policy/v1", "PodDisruptionBudget")
    assert harness.cluster.get_object(budgets, harness.namespace, "web") is None, "it was compared or deleted as policy/v1"
