"""Building programs from Go modules: the check of the Go toolchain, the cache key, and the build with its progress."""

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
from kubernaut_local.commands import CommandRunner

GO_VERSION = (1, 26)
_GO_FOLDER = "/usr/local/go/bin"
BUILD_SECONDS = 3600.0
_LOG_SECONDS = 5.0
# The first packages say little about the pace of the others.
_ESTIMATE_FROM = 40
LINK_SECONDS = 15.0


@dataclass(frozen=True)
class GoBuild:
    """A program to build.

    Attributes:
        folder: The folder of the Go module.
        package: The Go package of the program, or `tool` for the module's tools.
        ldflags: The linker's flags.
    """

    folder: Path
    package: str
    ldflags: str

    def key(self) -> str:
        """Return the cache key: a digest of the module's files, the package and the flags."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.iterdir()):
            if file.name in ("go.mod", "go.sum") or file.suffix == ".go":
                digest.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
        digest.update(f"{self.package}\0{self.ldflags}".encode())
        return digest.hexdigest()[:16]


class BuildProgress:
    """Logs the progress of a build every few seconds, from the output of the Go tool.

    Args:
        total: The number of packages to compile; 0 while modules are downloaded.
        log: Receives the progress.
        clock: Returns the time in seconds.
    """

    def __init__(self, total: int, log: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._log = log
        self._clock = clock
        self._started = self._logged = clock()
        self._compiled = self._downloaded = 0

    def line(self, text: str) -> None:
        """Process a line: `go: downloading MODULE VERSION`, or the name of a package that is being compiled."""
        if text.startswith("go: downloading "):
            self._downloaded += 1
        elif text and not text.startswith(("go: ", "#", " ", "\t")):
            self._compiled += 1
        now = self._clock()
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            self._log(self.message(now))

    def message(self, now: float) -> str:
        """Return the progress as text."""
        if not self._total:
            return f"downloading Go modules, {self._downloaded} so far"
        done = min(self._compiled, self._total)
        left = estimate(done, self._total, now - self._started)
        return f"compiling {done:,} of {self._total:,} packages ({done * 100 // self._total} %){left}"


def estimate(done: int, total: int, seconds: float) -> str:
    """Return the remaining time at the pace so far, roughly, as text; empty if it cannot be estimated yet."""
    if done < _ESTIMATE_FROM:
        return ""
    left = seconds * (total - done) / done + LINK_SECONDS
    if left < 50:
        return f", about {max(10, round(left / 10) * 10)} s left"
    return f", about {max(1, round(left / 60))} min left"


def find_go() -> Path:
    """Return the path of `go`: the one on PATH, else the one in the folder of Go's installer. Raises: ToolMissing."""
    program = shutil.which("go") or shutil.which("go", path=_GO_FOLDER)
    if program is None:
        raise ToolMissing(
            "Go is not installed; the local platform builds Kubernetes with it.",
            hint=f"Install Go {version_text(GO_VERSION)} or newer, on PATH or in {_GO_FOLDER}.",
        )
    return Path(program)


def version_text(version: tuple[int, int]) -> str:
    """Return a version as text, such as `1.26`."""
    return f"{version[0]}.{version[1]}"


def check_version(answer: str) -> None:
    """Raise ToolMissing if Go is too old.

    Args:
        answer: The output of `go env GOVERSION`, such as `go1.26.8` or `devel go1.27-…`.
    """
    found = re.search(r"go(\d+)\.(\d+)", answer)
    if found is None or (int(found[1]), int(found[2])) < GO_VERSION:
        needed = version_text(GO_VERSION)
        raise ToolMissing(
            f"Go {needed} or newer is required, found {answer or 'an unknown version'}.", hint=f"Install Go {needed} or newer."
        )


def build(spec: GoBuild, output: Path, commands: CommandRunner, log: Callable[[str], None]) -> None:
    """Build a Go program for this machine.

    Args:
        spec: The program to build.
        output: The file to write.
        commands: Runs the Go tool.
        log: Receives the progress.

    Raises:
        ToolMissing: Go is not installed or too old.
        PlatformFailed: The build failed.
    """
    go = find_go()
    # The installed toolchain and exactly the versions of go.sum; a surrounding go.work and the user's GOOS, GOARCH and
    # GO111MODULE have no effect.
    env = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off", "GOOS": "linux"}
    env["GO111MODULE"] = "on"
    # In a service or a CI job HOME may be unset, and Go could not find its cache.
    env["HOME"] = str(Path.home())
    env["PATH"] = f"{go.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    flags = ["-trimpath", "-ldflags", spec.ldflags]
    version = commands.run([go, "env", "GOVERSION"], description="Getting the version of Go", timeout=60, env=env)
    check_version(version[0] if version else "")
    env["GOARCH"] = commands.run([go, "env", "GOHOSTARCH"], description="Getting the architecture from Go", timeout=60, env=env)[0]
    downloads = BuildProgress(0, log)
    stale = commands.run(
        [go, "list", "-deps", *flags, "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", spec.package],
        description="Downloading the Go modules",
        timeout=BUILD_SECONDS,
        on_line=downloads.line,
        env=env,
        cwd=spec.folder,
    )
    total = sum(1 for name in stale if name)
    log(f"{total:,} packages to compile" if total > 1 else "linking")
    progress = BuildProgress(max(total, 1), log)
    commands.run(
        [go, "build", "-v", *flags, "-o", output, spec.package],
        description=f"Building {output.name}",
        timeout=BUILD_SECONDS,
        on_line=progress.line,
        env=env,
        cwd=spec.folder,
    )
