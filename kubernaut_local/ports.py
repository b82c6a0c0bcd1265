"""Which ports of the host's 127.0.0.1 a platform takes, and who has one that it cannot take.

The platform `default` has fixed ports; any other gets free ones at its first `up`, which its record then keeps.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from kubernaut.errors import PortTaken, SettingInvalid
from kubernaut_local import network
from kubernaut_local.model import Ports, Wishes

DEFAULT_NAME = "default"
DEFAULT_PORTS = Ports()
# Below the range from which Linux gives out ports for outgoing connections (32768 and up), and above what services commonly take.
_API_FROM, _REGISTRY_FROM, _NODE_FROM = 16444, 15001, 30081
_SPAN = 900


def choose(name: str, recorded: Ports | None, wishes: Wishes, is_free: Callable[[int], bool]) -> Ports:
    """Return a platform's ports: those asked for, else those recorded, else the defaults or free ones."""
    base = recorded or (DEFAULT_PORTS if name == DEFAULT_NAME else None)
    if base is None:
        asked = {wishes.api, wishes.registry, *wishes.node_ports}

        def first(start: int) -> int:
            found = next((port for port in candidates(name, start) if port not in asked and is_free(port)), None)
            if found is None:
                raise PortTaken(
                    f"No port from {start} to {start + _SPAN - 1} of 127.0.0.1 is free.", hint="Choose the ports yourself."
                )
            return found

        base = Ports(api=first(_API_FROM), registry=first(_REGISTRY_FROM), node_ports=(first(_NODE_FROM),))
    chosen = Ports(
        api=wishes.api or base.api, registry=wishes.registry or base.registry, node_ports=wishes.node_ports or base.node_ports
    )
    _check_apart(chosen)
    return chosen


def _check_apart(chosen: Ports) -> None:
    """Refuse ports that would meet each other, or inside, where each has the same number, another part's own."""
    seen: dict[int, str] = dict.fromkeys(network.INSIDE_PORTS, "port of a part inside")
    for purpose, port in chosen.named():
        if port in seen:
            raise SettingInvalid(
                f"Port {port} cannot be the platform's {purpose}: it is its {seen[port]} already.",
                hint=f"Choose another one with {_OPTIONS[purpose.partition(' ')[0]]}.",
            )
        seen[port] = purpose


def candidates(name: str, start: int) -> list[int]:
    """Return the ports to try, beginning at one that depends on the name."""
    # Else whoever starts while another platform is down would take the very ports that that one wants back.
    offset = zlib.crc32(name.encode()) % _SPAN
    return [start + (offset + step) % _SPAN for step in range(_SPAN)]


def is_free(port: int) -> bool:
    """Return whether nothing listens on a port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        # As slirp4netns does: connections that have just ended are no reason against a port.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def check_free(ports: Ports) -> None:
    """Refuse ports that something else listens on; called before anything is started."""
    for purpose, port in ports.named():
        if not is_free(port):
            raise PortTaken(
                f"Port {port} of 127.0.0.1, for the platform's {purpose}, is taken{_by(port)}.",
                hint=f"Stop the other process, or choose another port with {_OPTIONS[purpose.partition(' ')[0]]}.",
            )


_OPTIONS = {"API": "--port-api", "registry": "--port-registry", "node": "--node-port"}


def _by(port: int) -> str:
    for pid in _listeners(port):
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        return f" by {name} (pid {pid})"
    return ""


def _listeners(port: int) -> Iterable[int]:
    """Yield the pids of the processes that listen on a port; those of other users are seen by root only."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in listening_inodes(_read(Path("/proc/net") / table), port)}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            handles = list((folder / "fd").iterdir())
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
        if any(_target(handle) in wanted for handle in handles):
            yield int(folder.name)


def _target(handle: Path) -> str:
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
    """Return the socket inodes that a /proc/net/tcp table shows as listening on a port."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            found.append(fields[9])
    return found
