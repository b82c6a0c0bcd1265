"""The fixtures of the fault tests: one published application for all tests, a namespace and proxies for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.fault_chart import Published, publish
from support.faults import FaultScenario


@pytest.fixture(scope="session")
def published(platform: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The application in the registry."""
    return publish(platform, tmp_path_factory.mktemp("published"))


@pytest.fixture
def scenario(
    platform: Mapping[str, str], helms: Mapping[str, str], published: Published, tmp_path: Path
) -> Iterator[FaultScenario]:
    """A new namespace without a release."""
    made = FaultScenario(tmp_path, platform, published, helms)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest) -> str:
    """Each Helm, by name."""
    return str(request.param)
