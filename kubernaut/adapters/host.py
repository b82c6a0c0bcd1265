"""Which process on which machine this is, and whether such a process has surely ended. It reads ``/proc`` and changes nothing.

An identity is ``BOOT ID/PID NAMESPACE/TIME NAMESPACE/HOST NAME/PID/START TIME``. A pid means something only within its machine,
since its last boot, in its PID namespace; and the kernel gives it away again, but not with the same start time. Where there is no
``/proc`` of ours (macOS, a sandbox) it is ``HOST NAME/PID``, of which nothing can be said.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_IDENTITY = re.compile(r"(?P<place>[^/]+/[^/]+/[^/]+/[^/]*)/(?P<pid>[1-9][0-9]{0,9})/(?P<start>[0-9]{1,20})")


class _Process(NamedTuple):
    """What ``/proc/PID/stat`` says."""

    state: str
    threads: int
    start: int


def process_identity() -> str:
    """Return the identity of this process."""
    place, process = _place(), _process("self")
    if place is None or process is None:
        return f"{platform.node()}/{os.getpid()}"
    return f"{place}/{os.getpid()}/{process.start}"


def is_gone(identity: str) -> bool:
    """Say whether it is certain that the process with this identity has ended; of what is no identity nothing is.

    Of a process on another machine, before another boot, or in another namespace nothing is known.
    """
    match = _IDENTITY.fullmatch(identity)
    if match is None or match["place"] != _place():
        return False
    pid = int(match["pid"])
    try:
        os.kill(pid, 0)  # it is asked first, since /proc may hide what is another user's
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    process = _process(str(pid))
    if process is None:
        return False
    # A zombie with further threads is one whose first thread alone has ended.
    return process.start != int(match["start"]) or (process.state in "ZX" and process.threads <= 1)


def _place() -> str | None:
    """Return where this process's pid and its start time mean something; ``None`` when that is not known."""
    try:
        if (_PROC / "self").readlink().name != str(os.getpid()):
            return None  # another PID namespace's /proc is mounted here
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        pids = (_PROC / "self/ns/pid").stat().st_ino
        time = _PROC / "self/ns/time"
        times = time.stat().st_ino if time.exists() else 0
    except (OSError, ValueError):
        return None
    return f"{boot}/{pids}/{times}/{platform.node()}" if boot else None


def _process(name: str) -> _Process | None:
    """Return what ``/proc`` says of a process, if it says anything."""
    try:
        fields = (_PROC / name / "stat").read_bytes().rpartition(b")")[2].split()
        return _Process(fields[0].decode("ascii"), int(fields[17]), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
