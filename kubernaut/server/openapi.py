"""The OpenAPI 3.1 document: made of what the routes declare and of the models' own JSON schemas. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from kubernaut.models import Model
from kubernaut.server.http.routing import JSON, Answer, Request, Response, Route
from kubernaut.server.problems import MEDIA_TYPE, Problem

_REF = "#/components/schemas/{model}"
_REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_HEADERS_OF_STATUS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "`Bearer`."},
    503: {"Retry-After": "Where the server is busy: seconds after which to send the request again."},
}
_ALWAYS = (400, 408, 413, 421, 422, 431, 500)

Schemas = Mapping[tuple[Any, JsonSchemaMode], Mapping[str, Any]]


def with_document(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return the routes, and one more that serves the document on all of them, itself too."""

    def answer(_: Request) -> Response:
        return Response(body=document)

    own = Route(
        method="GET",
        path="/openapi.json",
        name="getOpenapi",
        summary="Returns this document.",
        handler=answer,
        answers={200: Answer("The OpenAPI document.")},
        role=None,
    )
    every = (*routes, own)
    document = json.dumps(openapi(every), ensure_ascii=False).encode()
    return every


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the document on these routes."""
    schemas, components = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kubernaut",
            "version": version("kubernaut-deploy"),
            "description": "What runs where, since when, from which commit, put there by whom; and the verbs that change it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {
                "RequestId": {
                    "description": "The request's id: its own `X-Request-Id`, where that can be one.",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
                }
            },
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "One of the server's tokens."}},
        },
    }


def problems_of(route: Route) -> tuple[int, ...]:
    """Return the statuses of the problems that a route may answer: its own, and those that its kind has."""
    found = {*_ALWAYS, *route.problems}
    if route.role is not None:
        found |= {401, 403}
    if route.parameters:
        found |= {404}
    if route.method != "GET":
        found |= {415}
    return tuple(sorted(found))


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    answers = {str(status): _answer(answer, schemas) for status, answer in route.answers.items()}
    problems = {str(status): _problem(status, schemas) for status in problems_of(route)}
    told: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {**problems, **answers},
        "security": [{"bearer": []}] if route.role is not None else [],
    }
    if route.role is not None:
        told["description"] = f"Needs a token with the role `{route.role.value}`."
    if route.body is not None:
        content = {JSON: {"schema": schemas[route.body, "validation"]}}
        told["requestBody"] = {"required": route.body_required, "content": content}
    return told


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "in": "path",
            "required": True,
            "description": parameter.description,
            "schema": _text(parameter.pattern) | {"minLength": 1},
            **({"example": parameter.example} if parameter.example else {}),
        }
        for parameter in route.parameters
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = route.query.model_json_schema(by_alias=True, ref_template=_REF)
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": field.get("description", ""),
            "schema": _present({key: value for key, value in field.items() if key not in {"title", "description"}}),
        }
        for name, field in schema["properties"].items()
    ]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": header.name,
            "in": "header",
            "required": False,
            "description": header.description,
            "schema": _text(header.pattern),
        }
        for header in route.headers
    ]


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out: in a query there is no null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and not (key == "default" and value is None)}
    if not choices:
        return rest
    return {**rest, **choices[0]} if len(choices) == 1 else {**rest, "anyOf": choices}


def _text(pattern: str | None) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{pattern})$"} if pattern else {"type": "string"}


def _answer(answer: Answer, schemas: Schemas) -> dict[str, Any]:
    schema = schemas[answer.model, "serialization"] if answer.model else {}
    content = {kind: {"schema": schema if kind == JSON else {"type": "string"}} for kind in answer.media_types}
    return {"description": answer.description, "headers": {**_REQUEST_ID, **_told(answer.headers)}, "content": content}


def _problem(status: int, schemas: Schemas) -> dict[str, Any]:
    return {
        "description": _phrase(status),
        "headers": {**_REQUEST_ID, **_told(_HEADERS_OF_STATUS.get(status, {}))},
        "content": {MEDIA_TYPE: {"schema": schemas[Problem, "serialization"]}},
    }


def _told(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": said, "schema": {"type": "string"}} for name, said in headers.items()}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _schemas(routes: Iterable[Route]) -> tuple[Schemas, dict[str, Any]]:
    wanted: dict[tuple[type[Model], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for route in routes:
        wanted |= {(answer.model, "serialization"): None for answer in route.answers.values() if answer.model}
        if route.body is not None:
            wanted[route.body, "validation"] = None
    found, defined = models_json_schema([*wanted], by_alias=True, ref_template=_REF)
    return found, defined["$defs"]
