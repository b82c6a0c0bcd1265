"""The routes that read releases and published versions.

Lists, single releases and histories come from the index, without a request to the cluster; only health is read from it. Manifest,
values, diff, report and explanation of one release are read from its record, and versions from the registry.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from pydantic import AfterValidator, Field

from kubernaut.errors import RequestInvalid
from kubernaut.history.detail import Difference, ReleaseReport, parse_other
from kubernaut.history.explain import ReleaseExplanation
from kubernaut.history.index import Query
from kubernaut.history.records import Status
from kubernaut.history.releases import Release, ReleaseId, ReleaseList
from kubernaut.history.replay import WatchPage
from kubernaut.models import NAME_LENGTH, Model, check_name, check_namespace, check_release_name
from kubernaut.publish.version import PublishedVersion
from kubernaut.server.auth.access import require_access, visible_namespaces
from kubernaut.server.operations.watches import ReleaseWatches
from kubernaut.server.routing import Handler, Parameter, Request, Response, ResponseSpec, Route

if TYPE_CHECKING:
    from kubernaut.server.routing import ServerContext

NAMESPACE_PATTERN = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
NAME_PATTERN = rf"{NAMESPACE_PATTERN}(?:\.{NAMESPACE_PATTERN})*"
# As ReleaseId.parse reads it: a suffix .v and digits always is a revision; a name has 53 characters at most.
_NUMBERED = rf"(?!.{{54,}}\.v[0-9]+$){NAME_PATTERN}\.v(?:0|[1-9][0-9]{{0,8}})"
_BARE = rf"(?!v[0-9]+$)(?!.*\.v[0-9]+$)(?!.{{54,}}\.current$)(?!(?!.*\.current$).{{54,}}){NAME_PATTERN}"
ID_PATTERN = rf"{NAMESPACE_PATTERN}\.(?:{_BARE}|{_NUMBERED})"

ID = Parameter(
    name="id",
    description="A release ID: NAMESPACE.NAME.vREVISION, or NAMESPACE.NAME.current for the current release.",
    pattern=ID_PATTERN,
    example="demo.hello-world.v3",
    check=ReleaseId.parse,
)
_APPLICATION = Parameter(
    name="name",
    description="An application name.",
    pattern="[a-z0-9](?:[-a-z0-9]{0,51}[a-z0-9])?",
    example="hello-world",
    check=check_name,
)

Position = tuple[str, str, int]
"""Namespace, name and revision of the last release on a page."""

MAX_CURSOR_LENGTH = 800
_MAX_NAME_LENGTH = 253
_MAX_REVISION = 2**63

# The validators raise the precise error; the pattern is only shown in the OpenAPI document.
Namespace = Annotated[str, AfterValidator(check_namespace), Field(json_schema_extra={"pattern": f"^{NAMESPACE_PATTERN}$"})]
Name = Annotated[
    str, AfterValidator(check_release_name), Field(json_schema_extra={"pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LENGTH})
]
Cursor = Annotated[str, Field(json_schema_extra={"format": "cursor", "maxLength": MAX_CURSOR_LENGTH})]
Other = Annotated[str, Field(json_schema_extra={"pattern": f"^(?:{ID_PATTERN}|v?[0-9]{{1,9}})$"})]

MAX_POLL_SECONDS = 60
DEFAULT_LIMIT = 100
MAX_LIMIT = 500
AGE = "X-Index-Age"
_AGE_HEADER = {AGE: "Seconds since the server's index was last known to be current."}


class ReleasesQuery(Model):
    """The query of the list of releases."""

    namespace: Namespace | None = Field(None, description="Only this namespace.")
    name: Name | None = Field(None, description="Only releases of this name.")
    status: str | None = Field(None, description="Only releases with this Helm status.", pattern=f"^({'|'.join(Status)})$")
    version: str | None = Field(None, description="Only releases with this chart version.", min_length=1, max_length=256)
    all: bool = Field(False, description="Every release in the history, not only the active ones.")
    health: bool = Field(
        False, description="Read the health of the releases on this page, from the cluster; `null` for releases without objects."
    )
    limit: int = Field(DEFAULT_LIMIT, description="The maximum number of releases on a page.", ge=1, le=MAX_LIMIT)
    cursor: Cursor | None = Field(None, description="The `next` of the previous page.")


class ValuesQuery(Model):
    """The query of the values route."""

    all: bool = Field(False, description="Include the chart's default values.")


class DiffQuery(Model):
    """The query of the diff route."""

    to: Other | None = Field(None, description="Another release ID, or a revision of the same name; the previous one by default.")


class WatchQuery(Model):
    """The query of the watch route."""

    watch: str | None = Field(None, description="The `watch` of the previous response.", pattern="^[0-9a-z]{26}$")
    after: int = Field(0, ge=0, le=2**53, description="The number of the last event that the client has.")
    wait: int = Field(0, ge=0, le=MAX_POLL_SECONDS, description="Seconds to wait for an event if there is none yet.")
    timeout: float | None = Field(
        None, ge=1, le=24 * 3600, allow_inf_nan=False, description="Seconds that a release may take to become ready."
    )


class ReleaseManifest(Model):
    """The applied manifest of a release as YAML, with hooks last and secrets masked."""

    id: str
    manifest: str


class ReleaseValues(Model):
    """The values of a release, with secrets masked."""

    id: str
    values: dict[str, Any]


class VersionWithReleases(PublishedVersion):
    """A published version, and its active releases."""

    active: tuple[str, ...] = Field(description="The IDs of the active releases with this version's chart digest.")


class VersionList(Model):
    """The published versions of an application, newest first."""

    items: tuple[VersionWithReleases, ...]
    count: int
    foreign: tuple[str, ...] = Field(
        default=(),
        exclude_if=lambda foreign: not foreign,
        description="The references of charts of this name that kubernaut did not publish; only if there are any.",
    )


class _Handlers:
    def __init__(self, context: ServerContext) -> None:
        self._index, self._kubernaut, self._namespaces = context.index, context.kubernaut, context.namespaces
        self._watches, self._waiters = ReleaseWatches(context), context.workers.waiters

    def list(self, request: Request) -> Response:
        query: ReleasesQuery = request.query
        if query.namespace is not None:
            require_access(query.namespace, request.caller, self._namespaces)
        page = self._index.page(
            Query(
                namespace=query.namespace,
                name=query.name,
                status=query.status,
                version=query.version,
                all=query.all,
                limit=query.limit,
                after=None if query.cursor is None else decode_cursor(query.cursor),
                visible=visible_namespaces(request.caller, self._namespaces),
            )
        )
        cursor = encode_cursor(page.next) if page.next else None
        # The index keeps each release as JSON, so that a list of hundreds only joins bytes.
        items = self._with_health(page.items) if query.health else page.items
        body = b'{"items":[%b],"count":%d,"next":%b}' % (b",".join(items), page.count, json.dumps(cursor).encode())
        return Response(body=body, headers={**self._age(), **_link(request, query, cursor)})

    def show(self, request: Request) -> Response:
        (release,) = self._kubernaut.with_health([self._index.release(self._requested(request))])
        return Response(body=release, headers={"ETag": f'"{release.etag}"'})

    def history(self, request: Request) -> Response:
        requested = self._requested(request)
        return Response(body=self._index.history(requested.namespace, requested.name), headers=self._age())

    def manifest(self, request: Request) -> Response:
        id = self._resolved(request)
        return Response(body=ReleaseManifest(id=id, manifest=self._kubernaut.manifest(id)))

    def values(self, request: Request) -> Response:
        id = self._resolved(request)
        return Response(body=ReleaseValues(id=id, values=self._kubernaut.values(id, all=request.query.all)))

    def diff(self, request: Request) -> Response:
        requested = self._requested(request)
        if request.query.to is not None:
            require_access(parse_other(requested, request.query.to).namespace, request.caller, self._namespaces)
        return Response(body=self._kubernaut.diff(self._resolved(request), request.query.to))

    def report(self, request: Request) -> Response:
        return Response(body=self._kubernaut.report(self._resolved(request)))

    def explain(self, request: Request) -> Response:
        return Response(body=self._kubernaut.explain(str(self._requested(request))))

    def watch(self, request: Request) -> Response:
        release, query = str(self._requested(request)), request.query
        page = self._watches.page(release, query.timeout, id=query.watch, after=query.after, wait=0)
        if query.wait and not page.items and not page.finished:
            with self._waiters.acquire():
                page = self._watches.page(release, query.timeout, id=page.watch, after=page.next, wait=query.wait)
        return Response(body=page)

    def versions(self, request: Request) -> Response:
        name = check_name(request.parameters["name"])
        visible = visible_namespaces(request.caller, self._namespaces)
        active: dict[str | None, list[str]] = {}
        for release in self._index.active(chart=name):  # the name of a release may differ from that of its application
            if visible is None or release.namespace in visible:
                active.setdefault(release.chart.digest, []).append(release.id)
        versions = self._kubernaut.versions(name)
        items = tuple(
            VersionWithReleases(**dict(version), active=tuple(active.get(version.chart.digest, ()))) for version in versions
        )
        return Response(body=VersionList(items=items, count=len(items), foreign=versions.foreign))

    def _with_health(self, items: Iterable[bytes]) -> tuple[bytes, ...]:
        """Return the JSON of releases with their health."""
        releases = self._kubernaut.with_health(Release.model_validate_json(item) for item in items)
        return tuple(release.model_dump_json(by_alias=True).encode() for release in releases)

    def _requested(self, request: Request) -> ReleaseId:
        release = ReleaseId.parse(request.parameters["id"])
        require_access(release.namespace, request.caller, self._namespaces)
        return release

    def _resolved(self, request: Request) -> str:
        """Return the ID of the requested release with its revision."""
        return self._index.release(self._requested(request)).id

    def _age(self) -> dict[str, str]:
        return {AGE: f"{self._index.age():.3f}"}


def _link(request: Request, query: ReleasesQuery, cursor: str | None) -> dict[str, str]:
    """Return the ``Link`` header to the next page, with the query of this one."""
    if cursor is None:
        return {}
    parameters = query.model_copy(update={"cursor": cursor}).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = urlencode({key: str(value).lower() if isinstance(value, bool) else value for key, value in parameters.items()})
    return {"Link": f'<{request.path}?{text}>; rel="next"'}


def routes(context: ServerContext) -> tuple[Route, ...]:
    """Return the routes."""
    handlers = _Handlers(context)
    return (
        Route(
            path="/api/releases",
            name="listReleases",
            summary="Lists the active releases, or all, by namespace and name, newest revision first.",
            handler=handlers.list,
            responses={
                200: ResponseSpec(
                    "A page of releases; `count` is the number of all matching releases.",
                    ReleaseList,
                    headers={**_AGE_HEADER, "Link": 'The next page, if there is one: `<...>; rel="next"`.'},
                )
            },
            problems=(503,),
            query=ReleasesQuery,
        ),
        _release_route(
            "",
            "getRelease",
            "Returns one release, with its health.",
            handlers.show,
            Release,
            {"ETag": "The version of the release's record."},
        ),
        _release_route(
            "/history", "getHistory", "Lists all releases of the name, newest first.", handlers.history, ReleaseList, _AGE_HEADER
        ),
        _release_route(
            "/manifest", "getManifest", "Returns the applied manifest, secrets masked.", handlers.manifest, ReleaseManifest
        ),
        _release_route(
            "/values", "getValues", "Returns the values, secrets masked.", handlers.values, ReleaseValues, query=ValuesQuery
        ),
        _release_route(
            "/diff",
            "getDiff",
            "Returns the changes since the previous release; with `to`, the changes from this release to that one.",
            handlers.diff,
            Difference,
            query=DiffQuery,
        ),
        _release_route("/report", "getReport", "Returns the release and its operation.", handlers.report, ReleaseReport),
        _release_route(
            "/explanation",
            "getExplanation",
            "Returns why the release failed, with the evidence, or that it did not; for `current`, of the last change of the name.",
            handlers.explain,
            ReleaseExplanation,
        ),
        _release_route(
            "/watch",
            "watchRelease",
            "Follows the operation that runs on the release, or the current release until it is ready: returns the new events.",
            handlers.watch,
            WatchPage,
            query=WatchQuery,
        ),
        Route(
            path="/api/versions/{name}",
            name="listVersions",
            summary="Lists the published versions of an application, newest first, with their active releases.",
            handler=handlers.versions,
            responses={200: ResponseSpec("The versions; empty if nothing was published under the name.", VersionList)},
            problems=(503,),
            parameters=(_APPLICATION,),
        ),
    )


def _release_route(
    suffix: str,
    name: str,
    summary: str,
    handler: Handler,
    model: type[Model],
    headers: Mapping[str, str] = MappingProxyType({}),
    query: type[Model] | None = None,
) -> Route:
    """Return the route to one release, or to a part of it."""
    return Route(
        path=f"/api/releases/{{id}}{suffix}",
        name=name,
        summary=summary,
        handler=handler,
        responses={200: ResponseSpec((model.__doc__ or "").partition("\n")[0], model, headers=headers)},
        problems=(404, 409, 503),
        parameters=(ID,),
        query=query,
    )


# A cursor is a position in the order, not an offset, so that no release is skipped or repeated when others come and go.


def encode_cursor(position: Position) -> str:
    """Return the opaque cursor of a position."""
    text = json.dumps(position, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode("ascii")


def decode_cursor(cursor: str) -> Position:
    """Return the position of a cursor from :func:`encode_cursor`. Raises: RequestInvalid."""
    position = _position(cursor)
    if position is None or encode_cursor(position) != cursor:
        raise RequestInvalid(
            "The cursor is invalid.", hint="Use `next` of the previous page; without a cursor the list starts over."
        )
    return position


def _position(cursor: str) -> Position | None:
    try:
        match json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)):
            case [str(namespace), str(name), int(revision)] if not isinstance(revision, bool) and 0 <= revision < _MAX_REVISION:
                possible = all(0 < len(part) <= _MAX_NAME_LENGTH for part in (namespace, name))
                return (namespace, name, revision) if possible else None
    except (ValueError, RecursionError):
        pass
    return None
