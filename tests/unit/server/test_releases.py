"""The routes that read releases, over the index of a cluster in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.in_process_server import HEALTHY, READER, TEAM, InProcessServer, problem
from support.records import STARTED, made, operation, own, record_secret

from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.store import HistoryStore
from kubernaut.server.app import create_app
from kubernaut.server.routes import releases
from kubernaut.testing.cluster import FakeCluster

CANARY = "canary-8f3a-secret"
LABELS = {"kubernaut/operation": "op", "kubernaut/revision": "2"}
PARTS = ("", "/history", "/manifest", "/values", "/diff", "/report", "/explanation")


def manifest(greeting: str) -> str:
    return (
        f"---\n# Source: hello/templates/secret.yaml\nkind: Secret\nstringData: {{password: {CANARY}}}\n"
        f"---\n# Source: hello/templates/config.yaml\nkind: ConfigMap\ndata: {{greeting: {greeting}}}\n"
    )


def serving(folder: Path) -> InProcessServer:
    cluster = FakeCluster("demo", "prod")
    event = {"at": STARTED, "step": "deploy", "kind": "notice", "text": "demo/hello"}
    finished = operation(made=(made(own(2, "deployed")),), events=(event,), finished_at=STARTED)
    for secret in (
        record_secret(1, "superseded", manifest=manifest("hi"), config={"greeting": "hi", "password": CANARY}),
        record_secret(
            2, "deployed", labels=LABELS, manifest=manifest("hello"), config={"greeting": "hello", "password": CANARY + "2"}
        ),
        record_secret(9, "superseded", name="gone"),
        record_secret(10, "uninstalled", name="gone", deleted="2026-11-22T12:00:00Z"),
        record_secret(1, "deployed", name="web.example.com", version="18.1.0"),
        record_secret(1, "deployed", name="v3"),
        record_secret(1, "deployed", namespace="prod"),
        record_secret(1, "superseded", name="broken", namespace="prod"),
        record_secret(2, "deployed", name="broken", namespace="prod", payload="!!!"),
        record_secret(1, "failed", name="failing", namespace="prod"),
        operation_secret(finished),
    ):
        cluster.create_secret(secret["metadata"]["namespace"], secret)
    served = InProcessServer(folder, releases.routes, cluster)
    served.context.index.load()
    return served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> InProcessServer:
    """A server, for tests that only read."""
    return serving(tmp_path_factory.mktemp("server"))


@pytest.fixture
def own_server(tmp_path: Path) -> InProcessServer:
    """A server of the test's own."""
    return serving(tmp_path)


def ids(server: InProcessServer, path: str, **request: Any) -> list[str]:
    response = server.get(path, **request)
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json["items"]]


# lists


def test_the_list_has_the_active_releases_in_order(server: InProcessServer) -> None:
    response = server.get("/api/releases")
    active = ["demo.hello.v2", "demo.v3.v1", "demo.web.example.com.v1", "prod.broken.v2", "prod.failing.v1", "prod.hello.v1"]
    assert [item["id"] for item in response.json["items"]] == active
    assert (response.json["count"], response.json["next"]) == (6, None)
    assert "Link" not in response.headers
    assert re.fullmatch(r"[0-9]+\.[0-9]{3}", response.headers["X-Index-Age"])
    assert response.content_type == "application/json"


@pytest.mark.parametrize("all", [False, True])
def test_the_list_equals_the_history(server: InProcessServer, all: bool) -> None:
    content = server.get(f"/api/releases?all={str(all).lower()}").json
    assert content == HistoryStore(server.cluster).list(all=all).model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("namespace=demo&all=true&name=hello", ["demo.hello.v2", "demo.hello.v1"]),
        ("name=hello", ["demo.hello.v2", "prod.hello.v1"]),
        ("name=web.example.com&version=18.1.0", ["demo.web.example.com.v1"]),
        ("status=failed", ["prod.failing.v1"]),
        ("status=uninstalled&all=true", ["demo.gone.v10"]),
        ("namespace=nowhere", []),
        ("version=9.9.9&all=true", []),
    ],
)
def test_filters_select_matching_releases(server: InProcessServer, query: str, expected: list[str]) -> None:
    response = server.get(f"/api/releases?{query}")
    assert [item["id"] for item in response.json["items"]] == expected
    assert response.json["count"] == len(expected)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=1.5",
        "limit=1&limit=2",
        "all=maybe",
        "status=gone",
        "version=",
        "cursor=",
        "cursor=x",
        "cursor=WyJkZW1vIiwiaGVsbG8iLDJd%20",
        "unknown=1",
    ],
)
def test_invalid_queries_are_refused(server: InProcessServer, query: str) -> None:
    problem(server.get(f"/api/releases?{query}"), 422, "request_invalid")


@pytest.mark.parametrize("query", ["namespace=Demo", "namespace=", "name=--help", f"name={'a' * 54}", "namespace=demo.x"])
def test_invalid_names_are_refused(server: InProcessServer, query: str) -> None:
    problem(server.get(f"/api/releases?{query}"), 422, "name_invalid")


def test_warm_reads_send_no_request_to_the_cluster(server: InProcessServer) -> None:
    paths = ("/api/releases", "/api/releases?all=true", "/api/releases/demo.hello.v2", "/api/releases/demo.hello/history")
    for path in paths:
        server.get(path)
    server.cluster.requests.clear()
    for path in paths:
        assert server.get(path).status_code == 200
    assert server.cluster.requests == []


def pages(server: InProcessServer, path: str, **request: Any) -> Iterator[list[str]]:
    """Yield the pages' ids, going from each to the next by its Link."""
    while path:
        response = server.get(path, **request)
        assert response.status_code == 200, response.text
        link = response.headers.get("Link")
        assert bool(link) == bool(response.json["next"])
        found = re.fullmatch(r'<(.+)>; rel="next"', link) if link else None
        yield [item["id"] for item in response.json["items"]]
        path = found[1] if found else ""


def test_pages_keep_the_filters(server: InProcessServer) -> None:
    walked = list(pages(server, "/api/releases?all=true&namespace=demo&limit=2"))
    assert walked == [
        ["demo.gone.v10", "demo.gone.v9"],
        ["demo.hello.v2", "demo.hello.v1"],
        ["demo.v3.v1", "demo.web.example.com.v1"],
    ]
    assert server.get("/api/releases?all=true&namespace=demo&limit=2").json["count"] == 6


NAMES = st.sampled_from(["a", "a-b", "a.b", "aa", "b", "z"])
PLACES = st.sets(st.tuples(st.sampled_from(["demo", "prod"]), NAMES, st.integers(1, 12)), max_size=25)


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PLACES, PLACES, st.integers(1, 7), st.integers(0, 3))
def test_paging_never_skips_or_repeats_a_release(
    tmp_path: Path, before: set[tuple[str, str, int]], after: set[tuple[str, str, int]], limit: int, when: int
) -> None:
    server = InProcessServer(tmp_path, releases.routes, FakeCluster("demo", "prod"))
    put(server, before)
    server.context.index.load()
    walked: list[str] = []
    for number, page in enumerate(pages(server, f"/api/releases?all=true&limit={limit}")):
        walked += page
        if number == when:
            exchange(server, before, after)
    there_all_along = {f"{namespace}.{name}.v{revision}" for namespace, name, revision in before & after}
    assert len(walked) == len(set(walked))
    assert there_all_along <= set(walked) <= {f"{namespace}.{name}.v{revision}" for namespace, name, revision in before | after}
    assert walked == sorted(walked, key=place)


def place(id: str) -> tuple[str, str, int]:
    namespace, _, rest = id.partition(".")
    name, _, revision = rest.rpartition(".v")
    return namespace, name, -int(revision)


def put(server: InProcessServer, places: set[tuple[str, str, int]]) -> None:
    for namespace, name, revision in places:
        server.cluster.create_secret(namespace, record_secret(revision, "superseded", name=name, namespace=namespace))


def exchange(server: InProcessServer, before: set[tuple[str, str, int]], after: set[tuple[str, str, int]]) -> None:
    for namespace, name, revision in before - after:
        server.cluster.delete_secret(namespace, f"sh.helm.release.v1.{name}.v{revision}")
    put(server, after - before)
    for namespace, name in {(namespace, name) for namespace, name, _ in before ^ after}:
        server.context.index.refresh(namespace, name)


# one release


@pytest.mark.parametrize("id", ["demo.hello.v2", "demo.hello.current", "demo.hello"])
def test_a_release_is_found_by_id_as_current_and_by_name(server: InProcessServer, id: str) -> None:
    response = server.get(f"/api/releases/{id}")
    assert response.json["id"] == "demo.hello.v2"
    assert (response.json["createdBy"], response.json["managedBy"]) == ("ada", "kubernaut")


def test_the_etag_changes_with_the_record(own_server: InProcessServer) -> None:
    server = own_server
    release = server.get("/api/releases/demo.hello")
    metadata = server.cluster.get_secret("demo", "sh.helm.release.v1.hello.v2")["metadata"]  # type: ignore[index]
    assert release.headers["ETag"] == f'"{metadata["uid"]}-{metadata["resourceVersion"]}"'
    server.cluster.patch_secret("demo", "sh.helm.release.v1.hello.v2", {"metadata": {"labels": {"seen": "yes"}}})
    server.context.index.refresh("demo", "hello")
    assert server.get("/api/releases/demo.hello").headers["ETag"] != release.headers["ETag"]


def test_foreign_releases_and_names_with_dots_are_found(server: InProcessServer) -> None:
    release = server.get("/api/releases/demo.web.example.com").json
    assert (release["name"], release["managedBy"], release["createdBy"]) == ("web.example.com", "helm", None)
    assert server.get("/api/releases/demo.web.example.com.v1/history").json["count"] == 1
    assert server.get("/api/releases/demo.v3.v1").json["name"] == "v3"
    assert server.get("/api/releases/demo.web.example.com/report").json["operation"] is None


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("id", "status", "code"),
    [
        ("nowhere.shop.v1", 404, "release_not_found"),
        ("demo.nothing", 404, "release_not_found"),
        ("demo.hello.v99", 404, "release_not_found"),
        ("demo.hello.v0", 404, "release_not_found"),
        ("demo", 422, "name_invalid"),
        ("demo.v3", 422, "name_invalid"),
        ("demo.hello.v01", 422, "name_invalid"),
        ("demo.hello.v99999999999999999999", 422, "name_invalid"),
        ("Demo.hello", 422, "name_invalid"),
        ("demo.--help", 422, "name_invalid"),
        ("-n.hello", 422, "name_invalid"),
        ("demo.%E2%98%83", 422, "name_invalid"),
        (f"demo.{'a' * 54}", 422, "name_invalid"),
        (f"demo.{'a' * 54}.v1", 422, "name_invalid"),
        (f"{'a' * 64}.hello", 422, "name_invalid"),
        ("demo.hello%0a", 404, "route_not_found"),
        ("demo%2fhello", 404, "route_not_found"),
        ("..", 404, "route_not_found"),
    ],
)
def test_invalid_and_unknown_ids_are_problems(server: InProcessServer, part: str, id: str, status: int, code: str) -> None:
    if part == "/history" and id in ("demo.hello.v99", "demo.hello.v0"):
        return  # a name's history is the same, whichever of its revisions is named
    problem(server.get(f"/api/releases/{id}{part}"), status, code)


def test_the_history_lists_every_revision_newest_first(server: InProcessServer) -> None:
    response = server.get("/api/releases/demo.gone/history")
    assert [item["id"] for item in response.json["items"]] == ["demo.gone.v10", "demo.gone.v9"]
    assert (response.json["count"], response.json["next"]) == (2, None)
    assert "X-Index-Age" in response.headers


# one release at length


def test_manifest_values_and_diff_mask_secrets(server: InProcessServer) -> None:
    manifested = server.get("/api/releases/demo.hello/manifest")
    assert list(manifested.json) == ["id", "manifest"]
    assert manifested.json["id"] == "demo.hello.v2"
    assert "stringData: {password: '***'}" in manifested.json["manifest"]
    assert server.get("/api/releases/demo.hello.v1/values").json == {
        "id": "demo.hello.v1",
        "values": {"greeting": "hi", "password": "***"},
    }
    difference = server.get("/api/releases/demo.hello/diff").json
    assert (difference["from"], difference["to"]) == ("demo.hello.v1", "demo.hello.v2")
    assert [(value["path"], value["from"], value["to"]) for value in difference["values"]] == [
        ("greeting", "hi", "hello"),
        ("password", "***", "*** (changed)"),
    ]
    assert "-data: {greeting: hi}\n+data: {greeting: hello}\n" in difference["manifest"]
    for part in PARTS:
        assert CANARY not in server.get(f"/api/releases/demo.hello{part}").text


@pytest.mark.parametrize(("to", "expected"), [("1", "demo.hello.v1"), ("v1", "demo.hello.v1"), ("prod.hello", "prod.hello.v1")])
def test_a_release_is_compared_with_the_given_one(server: InProcessServer, to: str, expected: str) -> None:
    content = server.get(f"/api/releases/demo.hello/diff?to={to}").json
    assert (content["from"], content["to"]) == ("demo.hello.v2", expected)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("to=Demo.hello", 422, "name_invalid"),
        ("to=", 422, "name_invalid"),
        ("to=0", 404, "release_not_found"),
        ("to=demo.hello.v7", 404, "release_not_found"),
        ("to=nowhere.hello", 404, "release_not_found"),
        (f"to=demo.{'a' * 54}", 422, "name_invalid"),
    ],
)
def test_a_diff_with_an_invalid_or_unknown_release_is_a_problem(
    server: InProcessServer, query: str, status: int, code: str
) -> None:
    problem(server.get(f"/api/releases/demo.hello/diff?{query}"), status, code)


def test_the_first_release_has_no_default_diff(server: InProcessServer) -> None:
    problem(server.get("/api/releases/demo.hello.v1/diff"), 404, "release_not_found")


def test_the_report_has_the_operation_with_its_events(server: InProcessServer) -> None:
    report = server.get("/api/releases/demo.hello/report").json
    assert report["release"] | {"health": HEALTHY} == server.get("/api/releases/demo.hello").json
    assert report["operation"]["actor"] == "ada"
    assert [event["text"] for event in report["operation"]["events"]] == ["demo/hello"]


def test_a_damaged_record_is_shown_as_damaged(server: InProcessServer) -> None:
    release = server.get("/api/releases/prod.broken").json
    assert release["description"].startswith("damaged: ")
    assert release["status"] == "deployed"
    assert server.get("/api/releases/prod.broken/history").json["count"] == 2
    assert server.get("/api/releases/prod.broken/report").json["release"]["id"] == "prod.broken.v2"
    for part in ("/manifest", "/values", "/diff"):
        content = problem(server.get(f"/api/releases/prod.broken{part}"), 409, "conflict")
        assert "prod.broken.v2" in content["detail"]


# who may see what


def test_a_token_sees_only_its_namespaces(server: InProcessServer) -> None:
    response = server.get("/api/releases?all=true", token=TEAM)
    assert {item["namespace"] for item in response.json["items"]} == {"demo"}
    assert response.json["count"] == 6
    assert ids(server, "/api/releases?namespace=demo&name=hello", token=TEAM) == ["demo.hello.v2"]
    assert [id for page in pages(server, "/api/releases?limit=1", token=TEAM) for id in page] == [
        "demo.hello.v2",
        "demo.v3.v1",
        "demo.web.example.com.v1",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/api/releases?namespace=prod",
        "/api/releases?namespace=nowhere",
        "/api/releases/demo.hello/diff?to=prod.hello",
        *(f"/api/releases/{id}{part}" for id in ("prod.hello.v1", "prod.hello", "prod.nothing", "nowhere.hello") for part in PARTS),
    ],
)
def test_a_token_gets_403_for_every_other_namespace(server: InProcessServer, path: str) -> None:
    content = problem(server.get(path, token=TEAM), 403, "not_allowed")
    assert "team" in content["detail"]
    if "nothing" not in path and "nowhere" not in path:
        assert server.get(path, token=READER).status_code in (200, 404)


@pytest.mark.parametrize("part", PARTS)
def test_a_read_only_token_reads_everything(server: InProcessServer, part: str) -> None:
    assert server.get(f"/api/releases/demo.hello{part}", token=READER).status_code == 200


@pytest.mark.parametrize("path", ["/api/releases", *(f"/api/releases/demo.hello{part}" for part in PARTS)])
def test_reads_without_a_token_are_unauthorized(server: InProcessServer, path: str) -> None:
    problem(server.get(path, token=None), 401, "unauthorized")


def test_a_server_for_some_namespaces_shows_only_these(own_server: InProcessServer) -> None:
    context = replace(own_server.context, namespaces=("prod",))
    own_server.app = create_app(context, releases.routes(context))
    assert ids(own_server, "/api/releases") == ["prod.broken.v2", "prod.failing.v1", "prod.hello.v1"]
    assert ids(own_server, "/api/releases", token=TEAM) == []
    assert own_server.get("/api/releases/prod.hello").status_code == 200
    for path in ("/api/releases?namespace=demo", "/api/releases/demo.hello", "/api/releases/prod.hello/diff?to=demo.hello"):
        content = problem(own_server.get(path), 403, "not_allowed")
        assert "demo" in content["detail"]
