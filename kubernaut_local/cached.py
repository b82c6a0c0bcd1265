"""Things that are made once and kept in the cache: made aside, then renamed into place, by one process at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from kubernaut_local.layout import Cache
from kubernaut_local.locks import locked

# Longer than the slowest build: whoever waits here waits for another process that makes the same thing.
_WAIT_SECONDS = 4000.0


def cached(cache: Cache, kind: str, key: str, make: Callable[[Path], None], say: Callable[[str], None]) -> tuple[Path, bool]:
    """Return a folder of the cache, made now if it is not there.

    Args:
        cache: The cache.
        kind: What sort of thing it is; things of one kind are made one after another.
        key: A digest of what it is made from.
        make: Fills an empty folder. If it fails, or is killed, nothing of it is ever used.
        say: Is told when another process makes it already.

    Returns:
        The folder, and whether it had to be made.
    """
    entry = cache.entry(kind, key)
    if entry.is_dir():
        return entry, False
    with locked(
        cache.lock(kind),
        timeout=_WAIT_SECONDS,
        waiting=lambda pid: say(f"process {pid or 'unknown'} makes the same; waiting for it"),
    ):
        if entry.is_dir():
            return entry, False
        entry.parent.mkdir(parents=True, exist_ok=True)
        for stale in entry.parent.glob(".new-*"):
            shutil.rmtree(stale)
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=entry.parent))
        try:
            fresh.chmod(0o755)
            make(fresh)
            fresh.rename(entry)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return entry, True
