from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubernaut.errors import DeadlineExceeded
from kubernaut_local.locks import candidates, holder, locked

HOLD = (
    "import fcntl, sys, os; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
)


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def quiet(pid: int | None) -> None:
    return None


def test_who_holds_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    with locked(path, timeout=1, waiting=quiet):
        assert holder(path) == os.getpid()
    assert holder(path) is None


def test_a_second_one_waits_says_so_and_gives_up(tmp_path: Path) -> None:
    path, told = tmp_path / "lock", list[int | None]()
    with hold(path) as other:
        with pytest.raises(DeadlineExceeded, match=str(other.pid)), locked(path, timeout=0.3, waiting=told.append):
            pytest.fail("two hold it")
        other.kill()
    assert told == [other.pid]


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as other:
        other.kill()
        with locked(path, timeout=10, waiting=quiet):
            assert holder(path) == os.getpid()


def test_a_lock_whose_file_was_removed_is_taken_on_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as other:

        def remove(pid: int | None) -> None:
            path.unlink()
            other.kill()

        with locked(path, timeout=10, waiting=remove):
            assert holder(path) == os.getpid()


def test_the_kernels_table() -> None:
    table = (
        "1: FLOCK  ADVISORY  WRITE 4711 fe:00:263401 0 EOF\n"
        "1: -> FLOCK  ADVISORY  WRITE 4712 fe:00:263401 0 EOF\n"
        "2: POSIX  ADVISORY  WRITE 4713 fe:00:263401 0 EOF\n"
        "3: FLOCK  ADVISORY  READ 4714 fe:00:26340 0 EOF\n"
    )
    assert candidates(table, 263401) == [4711]
