from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.workshop import Workshop, make_workshop

from kubernaut.testing.registry import FakeRegistry


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A checkout; at the end nothing of it changed but what the test changed, and no temporary file is left."""
    made = make_workshop(tmp_path / "tree")
    monkeypatch.setattr(tempfile, "tempdir", str(made.temporary))
    yield made
    assert list(made.temporary.iterdir()) == []


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running
