"""The REST API in this process, over a cluster and a Helm in memory: an app, tokens, and a client."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

from werkzeug.test import Client, TestResponse

from kubernaut import Kubernaut, load_settings
from kubernaut.history.index import Index
from kubernaut.server.app import create_app
from kubernaut.server.audit import Audit
from kubernaut.server.auth.access import AllowedHosts, Authenticator, Caller, ChartPolicy, Role, Token, token_digest
from kubernaut.server.metrics import Metrics
from kubernaut.server.operations.workers import Workers
from kubernaut.server.routing import Route, ServerContext
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm

READER, DEPLOYER, TEAM = "reader-" + "r" * 32, "deployer-" + "d" * 32, "team-" + "t" * 32
"""Tokens: one that reads everywhere, one that deploys everywhere, one that deploys in the namespace ``demo`` only."""
HOST = "127.0.0.1:8080"
COMMAND_LINE = re.compile(r"(^|[\s`(])--?[a-z]|[`(](kubernaut|helm|kubectl|docker|git|chmod) |\bkubernaut [a-z]+ [A-Z]")
"""A command or an option, which no hint of an HTTP answer names."""

HEALTHY = {"status": "healthy", "reason": ""}
"""The health of a single release without workloads; other responses have none."""

Routes = Callable[[ServerContext], Sequence[Route]]


@dataclass
class InProcessServer:
    """A server without a socket.

    Args:
        folder: An empty folder.
        routes: The calls that it has, made from the service; all of them by default.
    """

    folder: Path
    routes: Routes | None = None
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster("demo", "prod"))
    environment: dict[str, str] = field(default_factory=lambda: {"KUBERNAUT_ACTOR": "server", "KUBERNAUT_REGISTRY": "r"})
    tokens: bool = True
    audited: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.helm = FakeHelm(self.cluster)
        self.context = self._context()
        self.app: WSGIApplication = create_app(self.context, self.routes(self.context) if self.routes else None)

    def ask(self, method: str, path: str, *, token: str | None = DEPLOYER, **request: Any) -> TestResponse:
        """Send a request; ``request`` is what werkzeug's client takes, such as ``json`` or ``headers``."""
        headers = {"Host": HOST, **({"Authorization": f"Bearer {token}"} if token else {}), **request.pop("headers", {})}
        return Client(self.app).open(path, method=method, headers=headers, **request)

    def get(self, path: str, **request: Any) -> TestResponse:
        """Send a GET."""
        return self.ask("GET", path, **request)

    def post(self, path: str, body: Any = None, **request: Any) -> TestResponse:
        """Send a POST with a JSON body, if there is one."""
        return self.ask("POST", path, **({} if body is None else {"json": body}), **request)

    def delete(self, path: str, **request: Any) -> TestResponse:
        """Send a DELETE."""
        return self.ask("DELETE", path, **request)

    def close(self) -> None:
        """Stop the workers and the index."""
        self.context.workers.stop(0)
        self.context.index.stop()

    def _context(self) -> ServerContext:
        settings = load_settings(environment=self.environment, directory=self.folder)
        kubernaut = Kubernaut(settings)
        connect(kubernaut, self.cluster, self.helm)
        callers = (Caller("reader", Role.READ), Caller("ada", Role.DEPLOY), Caller("team", Role.DEPLOY, frozenset(("demo",))))
        tokens = [Token(token_digest(token), caller) for token, caller in zip((READER, DEPLOYER, TEAM), callers, strict=True)]
        return ServerContext(
            kubernaut=kubernaut,
            index=Index(lambda: self.cluster),  # type: ignore[arg-type, return-value]
            workers=Workers(),
            chart_policy=ChartPolicy(["r/charts"]),
            authenticator=Authenticator(AllowedHosts("127.0.0.1", 8080, ["127.0.0.1"]), tokens if self.tokens else None),
            audit=Audit(lambda line: self.audited.append(json.loads(line))),
            metrics=Metrics(),
        )


def connect(kubernaut: Kubernaut, cluster: FakeCluster, helm: FakeHelm) -> None:
    """Give a library the fakes in memory as its clients."""
    kubernaut.context.clients.cluster, kubernaut.context.clients.helm = cluster, helm


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Return the problem that a response holds, and hold the response to its status, its code and the form of every problem."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(response.data)
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:kubernaut:problem:{code}"
    assert body["title"]
    assert body["detail"].endswith((".", "?", "…"))
    assert body["hint"]
    assert not COMMAND_LINE.search(body["hint"]), body["hint"]
    assert body["requestId"] == response.headers["X-Request-Id"]
    return body
