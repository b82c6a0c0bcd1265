from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.source_tree import SourceTree, make_source_tree

from kubernaut.testing.registry import FakeRegistry


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceTree]:
    """A checkout; at the end nothing of it changed but what the test changed, and no temporary file is left."""
    made = make_source_tree(tmp_path / "tree")
    monkeypatch.setattr(tempfile, "tempdir", str(made.temporary))
    yield made
    assert list(made.temporary.iterdir()) == []


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running
