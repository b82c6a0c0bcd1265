"""Releases that plain Helm made, over HTTP, against a server on the real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkout import Checkout
from support.server_process import ServerProcess, serving
from support.waiting import until

pytestmark = pytest.mark.platform


@pytest.fixture
def server(checkout: Checkout, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with the checkout's registry and cluster."""
    environment = {**checkout.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    with serving(environment, checkout.tree, tmp_path) as served:
        yield served


def test_foreign_release_is_listed_deleted_and_restored(checkout: Checkout, server: ServerProcess) -> None:
    checkout.run("publish", "examples/hello-world")
    chart = f"oci://{checkout.environment['KUBERNAUT_REGISTRY']}/charts/hello-world"
    checkout.helm(
        "install", "by-hand", chart, "--version", "1.0.0", "--plain-http", "-n", checkout.namespace, "--create-namespace", "--wait"
    )
    current = f"/api/releases/{checkout.namespace}.by-hand.current"
    until(lambda: server.shows(current).get("status") == "deployed", "it shows")  # within a second on an idle machine
    shown = server.get(current)
    assert (shown["managedBy"], shown["status"], shown["createdBy"], shown["operation"]) == ("helm", "deployed", None, None)
    assert shown["images"][0]["digest"]
    listed = server.get(f"/api/releases?namespace={checkout.namespace}")
    assert [item["id"] for item in listed["items"]] == [shown["id"]]
    assert "kind: Deployment" in server.get(f"/api/releases/{shown['id']}/manifest")["manifest"]
    versions = server.get("/api/versions/hello-world")
    assert versions["count"] == 1
    gone = server.ask("DELETE", f"/api/releases/{shown['id']}", status=201, headers={"Prefer": "wait=120"}).json()
    assert gone["deletedAt"]
    assert server.get(f"/api/releases?namespace={checkout.namespace}")["count"] == 0
    back = server.ask("POST", f"/api/releases/{shown['id']}/rollback", status=201, headers={"Prefer": "wait=120"}).json()
    assert (back["revision"], back["status"]) == (2, "deployed")
