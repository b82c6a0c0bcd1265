"""Installing the CI server in the cache: Hudson's war, patched, and the servlet container that runs it, both fetched with Maven."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubernaut.errors import PlatformFailed, ToolMissing
from kubernaut_local.cache import Cache
from kubernaut_local.commands import CommandRunner
from support.hudson.patch import patch

HUDSON_VERSION = "3.3.2"
_HERE = Path(__file__).parent
_FETCH_SECONDS = 600.0
_COMPILE_SECONDS = 120.0
_SHIPPED, _WAR, _RUNNER = "shipped.war", "hudson.war", "webapp-runner.jar"
# Of the files in Maven Central, published in 2016 and 2021.
SHA256 = {
    _SHIPPED: "29db3f39025edbd547f445a9d46b9a9eff9ddf1411cde2adc8b52b3503f9536c",
    _RUNNER: "7a0447d25375176475e4b76db52d17d8a07da0a70a2fea08afd128bc232a9bae",
}


@dataclass(frozen=True)
class Installation:
    """The installed files.

    Attributes:
        java: The path of `java`.
        war: Hudson's war, patched.
        runner: The servlet container that runs a war.
    """

    java: Path
    war: Path
    runner: Path


def find_tools(*names: str) -> list[Path]:
    """Return the paths of programs of the JDK and Maven. Raises: ToolMissing: One is not on PATH."""
    found = {name: shutil.which(name) for name in names}
    missing = [name for name, program in found.items() if program is None]
    if missing:
        raise ToolMissing(
            f"{' and '.join(f'`{name}`' for name in missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            hint="The CI server needs JDK 11 or newer and Maven: run `apt-get install default-jdk-headless maven`.",
        )
    return [Path(program) for program in found.values() if program is not None]


def install(cache: Cache, commands: CommandRunner, log: Callable[[str], None]) -> tuple[Installation, bool]:
    """Return the installation, and whether it was created now.

    Raises:
        ToolMissing: Java is not installed, or Maven, which is needed the first time only.
        PlatformFailed: A file cannot be fetched or has an unexpected hash.
    """
    (java,) = find_tools("java")
    folder, created = cache.get_or_create("hudson", key(), lambda new: _create(new, commands, log), log)
    return Installation(java, folder / _WAR, folder / _RUNNER), created


def key() -> str:
    """Return the cache key: a digest of the expected hashes and of the files that define the patch."""
    digest = hashlib.sha256(repr(sorted(SHA256.items())).encode())
    for file in ("pom.xml", "UnixReflection.java", "patch.py"):
        digest.update(f"\0{file}\0".encode() + (_HERE / file).read_bytes())
    return digest.hexdigest()[:16]


def check_hashes(folder: Path, expected: Mapping[str, str]) -> None:
    """Check the SHA-256 of files by their names. Raises: PlatformFailed: One differs."""
    for name, sha256 in expected.items():
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            hint = "Check Maven's mirror setting and the files in ~/.m2/repository."
            raise PlatformFailed(f"The file {name} that Maven fetched has SHA-256 {found}, expected {sha256}.", hint=hint)


def _create(folder: Path, commands: CommandRunner, log: Callable[[str], None]) -> None:
    maven, javac = find_tools("mvn", "javac")
    log(f"fetching Hudson {HUDSON_VERSION} with Maven")
    # A copy, since Maven may write files beside the pom.
    pom = Path(shutil.copy(_HERE / "pom.xml", folder))
    goal: list[str | Path] = ["--batch-mode", "--quiet", "--file", pom, f"-Dinto={folder}", "generate-resources"]
    commands.run([maven, *goal], description="Fetching Hudson", timeout=_FETCH_SECONDS, cwd=folder)
    check_hashes(folder, SHA256)
    classes = folder / "classes"
    compiler: list[str | Path] = [javac, "--release", "9", "-d", classes, _HERE / "UnixReflection.java"]
    commands.run(compiler, description="Compiling Hudson's patch", timeout=_COMPILE_SECONDS)
    patch(folder / _SHIPPED, classes / "hudson" / "util" / "ProcessTree$UnixReflection.class", folder / _WAR)
    shutil.rmtree(classes)
    (folder / _SHIPPED).unlink()
