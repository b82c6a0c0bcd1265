"""Whether a process has certainly ended: real processes, and identities from other machines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubernaut.adapters import process
from kubernaut.adapters.process import is_process_gone, process_identity

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")

SAY = "from kubernaut.adapters.process import process_identity; print(process_identity(), flush=True)"
LIVING = f"{SAY}; input()"


class Child:
    """A Python process that says its identity and then does as the script says."""

    def __init__(self, script: str = LIVING) -> None:
        command = [sys.executable, "-c", script]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.identity = self.process.stdout.readline().strip()

    def wait_for_end(self) -> None:
        """Wait until it has ended, and do not reap it."""
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    with made.process:
        yield made
        made.process.kill()


def test_this_process_is_not_gone() -> None:
    assert process_identity() == process_identity()
    assert str(os.getpid()) in process_identity().split("/")
    assert not is_process_gone(process_identity())


def test_threads_share_the_identity() -> None:
    identities: list[str] = []
    thread = threading.Thread(target=lambda: identities.append(process_identity()))
    thread.start()
    thread.join()
    assert identities == [process_identity()]


def test_child_is_gone_after_it_is_killed(child: Child) -> None:
    assert child.identity != process_identity()
    assert not is_process_gone(child.identity)
    child.process.kill()
    child.wait_for_end()
    assert is_process_gone(child.identity), "not reaped yet"
    child.process.wait()
    assert is_process_gone(child.identity), "the PID is free"


def test_stopped_process_is_not_gone(child: Child) -> None:
    child.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert not is_process_gone(child.identity)


def test_process_is_gone_when_its_pid_is_reused(child: Child) -> None:
    *place, pid, start = child.identity.split("/")
    assert is_process_gone("/".join([*place, pid, str(int(start) - 1)]))
    assert is_process_gone("/".join([*place, str(os.getpid()), start]))


def test_process_whose_first_thread_has_ended_is_not_gone() -> None:
    script = f"""
    import ctypes, threading, time
    {SAY}
    threading.Thread(target=time.sleep, args=(60,)).start()
    ctypes.CDLL(None).pthread_exit(None)
    """
    child = Child(textwrap.dedent(script))
    with child.process:
        until = time.monotonic() + 10
        stat = Path(f"/proc/{child.process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until
            time.sleep(0.01)
        assert not is_process_gone(child.identity)
        child.process.kill()
        child.wait_for_end()
        assert is_process_gone(child.identity)


@pytest.mark.parametrize("part", [0, 1, 2, 3], ids=["boot", "PID namespace", "time namespace", "host"])
def test_process_in_another_scope_is_not_gone(child: Child, part: int) -> None:
    child.process.kill()
    child.process.wait()
    parts = child.identity.split("/")
    assert is_process_gone("/".join(parts))
    parts[part] += "0"
    assert not is_process_gone("/".join(parts))


def test_process_that_may_not_be_signalled_is_not_gone(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_process_gone(child.identity)


def test_process_hidden_in_proc_is_not_gone(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_read_stat", lambda _name: None)
    assert not is_process_gone(child.identity)


@pytest.mark.parametrize("broken", ["no /proc", "another's /proc", "no boot id"])
def test_process_is_not_gone_without_proc(child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    child.process.kill()
    child.process.wait()
    if broken != "no /proc":
        (tmp_path / "self").symlink_to("1" if broken == "another's /proc" else str(os.getpid()))
    monkeypatch.setattr(process, "_PROC", tmp_path)
    assert process_identity().split("/")[1:] == [str(os.getpid())]
    assert not is_process_gone(process_identity())
    assert not is_process_gone(child.identity)


@pytest.mark.parametrize(
    "junk",
    ["", "x", "/", "a/b/c/d/1/1", "a/1", "\x00", "\ud800", "é/1/1/1/1/1", "//////", "1" * 10_000, "a/b/c/d/x/y", "a/b/c/d/1/1\n"],
)
def test_invalid_identity_is_not_gone(junk: str) -> None:
    assert not is_process_gone(junk)


@pytest.mark.parametrize(
    "end", ["", "/", "/0/1", "/-1/1", "/x/1", "/1", "/1/x", "/²/1", "/99999999999999999999/1", "/1/1/1", "/1/1\n"]
)
def test_invalid_identity_in_this_scope_is_not_gone(end: str) -> None:
    assert not is_process_gone(process_identity().rsplit("/", 2)[0] + end)


def test_unused_pid_is_gone_and_impossible_pid_is_unknown() -> None:
    assert is_process_gone(process_identity().rsplit("/", 2)[0] + "/2147483647/1")
    assert not is_process_gone(process_identity().rsplit("/", 2)[0] + "/9999999999/1")
