"""Builds the OpenAPI 3.1 document from the routes and the JSON schemas of their models. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from kubernaut.models import Model
from kubernaut.server.problems import MEDIA_TYPE, Problem, status_phrase
from kubernaut.server.routing import JSON, Request, Response, ResponseSpec, Route

_REF = "#/components/schemas/{model}"
_REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_HEADERS_OF_STATUS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "`Bearer`."},
    503: {"Retry-After": "When the server is busy: seconds to wait before repeating the request."},
}
_ALWAYS = (400, 408, 413, 421, 422, 431, 500)

Schemas = Mapping[tuple[Any, JsonSchemaMode], Mapping[str, Any]]


def with_document(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return the routes, and one more that serves the document about all of them, including itself."""

    def handler(_: Request) -> Response:
        return Response(body=document)

    own = Route(
        path="/openapi.json",
        name="getOpenapi",
        summary="Returns this document.",
        handler=handler,
        responses={200: ResponseSpec("The OpenAPI document.")},
        role=None,
    )
    complete = (*routes, own)
    document = json.dumps(openapi(complete), ensure_ascii=False).encode()
    return complete


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the document about these routes."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kubernaut",
            "version": version("kubernaut-deploy"),
            "description": "The releases of a cluster, with version, commit, author and outcome, and the verbs that change them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {
                "RequestId": {
                    "description": "The request ID: the request's own `X-Request-Id` if it is valid.",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
                }
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "A token of the server."}},
        },
    }


def problems_of(route: Route) -> tuple[int, ...]:
    """Return the statuses of a route's problems: those that it declares and those that follow from its kind."""
    found = {*_ALWAYS, *route.problems}
    if route.role is not None:
        found |= {401, 403}
    if route.parameters:
        found |= {404}
    if route.method != "GET":
        found |= {415}
    return tuple(sorted(found))


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    responses = {str(status): _response(spec, schemas) for status, spec in route.responses.items()}
    problems = {str(status): _problem(status, schemas) for status in problems_of(route)}
    headers = [_parameter("header", header.name, header.description, _text(header.pattern)) for header in route.headers]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *headers],
        "responses": {**problems, **responses},
        "security": [{"bearer": []}] if route.role is not None else [],
    }
    if route.role is not None:
        operation["description"] = f"Needs a token with the role `{route.role.value}`."
    if route.body is not None:
        content = {JSON: {"schema": schemas[route.body, "validation"]}}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        _parameter("path", parameter.name, parameter.description, _text(parameter.pattern) | {"minLength": 1}, required=True)
        | ({"example": parameter.example} if parameter.example else {})
        for parameter in route.parameters
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(by_alias=True, ref_template=_REF)
    return [
        _parameter(
            "query",
            name,
            field.get("description", ""),
            _without_null({key: value for key, value in field.items() if key not in {"title", "description"}}),
            required=name in schema.get("required", ()),
        )
        for name, field in schema["properties"].items()
    ]


def _parameter(place: str, name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional query parameter, without null: a query cannot express it."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
    if not choices:
        return rest
    return {**rest, **choices[0]} if len(choices) == 1 else {**rest, "anyOf": choices}


def _text(pattern: str | None) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{pattern})$"} if pattern else {"type": "string"}


def _response(spec: ResponseSpec, schemas: Schemas) -> dict[str, Any]:
    schema = schemas[spec.model, "serialization"] if spec.model else {}
    content = {kind: {"schema": schema if kind == JSON else {"type": "string"}} for kind in spec.media_types}
    return {"description": spec.description, "headers": {**_REQUEST_ID, **_headers(spec.headers)}, "content": content}


def _problem(status: int, schemas: Schemas) -> dict[str, Any]:
    return {
        "description": status_phrase(status),
        "headers": {**_REQUEST_ID, **_headers(_HEADERS_OF_STATUS.get(status, {}))},
        "content": {MEDIA_TYPE: {"schema": schemas[Problem, "serialization"]}},
    }


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": description, "schema": {"type": "string"}} for name, description in headers.items()}


def _schemas(routes: Iterable[Route]) -> tuple[Schemas, dict[str, Any]]:
    models: dict[tuple[type[Model], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for route in routes:
        models |= {(spec.model, "serialization"): None for spec in route.responses.values() if spec.model}
        if route.body is not None:
            models[route.body, "validation"] = None
    schemas, definitions = models_json_schema([*models], by_alias=True, ref_template=_REF)
    return schemas, definitions["$defs"]
