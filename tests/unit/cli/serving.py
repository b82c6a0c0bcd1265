"""The command `kubernaut` over a cluster in memory, as a program: for tests of ``kubernaut serve`` as a process.

The variable JOB names a file: an operation runs in the server until that file is there, and notes beside it when it is stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from support.in_process_server import connect

from kubernaut import Deployed, Kubernaut, Plan
from kubernaut.cli import session
from kubernaut.cli.main import main as command
from kubernaut.errors import Interrupted
from kubernaut.events import Listener
from kubernaut.history.operations import Operation, new_operation_id, now
from kubernaut.server import serving
from kubernaut.server.routing import ServerContext
from kubernaut.server.serving import ServeOptions
from kubernaut.settings import Settings
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm

_create_context = serving.create_context


def open_kubernaut(settings: Settings, listener: Listener) -> Kubernaut:
    """Stand in for `kubernaut.cli.session.open_kubernaut`."""
    kubernaut, cluster = Kubernaut(settings, listener=listener), FakeCluster("demo")
    connect(kubernaut, cluster, FakeHelm(cluster))
    return kubernaut


def create_busy_context(kubernaut: Kubernaut, options: ServeOptions) -> ServerContext:
    """Create a context with a running operation."""
    context = _create_context(kubernaut, options)
    operation = Operation(id=new_operation_id(), verb="deploy", namespace="demo", name="hello", actor="ci", started_at=now())
    context.workers.start(operation, _work)
    return context


def _work(_listener: Listener, stopped: Callable[[], bool]) -> Deployed:
    may_end = Path(os.environ["JOB"])
    while not may_end.exists():
        if stopped():
            may_end.with_suffix(".stopped").touch()
            raise Interrupted("stopped")
        time.sleep(0.01)
    return Deployed(Plan(), True, None)


def main() -> None:
    """Run the command."""
    session.open_kubernaut = open_kubernaut
    if "JOB" in os.environ:
        serving.create_context = create_busy_context
    command()


if __name__ == "__main__":
    main()
