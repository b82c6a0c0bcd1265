"""The REST API with everything that a deploy needs, in this process: servers over one cluster, one Helm, one registry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from kubernaut.errors import IndexStale
from kubernaut.history.index import Index, Timings
from kubernaut.server.app import create_app
from kubernaut.server.auth.access import ChartPolicy
from kubernaut.server.operations.workers import Workers
from kubernaut.server.routes import operations, releases, writes
from kubernaut.server.routes.operations import StreamTiming
from kubernaut.server.routing import Route, ServerContext
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm
from kubernaut.testing.registry import FakeRegistry
from support.in_process_server import InProcessServer, connect
from support.publisher import Publisher
from support.waiting import until

SOON = 20.0
"""Seconds after which something that has not come never comes."""


HELLO = {"name": "hello", "namespace": "demo", "version": "1.0.0"}
WAIT = {"Prefer": "wait=20"}
PATIENT = Timings(stale=3600.0)
"""An index that is not watched does not grow old while a test takes its time."""
QUICK = StreamTiming(heartbeat=0.05, max_duration=SOON, poll=0.01)


class PatientHelm(FakeHelm):
    """A Helm that can be made to print lines and to wait before it deploys."""

    def __init__(self, cluster: FakeCluster) -> None:
        super().__init__(cluster)
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.may_end.set()
        self.says: list[str] = []

    def upgrade(self, name: str, chart: str, **how: Any) -> None:
        """Print the lines, wait, and deploy."""
        self._wait(**how)
        super().upgrade(name, chart, **how)

    def _wait(self, *, log: Callable[[str], None], check: Callable[[], None], **_: Any) -> None:
        for line in self.says:
            log(line)
        self.begun.set()
        while not self.may_end.wait(0.01):
            check()


@dataclass
class Backend:
    """One cluster, and the servers on it."""

    folder: Path
    publisher: Publisher
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster("demo", "prod"))
    servers: list[InProcessServer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.helm = PatientHelm(self.cluster)
        self.publisher.helms.append(self.helm)

    def server(
        self,
        *,
        workers: int = 4,
        waiting: int = 8,
        timing: StreamTiming = QUICK,
        watching: bool = True,
        namespaces: tuple[str, ...] = (),
        **environment: str,
    ) -> InProcessServer:
        """Start another server; :meth:`close` ends it."""
        settings = {"KUBERNAUT_ACTOR": "server", "KUBERNAUT_REGISTRY": self.publisher.prefix, **environment}
        made = InProcessServer(self.folder, routes=lambda _: (), cluster=self.cluster, environment=settings)
        connect(made.context.kubernaut, self.cluster, self.helm)
        made.context = replace(
            made.context,
            index=Index(lambda: self.cluster, namespaces=namespaces, timings=PATIENT),  # type: ignore[arg-type, return-value]
            workers=Workers(workers, max_waiters=waiting),
            chart_policy=ChartPolicy([f"{self.publisher.prefix}/charts"]),
            namespaces=namespaces,
        )
        made.app = create_app(made.context, self._routes(made.context, timing))
        if watching:
            made.context.index.start()
            until(lambda: current(made), "the index is current")
        else:
            made.context.index.load()
        self.servers.append(made)
        return made

    def close(self) -> None:
        """End all that runs."""
        self.helm.may_end.set()
        for server in self.servers:
            server.close()

    @staticmethod
    def _routes(context: ServerContext, timing: StreamTiming) -> tuple[Route, ...]:
        return (*releases.routes(context), *writes.routes(context), *operations.routes(context, timing))


@contextmanager
def running_backend(folder: Path) -> Iterator[Backend]:
    """Create a backend with its own registry; close it afterwards."""
    with FakeRegistry() as registry:
        made = Backend(folder, Publisher(folder, registry))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """A backend with two published versions."""
    with running_backend(tmp_path) as made:
        made.publisher.publish("1.0.0")
        made.publisher.publish("1.1.0")
        yield made


def current(server: InProcessServer) -> bool:
    """Return whether a server's index is current."""
    try:
        server.context.index.check()
    except IndexStale:
        return False
    return True


def operation_of(response: TestResponse) -> str:
    """Return the id of the operation that a write's answer names."""
    location = response.headers["Location"]
    assert location.startswith("/api/operations/"), location
    return location.removeprefix("/api/operations/")


def ended(server: InProcessServer, id: str) -> dict[str, Any]:
    """Wait until an operation has ended, and return it."""
    path = f"/api/operations/{id}"
    until(lambda: server.get(path).json["state"] not in ("accepted", "running"), f"the end of {id}")
    body: dict[str, Any] = server.get(path).json
    return body


def deployed(server: InProcessServer, **more: Any) -> dict[str, Any]:
    """Deploy :data:`HELLO`, wait, and return the release."""
    response = server.post("/api/releases", {**HELLO, **more}, headers=WAIT)
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json
    return body


def nothing_was_written(backend: Backend) -> bool:
    """Return whether the cluster was not written to since its requests were counted."""
    return not backend.cluster.writes
