"""The health of releases over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.in_process_server import TEAM, InProcessServer, problem
from support.kube_objects import crashed, deployment
from support.live_releases import running_release, web
from support.records import record_secret

from kubernaut.errors import ClusterDenied, ClusterUnreachable
from kubernaut.server.routes import releases
from kubernaut.testing.cluster import FakeCluster


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    """A server with a healthy and a crashing release, an older revision and a deleted release."""
    cluster = FakeCluster("demo", "prod")
    running_release(cluster)
    cluster.create_secret("demo", record_secret(2, "deployed", name="web", manifest=web()))
    running_release(cluster, "api", "prod", crashed(5))
    cluster.create_secret("demo", record_secret(1, "uninstalled", name="gone", manifest=web("gone")))
    served = InProcessServer(tmp_path, releases.routes, cluster)
    served.context.index.load()
    cluster.requests.clear()
    return served


def listed(server: InProcessServer, query: str, **request: Any) -> dict[str, Any]:
    response = server.get(f"/api/releases?{query}", **request)
    assert response.status_code == 200, response.text
    return {item["id"]: item["health"] and item["health"]["status"] for item in response.json["items"]}


def test_release_has_its_health(server: InProcessServer) -> None:
    assert server.get("/api/releases/demo.web.current").json["health"] == {"status": "healthy", "reason": ""}
    health = server.get("/api/releases/prod.api.v1").json["health"]
    assert health["status"] == "degraded"
    assert health["reason"].startswith("Deployment api: 0 of 1 ready")


@pytest.mark.parametrize("id", ["demo.web.v1", "demo.gone.v1"])
def test_release_without_objects_has_null(server: InProcessServer, id: str) -> None:
    response = server.get(f"/api/releases/{id}")
    assert response.json["health"] is None
    assert not [request for request in server.cluster.requests if "deployment" in request]


def test_etag_does_not_depend_on_health(server: InProcessServer) -> None:
    before = server.get("/api/releases/prod.api.v1")
    server.cluster.remove(deployment("api") | {"metadata": {"name": "api", "namespace": "prod"}})
    after = server.get("/api/releases/prod.api.v1")
    assert (before.json["health"]["status"], after.json["health"]["status"]) == ("degraded", "missing")
    assert before.headers["ETag"] == after.headers["ETag"]


def test_list_reads_health_only_when_it_is_asked_for(server: InProcessServer) -> None:
    assert listed(server, "") == {"demo.web.v2": None, "prod.api.v1": None}
    assert server.cluster.requests == []
    assert listed(server, "health=true") == {"demo.web.v2": "healthy", "prod.api.v1": "degraded"}
    assert listed(server, "health=true&all=true&namespace=demo") == {
        "demo.gone.v1": None,
        "demo.web.v2": "healthy",
        "demo.web.v1": None,
    }


def test_pages_keep_count_and_link(server: InProcessServer) -> None:
    first = server.get("/api/releases?health=true&limit=1")
    assert first.json["count"] == 2
    assert "health=true" in first.headers["Link"]
    assert listed(server, f"health=true&limit=1&cursor={first.json['next']}") == {"prod.api.v1": "degraded"}


def test_list_reads_only_what_the_caller_sees(server: InProcessServer) -> None:
    assert listed(server, "health=true", token=TEAM) == {"demo.web.v2": "healthy"}
    assert not [request for request in server.cluster.requests if "prod" in request or request.endswith(" *")]


@pytest.mark.parametrize("error", [ClusterDenied("no"), ClusterUnreachable("The cluster does not answer.")])
def test_what_cannot_be_read_is_unknown_and_not_an_error(server: InProcessServer, error: Exception) -> None:
    server.cluster.fail("", error, times=None)
    assert listed(server, "health=true") == {"demo.web.v2": "unknown", "prod.api.v1": "unknown"}
    assert server.get("/api/releases/demo.web.v2").json["health"]["status"] == "unknown"


def test_health_is_true_or_false(server: InProcessServer) -> None:
    assert problem(server.get("/api/releases?health=perhaps"), 422, "request_invalid")["errors"][0]["pointer"] == "/health"
