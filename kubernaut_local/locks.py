"""Locks between processes, and who holds them.

A lock is an flock on a file: the kernel frees it when its holder ends, however that happens, so none is ever stale.
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
def locked(path: Path, *, timeout: float, waiting: Callable[[int | None], None]) -> Iterator[None]:
    """Hold a lock for the block.

    Args:
        path: The lock's file; it and its folder are created, and the file stays.
        timeout: How many seconds to wait for another holder.
        waiting: Is told once, with the holder's pid if that can be found, when there is one.

    Raises:
        DeadlineExceeded: Another process held it all that time.
    """
    deadline = time.monotonic() + timeout
    handle = _open(path)
    try:
        _acquire(handle, path, deadline, waiting)
        while not _is_at(handle, path):
            # The last holder removed the file while this one waited for it.
            os.close(handle)
            handle = _open(path)
            _acquire(handle, path, deadline, waiting)
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
            # Somebody who was done with the folder removed it just now.
            continue
    return os.open(path, flags, 0o600)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _acquire(handle: int, path: Path, deadline: float, waiting: Callable[[int | None], None]) -> None:
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                told = True
                waiting(holder(path))
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"Another process (pid {holder(path) or 'unknown'}) still holds {path}.") from None
        time.sleep(_POLL_SECONDS)


def holder(path: Path) -> int | None:
    """Return the pid of the process that holds a lock, without disturbing it; none if it is free."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return None
    for pid in candidates(Path("/proc/locks").read_text(encoding="ascii"), wanted.st_ino):
        if _has_open(pid, wanted):
            return pid
    return None


def candidates(locks: str, inode: int) -> list[int]:
    """Return the pids that /proc/locks names as holders of an flock on a file with this inode, on whichever device.

    A line is `1: FLOCK  ADVISORY  WRITE 4711 fe:00:263401 0 EOF`; one with `->` waits and holds nothing. The device is that of
    the superblock, which on btrfs and overlayfs is not what stat(2) says, so it is left to the caller to look closer.
    """
    pids = []
    for line in locks.splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            pids.append(int(fields[4]))
    return pids


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return any(_is_same(handle, wanted) for handle in handles)


def _is_same(handle: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(handle.stat(), wanted)
    except OSError:
        # Closed meanwhile, or a link to something that cannot be reached by its path.
        return False
