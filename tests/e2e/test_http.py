"""The README's session over HTTP, as it stands there, against a server on the real cluster; and what plain Helm made, beside it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faults import until
from support.server import Serving, serving
from support.world import REPOSITORY, World

pytestmark = pytest.mark.platform

SESSION = re.compile(r"<!-- example: curl -->\s*```bash\n(.*?)```", re.DOTALL)


@pytest.fixture
def server(world: World, tmp_path: Path) -> Iterator[Serving]:
    """A server with the world's registry and cluster."""
    environment = {**world.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    with serving(environment, world.tree, tmp_path) as served:
        yield served


def run_session(world: World, server: Serving) -> list[Any]:
    """Run what the README says, in one shell; return each command's answer."""
    match = SESSION.search((REPOSITORY / "README.md").read_text())
    assert match
    script = match[1].replace("demo", world.namespace)
    script = re.sub(r"^server=.*$", f"server={server.url}", script, count=1, flags=re.MULTILINE)
    script = re.sub(r"^token=.*$", f"token=@{server.header_file}", script, count=1, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=dict(os.environ), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line]


def test_the_readmes_session(world: World, server: Serving) -> None:
    first = world.json("ship", "examples/hello-world", "-n", world.namespace, "--create-namespace")
    until(lambda: server.shows(f"/api/releases/{first['id']}") == first, "it shows")
    listed, shown, made, deleted, again, restored = run_session(world, server)
    assert [item for item in listed["items"] if item["namespace"] == world.namespace] == [first]
    assert shown == first
    assert (made["revision"], made["status"], made["note"], made["createdBy"]) == (2, "deployed", "by curl", "admin")
    assert (deleted["id"], deleted["status"]) == (made["id"], "uninstalled")
    assert [item for item in again["items"] if item["namespace"] == world.namespace] == []
    assert (restored["revision"], restored["status"], restored["appVersion"]) == (3, "deployed", "1.0.0")
    assert [item["revision"] for item in world.json("history", first["id"])["items"]] == [3, 2, 1]


def test_a_release_that_plain_helm_made_is_there_too(world: World, server: Serving) -> None:
    world.run("publish", "examples/hello-world")
    chart = f"oci://{world.environment['KUBERNAUT_REGISTRY']}/charts/hello-world"
    world.helm(
        "install", "by-hand", chart, "--version", "1.0.0", "--plain-http", "-n", world.namespace, "--create-namespace", "--wait"
    )
    current = f"/api/releases/{world.namespace}.by-hand.current"
    until(lambda: server.shows(current).get("status") == "deployed", "it shows")  # a second at most, on a machine of its own
    shown = server.get(current)
    assert (shown["managedBy"], shown["status"], shown["createdBy"], shown["operation"]) == ("helm", "deployed", None, None)
    assert shown["images"][0]["digest"]
    listed = server.get(f"/api/releases?namespace={world.namespace}")
    assert [item["id"] for item in listed["items"]] == [shown["id"]]
    assert "kind: Deployment" in server.get(f"/api/releases/{shown['id']}/manifest")["manifest"]
    versions = server.get("/api/versions/hello-world")
    assert versions["count"] == 1
    gone = server.ask("DELETE", f"/api/releases/{shown['id']}", status=201, headers={"Prefer": "wait=120"}).json()
    assert gone["deletedAt"]
    assert server.get(f"/api/releases?namespace={world.namespace}")["count"] == 0
    back = server.ask("POST", f"/api/releases/{shown['id']}/rollback", status=201, headers={"Prefer": "wait=120"}).json()
    assert (back["revision"], back["status"]) == (2, "deployed")
