"""Shared fixtures of the server's unit tests: a server in the process, over fakes that have version 1.0.0 of the application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backend import Backend, InProcessServer, running_backend


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """The fakes, with a published version."""
    with running_backend(tmp_path) as made:
        made.publisher.publish("1.0.0")
        yield made


@pytest.fixture
def server(backend: Backend) -> InProcessServer:
    """A server whose index does not watch."""
    return backend.server(watching=False)
