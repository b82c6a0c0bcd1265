"""A client of the REST API over a socket, and the library on the same backend, to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernaut import Kubernaut, load_settings
from kubernaut.client import Client
from kubernaut.events import Listener, ignore_event
from kubernaut.server.app import create_app
from kubernaut.server.listener import listen
from support.backend import Backend
from support.in_process_server import DEPLOYER, InProcessServer, connect


@contextmanager
def listening(server: InProcessServer) -> Iterator[str]:
    """Let a server listen while the block runs; return its address."""
    place = listen(create_app(server.context), "127.0.0.1", 0)
    try:
        yield place.address
    finally:
        place.stop(1)


def client(url: str, listener: Listener = ignore_event, **how: Any) -> Client:
    """Return a client that may deploy."""
    return Client(url, **{"token": DEPLOYER, "listener": listener, **how})


def library(backend: Backend, listener: Listener = ignore_event, *, actor: str = "ada") -> Kubernaut:
    """Return the library on a backend, with the actor of the client's token."""
    environment = {"KUBERNAUT_ACTOR": actor, "KUBERNAUT_REGISTRY": backend.publisher.prefix}
    made = Kubernaut(load_settings(environment=environment, directory=backend.folder), listener=listener)
    connect(made, backend.cluster, backend.helm)
    return made


def token_file(folder: Path, token: str = DEPLOYER) -> Path:
    """Write a token down as a server does; return the file."""
    path = folder / "token"
    path.touch(0o600)
    path.write_text(f"Authorization: Bearer {token}\n")
    return path
