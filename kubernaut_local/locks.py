"""Locks between processes, and the pid of their holder.

A lock is an flock on a file. The kernel releases it when its holder ends for any reason, so a lock is never stale.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kubernaut.errors import DeadlineExceeded

_POLL_SECONDS = 0.1
_OPEN_TRIES = 20


@contextmanager
def locked(path: Path, *, timeout: float, on_wait: Callable[[int | None], None] = lambda _pid: None) -> Iterator[None]:
    """Hold a lock during the block.

    Args:
        path: The lock file; it and its folder are created, and the file is kept.
        timeout: Seconds to wait while another process holds the lock.
        on_wait: Called once if another process holds the lock, with its pid if that can be found.

    Raises:
        DeadlineExceeded: Another process still holds the lock after the timeout.
    """
    deadline = time.monotonic() + timeout
    handle = _open(path)
    try:
        _acquire(handle, path, deadline, on_wait)
        while not _is_at(handle, path):
            # The last holder removed the file meanwhile.
            os.close(handle)
            handle = _open(path)
            _acquire(handle, path, deadline, on_wait)
        yield
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    for _ in range(_OPEN_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            # Another process has just removed the folder.
            continue
    return os.open(path, flags, 0o600)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _acquire(handle: int, path: Path, deadline: float, on_wait: Callable[[int | None], None]) -> None:
    reported = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not reported:
                reported = True
                on_wait(holder(path))
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"Another process (pid {holder(path) or 'unknown'}) still holds {path}.") from None
        time.sleep(_POLL_SECONDS)


def holder(path: Path) -> int | None:
    """Return the pid of the process that holds a lock, or None if it is free; the lock is not touched."""
    try:
        file = path.stat()
    except FileNotFoundError:
        return None
    for pid in flock_pids(Path("/proc/locks").read_text(encoding="ascii"), file.st_ino):
        if _has_open(pid, file):
            return pid
    return None


def flock_pids(locks: str, inode: int) -> list[int]:
    """Return the pids that hold an flock on a file with an inode number, on any device.

    The device is ignored: /proc/locks shows that of the superblock, which on btrfs and overlayfs differs from that of stat(2).

    Args:
        locks: The text of /proc/locks, such as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:263401 0 EOF`; `->` marks a waiting process.
        inode: The file's inode number.
    """
    pids = []
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            pids.append(int(fields[4]))
    return pids


def _has_open(pid: int, file: os.stat_result) -> bool:
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return any(_is_same(handle, file) for handle in handles)


def _is_same(handle: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(handle.stat(), file)
    except OSError:
        # Closed meanwhile, or a link that does not lead to a path.
        return False
