"""The server's own calls: whether it lives, whether it is ready, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kubernaut.errors import ServerStopping
from kubernaut.models import Model
from kubernaut.server.auth.caller import Role
from kubernaut.server.http.routing import Answer, Request, Response, Route
from kubernaut.server.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from kubernaut.server.service import Service


class Health(Model):
    """What a server that is well says."""

    status: Literal["ok"] = "ok"


def routes(service: Service) -> tuple[Route, ...]:
    """Return the routes."""

    def healthz(_: Request) -> Response:
        return Response(body=Health())

    def readyz(_: Request) -> Response:
        if service.workers.stopping:
            raise ServerStopping("The server is about to end: what runs may end, and nothing new is begun.")
        service.index.check()
        return Response(body=Health())

    def metrics(_: Request) -> Response:
        return Response(body=service.metrics.page(), media_type=CONTENT_TYPE)

    return (
        Route(
            method="GET",
            path="/healthz",
            name="getHealth",
            summary="Says that the server lives, whatever else is down.",
            handler=healthz,
            answers={200: Answer("The server lives.", Health)},
            role=None,
        ),
        Route(
            method="GET",
            path="/readyz",
            name="getReadiness",
            summary="Says whether the server knows what is in the cluster and takes on work; if not, why.",
            handler=readyz,
            answers={200: Answer("The server is ready.", Health)},
            problems=(503,),
            role=None,
        ),
        Route(
            method="GET",
            path="/metrics",
            name="getMetrics",
            summary="Returns what the server counts, as Prometheus reads it.",
            handler=metrics,
            answers={200: Answer("The metrics.", media_types=(CONTENT_TYPE,))},
            role=Role.READ,
        ),
    )
