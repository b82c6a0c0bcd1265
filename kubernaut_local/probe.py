"""Small HTTP questions to the platform's own parts, over TCP, TLS or a Unix socket; the one file here that opens connections.

An answer is returned whatever its status; a part that does not answer raises OSError or HTTPException (both in
``NO_ANSWER``).
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

SECONDS = 3.0
NO_ANSWER = (OSError, HTTPException)


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """The platform's Kubernetes API, asked as its super-administrator."""

    def __init__(self, port: int, authority: Path, certificate: Path, key: Path) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(authority))
        self._context.load_cert_chain(certificate, key)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request and return the answer's status and its decoded body (text if it is no JSON)."""
        connection = HTTPSConnection("127.0.0.1", self._port, timeout=SECONDS, context=self._context)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        status, content, _ = exchange(connection, method, path, None if body is None else json.dumps(body).encode(), headers)
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode(errors="replace")


def http(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, seconds: float = SECONDS
) -> tuple[int, bytes, dict[str, str]]:
    """Send a request to a port of 127.0.0.1; see :func:`exchange`."""
    return exchange(HTTPConnection("127.0.0.1", port, timeout=seconds), method, path, body, headers)


def http_status(port: int, path: str) -> int:
    """Return the status of a GET of a port of 127.0.0.1."""
    return http(port, "GET", path)[0]


def unix_status(path: Path, target: str) -> int:
    """Return the status of a GET over a Unix socket."""
    return exchange(_UnixConnection(path, SECONDS), "GET", target)[0]


def unix_post(path: Path, target: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """Return the status and the body of the answer to a POST over a Unix socket."""
    return exchange(_UnixConnection(path, SECONDS), "POST", target, body, {"Content-Type": kind})[:2]


def exchange(
    connection: HTTPConnection, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """Send one request, read its answer whole and close the connection.

    Returns:
        The answer's status, its body, and its headers by their names in lower case.
    """
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def forwarded_ports(path: Path) -> list[int]:
    """Return the host's ports that slirp4netns leads inside."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(path))
        connection.sendall(b'{"execute": "list_hostfwd"}')
        connection.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: connection.recv(4096), b""))
    try:
        answer = json.loads(said)
    except ValueError:
        raise ConnectionError("slirp4netns ended before it answered") from None
    return [entry["host_port"] for entry in answer.get("entries", [])]
