"""What the CI server is made of, in the cache: Hudson's war, patched, and the program that runs it; both fetched with Maven."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubernaut.errors import PlatformFailed, ToolMissing
from kubernaut_local.cached import cached
from kubernaut_local.commands import Commands
from kubernaut_local.layout import Cache
from support.hudson.patch import patch

HUDSON_VERSION = "3.3.2"
_HERE = Path(__file__).parent
_FETCH_SECONDS = 600.0
_COMPILE_SECONDS = 120.0
_SHIPPED, _WAR, _RUNNER = "shipped.war", "hudson.war", "webapp-runner.jar"
# Of the files as Maven's central repository has had them since 2016 and 2021.
SHA256 = {
    _SHIPPED: "29db3f39025edbd547f445a9d46b9a9eff9ddf1411cde2adc8b52b3503f9536c",
    _RUNNER: "7a0447d25375176475e4b76db52d17d8a07da0a70a2fea08afd128bc232a9bae",
}


@dataclass(frozen=True)
class Parts:
    """The files to run.

    Attributes:
        java: The program.
        war: Hudson, patched.
        runner: The servlet container that runs a war.
    """

    java: Path
    war: Path
    runner: Path


def tools(*names: str) -> list[Path]:
    """Return programs of the JDK and Maven's. Raises: ToolMissing: One is not on PATH."""
    found = {name: shutil.which(name) for name in names}
    missing = [name for name, program in found.items() if program is None]
    if missing:
        raise ToolMissing(
            f"{' and '.join(f'`{name}`' for name in missing)} {'is' if len(missing) == 1 else 'are'} not installed.",
            hint="The CI server needs a JDK, 11 or newer, and Maven on PATH: apt-get install default-jdk-headless maven.",
        )
    return [Path(program) for program in found.values() if program is not None]


def get(cache: Cache, commands: Commands, say: Callable[[str], None]) -> tuple[Parts, bool]:
    """Return the parts, and whether they had to be made.

    Raises:
        ToolMissing: Java or Maven is not there; Maven is only needed the first time.
        PlatformFailed: What was fetched is not what it should be, or could not be fetched.
    """
    (java,) = tools("java")
    folder, made = cached(cache, "hudson", key(), lambda new: _make(new, commands, say), say)
    return Parts(java, folder / _WAR, folder / _RUNNER), made


def key() -> str:
    """Return the cache key: what is fetched and how it is changed."""
    digest = hashlib.sha256(repr(sorted(SHA256.items())).encode())
    for file in ("pom.xml", "UnixReflection.java", "patch.py"):
        digest.update(f"\0{file}\0".encode() + (_HERE / file).read_bytes())
    return digest.hexdigest()[:16]


def check(folder: Path, expected: Mapping[str, str]) -> None:
    """Hold files to their SHA-256. Raises: PlatformFailed: One is another."""
    for name, wanted in expected.items():
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            hint = "Look at the mirror that Maven is set to, and at ~/.m2/repository."
            raise PlatformFailed(f"What Maven fetched as {name} has the SHA-256 {found}, not {wanted}.", hint=hint)


def _make(folder: Path, commands: Commands, say: Callable[[str], None]) -> None:
    maven, javac = tools("mvn", "javac")
    say(f"fetching Hudson {HUDSON_VERSION} with Maven")
    # A copy: Maven would keep its notes beside the package's own file.
    pom = Path(shutil.copy(_HERE / "pom.xml", folder))
    goal: list[str | Path] = ["--batch-mode", "--quiet", "--file", pom, f"-Dinto={folder}", "generate-resources"]
    commands.run([maven, *goal], what="Fetching Hudson", timeout=_FETCH_SECONDS, cwd=folder)
    check(folder, SHA256)
    classes = folder / "classes"
    compiler: list[str | Path] = [javac, "--release", "9", "-d", classes, _HERE / "UnixReflection.java"]
    commands.run(compiler, what="Compiling Hudson's patch", timeout=_COMPILE_SECONDS)
    patch(folder / _SHIPPED, classes / "hudson" / "util" / "ProcessTree$UnixReflection.class", folder / _WAR)
    shutil.rmtree(classes)
    (folder / _SHIPPED).unlink()
