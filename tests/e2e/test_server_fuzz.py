"""The whole API of a running server, tried with schemathesis, on a real cluster with one namespace that it may touch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fuzzing import failures, plan, schema_of
from support.server import Serving, serving
from support.world import World

pytestmark = pytest.mark.platform


@pytest.fixture
def server(world: World, tmp_path: Path) -> Iterator[Serving]:
    """A server that knows the world's namespace only, with two releases of a name in it."""
    world.run("ship", "examples/hello-world", "-n", world.namespace, "--create-namespace")
    world.run("deploy", "hello-world", "-n", world.namespace, "--set", "replicaCount=2")
    environment = {**world.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    with serving(environment, world.tree, tmp_path, "--namespace", world.namespace) as served:
        yield served


def test_whatever_a_running_server_is_asked_it_answers_as_its_document_says(world: World, server: Serving) -> None:
    _, _, token = server.headers["Authorization"].partition(" ")
    found = failures(schema_of(plan(server.url, token, examples=3, **{"request-timeout": 330})))
    assert not found, "\n\n".join(f"{name}\n{told}" for name, told in found.items())
    assert server.ready()
    assert world.helm("list", "--all", "--namespace", world.namespace, "--short").split() == ["hello-world"]
