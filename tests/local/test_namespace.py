"""Whether a platform runs, in the moments in which that is not certain."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from kubernaut.errors import DeadlineExceeded
from kubernaut_local import namespace
from kubernaut_local.layout import Layout
from kubernaut_local.locks import locked


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path, "blue")
    layout.run.mkdir(parents=True)
    return layout


def quiet(pid: int | None) -> None:
    return None


def test_missing_platform_is_not_running(layout: Layout) -> None:
    assert namespace.settled(layout) is None
    (layout.run / "gone").touch()
    assert namespace.settled(layout) is None


def test_starting_platform_is_waited_for(layout: Layout) -> None:
    done = threading.Event()

    def start() -> None:
        with locked(layout.alive, timeout=1, waiting=quiet):
            done.wait(10)

    with locked(layout.run / "gone", timeout=1, waiting=quiet):
        starting = threading.Timer(0.2, start)
        starting.start()
        assert namespace.settled(layout) == os.getpid()
        done.set()
        starting.join()


def test_ending_platform_is_waited_for(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    held, over = threading.Event(), threading.Event()

    def end() -> None:
        with locked(layout.run / "gone", timeout=1, waiting=quiet):
            held.set()
            threading.Event().wait(0.3)
            over.set()

    ending = threading.Thread(target=end)
    ending.start()
    assert held.wait(10)
    assert namespace.settled(layout) is None
    assert over.is_set()
    ending.join()
    monkeypatch.setattr(namespace, "_END_SECONDS", 0.1)
    with locked(layout.run / "gone", timeout=1, waiting=quiet), pytest.raises(DeadlineExceeded):
        namespace.settled(layout)
