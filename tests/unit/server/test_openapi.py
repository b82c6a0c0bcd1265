"""The OpenAPI document: it has exactly the server's routes, is valid, and is stable."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from support.in_process_server import InProcessServer, problem

from kubernaut.server.openapi import openapi
from kubernaut.server.routes import all_routes
from kubernaut.server.routing import Route

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def document(server: InProcessServer) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/openapi.json", token=None).json
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method.upper(), path): operation for path, calls in document["paths"].items() for method, operation in calls.items()}


def test_the_document_has_exactly_the_routes_of_the_app(server: InProcessServer, document: dict[str, Any]) -> None:
    registered = {(route.method, route.rule.replace("<", "{").replace(">", "}")) for route in server.app._router.routes}  # type: ignore[attr-defined]
    assert registered == set(operations(document))
    assert len(registered) == len(all_routes(server.context)) + 1


def test_the_document_has_all_routes(document: dict[str, Any]) -> None:
    assert set(operations(document)) == {
        ("GET", "/api/releases"),
        ("GET", "/api/releases/{id}"),
        ("POST", "/api/releases"),
        ("DELETE", "/api/releases/{id}"),
        ("POST", "/api/releases/{id}/rollback"),
        *(
            ("GET", f"/api/releases/{{id}}/{part}")
            for part in ("history", "manifest", "values", "diff", "report", "explanation", "watch")
        ),
        ("GET", "/api/operations/{id}"),
        ("GET", "/api/operations/{id}/events"),
        ("GET", "/api/versions/{name}"),
        *(("GET", path) for path in ("/healthz", "/readyz", "/metrics", "/openapi.json")),
    }


def test_component_names_are_stable(document: dict[str, Any]) -> None:
    """Generated clients name their classes after the components; a change needs a line in CHANGELOG.md."""
    assert set(document["components"]["schemas"]) == {
        "Action",
        "AppVersionChange",
        "Artefact",
        "ChartChange",
        "CiBuild",
        "Difference",
        "Drift",
        "Events",
        "Evidence",
        "Fault",
        "Health",
        "HealthStatus",
        "ImagesChange",
        "NewRelease",
        "NumberedEvent",
        "Operation",
        "OperationChart",
        "OperationEvent",
        "OperationStatus",
        "Outcome",
        "Plan",
        "Preview",
        "Problem",
        "Release",
        "ReleaseChart",
        "ReleaseExplanation",
        "ReleaseHealth",
        "ReleaseImage",
        "ReleaseList",
        "ReleaseManifest",
        "ReleaseOrPlan",
        "ReleaseOutcome",
        "ReleaseReference",
        "ReleaseReport",
        "ReleaseSource",
        "ReleaseValues",
        "RollbackOptions",
        "SourceOfVersion",
        "ValueChange",
        "VersionList",
        "VersionWithReleases",
        "WatchPage",
    }


def test_operation_ids_are_unique_identifiers(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name) for name in names), names


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()


def test_schemas_are_valid_and_references_resolve(document: dict[str, Any]) -> None:
    jsonschema_rs.meta.validate({"$schema": JSON_SCHEMA, "$defs": document["components"]["schemas"]})
    for reference in references(document):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        assert found
    text = json.dumps(document)
    assert "#/$defs/" not in text


def test_path_parameters_are_declared_with_matching_examples(document: dict[str, Any]) -> None:
    for (_, path), operation in operations(document).items():
        declared = {parameter["name"]: parameter for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert set(declared) == set(re.findall(r"{(\w+)}", path))
        for parameter in declared.values():
            assert re.fullmatch(parameter["schema"]["pattern"], parameter["example"]), parameter


def test_security_matches_the_need_for_a_token(server: InProcessServer, document: dict[str, Any]) -> None:
    for (method, path), operation in operations(document).items():
        asked = server.ask(method, re.sub(r"{\w+}", "demo.hello.v1", path), token=None)
        if operation["security"]:
            problem(asked, 401, "unauthorized")
        else:
            assert asked.status_code in (200, 503), path
    free = {path for (_, path), operation in operations(document).items() if not operation["security"]}
    assert free == {"/healthz", "/readyz", "/openapi.json"}


def test_every_route_documents_its_problems(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        problems = {
            status for status, answer in operation["responses"].items() if "application/problem+json" in answer.get("content", {})
        }
        assert problems >= ({"401", "403"} if operation["security"] else set()) | {"400", "421", "422", "500"}
        assert any(status.startswith("2") for status in operation["responses"])


def test_the_document_is_reproducible(server: InProcessServer) -> None:
    routes: tuple[Route, ...] = all_routes(server.context)
    assert json.dumps(openapi(routes)) == json.dumps(openapi(routes))


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)
