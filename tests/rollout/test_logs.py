"""The logs of a release on the real cluster: live lines by container and time, kept lines of a release that was rolled back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness
from support.rollout_cases import deployment, shell
from support.waiting import until

from kubernaut import Kubernaut
from kubernaut.errors import BadInput, DeployRolledBack, NotFound
from kubernaut.settings import load_settings

pytestmark = pytest.mark.platform

TICKING = deployment(beside=f"- {shell('echo tick; sleep 1000', name='side')}")
CRASHING = deployment(beside=f"- {shell('echo no database; sleep 1; exit 4', name='side')}")


@dataclass(frozen=True)
class Logs:
    """Reads the logs of a release with three revisions: the second failed and was rolled back."""

    kubernaut: Kubernaut
    namespace: str

    def __call__(self, revision: int, **options: Any) -> list[str]:
        return list(self.kubernaut.logs(f"{self.namespace}.web.v{revision}", **options))


@pytest.fixture(scope="module")
def logs(platform: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    folder = tmp_path_factory.mktemp("chart")
    settings = load_settings(environment={**os.environ, **platform, "KUBERNAUT_ACTOR": "ada"}, directory=folder)
    harness = ClusterHarness(folder, settings)
    harness.deploy(TICKING)
    with pytest.raises(DeployRolledBack):
        harness.deploy(CRASHING, timeout=25.0)
    kubernaut = Kubernaut(settings)
    yield Logs(kubernaut, harness.namespace)
    kubernaut.close()
    call_api(harness.cluster, "DELETE", f"/api/v1/namespaces/{harness.namespace}")
    harness.cluster.close()


def test_live_lines_are_selected_by_container(logs: Logs) -> None:
    found = logs(3, container="side")
    assert found
    assert all(line.endswith("  tick") for line in found)
    assert logs(3, container="app") == []
    with pytest.raises(NotFound, match=r"app, side"):
        logs(3, container="absent")


def test_live_lines_are_selected_by_time(logs: Logs) -> None:
    assert logs(3, container="side", since=600.0)
    until(lambda: logs(3, container="side", since=2.0) == [], "the line is older than two seconds", 30)


def test_rolled_back_release_has_its_kept_lines_only(logs: Logs) -> None:
    kept = logs(2)
    assert kept
    assert all(line.endswith("no database") and "container side" in line for line in kept), kept
    assert logs(2, container="side") == kept
    with pytest.raises(BadInput):
        logs(2, since=60.0)
    with pytest.raises(NotFound, match="side"):
        logs(2, container="app")
    assert logs(1) == []
