"""Where the platform keeps what: the state folder of one platform, and the cache that all platforms share.

Only names and paths are decided here; nothing is created. Every path under a state folder is spelled once, in :class:`Layout`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from kubernaut.errors import NameInvalid, SettingInvalid

# The name becomes a cgroup, a host name and a kube context, and the shortest of them is the rest of a socket's path.
NAME_LENGTH = 40
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
# The path is written into overlayfs options (`:` and `,` separate), supervisord.conf (`%` and `"`) and TOML.
_PATH = re.compile(r"[\w./+@=-]+", re.ASCII)
# sockaddr_un.sun_path holds 108 bytes with its terminator.
_SOCKET_PATH = 107


def check_name(name: str) -> str:
    """Return a platform's name: an RFC 1123 label of at most 40 characters."""
    if len(name) > NAME_LENGTH or not _NAME.fullmatch(name):
        hint = f"A name is lower-case letters, digits and inner dashes, at most {NAME_LENGTH} characters."
        raise NameInvalid(f"{name!r} cannot be a platform's name.", hint=hint)
    return name


def state_home() -> Path:
    """Return the XDG folder for state."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def cache_home() -> Path:
    """Return the XDG folder for what can be made again."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def _xdg(variable: str, default: str) -> Path:
    # The XDG specification: a relative path is to be ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / default


@dataclass(frozen=True)
class Cache:
    """The cache folder: programs, packages and images, each under a key of what made it."""

    home: Path

    @property
    def root(self) -> Path:
        """The folder that is kubernaut's."""
        return self.home / "kubernaut"

    def entry(self, kind: str, key: str) -> Path:
        """Return the folder of one cached thing."""
        return self.root / kind / key

    def lock(self, kind: str) -> Path:
        """Return the lock file for making things of a kind."""
        return self.root / f"{kind}.lock"


@dataclass(frozen=True)
class Layout:
    """The state folder of one platform."""

    home: Path
    name: str

    @property
    def root(self) -> Path:
        """The platform's own folder, which `down --purge` removes."""
        return self.home / "kubernaut" / "local" / self.name

    @property
    def lock(self) -> Path:
        """The lock that `up` and `down` hold; beside the folder, since a purge removes that."""
        return self.lock_of(self.root)

    @staticmethod
    def lock_of(root: Path) -> Path:
        """Return that lock of a platform's folder, whosever it is."""
        return root.with_name(f"{root.name}.lock")

    @property
    def record(self) -> Path:
        """What was decided when the platform was first brought up."""
        return self.root / "platform.json"

    @property
    def etc(self) -> Path:
        """The rendered configurations."""
        return self.root / "etc"

    @property
    def pki(self) -> Path:
        """The certificates and keys."""
        return self.root / "pki"

    @property
    def kubeconfigs(self) -> Path:
        """The programs' own kubeconfigs."""
        return self.root / "kubeconfigs"

    @property
    def kubeconfig(self) -> Path:
        """The user's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def run(self) -> Path:
        """Sockets and locks that the host must reach; all else of that kind lives in the namespace's own /run."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One file per process, and the pods' logs."""
        return self.root / "logs"

    @property
    def alive(self) -> Path:
        """The file that PID 1 of the namespaces holds locked as long as it lives."""
        return self.alive_in(self.root)

    @staticmethod
    def alive_in(root: Path) -> Path:
        """Return that file in a platform's folder, whosever it is."""
        return root / "run" / "alive"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisord answers."""
        return self.run / "ctl.sock"

    @property
    def link_socket(self) -> Path:
        """Where slirp4netns answers."""
        return self.run / "link.sock"

    @property
    def docker_socket(self) -> Path:
        """Where the Docker engine answers."""
        return self.run / "docker.sock"

    @property
    def bin(self) -> Path:
        """The folders that `env` puts on PATH, one per Helm."""
        return self.root / "bin"

    @property
    def cgroup(self) -> str:
        """The name of the platform's cgroup in every hierarchy."""
        return f"kubernaut-{self.name}"

    def log(self, process: str) -> Path:
        """Return a process's log file."""
        return self.logs / f"{process}.log"

    def check(self) -> None:
        """Refuse a folder whose path the programs could not work with."""
        path = str(self.root)
        if not _PATH.fullmatch(path):
            raise SettingInvalid(
                f"The state folder {path!r} cannot be used: its path may hold only letters, digits and ./+@=_-",
                hint="Name another one with XDG_STATE_HOME.",
            )
        longest = str(self.docker_socket)
        if len(os.fsencode(longest)) > _SOCKET_PATH:
            raise SettingInvalid(
                f"The state folder {path!r} is too deep: a socket's path in it would have over {_SOCKET_PATH} characters.",
                hint="Name a shorter one with XDG_STATE_HOME, or a shorter platform name with --name.",
            )
