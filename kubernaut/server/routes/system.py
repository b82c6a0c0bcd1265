"""The routes about the server itself: liveness, readiness and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kubernaut.errors import ServerStopping
from kubernaut.models import Model
from kubernaut.server.auth.access import Role
from kubernaut.server.metrics import CONTENT_TYPE
from kubernaut.server.routing import Request, Response, ResponseSpec, Route

if TYPE_CHECKING:
    from kubernaut.server.routing import ServerContext


class Health(Model):
    """The status of a healthy server."""

    status: Literal["ok"] = "ok"


def routes(context: ServerContext) -> tuple[Route, ...]:
    """Return the routes."""

    def healthz(_: Request) -> Response:
        return Response(body=Health())

    def readyz(_: Request) -> Response:
        if context.workers.stopping:
            raise ServerStopping("The server is shutting down: running operations may finish, new ones are refused.")
        context.index.check()
        return Response(body=Health())

    def metrics(_: Request) -> Response:
        return Response(body=context.metrics.render(), media_type=CONTENT_TYPE)

    return (
        Route(
            path="/healthz",
            name="getHealth",
            summary="Returns 200 while the server runs, regardless of the cluster.",
            handler=healthz,
            responses={200: ResponseSpec("The server runs.", Health)},
            role=None,
        ),
        Route(
            path="/readyz",
            name="getReadiness",
            summary="Returns 200 when the release index is current and the server accepts writes; otherwise the reason.",
            handler=readyz,
            responses={200: ResponseSpec("The server is ready.", Health)},
            problems=(503,),
            role=None,
        ),
        Route(
            path="/metrics",
            name="getMetrics",
            summary="Returns the metrics in Prometheus' text format.",
            handler=metrics,
            responses={200: ResponseSpec("The metrics.", media_types=(CONTENT_TYPE,))},
            role=Role.READ,
        ),
    )
