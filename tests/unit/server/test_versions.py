"""The route of published versions, over a registry and a cluster in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.in_process_server import READER, TEAM, InProcessServer, problem
from support.publisher import Publisher
from support.records import STARTED, made, operation, own, record_secret

from kubernaut.history.operation_codec import operation_secret
from kubernaut.server.app import create_app
from kubernaut.server.routes import releases
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.registry import FakeRegistry


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as made:
        yield made


@pytest.fixture
def server(tmp_path: Path, registry: FakeRegistry) -> InProcessServer:
    """Two versions: the older one runs in demo and, as a failed release, in prod; the newer one was superseded by it in demo."""
    publisher = Publisher(tmp_path, registry)
    old, new = publisher.publish("1.9.0"), publisher.publish("1.10.0")
    cluster = FakeCluster("demo", "prod")
    for namespace, revision, status, digest in (
        ("demo", 2, "superseded", new),
        ("demo", 3, "deployed", old),
        ("prod", 1, "failed", old),
    ):
        id = f"op-{namespace}-{revision}"
        labels = {"kubernaut/operation": id, "kubernaut/revision": str(revision)}
        release = own(revision, status, id, namespace=namespace)
        attempt = operation(id, digest=digest, made=(made(release, digest),), finished_at=STARTED)
        cluster.create_secret(namespace, record_secret(revision, status, namespace=namespace, labels=labels))
        cluster.create_secret(namespace, operation_secret(attempt.model_copy(update={"namespace": namespace})))
    served = InProcessServer(
        tmp_path, releases.routes, cluster, environment={"KUBERNAUT_ACTOR": "server", "KUBERNAUT_REGISTRY": publisher.prefix}
    )
    served.context.index.load()
    return served


def active(server: InProcessServer, **request: str) -> list[tuple[str, list[str]]]:
    response = server.get("/api/versions/hello", **request)
    assert response.status_code == 200, response.text
    assert response.json["count"] == len(response.json["items"])
    return [(item["version"], item["active"]) for item in response.json["items"]]


def test_versions_are_listed_newest_first_with_active_releases(server: InProcessServer) -> None:
    assert active(server, token=READER) == [("1.10.0", []), ("1.9.0", ["demo.hello.v3", "prod.hello.v1"])]


def test_a_version_equals_the_librarys(server: InProcessServer) -> None:
    payload = server.get("/api/versions/hello").json["items"]
    assert [{key: value for key, value in item.items() if key != "active"} for item in payload] == [
        version.model_dump(mode="json", by_alias=True) for version in server.context.kubernaut.versions("hello")
    ]


def test_releases_without_access_are_omitted(server: InProcessServer) -> None:
    assert active(server, token=TEAM)[1] == ("1.9.0", ["demo.hello.v3"])
    context = replace(server.context, namespaces=("prod",))
    server.app = create_app(context, releases.routes(context))
    assert active(server)[1] == ("1.9.0", ["prod.hello.v1"])
    assert active(server, token=TEAM)[1] == ("1.9.0", [])


def test_an_unpublished_name_has_no_versions(server: InProcessServer) -> None:
    assert server.get("/api/versions/nothing").json == {"items": [], "count": 0}


@pytest.mark.parametrize("name", ["Hello", "--help", "a.b", "a" * 54, "%E2%98%83"])
def test_invalid_names_are_refused(server: InProcessServer, name: str) -> None:
    problem(server.get(f"/api/versions/{name}"), 422, "name_invalid")


def test_an_unreachable_registry_is_a_problem(tmp_path: Path) -> None:
    server = InProcessServer(
        tmp_path, releases.routes, environment={"KUBERNAUT_ACTOR": "server", "KUBERNAUT_REGISTRY": "127.0.0.1:1/x"}
    )
    server.context.index.load()
    problem(server.get("/api/versions/hello"), 503, "registry_unreachable")
