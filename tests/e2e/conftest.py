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

# Tests of a genuine Jenkins are not collected elsewhere: `make test-jenkins` names a server.
collect_ignore = [] if os.environ.get("KUBERNAUT_TEST_JENKINS") else ["test_jenkins_genuine.py"]


@pytest.fixture
def checkout(platform: dict[str, str], tmp_path: Path) -> Checkout:
    """A fresh checkout of the example with one commit, tagged v1.0.0."""
    return make_checkout(platform, tmp_path / "checkout")


@pytest.fixture(scope="session")
def ci(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CiScenario]:
    """The CI server, without jobs; a genuine Jenkins if KUBERNAUT_TEST_JENKINS is set."""
    folder = tmp_path_factory.mktemp("jenkins")
    if os.environ.get("KUBERNAUT_TEST_JENKINS"):
        with on_jenkins(folder) as there:
            yield there
    else:
        with on_hudson(request.getfixturevalue("platform"), folder) as here:
            yield here


@pytest.fixture(scope="session")
def setup_output(ci: CiScenario) -> Any:
    """The output of the command that set the jobs up."""
    return ci.setup()


@pytest.fixture
def nothing_leaks(ci: CiScenario) -> Iterator[None]:
    """Fail a test that leaves a secret in a console, a URL, a config.xml, a log, a build's file or an argument list."""
    with no_secret_in_arguments(ci.secrets):
        yield
    assert ci.leaks() == []


@pytest.fixture
def serving_release(ci: CiScenario, setup_output: Any) -> dict[str, Any]:
    """The release that serves; deployed on first use."""
    if not ci.answer():
        ci.ship("everybody!")
    return ci.current()
