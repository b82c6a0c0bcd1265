"""The calls that read releases.

Lists, single releases and histories come from the index, without a request to the cluster; what is told of one release at length is
read from its record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from pydantic import AfterValidator, Field

from kubernaut.history.detail import ReleaseReport, parse_other
from kubernaut.history.diff import Difference
from kubernaut.history.index import Query
from kubernaut.history.records import Status
from kubernaut.history.releases import Release, ReleaseId, ReleaseList
from kubernaut.models import Model
from kubernaut.names import NAME_LENGTH, check_namespace, check_release_name
from kubernaut.server.auth.scope import ID, ID_PATTERN, NAME_PATTERN, NAMESPACE_PATTERN, require, visible, wanted
from kubernaut.server.http.routing import Answer, Handler, Request, Response, Route
from kubernaut.server.routes import cursor

if TYPE_CHECKING:
    from kubernaut.server.service import Service

# These say themselves what is wrong with them; the pattern is for who reads the API's description.
Namespace = Annotated[str, AfterValidator(check_namespace), Field(json_schema_extra={"pattern": f"^{NAMESPACE_PATTERN}$"})]
Name = Annotated[
    str, AfterValidator(check_release_name), Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH})
]
Cursor = Annotated[str, Field(json_schema_extra={"format": "cursor", "maxLength": cursor.LONGEST})]
Other = Annotated[str, Field(json_schema_extra={"pattern": f"^(?:{ID_PATTERN}|v?[0-9]{{1,9}})$"})]

LIMIT = 100
MOST = 500
AGE = "X-Index-Age"
AGES = {AGE: "How many seconds ago the server last knew that what it tells was so."}


class ReleasesQuery(Model):
    """Which releases a list is to hold."""

    namespace: Namespace | None = Field(None, description="Only this namespace.")
    name: Name | None = Field(None, description="Only releases of this name.")
    status: str | None = Field(None, description="Only those with this status, in Helm's words.", pattern=f"^({'|'.join(Status)})$")
    version: str | None = Field(None, description="Only releases of this version of their chart.", min_length=1, max_length=256)
    all: bool = Field(False, description="Every release in the history, not only the active ones.")
    limit: int = Field(LIMIT, description="At most so many on a page.", ge=1, le=MOST)
    cursor: Cursor | None = Field(None, description="The page that `next` of another names.")


class ValuesQuery(Model):
    """Which values are wanted."""

    all: bool = Field(False, description="The chart's own values too, under those of the release.")


class DiffQuery(Model):
    """What a release is compared with."""

    to: Other | None = Field(
        None, description="Another release's id, or a revision of the same name; the one before it by default."
    )


class ReleaseManifest(Model):
    """What was applied for a release, as YAML, its hooks last; what is secret is masked."""

    id: str
    manifest: str


class ReleaseValues(Model):
    """What a release was deployed with; what is secret is masked."""

    id: str
    values: dict[str, Any]


class _Reading:
    """Answers the calls."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def list(self, request: Request) -> Response:
        asked: ReleasesQuery = request.query
        if asked.namespace is not None:
            require(asked.namespace, request.caller, self._service.namespaces)
        page = self._service.index.page(
            Query(
                namespace=asked.namespace,
                name=asked.name,
                status=asked.status,
                version=asked.version,
                all=asked.all,
                limit=asked.limit,
                after=None if asked.cursor is None else cursor.decode(asked.cursor),
                visible=visible(request.caller, self._service.namespaces),
            )
        )
        following = cursor.encode(page.next) if page.next else None
        # Each release is JSON already: a list of hundreds costs no more than joining them.
        body = b'{"items":[%b],"count":%d,"next":%b}' % (b",".join(page.items), page.count, json.dumps(following).encode())
        return Response(body=body, headers={**self._age(), **_link(request, asked, following)})

    def show(self, request: Request) -> Response:
        release = self._service.index.release(self._wanted(request))
        return Response(body=release, headers={"ETag": f'"{release.etag}"'})

    def history(self, request: Request) -> Response:
        wanted = self._wanted(request)
        return Response(body=self._service.index.history(wanted.namespace, wanted.name), headers=self._age())

    def manifest(self, request: Request) -> Response:
        id = self._found(request)
        return Response(body=ReleaseManifest(id=id, manifest=self._service.kubernaut.manifest(id)))

    def values(self, request: Request) -> Response:
        id = self._found(request)
        return Response(body=ReleaseValues(id=id, values=self._service.kubernaut.values(id, all=request.query.all)))

    def diff(self, request: Request) -> Response:
        wanted = self._wanted(request)
        if request.query.to is not None:
            require(parse_other(wanted, request.query.to).namespace, request.caller, self._service.namespaces)
        return Response(body=self._service.kubernaut.diff(self._found(request), request.query.to))

    def report(self, request: Request) -> Response:
        return Response(body=self._service.kubernaut.report(self._found(request)))

    def _wanted(self, request: Request) -> ReleaseId:
        return wanted(request.parameters["id"], request.caller, self._service.namespaces)

    def _found(self, request: Request) -> str:
        """Return the id of the release that is meant, with its revision."""
        return self._service.index.release(self._wanted(request)).id

    def _age(self) -> dict[str, str]:
        return {AGE: f"{self._service.index.age():.3f}"}


def _link(request: Request, asked: ReleasesQuery, following: str | None) -> dict[str, str]:
    """Return the header that leads to the next page, with what this one was asked with."""
    if following is None:
        return {}
    query = asked.model_copy(update={"cursor": following}).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = urlencode({key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()})
    return {"Link": f'<{request.path}?{text}>; rel="next"'}


def routes(service: Service) -> tuple[Route, ...]:
    """Return the routes."""
    reading = _Reading(service)
    return (
        Route(
            method="GET",
            path="/api/releases",
            name="listReleases",
            summary="Lists the active releases by namespace and name, or all there are, the newest revision first.",
            handler=reading.list,
            answers={
                200: Answer(
                    "The releases, a page at a time; `count` is of all that match.",
                    ReleaseList,
                    headers={**AGES, "Link": 'The next page, if there is one: `<...>; rel="next"`.'},
                )
            },
            problems=(503,),
            query=ReleasesQuery,
        ),
        _one(
            "", "getRelease", "Returns one release.", reading.show, Release, {"ETag": "Names this state of the release's record."}
        ),
        _one("/history", "getHistory", "Lists all releases of the name, newest first.", reading.history, ReleaseList, AGES),
        _one("/manifest", "getManifest", "Returns what was applied, secrets masked.", reading.manifest, ReleaseManifest),
        _one("/values", "getValues", "Returns the values, secrets masked.", reading.values, ReleaseValues, query=ValuesQuery),
        _one(
            "/diff",
            "getDiff",
            "Returns what the release changed of the one before it; or, with `to`, what going from it to that one would change.",
            reading.diff,
            Difference,
            query=DiffQuery,
        ),
        _one("/report", "getReport", "Returns the release, and the operation that made it.", reading.report, ReleaseReport),
    )


def _one(
    part: str,
    name: str,
    summary: str,
    handler: Handler,
    model: type[Model],
    headers: Mapping[str, str] = MappingProxyType({}),
    query: type[Model] | None = None,
) -> Route:
    """Return the route to one release, or to a part of what is told of it."""
    return Route(
        method="GET",
        path=f"/api/releases/{{id}}{part}",
        name=name,
        summary=summary,
        handler=handler,
        answers={200: Answer((model.__doc__ or "").partition("\n")[0], model, headers=headers)},
        problems=(404, 409, 503),
        parameters=(ID,),
        query=query,
    )
