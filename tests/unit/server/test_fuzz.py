"""The whole API on a socket in this process, tested by schemathesis over a cluster, a Helm and a registry in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backend import running_backend
from support.fuzzing import failures, plan, schema_of
from support.in_process_server import DEPLOYER

from kubernaut.server.app import create_app
from kubernaut.server.listener import listen

pytestmark = pytest.mark.slow


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with running_backend(tmp_path) as backend:
        backend.publisher.publish("1.0.0")
        backend.publisher.publish("1.1.0")
        server = backend.server(watching=False)
        for version, namespace in (("1.0.0", "demo"), ("1.1.0", "demo"), ("1.0.0", "prod")):
            body = {"name": "hello", "namespace": namespace, "version": version}
            assert server.post("/api/releases", body, headers={"Prefer": "wait=20"}).status_code == 201
        listening = listen(create_app(server.context), "127.0.0.1", 0)
        yield listening.address
        listening.stop()


def test_responses_to_generated_requests_match_the_document(address: str) -> None:
    found = failures(schema_of(plan(address, DEPLOYER, examples=3)))
    assert not found, "\n\n".join(f"{name}\n{failure}" for name, failure in found.items())
