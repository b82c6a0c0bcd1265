"""The paths of a platform's state folder. Pure: nothing is created here.

Every path below a state folder is spelled once, in :class:`Layout`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from kubernaut.errors import NameInvalid, SettingInvalid

# The name becomes a cgroup, a host name, a kube context and a part of socket paths, which have the strictest limit.
NAME_LENGTH = 40
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
# The path is written into overlayfs options (`:` and `,` separate), supervisord.conf (`%` and `"`) and TOML.
_PATH = re.compile(r"[\w./+@=-]+", re.ASCII)
# sockaddr_un.sun_path holds 108 bytes with its terminator.
_SOCKET_PATH = 107


def check_name(name: str) -> str:
    """Return a platform's name if it is an RFC 1123 label of at most 40 characters. Raises: NameInvalid."""
    if len(name) > NAME_LENGTH or not _NAME.fullmatch(name):
        hint = f"Use lower-case letters, digits and dashes (not at the ends), at most {NAME_LENGTH} characters."
        raise NameInvalid(f"{name!r} is not a valid platform name.", hint=hint)
    return name


def state_home() -> Path:
    """Return the XDG state folder."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def cache_home() -> Path:
    """Return the XDG cache folder."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def _xdg(variable: str, default: str) -> Path:
    # The XDG specification requires that a relative path is ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / default


@dataclass(frozen=True)
class Layout:
    """The state folder of one platform.

    Attributes:
        home: The XDG state folder.
        name: The platform's name.
    """

    home: Path
    name: str

    @property
    def root(self) -> Path:
        """The state folder itself, which `down --purge` removes."""
        return self.home / "kubernaut" / "local" / self.name

    @property
    def lock(self) -> Path:
        """The lock file that `up` and `down` hold; it lies beside the folder, which a purge removes."""
        return self.lock_of(self.root)

    @staticmethod
    def lock_of(root: Path) -> Path:
        """Return the lock file of any platform's state folder."""
        return root.with_name(f"{root.name}.lock")

    @property
    def record(self) -> Path:
        """The record of the platform's ports, written by the first `up`."""
        return self.root / "platform.json"

    @property
    def etc(self) -> Path:
        """The rendered configuration files."""
        return self.root / "etc"

    @property
    def pki(self) -> Path:
        """The certificates and keys."""
        return self.root / "pki"

    @property
    def kubeconfigs(self) -> Path:
        """The kubeconfigs of the Kubernetes programs."""
        return self.root / "kubeconfigs"

    @property
    def admin_certificate(self) -> Path:
        """The super-administrator's certificate."""
        return self.kubeconfigs / "super-admin.crt"

    @property
    def admin_key(self) -> Path:
        """The super-administrator's private key."""
        return self.kubeconfigs / "super-admin.key"

    @property
    def kubeconfig(self) -> Path:
        """The user's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def run(self) -> Path:
        """The sockets and locks that the host uses; the others lie in the /run of the platform's namespace."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """The log files, one per process, and the pods' logs."""
        return self.root / "logs"

    @property
    def alive(self) -> Path:
        """The file that PID 1 of the namespaces keeps locked while it lives."""
        return self.alive_in(self.root)

    @staticmethod
    def alive_in(root: Path) -> Path:
        """Return the file that PID 1 locks in any platform's state folder."""
        return root / "run" / "alive"

    @property
    def supervisor_socket(self) -> Path:
        """The socket of supervisord's API."""
        return self.run / "ctl.sock"

    @property
    def link_socket(self) -> Path:
        """The socket of slirp4netns' API."""
        return self.run / "link.sock"

    @property
    def docker_socket(self) -> Path:
        """The socket of the Docker engine."""
        return self.run / "docker.sock"

    @property
    def kubelet_socket(self) -> Path:
        """The longest socket of the kubelet, which creates it with a random number (32 bits) as its name and renames it."""
        return self.root / "kubelet" / "root" / "pod-resources" / "4294967295"

    @property
    def bin(self) -> Path:
        """The folders that `env` puts on PATH, one per Helm version."""
        return self.root / "bin"

    @property
    def cgroup(self) -> str:
        """The name of the platform's cgroup, below the root of each hierarchy."""
        return f"kubernaut-{self.name}"

    def log(self, process: str) -> Path:
        """Return the log file of a process."""
        return self.logs / f"{process}.log"

    def check(self) -> None:
        """Raise SettingInvalid if the programs cannot work with the folder's path."""
        path = str(self.root)
        if not _PATH.fullmatch(path):
            raise SettingInvalid(
                f"The state folder {path!r} cannot be used: its path may contain only ASCII letters, digits and ./+@=_-",
                hint="Set XDG_STATE_HOME to another folder.",
            )
        if max(len(os.fsencode(socket)) for socket in (self.docker_socket, self.kubelet_socket)) > _SOCKET_PATH:
            raise SettingInvalid(
                f"The state folder {path!r} is too long: socket paths below it would exceed {_SOCKET_PATH} bytes.",
                hint="Set XDG_STATE_HOME to a shorter path, or choose a shorter platform name with --name.",
            )
