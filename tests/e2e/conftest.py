"""The fixtures of the end-to-end tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.world import World, make_world


@pytest.fixture
def world(platform: dict[str, str], tmp_path: Path) -> World:
    """A fresh checkout of the example with one commit, tagged v1.0.0."""
    return make_world(platform, tmp_path / "checkout")
