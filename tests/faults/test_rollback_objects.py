"""Rollbacks, with both Helms, over objects that exist and that the record lacks which Helm compares with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness, cluster_harness

from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.requests import RollbackRequest
from kubernaut.errors import Conflict, DeployRolledBack, NotFound

pytestmark = pytest.mark.platform

BASE = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base}\ndata: {text: {{ .Values.text | quote }}}\n"
EXTRA = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {text: ours}\n"
REFUSED = "---\napiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {ports: [{port: 99999}]}\n"


@pytest.fixture
def harness(platform: Mapping[str, str], helms: Mapping[str, str], helm: str, tmp_path: Path) -> Iterator[ClusterHarness]:
    with cluster_harness(platform, helms[helm], tmp_path) as made:
        yield made


def path(harness: ClusterHarness, name: str = "") -> str:
    return f"/api/v1/namespaces/{harness.namespace}/configmaps/{name}".rstrip("/")


def extra(harness: ClusterHarness) -> str | None:
    """The text of the ConfigMap, if it exists."""
    try:
        return str(call_api(harness.cluster, "GET", path(harness, "extra"))["data"]["text"])
    except NotFound:
        return None


def roll_back(harness: ClusterHarness, *, dry_run: bool = False, **more: Any) -> Result:
    return execute(RollbackRequest(harness.namespace, "web", timeout=30.0, **more), context=harness.context, dry_run=dry_run)


def test_rollback_over_an_object_of_others_is_refused_until_ownership_is_taken(harness: ClusterHarness) -> None:
    harness.deploy(BASE + EXTRA)
    harness.deploy(BASE, "text=b")
    assert extra(harness) is None
    call_api(harness.cluster, "POST", path(harness), body={"metadata": {"name": "extra"}, "data": {"text": "theirs"}})
    with pytest.raises(Conflict, match="ConfigMap extra") as refused:
        roll_back(harness)
    assert refused.value.members["cause"] == "owned_by_another_release"
    assert (extra(harness), harness.statuses) == ("theirs", ["superseded", "deployed"])
    assert "--take-ownership`" in refused.value.hint
    planned = roll_back(harness, dry_run=True, take_ownership=True).plan.actions
    assert [action.kind for action in planned] == ["adopt-object", "helm-rollback"]
    assert "belongs to no release" in planned[0].reason
    assert roll_back(harness, take_ownership=True).changed
    assert (extra(harness), harness.statuses) == ("ours", ["superseded", "superseded", "deployed"])
    assert "extra" not in str(harness.history.records[1].content["manifest"])


def test_failed_deploy_is_rolled_back_over_an_object_that_it_was_to_remove(harness: ClusterHarness) -> None:
    harness.deploy(BASE + EXTRA)
    with pytest.raises(DeployRolledBack):
        harness.deploy(BASE + REFUSED, "text=b")
    assert (extra(harness), harness.statuses) == ("ours", ["superseded", "failed", "deployed"])
    assert "extra" not in str(harness.history.records[1].content["manifest"])
