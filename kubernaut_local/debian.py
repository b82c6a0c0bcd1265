"""The Debian packages that the platform runs: downloaded and unpacked into the cache, never installed.

No package of the host is installed, removed or changed, and no maintainer script runs, so no service starts. apt resolves the
dependencies with an empty dpkg status, so the result does not depend on the packages that the host has installed.
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
from kubernaut_local.cache import Cache
from kubernaut_local.commands import CommandRunner

PACKAGES = (
    *("etcd-server", "containerd", "runc", "containernetworking-plugins", "conntrack", "ethtool", "socat", "iptables"),
    *("docker.io", "docker-registry", "slirp4netns", "busybox-static"),
)
# For the `node` image: the libraries that its programs are linked to.
IMAGE_LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6")
# Not unpacked for the host, whose dynamic loader needs the host's own C library.
_IMAGE_ONLY = ("libc6", "libgcc-s1")
# tini contains docker-init.
_EXTRA = ("tini",)
_FETCH_SECONDS = 900.0
# Part of the cache key: raise it when the unpacked folder changes.
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
    """The unpacked packages.

    Attributes:
        folder: Their folder in the cache.
    """

    folder: Path

    @property
    def root(self) -> Path:
        """The root folder of the programs."""
        return self.folder / "root"

    @property
    def image_root(self) -> Path:
        """The root folder of the libraries for container images."""
        return self.folder / "image"

    @property
    def busybox(self) -> Path:
        """The statically linked busybox."""
        return self.root / "bin" / "busybox"

    @property
    def cni(self) -> Path:
        """The folder of the CNI plugins."""
        return self.root / "usr" / "lib" / "cni"

    def versions(self) -> dict[str, str]:
        """Return the version of each package by its name."""
        versions: dict[str, str] = json.loads((self.folder / "packages.json").read_text(encoding="utf-8"))
        return versions

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which the programs find each other and their libraries."""
        programs = [self.folder / "links", *(self.root / folder for folder in ("usr/sbin", "usr/bin", "sbin", "bin"))]
        libraries = [folder for top in ("usr/lib", "lib") for folder in sorted((self.root / top).glob("*-linux-gnu*"))]
        xtables = next(iter(sorted(self.root.glob("usr/lib/*/xtables"))), None)
        if xtables is None:
            raise PlatformFailed(
                f"The unpacked packages in {self.folder} are incomplete.",
                hint=f"Run `rm -r {self.folder}` and then the command again.",
            )
        return {
            "PATH": ":".join([*map(str, programs), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            "XTABLES_LIBDIR": str(xtables),
        }


def cache_key(os_release: Mapping[str, str], machine: str) -> str:
    """Return the cache key of a distribution, a machine architecture and the packages."""
    parts = (_LAYOUT, os_release.get("ID", ""), os_release.get("VERSION_ID", ""), machine, *PACKAGES, *IMAGE_LIBRARIES)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def select(simulation: list[str], sections: Mapping[str, str]) -> dict[str, str]:
    """Return the packages to unpack.

    Args:
        simulation: The output lines of `apt-get install --simulate`; those that count are `Inst NAME (VERSION …)`.
        sections: The archive section of each package.

    Returns:
        The version of each package by name: PACKAGES and the libraries that they need. Their other dependencies (perl, dpkg,
        adduser, init helpers) are only needed for an installation.
    """
    chosen = {}
    for line in simulation:
        fields = line.split()
        if len(fields) < 3 or fields[0] != "Inst":
            continue
        name, version = fields[1], fields[2].strip("(")
        library = sections.get(name, "") == "libs" and "perl" not in name
        if library or name in PACKAGES or name in _EXTRA or name in IMAGE_LIBRARIES:
            chosen[name] = version
    return chosen


def find_packages(cache: Cache) -> Packages | None:
    """Return the unpacked packages, or None if they are not in the cache."""
    folder = _entry(cache)
    return Packages(folder) if folder.is_dir() else None


def _entry(cache: Cache) -> Path:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        # Not Linux, or no os-release file: nothing is cached for it, and `up` reports what is missing.
        release = {}
    return cache.entry("debian", cache_key(release, platform.machine()))


def fetch_packages(cache: Cache, commands: CommandRunner, log: Callable[[str], None]) -> tuple[Packages, bool]:
    """Return the unpacked packages, and whether they were fetched now.

    Raises:
        ToolMissing: apt-get is not installed.
        PlatformFailed: A package is not available.
    """
    folder, fetched = cache.get_or_create("debian", _entry(cache).name, lambda new: _create(new, commands, log), log)
    return Packages(folder), fetched


def _create(folder: Path, commands: CommandRunner, log: Callable[[str], None]) -> None:
    if shutil.which("apt-get") is None:
        raise ToolMissing(
            "apt-get is not installed; the local platform takes etcd, containerd, Docker and its registry from Debian packages.",
            hint="Use Debian 12 or newer, or your own cluster: `make demo CLUSTER=current REGISTRY=HOST/PREFIX`.",
        )
    try:
        chosen = _resolve(commands)
        _download(chosen, folder, commands, log)
    except PlatformFailed:
        # The package lists are missing, as on a fresh machine, or outdated.
        log("apt-get update")
        for stale in folder.glob("*.deb"):
            stale.unlink()
        commands.run(
            ["apt-get", "update", "-q"], description="Updating apt's package lists", timeout=_FETCH_SECONDS, env=_apt_env()
        )
        chosen = _resolve(commands)
        _download(chosen, folder, commands, log)
    log(f"unpacking {len(chosen)} packages")
    for package in sorted(folder.glob("*.deb")):
        name = package.name.partition("_")[0]
        for root, included in (("root", name not in _IMAGE_ONLY), ("image", name in IMAGE_LIBRARIES)):
            if included:
                (folder / root).mkdir(exist_ok=True)
                argv: list[str | Path] = ["dpkg-deb", "--extract", package, folder / root]
                commands.run(argv, description=f"Unpacking {package.name}", timeout=120)
        package.unlink()
    _link_iptables(folder, commands)
    (folder / "packages.json").write_text(json.dumps(chosen, indent=2), encoding="utf-8")


def _apt_env() -> dict[str, str]:
    return {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def _resolve(commands: CommandRunner) -> dict[str, str]:
    def run(*argv: str) -> list[str]:
        return commands.run(argv, description="Resolving the packages with apt", timeout=120, env=_apt_env())

    simulation = run(*_SIMULATE, *PACKAGES, *IMAGE_LIBRARIES)
    names = [line.split()[1] for line in simulation if line.startswith("Inst ")]
    shown = run("apt-cache", "show", "--no-all-versions", *names)
    sections: dict[str, str] = {}
    name = ""
    for line in shown:
        field, _, value = line.partition(": ")
        if field == "Package":
            name = value
        elif field == "Section":
            sections[name] = value.rpartition("/")[2]
    chosen = select(simulation, sections)
    missing = [name for name in (*PACKAGES, *IMAGE_LIBRARIES) if name not in chosen]
    if missing:
        raise PlatformFailed(
            f"apt does not offer {', '.join(missing)}.",
            hint="Use Debian 12 or newer, with its `main` archive in apt's sources.",
        )
    return chosen


def _download(chosen: Mapping[str, str], folder: Path, commands: CommandRunner, log: Callable[[str], None]) -> None:
    log(f"fetching {len(chosen)} packages")
    # Only root can write to the folder, so apt must not switch to its unprivileged user.
    argv = [
        "apt-get",
        "download",
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        *(f"{name}={version}" for name, version in sorted(chosen.items())),
    ]
    commands.run(argv, description="Fetching the Debian packages", timeout=_FETCH_SECONDS, env=_apt_env(), cwd=folder)


def _link_iptables(folder: Path, commands: CommandRunner) -> None:
    """Link iptables to its nft or legacy variant, depending on the kernel, as Debian's alternatives would."""
    links = folder / "links"
    links.mkdir()
    packages = Packages(folder)
    program = next(name for name in ("xtables-nft-multi", "xtables-legacy-multi") if _is_usable(name, packages, commands))
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"):
        (links / name).symlink_to(os.path.relpath(packages.root / "usr" / "sbin" / program, links))


def _is_usable(program: str, packages: Packages, commands: CommandRunner) -> bool:
    """Return whether an iptables variant can add a rule, tried in a temporary network namespace."""
    path = packages.root / "usr" / "sbin" / program
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
        commands.run(argv, description="Trying iptables", timeout=20, env=packages.environment())
    except PlatformFailed:
        return False
    return True
