"""The call that tells what was published, and where it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from kubernaut.models import Model
from kubernaut.names import check_name
from kubernaut.publish.published import PublishedVersion
from kubernaut.server.auth.scope import visible
from kubernaut.server.http.routing import Answer, Parameter, Request, Response, Route

if TYPE_CHECKING:
    from kubernaut.server.service import Service

NAME = Parameter(
    name="name",
    description="An application's name.",
    pattern="[a-z0-9](?:[-a-z0-9]{0,51}[a-z0-9])?",
    example="hello-world",
    check=check_name,
)


class VersionWithReleases(PublishedVersion):
    """A published version, and where it runs."""

    active: tuple[str, ...] = Field(description="The ids of the active releases with this version's chart, by its digest.")


class VersionList(Model):
    """The published versions of an application, the newest first."""

    items: tuple[VersionWithReleases, ...]
    count: int


def routes(service: Service) -> tuple[Route, ...]:
    """Return the routes."""

    def versions(request: Request) -> Response:
        name = check_name(request.parameters["name"])
        seen = visible(request.caller, service.namespaces)
        active: dict[str | None, list[str]] = {}
        for release in service.index.active(name):
            if seen is None or release.namespace in seen:
                active.setdefault(release.chart.digest, []).append(release.id)
        items = tuple(
            VersionWithReleases(**dict(version), active=tuple(active.get(version.chart.digest, ())))
            for version in service.kubernaut.versions(name)
        )
        return Response(body=VersionList(items=items, count=len(items)))

    return (
        Route(
            method="GET",
            path="/api/versions/{name}",
            name="listVersions",
            summary="Lists the published versions of an application, the newest first, and where each is active.",
            handler=versions,
            answers={200: Answer("The versions; none where nothing was published under the name.", VersionList)},
            problems=(503,),
            parameters=(NAME,),
        ),
    )
