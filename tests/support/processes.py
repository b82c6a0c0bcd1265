"""Programs that tests start: waited for, suspended, killed, and found among the machine's processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from support.waiting import until

DEADLINE = 60.0


@contextmanager
def paused(*pids: int) -> Iterator[None]:
    """Suspend processes while the block runs: signals sent meanwhile arrive together."""
    send_signal(pids, signal.SIGSTOP)
    until(lambda: all(_state(pid) in "TZ" for pid in pids), "they stand still")
    try:
        yield
    finally:
        send_signal(pids, signal.SIGCONT)


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    stdout: str
    stderr: str

    def problem(self) -> dict[str, Any]:
        """The RFC 9457 problem of ``-o json``."""
        problem: dict[str, Any] = json.loads(self.stdout)
        return problem

    def hinted(self, words: str) -> list[str]:
        """Return the arguments of the first kubernaut command in the hint that has these words."""
        found = re.search(rf"`kubernaut ([^`]*{re.escape(words)}[^`]*)`", self.stderr.rpartition("hint: ")[2])
        assert found is not None, self.stderr
        return shlex.split(found[1])


@dataclass
class Running:
    """A kubernaut process."""

    process: subprocess.Popen[bytes]
    stdout: Path | IO[bytes]
    stderr: Path | IO[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def helms(self) -> list[int]:
        """The programs that it has started and that live."""
        return [pid for pid, parent in parents().items() if parent == self.pid]

    def helm(self) -> int:
        """The Helm that it runs; waited for."""
        until(self.helms, "kubernaut has started Helm")
        return self.helms()[0]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)

    def hang_up(self) -> None:
        """Close the reading ends of its stdout and stderr."""
        for stream in (self.stdout, self.stderr):
            assert not isinstance(stream, Path), "started without pipes"
            stream.close()

    def wait(self, seconds: float = DEADLINE) -> Ended:
        """Wait for its end."""
        status = self.process.wait(seconds)
        return Ended(status, *(_text(stream) for stream in (self.stdout, self.stderr)))


def parents() -> dict[int, int]:
    """Return each living process's parent; zombies do not live."""
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(path.parent.name)] = int(parent)
    return found


def marked(text: str) -> list[int]:
    """Return the living processes in whose environment a text is."""
    found = []
    for pid in parents():
        with suppress(OSError):
            if text.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


def send_signal(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _state(pid: int) -> str:
    """Return a process's state letter; ``Z`` also for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def _text(stream: Path | IO[bytes]) -> str:
    if isinstance(stream, Path):
        return stream.read_text(errors="replace")
    return "" if stream.closed else stream.read().decode(errors="replace")
