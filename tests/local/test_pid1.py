"""Finding PID 1 while it starts or ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from kubernaut.errors import DeadlineExceeded
from kubernaut_local import pid1
from kubernaut_local.layout import Layout
from kubernaut_local.locks import locked


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path, "blue")
    layout.run.mkdir(parents=True)
    return layout


def test_missing_platform_is_not_running(layout: Layout) -> None:
    assert pid1.find_settled(layout) is None
    (layout.run / "gone").touch()
    assert pid1.find_settled(layout) is None


def test_starting_platform_is_waited_for(layout: Layout) -> None:
    done = threading.Event()

    def start() -> None:
        with locked(layout.alive, timeout=1):
            done.wait(10)

    with locked(layout.run / "gone", timeout=1):
        starting = threading.Timer(0.2, start)
        starting.start()
        assert pid1.find_settled(layout) == os.getpid()
        done.set()
        starting.join()


def test_ending_platform_is_waited_for(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    held, over = threading.Event(), threading.Event()

    def end() -> None:
        with locked(layout.run / "gone", timeout=1):
            held.set()
            threading.Event().wait(0.3)
            over.set()

    ending = threading.Thread(target=end)
    ending.start()
    assert held.wait(10)
    assert pid1.find_settled(layout) is None
    assert over.is_set()
    ending.join()
    monkeypatch.setattr(pid1, "_END_SECONDS", 0.1)
    with locked(layout.run / "gone", timeout=1), pytest.raises(DeadlineExceeded):
        pid1.find_settled(layout)
