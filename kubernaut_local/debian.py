"""The platform's programs that come from Debian: fetched and unpacked into the cache, never installed.

No package of the host is installed, removed or changed, and no maintainer script runs, so no service starts. Which packages are
needed is asked of apt with an empty dpkg status: the answer does not depend on what the host happens to have installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kubernaut.errors import PlatformFailed, ToolMissing
from kubernaut_local.cached import cached
from kubernaut_local.commands import Commands
from kubernaut_local.layout import Cache

WANTED = (
    *("etcd-server", "containerd", "runc", "containernetworking-plugins", "conntrack", "ethtool", "socat", "iptables"),
    *("docker.io", "docker-registry", "slirp4netns", "busybox-static"),
)
# What a container image needs of Debian to run a program that is linked to the C and C++ libraries.
IMAGE_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6")
# The C library must be the host's own, since the host's loader loads it; docker-init is in tini.
_NOT_RUN = ("libc6", "libgcc-s1")
_EXTRA = ("tini",)
_FETCH_SECONDS = 900.0
_LAYOUT = "1"

_SIMULATE = (
    "apt-get",
    "install",
    "--simulate",
    "--no-install-recommends",
    "-o",
    "Dir::State::status=/dev/null",
    "-o",
    "Debug::NoLocking=true",
)


@dataclass(frozen=True)
class Packages:
    """The unpacked packages."""

    folder: Path

    @property
    def root(self) -> Path:
        """The programs, as a file system's root."""
        return self.folder / "root"

    @property
    def image_root(self) -> Path:
        """The libraries for container images, as a file system's root."""
        return self.folder / "image"

    @property
    def busybox(self) -> Path:
        """The static busybox."""
        return self.root / "bin" / "busybox"

    @property
    def cni(self) -> Path:
        """The CNI plugins."""
        return self.root / "usr" / "lib" / "cni"

    def versions(self) -> dict[str, str]:
        """Return the version of each package by its name."""
        versions: dict[str, str] = json.loads((self.folder / "packages.json").read_text(encoding="utf-8"))
        return versions

    def environment(self) -> dict[str, str]:
        """Return the variables with which these programs find each other and their libraries, and nothing else."""
        programs = [self.folder / "links", *(self.root / folder for folder in ("usr/sbin", "usr/bin", "sbin", "bin"))]
        libraries = [folder for top in ("usr/lib", "lib") for folder in sorted((self.root / top).glob("*-linux-gnu*"))]
        xtables = next(iter(sorted(self.root.glob("usr/lib/*/xtables"))), None)
        if xtables is None:
            raise PlatformFailed(
                f"The unpacked packages in {self.folder} are not whole.", hint=f"Remove {self.folder} and run the command again."
            )
        return {
            "PATH": ":".join([*map(str, programs), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "XTABLES_LIBDIR": str(xtables),
        }


def cache_key(os_release: Mapping[str, str], machine: str) -> str:
    """Return the cache key: the distribution, the machine and the packages wanted."""
    parts = (_LAYOUT, os_release.get("ID", ""), os_release.get("VERSION_ID", ""), machine, *WANTED, *IMAGE_LIBRARIES)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def select(simulation: list[str], sections: Mapping[str, str]) -> dict[str, str]:
    """Choose the packages to unpack.

    Args:
        simulation: What apt would do on a machine with nothing: lines `Inst NAME (VERSION …)`, among others.
        sections: The archive section of each package.

    Returns:
        The version of each package by name: those wanted and the libraries they need. What else they depend on (perl, dpkg,
        adduser, the init system's helpers) serves their installation, which does not happen.
    """
    chosen = {}
    for line in simulation:
        fields = line.split()
        if len(fields) < 3 or fields[0] != "Inst":
            continue
        name, version = fields[1], fields[2].strip("(")
        library = sections.get(name, "") == "libs" and "perl" not in name
        if library or name in WANTED or name in _EXTRA or name in IMAGE_LIBRARIES:
            chosen[name] = version
    return chosen


def find(cache: Cache) -> Packages | None:
    """Return the unpacked packages if they are there."""
    folder = _entry(cache)
    return Packages(folder) if folder.is_dir() else None


def _entry(cache: Cache) -> Path:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        # Not Linux, or one that says nothing of itself: nothing is cached for it, and `up` says what it lacks.
        release = {}
    return cache.entry("debian", cache_key(release, platform.machine()))


def packages(cache: Cache, commands: Commands, say: Callable[[str], None]) -> tuple[Packages, bool]:
    """Return the unpacked packages, and whether they had to be fetched."""
    folder, made = cached(cache, "debian", _entry(cache).name, lambda new: _make(new, commands, say), say)
    return Packages(folder), made


def _make(folder: Path, commands: Commands, say: Callable[[str], None]) -> None:
    if shutil.which("apt-get") is None:
        raise ToolMissing(
            "apt-get is not installed; the local platform takes etcd, containerd, Docker and its registry from Debian packages.",
            hint="Use a Debian machine (12 or newer), or a cluster of your own: CLUSTER=current.",
        )
    try:
        chosen = _choose(commands)
        _fetch(chosen, folder, commands, say)
    except PlatformFailed:
        # No package lists yet, as on a fresh machine, or lists so old that the archive has moved on.
        say("apt-get update")
        for stale in folder.glob("*.deb"):
            stale.unlink()
        commands.run(["apt-get", "update", "-q"], what="Updating apt's package lists", timeout=_FETCH_SECONDS, env=_apt_env())
        chosen = _choose(commands)
        _fetch(chosen, folder, commands, say)
    say(f"unpacking {len(chosen)} packages")
    for package in sorted(folder.glob("*.deb")):
        name = package.name.partition("_")[0]
        for root, wanted in (("root", name not in _NOT_RUN), ("image", name in IMAGE_LIBRARIES)):
            if wanted:
                (folder / root).mkdir(exist_ok=True)
                commands.run(["dpkg-deb", "--extract", package, folder / root], what=f"Unpacking {package.name}", timeout=120)
        package.unlink()
    _link(folder, commands)
    (folder / "packages.json").write_text(json.dumps(chosen, indent=2), encoding="utf-8")


def _apt_env() -> dict[str, str]:
    return {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def _choose(commands: Commands) -> dict[str, str]:
    argv = [*_SIMULATE, *WANTED, *IMAGE_LIBRARIES]
    simulation = commands.run(argv, what="Asking apt for the packages", timeout=120, env=_apt_env())
    names = [line.split()[1] for line in simulation if line.startswith("Inst ")]
    shown = commands.run(
        ["apt-cache", "show", "--no-all-versions", *names], what="Asking apt for the packages", timeout=120, env=_apt_env()
    )
    sections: dict[str, str] = {}
    name = ""
    for line in shown:
        field, _, value = line.partition(": ")
        if field == "Package":
            name = value
        elif field == "Section":
            sections[name] = value.rpartition("/")[2]
    chosen = select(simulation, sections)
    missing = [name for name in (*WANTED, *IMAGE_LIBRARIES) if name not in chosen]
    if missing:
        raise PlatformFailed(
            f"apt offers no {', '.join(missing)}.", hint="The local platform needs Debian 12 or newer, with its `main` archive."
        )
    return chosen


def _fetch(chosen: Mapping[str, str], folder: Path, commands: Commands, say: Callable[[str], None]) -> None:
    say(f"fetching {len(chosen)} packages")
    # The folder is root's alone, so apt's own unprivileged user could not write there.
    argv = [
        "apt-get",
        "download",
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        *(f"{name}={version}" for name, version in sorted(chosen.items())),
    ]
    commands.run(argv, what="Fetching the Debian packages", timeout=_FETCH_SECONDS, env=_apt_env(), cwd=folder)


def _link(folder: Path, commands: Commands) -> None:
    """Make the links that Debian's alternatives would: iptables is one of two programs, whichever this kernel can serve."""
    links = folder / "links"
    links.mkdir()
    found = Packages(folder)
    program = next(name for name in ("xtables-nft-multi", "xtables-legacy-multi") if _works(name, found, commands))
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"):
        (links / name).symlink_to(os.path.relpath(found.root / "usr" / "sbin" / program, links))


def _works(program: str, found: Packages, commands: Commands) -> bool:
    """Try an iptables in a network namespace of its own, which takes the rules with it."""
    path = found.root / "usr" / "sbin" / program
    if program == "xtables-legacy-multi":
        return True
    argv: list[str | Path] = [
        "unshare",
        "--net",
        path,
        "iptables",
        "-t",
        "nat",
        "-A",
        "OUTPUT",
        "-m",
        "comment",
        "--comment",
        "x",
        "-j",
        "RETURN",
    ]
    try:
        commands.run(argv, what="Trying iptables", timeout=20, env=found.environment())
    except PlatformFailed:
        return False
    return True
