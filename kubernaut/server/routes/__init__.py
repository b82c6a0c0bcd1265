"""All calls of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernaut.server.http.routing import Route
from kubernaut.server.routes import operations, releases, system, versions, writes

if TYPE_CHECKING:
    from kubernaut.server.service import Service


def all_routes(service: Service) -> tuple[Route, ...]:
    """Return every route, the API's and the server's own."""
    return tuple(route for room in (releases, writes, operations, versions, system) for route in room.routes(service))
