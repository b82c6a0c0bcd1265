"""The fixtures of the end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.jenkins_places import on_hudson, on_jenkins
from support.jenkins_world import Ci, no_secret_in_arguments
from support.world import World, make_world

# What only a genuine Jenkins can tell is no test that could be skipped elsewhere: `make test-jenkins` names one.
collect_ignore = [] if os.environ.get("KUBERNAUT_TEST_JENKINS") else ["test_jenkins_genuine.py"]


@pytest.fixture
def world(platform: dict[str, str], tmp_path: Path) -> World:
    """A fresh checkout of the example with one commit, tagged v1.0.0."""
    return make_world(platform, tmp_path / "checkout")


@pytest.fixture(scope="session")
def ci(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ci]:
    """The CI server, without jobs; KUBERNAUT_TEST_JENKINS says that it is a genuine Jenkins."""
    folder = tmp_path_factory.mktemp("jenkins")
    if os.environ.get("KUBERNAUT_TEST_JENKINS"):
        with on_jenkins(folder) as there:
            yield there
    else:
        with on_hudson(request.getfixturevalue("platform"), folder) as here:
            yield here


@pytest.fixture(scope="session")
def set_up(ci: Ci) -> Any:
    """The jobs, set up; what the command said."""
    return ci.setup()


@pytest.fixture
def nothing_leaks(ci: Ci) -> Iterator[None]:
    """No test leaves a secret in a console, a URL, a config.xml, a log or a build's file, and none has one in an argument list."""
    with no_secret_in_arguments(ci.secrets):
        yield
    assert ci.leaks() == []


@pytest.fixture
def good(ci: Ci, set_up: Any) -> dict[str, Any]:
    """A good release that serves; made by the first who asks."""
    if not ci.answer():
        ci.ship("everybody!")
    return ci.current()
