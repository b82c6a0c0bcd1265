"""A chart repository in this process: a real HTTP server with an index and packages, on a free port."""

from __future__ import annotations

import hashlib
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml


@dataclass
class ChartRepository:
    """The files of the repository by path; a text instead of bytes is where the path redirects to.

    Attributes:
        login: The user name and password to require, if any.
        requests: The paths asked for, each with the user name that was sent.
    """

    login: tuple[str, str] | None = None
    files: dict[str, bytes | str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""
    scheme: str = "http"

    @property
    def url(self) -> str:
        """The URL that ``helm repo add`` takes."""
        return f"{self.scheme}://{self.address}/stable"

    def add(self, package: Path, name: str, version: str, *, digest: str | None = None) -> str:
        """Add a package to the index; return its reference."""
        data = package.read_bytes()
        self.files[f"/stable/{package.name}"] = data
        index = self.files.get("/stable/index.yaml", b"entries: {}")
        content = yaml.safe_load(index)
        found = {"name": name, "version": version, "urls": [package.name], "digest": digest or hashlib.sha256(data).hexdigest()}
        content["entries"].setdefault(name, []).insert(0, found)
        self.files["/stable/index.yaml"] = yaml.safe_dump(content).encode()
        return f"{self.url}/{name}@{version}"


@contextmanager
def serve_charts(*, login: tuple[str, str] | None = None, certificate: Path | None = None) -> Iterator[ChartRepository]:
    """Serve a chart repository while the block runs; over TLS with a certificate, a file that holds its key too."""
    repository = ChartRepository(login, scheme="https" if certificate else "http")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "").removeprefix("Basic ")
            user, _, password = b64decode(sent).decode().partition(":")
            repository.requests.append((self.path, user or None))
            found = repository.files.get(self.path)
            if repository.login is not None and (user, password) != repository.login:
                self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="charts"'})
            elif isinstance(found, str):
                self._answer(302, b"", {"Location": found})
            elif found is None:
                self._answer(404, b"", {})
            else:
                self._answer(200, found, {})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    repository.address = f"127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="chart-repository", daemon=True).start()
    try:
        yield repository
    finally:
        server.shutdown()
        server.server_close()
