"""Routes of every kind that do nothing, for tests of the code around handlers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from kubernaut.errors import DeployKept, IndexStale, ReleaseNotFound, ServerBusy
from kubernaut.models import Model
from kubernaut.server.auth.access import Role
from kubernaut.server.routes import system
from kubernaut.server.routing import EVENT_STREAM, Header, Parameter, Request, Response, ResponseSpec, Route, ServerContext

SECRET = "canary-8f3a-secret"


class Item(Model):
    name: str
    size: int = Field(1, ge=0)
    note: str | None = None
    tags: tuple[str, ...] = ()
    values: dict[str, Any] = Field(default_factory=dict)


class Filter(Model):
    limit: int = Field(100, ge=1, le=500)
    all: bool = False
    status: str | None = None
    lock_timeout: float | None = Field(None, ge=0, le=100)


class StubRoutes:
    """A few routes of every kind, which record their requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.closed = False

    @property
    def request(self) -> Request:
        return self.requests[-1]

    def routes(self, context: ServerContext) -> tuple[Route, ...]:
        named = (Parameter("id", "The thing's id, such as a.b.", r"[a-z]+(\.[a-z]+)*", "a.b"),)
        seen = {200: ResponseSpec("Seen.")}
        return (
            *system.routes(context),
            Route("/things", "listThings", "Lists.", self.see, seen, query=Filter),
            Route("/things", "makeThing", "Makes.", self.see, seen, method="POST", role=Role.DEPLOY, body=Item),
            Route("/things/{id}", "getThing", "Gets.", self.see, seen, parameters=named),
            Route("/things/{id}", "dropThing", "Drops.", self.drop, seen, method="DELETE", role=Role.DEPLOY, parameters=named),
            Route(
                "/things/{id}/turn",
                "turnThing",
                "Turns.",
                self.see,
                seen,
                method="POST",
                role=Role.DEPLOY,
                parameters=named,
                body=Item,
                body_required=False,
                headers=(Header("If-Match", "An ETag.", r'"[a-z]+"'),),
            ),
            Route("/stream", "stream", "Streams.", self.stream, {200: ResponseSpec("Events.", media_types=(EVENT_STREAM,))}),
            Route("/fail/{how}", "fail", "Fails.", self.fail, seen, parameters=(Parameter("how", "How."),)),
        )

    def see(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(body={"seen": True}, headers={"ETag": '"x"'})

    def drop(self, request: Request) -> Response:
        self.requests.append(request)
        if request.parameters["id"] == "stuck":
            raise DeployKept("It did not end.", members={"release": "demo.stuck.v2", "operation": "op-2"})
        about = {"release": "demo.hello.v1", "operation": "op-1"}
        return Response(202, {"dropped": True}, {"Location": "/api/operations/op-1"}, audit_fields=about)

    def stream(self, request: Request) -> Response:
        def events() -> Iterator[bytes]:
            try:
                yield b"one\n"
                yield b"two\n"
                raise RuntimeError(f"token={SECRET}")
            finally:
                self.closed = True

        return Response(body=events(), media_type=EVENT_STREAM)

    def fail(self, request: Request) -> Response:
        unsound: dict[str, dict[str, Any]] = {
            "header": {"headers": {"X-Split": "a\r\nSet-Cookie: b"}},
            "status": {"status": 9999},
            "body": {"body": {"size": float("nan")}},
            "stream": {"body": iter([object()])},
        }
        if request.parameters["how"] in unsound:
            return Response(**unsound[request.parameters["how"]])
        failure: dict[str, Exception] = {
            "known": ReleaseNotFound("The release demo.hello does not exist.", details=[f"password: {SECRET}"]),
            "busy": ServerBusy("There are 8 operations under way."),
            "deploy": DeployKept("It did not become ready."),
            "unforeseen": RuntimeError(f"it broke with {SECRET}"),
            "invalid": ValueError("wrong"),
            "stale": IndexStale("never listed"),
        }
        raise failure[request.parameters["how"]]
