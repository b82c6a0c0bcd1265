"""The cache that all platforms share: programs, packages and images, each in a folder named by a digest of its inputs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubernaut_local.layout import cache_home
from kubernaut_local.locks import locked

# Longer than the slowest build, since the lock's holder may be building the same entry.
_LOCK_SECONDS = 4000.0


@dataclass(frozen=True)
class Cache:
    """The cache folder.

    Attributes:
        home: The XDG cache folder; the entries lie in its subfolder `kubernaut`.
    """

    home: Path

    @classmethod
    def default(cls) -> Cache:
        """Return the cache in XDG_CACHE_HOME."""
        return cls(cache_home())

    @property
    def root(self) -> Path:
        """The subfolder that holds the entries."""
        return self.home / "kubernaut"

    def entry(self, kind: str, key: str) -> Path:
        """Return the path of an entry, which may not exist yet."""
        return self.root / kind / key

    def get_or_create(self, kind: str, key: str, create: Callable[[Path], None], log: Callable[[str], None]) -> tuple[Path, bool]:
        """Return the folder of an entry, creating it if it does not exist.

        An entry is built in a temporary folder and then renamed, so a failed or killed build leaves no entry.

        Args:
            kind: The kind of entry, such as `images`; entries of one kind are created one after another.
            key: A digest of the entry's inputs.
            create: Fills an empty folder.
            log: Receives a line when another process is creating an entry of this kind.

        Returns:
            The folder, and whether it was created now.

        Raises:
            DeadlineExceeded: Another process held the lock for over an hour.
        """
        entry = self.entry(kind, key)
        if entry.is_dir():
            return entry, False
        with locked(
            self.root / f"{kind}.lock",
            timeout=_LOCK_SECONDS,
            on_wait=lambda pid: log(f"process {pid or 'unknown'} is creating the same; waiting for it"),
        ):
            if entry.is_dir():
                return entry, False
            entry.parent.mkdir(parents=True, exist_ok=True)
            for stale in entry.parent.glob(".new-*"):
                shutil.rmtree(stale)
            temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=entry.parent))
            try:
                temporary.chmod(0o755)
                create(temporary)
                temporary.rename(entry)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        return entry, True
