"""The real CI server that tests run jobs on, and the search for leaked secrets in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubernaut.errors import ToolMissing
from support.hudson import Hudson, HudsonHome

_LARGEST = 64 << 20


@contextmanager
def running(home: HudsonHome, environment: Mapping[str, str] | None = None) -> Iterator[Hudson]:
    """Run a CI server and end it with its builds; without Java skip, or fail with CI=true."""
    server = Hudson(home, environment)
    try:
        server.start()
    except ToolMissing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing} With CI=true every real part must be there.")
        pytest.skip(f"needs Java and Maven: {missing}")
    try:
        with server:
            yield server
    finally:
        shutil.rmtree(home.run, ignore_errors=True)  # the unpacked server is large


@pytest.fixture(scope="session")
def ci_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hudson]:
    """A running Hudson: security on, crumbs checked, no quiet period. All tests share it: each uses its own job names.

    A test restarts it between its own builds only, and leaves it running. At the end no password may be in its files.
    """
    home = HudsonHome(tmp_path_factory.mktemp("ci-server"), executors=4)
    with running(home) as server:
        yield server
    found = leaks(home, [home.admin.password(), home.reader.password()])
    assert not found, f"a password was found in {', '.join(found)}"


def leaks(home: HudsonHome, secrets: Iterable[str]) -> list[str]:
    """Return the files of a server in which one of the secrets is.

    Searched are its log with a line for every request, every config.xml, every build's console, parameters and archived files, the
    queue and the workspaces.
    """
    return files_with([home.log, home.root], secrets)


def files_with(places: Iterable[Path], secrets: Iterable[str]) -> list[str]:
    """Return the files, in folders or given by name, that have one of the secrets in them."""
    encoded = [secret.encode() for secret in secrets]
    assert all(encoded), "an empty secret is in every file"
    return [str(file) for place in places for file in files_of(place) if file.is_file() and _has(file, encoded)]


def files_of(place: Path) -> Iterator[Path]:
    """Walk a folder, or a single file, and skip files that vanish meanwhile: builds create folders and remove them."""
    if place.is_file():
        yield place
    for folder, _, names in os.walk(place):
        yield from (Path(folder, name) for name in sorted(names))


def _has(file: Path, encoded: Iterable[bytes]) -> bool:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST)
    except FileNotFoundError:  # a server that runs writes files aside and renames them
        return False
    return any(secret in content for secret in encoded)
