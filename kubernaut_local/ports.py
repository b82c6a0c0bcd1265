"""Choosing a platform's ports on the host's 127.0.0.1, and naming the process that uses a taken one.

The platform `default` has fixed ports; any other gets free ones at its first `up`, which its record keeps.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from kubernaut.errors import PortTaken, SettingInvalid
from kubernaut_local import network
from kubernaut_local.models import PortOptions, Ports

DEFAULT_NAME = "default"
DEFAULT_PORTS = Ports()
# Below Linux' ephemeral ports (from 32768), and above the ports of common services.
_FIRST_API, _FIRST_REGISTRY, _FIRST_NODE_PORT = 16444, 15001, 30081
_RANGE = 900


def choose(name: str, recorded: Ports | None, options: PortOptions, is_free: Callable[[int], bool]) -> Ports:
    """Return a platform's ports: those of the options, else the recorded ones, else the defaults or free ones.

    Raises:
        PortTaken: No port of a range is free.
        SettingInvalid: Two purposes have the same port, or a component uses a port inside.
    """
    base = recorded or (DEFAULT_PORTS if name == DEFAULT_NAME else None)
    if base is None:
        given = {options.api, options.registry, *options.node_ports}

        def first_free(start: int) -> int:
            found = next((port for port in candidates(name, start) if port not in given and is_free(port)), None)
            if found is None:
                raise PortTaken(
                    f"No port from {start} to {start + _RANGE - 1} of 127.0.0.1 is free.",
                    hint="Choose the ports with --port-api, --port-registry and --node-port.",
                )
            return found

        base = Ports(api=first_free(_FIRST_API), registry=first_free(_FIRST_REGISTRY), node_ports=(first_free(_FIRST_NODE_PORT),))
    chosen = Ports(
        api=options.api or base.api, registry=options.registry or base.registry, node_ports=options.node_ports or base.node_ports
    )
    _check_distinct(chosen)
    return chosen


def _check_distinct(chosen: Ports) -> None:
    """Raise SettingInvalid if two purposes share a port, or a port is one that a component uses inside."""
    seen: dict[int, str] = dict.fromkeys(network.INSIDE_PORTS, "port of a component inside")
    for purpose, port in chosen.named():
        if port in seen:
            raise SettingInvalid(
                f"Port {port} cannot be the platform's {purpose}: it is already its {seen[port]}.",
                hint=f"Choose another port with {_OPTIONS[purpose.partition(' ')[0]]}.",
            )
        seen[port] = purpose


def candidates(name: str, start: int) -> list[int]:
    """Return the ports of a range, starting at one that depends on the name."""
    # So a platform is unlikely to take the ports of another one that is down.
    offset = zlib.crc32(name.encode()) % _RANGE
    return [start + (offset + step) % _RANGE for step in range(_RANGE)]


def is_free(port: int) -> bool:
    """Return whether nothing listens on a port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        # As slirp4netns does: connections in TIME_WAIT do not count.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def check_free(ports: Ports) -> None:
    """Raise PortTaken, with the process, if a process listens on one of the ports."""
    for purpose, port in ports.named():
        if not is_free(port):
            raise PortTaken(
                f"Port {port} of 127.0.0.1, for the platform's {purpose}, is taken{_owner(port)}.",
                hint=f"Stop that process, or choose another port with {_OPTIONS[purpose.partition(' ')[0]]}.",
            )


_OPTIONS = {"API": "--port-api", "registry": "--port-registry", "node": "--node-port"}


def _owner(port: int) -> str:
    for pid in _listeners(port):
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        return f" by {name} (pid {pid})"
    return ""


def _listeners(port: int) -> Iterable[int]:
    """Yield the pids of the processes that listen on a port; only root sees those of other users."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in listening_inodes(_read(Path("/proc/net") / table), port)}
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            handles = list((folder / "fd").iterdir())
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
        if any(_link_target(handle) in sockets for handle in handles):
            yield int(folder.name)


def _link_target(handle: Path) -> str:
    try:
        return str(handle.readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def listening_inodes(table: str, port: int) -> list[str]:
    """Return the inodes of the sockets that listen on a port, given the text of /proc/net/tcp."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            found.append(fields[9])
    return found
