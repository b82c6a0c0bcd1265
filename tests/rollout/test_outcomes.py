"""Failing releases are explained, and healthy ones that start slowly are never given up; with Helm 3 and Helm 4."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness
from support.rollout_cases import FAILING, HEALTHY

from kubernaut.errors import KubernautError
from kubernaut.history.operations import Outcome
from kubernaut.settings import load_settings

pytestmark = pytest.mark.platform

_AT_ONCE = 6
"""Deploys at the same time: most of them wait."""
_DEADLINE, _LONG = 40.0, 90.0
"""Seconds for what only the deadline ends, and for what must not meet it, also on a slow machine."""


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def outcomes(
    request: pytest.FixtureRequest, platform: Mapping[str, str], helms: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, tuple[KubernautError | None, Outcome]]]:
    """Each chart's deploy: its error, and the outcome that is kept."""
    environment = {**os.environ, **platform, "KUBERNAUT_HELM": helms[request.param], "KUBERNAUT_ACTOR": "ada"}
    settings = load_settings(environment=environment, directory=tmp_path_factory.mktemp("settings"))
    templates = {**{name: failing.template for name, failing in FAILING.items()}, **HEALTHY}
    harnesses = {name: ClusterHarness(tmp_path_factory.mktemp("chart"), settings) for name in templates}

    def deploy(name: str) -> tuple[KubernautError | None, Outcome]:
        error = None
        try:
            failing = FAILING.get(name)
            annotations = failing.annotations if failing else ""
            timeout = _DEADLINE if failing and not failing.by_rule else _LONG
            harnesses[name].deploy(templates[name], timeout=timeout, annotations=annotations)
        except KubernautError as failure:
            error = failure
        outcome = harnesses[name].history.operations[0].outcome
        assert outcome is not None
        return error, outcome

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield dict(zip(templates, pool.map(deploy, templates), strict=True))
    for harness in harnesses.values():
        call_api(harness.cluster, "DELETE", f"/api/v1/namespaces/{harness.namespace}")
        harness.cluster.close()


@pytest.mark.parametrize("name", FAILING)
def test_failing_release_is_explained(outcomes: Mapping[str, tuple[KubernautError | None, Outcome]], name: str) -> None:
    error, outcome = outcomes[name]
    failing = FAILING[name]
    assert error is not None
    assert (error.exit_status, error.members["cause"], outcome.cause) == (7, failing.cause, failing.cause), error.message
    assert [fact for fact in failing.facts if fact not in error.message] == [], error.message
    assert outcome.evidence
    assert ("given up" in "\n".join(error.details)) is failing.by_rule, error.details


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_release_is_never_given_up(outcomes: Mapping[str, tuple[KubernautError | None, Outcome]], name: str) -> None:
    error, outcome = outcomes[name]
    assert error is None
    assert (outcome.reason, outcome.cause) == ("succeeded", None)
