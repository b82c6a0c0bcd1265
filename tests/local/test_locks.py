from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubernaut.errors import DeadlineExceeded
from kubernaut_local.locks import flock_pids, holder, locked

HOLD = (
    "import fcntl, sys, os; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
)


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_holder_is_the_locking_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    with locked(path, timeout=1):
        assert holder(path) == os.getpid()
    assert holder(path) is None


def test_second_holder_waits_and_times_out(tmp_path: Path) -> None:
    path, holders = tmp_path / "lock", list[int | None]()
    with hold(path) as other:
        with pytest.raises(DeadlineExceeded, match=str(other.pid)), locked(path, timeout=0.3, on_wait=holders.append):
            pytest.fail("two hold it")
        other.kill()
    assert holders == [other.pid]


def test_lock_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as other:
        other.kill()
        with locked(path, timeout=10):
            assert holder(path) == os.getpid()


def test_removed_lock_file_is_recreated(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as other:

        def remove(pid: int | None) -> None:
            path.unlink()
            other.kill()

        with locked(path, timeout=10, on_wait=remove):
            assert holder(path) == os.getpid()


def test_kernel_table_is_parsed() -> None:
    table = (
        "1: FLOCK  ADVISORY  WRITE 4711 fe:00:263401 0 EOF\n"
        "1: -> FLOCK  ADVISORY  WRITE 4712 fe:00:263401 0 EOF\n"
        "2: POSIX  ADVISORY  WRITE 4713 fe:00:263401 0 EOF\n"
        "3: FLOCK  ADVISORY  READ 4714 fe:00:26340 0 EOF\n"
    )
    assert flock_pids(table, 263401) == [4711]
