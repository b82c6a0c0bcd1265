"""Programs built from Go modules: the Go toolchain's check, the build with its progress, and the cache of what was built.

Which module is built, and that a build is needed at all, is for the callers; this room knows nothing of Kubernetes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubernaut.errors import ToolMissing
from kubernaut_local.commands import Commands

GO_VERSION = (1, 26)
_GO_FOLDER = "/usr/local/go/bin"
BUILD_SECONDS = 3600.0
_SAY_SECONDS = 5.0
# Nothing is known of the pace before some packages are built; and the link at the end takes its time too.
_ESTIMATE_FROM = 40
LINK_SECONDS = 15.0


@dataclass(frozen=True)
class GoBuild:
    """A Go module of the package's data, and how it is built."""

    folder: Path
    package: str
    ldflags: str

    def key(self) -> str:
        """Return the cache key: what is built, from what, how and by which rules."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.iterdir()):
            if file.name in ("go.mod", "go.sum") or file.suffix == ".go":
                digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
        digest.update(f"{self.package}\0{self.ldflags}".encode())
        return digest.hexdigest()[:16]


class BuildProgress:
    """Turns the Go tool's output into a line now and then; pure but for the clock it is given."""

    def __init__(self, total: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._say = say
        self._clock = clock
        self._started = self._said = clock()
        self._compiled = self._downloaded = 0

    def line(self, text: str) -> None:
        """Take a line: `go: downloading MODULE VERSION`, or the name of a package that is being compiled."""
        if text.startswith("go: downloading "):
            self._downloaded += 1
        elif text and not text.startswith(("go: ", "#", " ", "\t")):
            self._compiled += 1
        now = self._clock()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            self._say(self.message(now))

    def message(self, now: float) -> str:
        """Say where the work is and what is left of it."""
        if not self._total:
            return f"downloading Go modules, {self._downloaded} so far"
        done = min(self._compiled, self._total)
        left = estimate(done, self._total, now - self._started)
        return f"compiling {done:,} of {self._total:,} packages ({done * 100 // self._total} %){left}"


def estimate(done: int, total: int, seconds: float) -> str:
    """Say how long the rest takes if it goes on at the pace so far, in words as rough as the guess is."""
    if done < _ESTIMATE_FROM:
        return ""
    left = seconds * (total - done) / done + LINK_SECONDS
    if left < 50:
        return f", about {max(10, round(left / 10) * 10)} s left"
    return f", about {max(1, round(left / 60))} min left"


def find_go() -> Path:
    """Return the `go` program: the one on PATH, else where Go's own installer puts it."""
    program = shutil.which("go") or shutil.which("go", path=_GO_FOLDER)
    if program is None:
        raise ToolMissing(
            "Go is not installed; the local platform builds Kubernetes with it.",
            hint=f"Install Go {version_text(GO_VERSION)} or newer and have `go` on PATH or in {_GO_FOLDER}.",
        )
    return Path(program)


def version_text(version: tuple[int, int]) -> str:
    """Return a version as it is written."""
    return f"{version[0]}.{version[1]}"


def check_version(answer: str) -> None:
    """Refuse a Go that is too old, given what `go env GOVERSION` says (`go1.26.8`, `devel go1.27-…`)."""
    found = re.search(r"go(\d+)\.(\d+)", answer)
    if found is None or (int(found[1]), int(found[2])) < GO_VERSION:
        wanted = version_text(GO_VERSION)
        raise ToolMissing(
            f"Go {wanted} or newer is needed; this one is {answer or 'of unknown version'}.", hint=f"Install Go {wanted} or newer."
        )


def build(what: GoBuild, into: Path, commands: Commands, say: Callable[[str], None]) -> None:
    """Build a Go program.

    Args:
        what: What to build.
        into: The file to write.
        commands: Runs the Go tool.
        say: Is told of the progress.

    Raises:
        ToolMissing: There is no Go, or it is too old.
        PlatformFailed: The build failed.
    """
    go = find_go()
    # The toolchain that is there is used as it is; the module's versions are exactly those of go.sum; a go.work around the
    # checkout, and what the user builds for other machines, are none of our business.
    env = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off", "GOOS": "linux"}
    env["GO111MODULE"] = "on"
    # Without it, as in a service or a CI job, Go finds no place for its cache.
    env["HOME"] = str(Path.home())
    env["PATH"] = f"{go.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    flags = ["-trimpath", "-ldflags", what.ldflags]
    version = commands.run([go, "env", "GOVERSION"], what="Asking Go for its version", timeout=60, env=env)
    check_version(version[0] if version else "")
    env["GOARCH"] = commands.run([go, "env", "GOHOSTARCH"], what="Asking Go for this machine", timeout=60, env=env)[0]
    downloads = BuildProgress(0, say)
    stale = commands.run(
        [go, "list", "-deps", *flags, "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", what.package],
        what="Downloading the Go modules",
        timeout=BUILD_SECONDS,
        line=downloads.line,
        env=env,
        cwd=what.folder,
    )
    total = sum(1 for name in stale if name)
    say(f"{total:,} packages to compile" if total > 1 else "linking")
    progress = BuildProgress(max(total, 1), say)
    commands.run(
        [go, "build", "-v", *flags, "-o", into, what.package],
        what=f"Building {into.name}",
        timeout=BUILD_SECONDS,
        line=progress.line,
        env=env,
        cwd=what.folder,
    )
