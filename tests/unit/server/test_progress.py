"""The progress of an operation that has finished in the cluster before its worker has."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from support.backend import HELLO, SOON, ended, operation_of, running_backend
from support.waiting import until

from kubernaut.server.app import create_app
from kubernaut.server.operations.workers import RunningOperation, Workers


def test_an_operation_finishes_only_when_its_worker_is_done(tmp_path: Path) -> None:
    done = threading.Event()

    def hold(_: RunningOperation) -> None:
        assert done.wait(SOON)

    with running_backend(tmp_path) as backend:
        backend.publisher.publish("1.0.0")
        server = backend.server(watching=False)
        server.context = replace(server.context, workers=Workers(on_finished=hold))
        server.app = create_app(server.context)
        id = operation_of(server.post("/api/releases", HELLO))
        kept = {"owner": "kubernaut", "kubernaut/operation": id, "kubernaut/outcome": "succeeded"}
        until(lambda: backend.cluster.list_secrets("demo", kept), "the cluster knows of its end")
        server.context.index.refresh("demo", "hello")
        assert server.get(f"/api/operations/{id}").json["state"] == "running"
        assert server.get(f"/api/operations/{id}/events").json["finished"] is False
        done.set()
        assert ended(server, id)["state"] == "succeeded"
        assert server.get(f"/api/operations/{id}/events").json["finished"] is True
