"""Failing releases are explained, and healthy ones that start slowly are never given up; with Helm 3 and Helm 4."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from support.cluster_harness import ClusterHarness
from support.cluster_state import remove
from support.rollout_cases import FAILING, Failing
from support.slow_starters import HEALTHY, Slow

from kubernaut.errors import KubernautError
from kubernaut.history.operations import Outcome
from kubernaut.settings import load_settings

pytestmark = pytest.mark.platform

_AT_ONCE = 8
"""Deploys at the same time: most of them wait."""
_DEADLINE, _LONG = 40.0, 90.0
"""Seconds for what only the deadline ends, and for what must not meet it, also on a slow machine."""
_CASES: Mapping[str, Failing | Slow] = {**FAILING, **HEALTHY}


@dataclass(frozen=True)
class Ended:
    """A deploy that ended: its error, the outcome that is kept, and the harness of its namespace."""

    error: KubernautError | None
    outcome: Outcome
    harness: ClusterHarness


def fail(failing: Failing, harness: ClusterHarness) -> None:
    """Deploy a failing chart, after what it needs."""
    if failing.before:
        failing.before(harness)
    if failing.first:
        harness.deploy(failing.first)
    if failing.between:
        failing.between(harness)
    timeout = _LONG if failing.by_rule else _DEADLINE
    harness.deploy(failing.template, timeout=timeout, annotations=failing.annotations, on_failure="keep")


def start_slowly(slow: Slow, harness: ClusterHarness) -> None:
    """Deploy a slow chart, and change the cluster meanwhile."""
    if slow.before:
        slow.before(harness)
    change = threading.Timer(slow.seconds, slow.later or (lambda _: None), [harness])
    change.start()
    harness.deploy(slow.template, timeout=_LONG)
    change.join()
    if slow.update:
        harness.deploy(slow.update, timeout=_LONG)


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def ended(
    helm: str, platform: Mapping[str, str], helms: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Ended]]:
    """The deploy of each chart."""
    environment = {**os.environ, **platform, "KUBERNAUT_HELM": helms[helm], "KUBERNAUT_ACTOR": "ada"}
    settings = load_settings(environment=environment, directory=tmp_path_factory.mktemp("settings"))

    def deploy(name: str) -> Ended:
        case, harness, error = _CASES[name], harnesses[name], None
        try:
            if isinstance(case, Failing):
                fail(case, harness)
            else:
                start_slowly(case, harness)
        except KubernautError as failure:
            error = failure
        outcome = harness.history.operations[0].outcome
        assert outcome is not None, error
        return Ended(error, outcome, harness)

    names = [name for name, case in _CASES.items() if isinstance(case, Slow) or helm in case.helms]
    harnesses = {name: ClusterHarness(tmp_path_factory.mktemp("chart"), settings) for name in names}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield dict(zip(names, pool.map(deploy, names), strict=True))
    for harness in harnesses.values():
        remove(harness)


@pytest.mark.parametrize("name", FAILING)
def test_failing_release_is_explained(ended: Mapping[str, Ended], name: str) -> None:
    if name not in ended:
        pytest.skip("Helm 3 overwrites the fields of other managers")
    error, outcome, failing = ended[name].error, ended[name].outcome, FAILING[name]
    assert error is not None
    known = (error.exit_status, error.members.get("cause"), outcome.cause)
    assert known == (failing.status, failing.cause, failing.cause), error.message
    assert [fact for fact in failing.facts if fact not in error.message] == [], error.message
    assert failing.status != 7 or (outcome.evidence and ended[name].harness.statuses[-1] == "failed")
    assert ("given up" in "\n".join(error.details)) is failing.by_rule, error.details


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_release_is_never_given_up(ended: Mapping[str, Ended], name: str) -> None:
    assert ended[name].error is None
    assert (ended[name].outcome.reason, ended[name].outcome.cause) == ("succeeded", None)
