"""The bytes of a version: the build context, the chart, kubernaut.yaml and the environments' values.

The **source digest** identifies a version. It is the SHA-256 of a listing with one record per file, sorted by bytes::

    SECTION SP KIND SP CONTENT SP LENGTH ":" PATH LF

- ``SECTION``: ``application`` (kubernaut.yaml), ``chart``, ``context`` (after ``.dockerignore``) or ``environment``;
- ``KIND``: ``644``, ``755`` (a file without or with the owner's execute bit) or ``link``;
- ``CONTENT``: the SHA-256 in hex of the file's bytes, or of the link's text;
- ``PATH``: relative to the section's folder (an environment's name), with its ``LENGTH`` in bytes before it.

One more record before them, ``build 644 CONTENT 0:``, holds the build arguments and the target. Times, owners, other mode bits and
empty folders do not count: a clone of the same commit gives the same digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from kubernaut.adapters.docker import context_paths
from kubernaut.errors import ChartInvalid, SourceUnreadable
from kubernaut.publish.application import Application

_SPOOL = 32 << 20
# The time of files that do not come from a commit: old, but valid in a zip file.
NO_TIME = datetime(1980, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """A file or link that is part of a version."""

    section: str
    name: str
    path: Path
    kind: str
    content: str

    def record(self) -> bytes:
        """Return the entry's line of the listing."""
        name = os.fsencode(self.name)
        return b"%s %s %s %d:%s\n" % (self.section.encode(), self.kind.encode(), self.content.encode(), len(name), name)


@dataclass(frozen=True)
class Source:
    """The bytes of a version.

    Attributes:
        application: The application.
        digest: The source digest, ``sha256:…``.
        entries: All files and links, in the order of the digest.
    """

    application: Application
    digest: str
    entries: tuple[Entry, ...]

    @property
    def paths(self) -> frozenset[Path]:
        """The absolute paths of all files and links."""
        return frozenset(entry.path for entry in self.entries)

    @property
    def roots(self) -> tuple[Path, ...]:
        """The paths that git is asked about: context, chart, kubernaut.yaml, environments."""
        application = self.application
        return (application.context_path, application.chart_path, application.file, *application.environment_paths.values())

    def section(self, section: str) -> tuple[Entry, ...]:
        """Return the entries of a section."""
        return tuple(entry for entry in self.entries if entry.section == section)


def read_source(application: Application) -> Source:
    """Read the source of a version and compute its digest.

    Raises:
        SourceUnreadable: A file cannot be read.
        ChartInvalid: The chart holds a link that leads out of it, or something other than files and folders.
    """
    context, chart = application.context_path, application.chart_path
    entries = [_entry("application", application.file.name, application.file)]
    entries += [_entry("environment", name, path) for name, path in application.environment_paths.items()]
    entries += [_entry("chart", name, chart / name) for name in _chart_files(chart)]
    for name in context_paths(context, application.image.dockerfile):
        path = context / name
        if path.is_symlink() or path.is_file():
            entries.append(_entry("context", name, path))
    arguments = json.dumps([application.image.target, application.image.args], sort_keys=True).encode()
    entries.sort(key=Entry.record)
    listing = hashlib.sha256(b"build 644 %s 0:\n" % hashlib.sha256(arguments).hexdigest().encode())
    for entry in entries:
        listing.update(entry.record())
    return Source(application, f"sha256:{listing.hexdigest()}", tuple(entries))


@contextmanager
def context_tar(source: Source, time: datetime | None = None, extra: Mapping[str, bytes] | None = None) -> Iterator[IO[bytes]]:
    """Write the build context: exactly the files of the digest, the same tar for the same source and commit.

    Args:
        source: The source.
        time: The time of every file, normally the commit's.
        extra: Additional files; one with the name of a source file replaces it.

    Yields:
        The open tar at position 0; it is deleted when the block ends.

    Raises:
        SourceUnreadable: A file has changed since the digest was computed.
    """
    seconds = int((time or NO_TIME).timestamp())
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL, prefix="kubernaut-context-") as file:
        with tarfile.open(mode="w", fileobj=file, format=tarfile.PAX_FORMAT) as tar:
            folders: set[str] = set()
            for entry in sorted(source.section("context"), key=lambda entry: os.fsencode(entry.name)):
                for folder in _new_folders(entry.name, folders):
                    tar.addfile(_info(folder, tarfile.DIRTYPE, 0o755, seconds))
                if entry.name not in (extra or {}):
                    _add(tar, entry, seconds)
            for name, data in sorted((extra or {}).items()):
                _add_file(tar, name, data, 0o644, seconds)
        file.seek(0)
        yield file


def read_entry(entry: Entry) -> bytes:
    """Return the bytes of an entry, for a link those of its target.

    Raises:
        SourceUnreadable: The file has changed since the digest was computed.
    """
    try:
        data = entry.path.read_bytes()
    except OSError as error:
        raise SourceUnreadable(f"{entry.path} can no longer be read: {error.strerror}.") from error
    if entry.kind != "link" and hashlib.sha256(data).hexdigest() != entry.content:
        raise SourceUnreadable(f"{entry.path} changed while it was being read.")
    return data


def _new_folders(name: str, seen: set[str]) -> Iterator[str]:
    parts = name.split("/")[:-1]
    for length in range(1, len(parts) + 1):
        folder = "/".join(parts[:length])
        if folder not in seen:
            seen.add(folder)
            yield folder


def _add(tar: tarfile.TarFile, entry: Entry, seconds: int) -> None:
    if entry.kind != "link":
        _add_file(tar, entry.name, read_entry(entry), int(entry.kind, 8), seconds)
        return
    info = _info(entry.name, tarfile.SYMTYPE, 0o777, seconds)
    info.linkname = str(entry.path.readlink())
    tar.addfile(info)


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int, seconds: int) -> None:
    info = _info(name, tarfile.REGTYPE, mode, seconds)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _info(name: str, kind: bytes, mode: int, seconds: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, seconds
    return info


def _entry(section: str, name: str, path: Path) -> Entry:
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            return Entry(section, name, path, "link", hashlib.sha256(os.fsencode(path.readlink())).hexdigest())
        with path.open("rb", buffering=0) as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return Entry(section, name, path, "755" if mode & stat.S_IXUSR else "644", content)
    except OSError as error:
        raise SourceUnreadable(f"{path} cannot be read: {error.strerror}.") from error


def _chart_files(chart: Path) -> list[str]:
    names = []
    for folder, folders, files in os.walk(chart):
        for name in files + [name for name in folders if (Path(folder) / name).is_symlink()]:
            path = Path(folder) / name
            shown = path.relative_to(chart).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(chart):
                raise ChartInvalid(f"{path} is a link that leads out of the chart.", hint="Put a copy of the file into the chart.")
            if not path.is_file():
                raise ChartInvalid(f"{path} is not a regular file or a folder.", hint="Replace it with a regular file.")
            names.append(shown)
    return names
