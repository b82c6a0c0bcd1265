"""The fixtures of the end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.checkout import Checkout, make_checkout
from support.ci_scenario import CiScenario, no_secret_in_arguments
from support.ci_servers import on_hudson, on_jenkins

# What only a genuine Jenkins can tell is no test that could be skipped elsewhere: `make test-jenkins` names one.
collect_ignore = [] if os.environ.get("KUBERNAUT_TEST_JENKINS") else ["test_jenkins_genuine.py"]


@pytest.fixture
def checkout(platform: dict[str, str], tmp_path: Path) -> Checkout:
    """A fresh checkout of the example with one commit, tagged v1.0.0."""
    return make_checkout(platform, tmp_path / "checkout")


@pytest.fixture(scope="session")
def ci(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CiScenario]:
    """The CI server, without jobs; KUBERNAUT_TEST_JENKINS says that it is a genuine Jenkins."""
    folder = tmp_path_factory.mktemp("jenkins")
    if os.environ.get("KUBERNAUT_TEST_JENKINS"):
        with on_jenkins(folder) as there:
            yield there
    else:
        with on_hudson(request.getfixturevalue("platform"), folder) as here:
            yield here


@pytest.fixture(scope="session")
def set_up(ci: CiScenario) -> Any:
    """The jobs, set up; what the command said."""
    return ci.setup()


@pytest.fixture
def nothing_leaks(ci: CiScenario) -> Iterator[None]:
    """No test leaves a secret in a console, a URL, a config.xml, a log or a build's file, and none has one in an argument list."""
    with no_secret_in_arguments(ci.secrets):
        yield
    assert ci.leaks() == []


@pytest.fixture
def good(ci: CiScenario, set_up: Any) -> dict[str, Any]:
    """A good release that serves; made by the first who asks."""
    if not ci.answer():
        ci.ship("everybody!")
    return ci.current()
