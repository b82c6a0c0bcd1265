"""The routes of the API, one module per subject; each has ``routes(context)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernaut.server.routes import operations, releases, system, writes
from kubernaut.server.routing import Route

if TYPE_CHECKING:
    from kubernaut.server.routing import ServerContext


def all_routes(context: ServerContext) -> tuple[Route, ...]:
    """Return all routes but ``/openapi.json``, which :func:`kubernaut.server.openapi.with_document` adds."""
    return tuple(route for module in (releases, writes, operations, system) for route in module.routes(context))
