"""Clients of the platform's components: the Kubernetes API, the registry, dockerd, supervisord and slirp4netns.

Only this module opens connections. A response is returned with any status; a component that does not answer raises OSError or
HTTPException (both in ``NO_ANSWER``).
"""

from __future__ import annotations

import json
import socket
import ssl
import time
import xmlrpc.client
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from kubernaut.errors import RegistryUnreachable
from kubernaut_local.images import MANIFEST_TYPE, Image
from kubernaut_local.layout import Layout
from kubernaut_local.models import ProcessStatus

TIMEOUT_SECONDS = 3.0
NO_ANSWER = (OSError, HTTPException)
_PUSH_SECONDS = 60.0
_LIST_PROCESSES = xmlrpc.client.dumps((), "supervisor.getAllProcessInfo").encode()


def request(
    connection: HTTPConnection, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """Send one request, read the whole response and close the connection.

    Returns:
        The response's status, its body, and its headers with lower-case names.
    """
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def http(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[int, bytes, dict[str, str]]:
    """Send a request to a port of 127.0.0.1; see :func:`request`."""
    return request(HTTPConnection("127.0.0.1", port, timeout=timeout), method, path, body, headers)


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, socket_path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._socket_path = socket_path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._socket_path))


def unix_status(socket_path: Path, path: str) -> int:
    """Return the status of a GET over a Unix socket."""
    return request(_UnixConnection(socket_path), "GET", path)[0]


class KubernetesApi:
    """The platform's Kubernetes API.

    Args:
        port: Its port on 127.0.0.1.
        ca: The file of the cluster's CA certificate.
        certificate: The file of the client certificate.
        key: The file of the client's private key.
    """

    def __init__(self, port: int, ca: Path, certificate: Path, key: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._tls.load_cert_chain(certificate, key)

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; return the response's status and its decoded JSON body, or the text of a body in another format."""
        connection = HTTPSConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS, context=self._tls)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        status, content, _ = request(connection, method, path, None if body is None else json.dumps(body).encode(), headers)
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode(errors="replace")


class RegistryClient:
    """The platform's registry, over the OCI distribution API.

    Args:
        port: Its port on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def push(self, image: Image, repository: str, tags: tuple[str, ...]) -> bool:
        """Push an image, unless all tags refer to it already.

        Returns:
            Whether anything was pushed.

        Raises:
            RegistryUnreachable: The registry does not answer, or refuses the image.
        """
        missing = [tag for tag in tags if self._digest(repository, tag) != image.digest]
        if not missing:
            return False
        for digest, file in image.blobs():
            if self._request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] != 200:
                self._upload(repository, digest, file)
        for tag in missing:
            status, answer, _ = self._request(
                "PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, {"Content-Type": MANIFEST_TYPE}
            )
            if status != 201:
                raise RegistryUnreachable(f"The platform's registry refused {repository}:{tag}: status {status}.", details=[answer])
        return True

    def _digest(self, repository: str, tag: str) -> str:
        status, _, headers = self._request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST_TYPE})
        return headers.get("docker-content-digest", "") if status == 200 else ""

    def _upload(self, repository: str, digest: str, file: Path) -> None:
        status, answer, headers = self._request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        if status == 202:
            location = urlsplit(headers["location"])
            target = f"{location.path}?{location.query}&digest={digest}" if location.query else f"{location.path}?digest={digest}"
            status, answer, _ = self._request("PUT", target, file.read_bytes(), {"Content-Type": "application/octet-stream"})
        if status != 201:
            raise RegistryUnreachable(f"The platform's registry refused a blob of {repository}: status {status}.", details=[answer])

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        try:
            status, content, received = http(self._port, method, path, body, headers, _PUSH_SECONDS)
        except NO_ANSWER as failure:
            raise RegistryUnreachable(f"The platform's registry does not answer on port {self._port}: {failure}.") from failure
        return status, content.decode(errors="replace"), received


def list_processes(layout: Layout, host_pids: Mapping[int, int]) -> list[ProcessStatus] | None:
    """Return the status of each process that supervisord runs, or None if supervisord does not answer.

    Args:
        layout: The state folder.
        host_pids: The host's pid by the pid in the platform's namespace, which is the one that supervisord reports.
    """
    connection = _UnixConnection(layout.supervisor_socket)
    try:
        status, content, _ = request(connection, "POST", "/RPC2", _LIST_PROCESSES, {"Content-Type": "text/xml"})
        processes: Any = xmlrpc.client.loads(content)[0][0] if status == 200 else None
    except (*NO_ANSWER, xmlrpc.client.Error, ExpatError):
        # Not started yet, just killed, or shutting down: a dead supervisord leaves its socket file behind.
        return None
    return None if processes is None else [_process_status(info, host_pids) for info in processes]


def _process_status(info: dict[str, Any], host_pids: Mapping[int, int]) -> ProcessStatus:
    running = info["statename"] in ("RUNNING", "STARTING", "STOPPING")
    return ProcessStatus(
        name=info["name"],
        state=info["statename"].lower(),
        pid=host_pids.get(info["pid"]) if running else None,
        uptime_seconds=max(0.0, time.time() - info["start"]) if running else None,
        log=Path(info["logfile"] or info["stdout_logfile"]),
        error=info["spawnerr"],
    )


def list_forwarded_ports(socket_path: Path) -> list[int]:
    """Return the host's ports that slirp4netns forwards, given its API socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(str(socket_path))
        connection.sendall(b'{"execute": "list_hostfwd"}')
        connection.shutdown(socket.SHUT_WR)
        content = b"".join(iter(lambda: connection.recv(4096), b""))
    try:
        answer = json.loads(content)
    except ValueError:
        raise ConnectionError("slirp4netns closed the connection without an answer") from None
    return [entry["host_port"] for entry in answer.get("entries", [])]
