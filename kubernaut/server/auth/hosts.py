"""The names that the server answers to. A page of somebody else's, whose name was made to lead here, does not get an answer.

The header ``Host`` is what the browser was told, so it gives away such a page (DNS rebinding). Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from kubernaut.errors import HostRefused, SettingInvalid
from kubernaut.settings import is_loopback

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_USUAL_PORTS = (80, 443)
"""Those that a URL, and so the header, leaves out."""
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """What a header ``Host`` names. Without a port it is the protocol's own; among the names that are known, any."""

    name: str
    port: int | None = None

    @classmethod
    def read(cls, text: str) -> Address | None:
        """Read ``NAME[:PORT]``, ``A.B.C.D[:PORT]`` or ``[V6][:PORT]``; nothing else."""
        match = _HOST.fullmatch(text)
        name = _canonical(match["name"]) if match else None
        if match is None or name is None:
            return None
        port = int(match["port"]) if match["port"] else None
        return None if port is not None and not 0 < port <= 65_535 else cls(name, port)


class Hosts:
    """The names that the server answers to.

    Args:
        host: The address that it listens at.
        port: The port that it listens at; 0 where nobody knows it yet, and any passes.
        others: Further names, ``NAME[:PORT]``; without a port, with any.

    Raises:
        SettingInvalid: One of them cannot be a name.
    """

    def __init__(self, host: str, port: int, others: Iterable[str] = ()) -> None:
        names = {host.strip("[]").lower(), *(_OWN_NAMES if is_loopback(host) else ())}
        self._known = frozenset((*(Address(name, port or None) for name in names), *(_other(text) for text in others)))

    def check(self, host: str) -> None:
        """Check a header ``Host``. Raises: HostRefused."""
        asked = Address.read(host)
        if asked is None:
            raise HostRefused("The request needs one header Host, and it must be NAME[:PORT].")
        ports = (None, asked.port) if asked.port is not None else (None, *_USUAL_PORTS)
        if self._known.isdisjoint(Address(asked.name, port) for port in ports):
            raise HostRefused(f"This server does not answer to {host}.")


def _other(text: str) -> Address:
    address = Address.read(text)
    if address is None:
        raise SettingInvalid(f"--allow-host {text!r} is not NAME[:PORT].", hint="Such as kubernaut.example.com.")
    return address


def _canonical(name: str) -> str | None:
    if name.startswith("["):
        try:
            return str(ipaddress.IPv6Address(name[1:-1]))
        except ValueError:
            return None
    return name.lower() if _NAME.fullmatch(name.lower()) else None
