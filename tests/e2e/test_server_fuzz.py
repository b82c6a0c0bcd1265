"""The whole API of a running server, tried with schemathesis, on a real cluster with one namespace that it may touch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkout import Checkout
from support.fuzzing import failures, plan, schema_of
from support.server_process import ServerProcess, serving

pytestmark = pytest.mark.platform


@pytest.fixture
def server(checkout: Checkout, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that knows the checkout's namespace only, with two releases of a name in it."""
    checkout.run("ship", "examples/hello-world", "-n", checkout.namespace, "--create-namespace")
    checkout.run("deploy", "hello-world", "-n", checkout.namespace, "--set", "replicaCount=2")
    environment = {**checkout.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    with serving(environment, checkout.tree, tmp_path, "--namespace", checkout.namespace) as served:
        yield served


def test_fuzzed_requests_get_documented_answers(checkout: Checkout, server: ServerProcess) -> None:
    _, _, token = server.headers["Authorization"].partition(" ")
    found = failures(schema_of(plan(server.url, token, examples=3, **{"request-timeout": 330})))
    assert not found, "\n\n".join(f"{name}\n{report}" for name, report in found.items())
    assert server.ready()
    assert checkout.helm("list", "--namespace", checkout.namespace, "--short").split() == ["hello-world"]
