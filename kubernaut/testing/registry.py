"""An OCI registry in memory: a real HTTP server on a free port.

It serves plain HTTP on 127.0.0.1, so Helm, Docker and kubernaut treat it as a local registry. It can require a login, page its
lists, and fail.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from base64 import b64decode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from kubernaut.adapters.registry import content_digest

_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs/uploads|blobs|tags)/(?P<rest>.*)")
CUT = 0
"""The status that closes the connection without a response."""


@dataclass
class _Fault:
    match: str
    status: int
    times: int | None


@dataclass
class _Content:
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)


class FakeRegistry:
    """A registry for tests; use it as a context manager.

    Args:
        login: The user name and password to require, if any.
        scheme: ``basic``, or ``bearer`` for a token service.
        page: The number of tags per page; all by default.

    Attributes:
        requests: The requests so far: method and path with query.
    """

    def __init__(
        self, *, login: tuple[str, str] | None = None, scheme: Literal["basic", "bearer"] = "basic", page: int | None = None
    ) -> None:
        self.login = login
        self.scheme = scheme
        self.page = page
        self.requests: list[tuple[str, str]] = []
        self._content = _Content()
        self._faults: list[_Fault] = []
        self._lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> FakeRegistry:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The host and port, as in the registry setting."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen; after a stop on the same port with the same content."""
        registry = self

        class Handler(_Handler):
            owner = registry

        server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        server.daemon_threads = True
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-registry", daemon=True).start()

    def stop(self) -> None:
        """Stop listening; the content is kept."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail(self, match: str, status: int, *, times: int | None = None) -> None:
        """Fail requests whose ``METHOD /path`` contains ``match`` with a status, or close the connection (``CUT``)."""
        with self._lock:
            self._faults.append(_Fault(match, status, times))

    def heal(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def put_manifest(
        self, name: str, tag: str, content: bytes, media_type: str = "application/vnd.oci.image.manifest.v1+json"
    ) -> str:
        """Store a manifest under a tag and return its digest."""
        digest = content_digest(content)
        with self._lock:
            self._content.manifests[name, digest] = self._content.manifests[name, tag] = (media_type, content)
            tags = self._content.tags.setdefault(name, [])
            if tag != digest and tag not in tags:
                tags.append(tag)
        return digest

    def manifest(self, name: str, reference: str) -> bytes | None:
        """Return a manifest's bytes by tag or digest."""
        found = self.find("manifests", name, reference)
        return None if found is None else found[1]

    def put_blob(self, name: str, content: bytes) -> str:
        """Store a blob and return its digest."""
        digest = content_digest(content)
        with self._lock:
            self._content.blobs[name, digest] = content
        return digest

    def tags(self, name: str) -> list[str]:
        """Return a repository's tags."""
        with self._lock:
            return sorted(self._content.tags.get(name, ()))

    def fault_for(self, request: str) -> int | None:
        """Return the status that a request fails with, if any."""
        with self._lock:
            for fault in self._faults:
                if fault.match in request and fault.times != 0:
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault.status
        return None

    def find(self, kind: Literal["manifests", "blobs"], name: str, reference: str) -> tuple[str, bytes] | None:
        """Return a manifest or blob with its media type."""
        with self._lock:
            if kind == "manifests":
                return self._content.manifests.get((name, reference))
            blob = self._content.blobs.get((name, reference))
        return None if blob is None else ("application/octet-stream", blob)


class _Handler(BaseHTTPRequestHandler):
    owner: FakeRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    uploads: dict[str, bytearray]

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Respond, or fail as configured."""
        body = self._read_body()
        self.owner.requests.append((self.command, self.path))
        status = self.owner.fault_for(f"{self.command} {self.path}")
        if status == CUT:
            self.close_connection = True
            return
        if status is not None:
            self._error(status, "UNKNOWN", "configured to fail")
            return
        path = urlsplit(self.path)
        if path.path == "/token":
            self._token()
        elif self._let_in():
            self._route(path.path, parse_qs(path.query), body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - http.server calls these names

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        match = _ROUTE.fullmatch(path)
        if path == "/v2/":
            self._answer(200, b"{}")
        elif match is None:
            self._error(404, "UNSUPPORTED", "no such thing")
        elif match["kind"] == "tags":
            self._tags(match["name"], query)
        elif match["kind"] == "blobs/uploads":
            self._upload(match["name"], query, body)
        elif self.command in ("GET", "HEAD"):
            self._fetch("blobs" if match["kind"] == "blobs" else "manifests", match["name"], match["rest"])
        elif self.command == "PUT" and match["kind"] == "manifests":
            digest = self.owner.put_manifest(match["name"], match["rest"], body, self.headers.get("Content-Type", ""))
            self._answer(201, b"", {"Docker-Content-Digest": digest, "Location": f"/v2/{match['name']}/manifests/{digest}"})
        else:
            self._error(405, "UNSUPPORTED", "not here")

    def _fetch(self, kind: Literal["manifests", "blobs"], name: str, reference: str) -> None:
        found = self.owner.find(kind, name, reference)
        if found is None:
            self._error(404, f"{kind[:-1].upper()}_UNKNOWN", f"{kind[:-1]} unknown")
            return
        self._answer(200, found[1], {"Content-Type": found[0], "Docker-Content-Digest": content_digest(found[1])})

    def _tags(self, name: str, query: dict[str, list[str]]) -> None:
        tags = self.owner.tags(name)
        if not tags:
            self._error(404, "NAME_UNKNOWN", "repository name not known to registry")
            return
        last = query.get("last", [""])[0]
        rest = [tag for tag in tags if tag > last]
        shown = rest[: self.owner.page]
        headers = (
            {"Link": f'</v2/{name}/tags/list?n={self.owner.page}&last={shown[-1]}>; rel="next"'} if len(shown) < len(rest) else {}
        )
        self._answer(200, json.dumps({"name": name, "tags": shown}).encode(), headers)

    def _upload(self, name: str, query: dict[str, list[str]], body: bytes) -> None:
        uploads = self.server.__dict__.setdefault("uploads", {})
        key = self.path.partition("?")[0].rpartition("/")[2] or str(len(uploads))
        upload = uploads.setdefault((name, key), bytearray())
        upload += body
        location = {"Location": f"/v2/{name}/blobs/uploads/{key}", "Range": f"0-{max(0, len(upload) - 1)}"}
        if self.command != "PUT":
            self._answer(202, b"", location)
        elif query.get("digest") != [content_digest(bytes(upload))]:
            self._error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        else:
            digest = self.owner.put_blob(name, bytes(upload))
            self._answer(201, b"", {"Docker-Content-Digest": digest, "Location": f"/v2/{name}/blobs/{digest}"})

    def _let_in(self) -> bool:
        if self.owner.login is None:
            return True
        given = self.headers.get("Authorization", "")
        if self._knows_password(given) or (self.owner.scheme == "bearer" and given == f"Bearer {self._secret()}"):
            return True
        challenge = (
            f'Bearer realm="http://{self.owner.address}/token",service="fake"'
            if self.owner.scheme == "bearer"
            else 'Basic realm="fake"'
        )
        self._error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return False

    def _knows_password(self, given: str) -> bool:
        return given.startswith("Basic ") and b64decode(given[6:]).decode() == ":".join(self.owner.login or ())

    def _secret(self) -> str:
        return hashlib.sha256(repr(self.owner.login).encode()).hexdigest()

    def _token(self) -> None:
        if self._knows_password(self.headers.get("Authorization", "")):
            self._answer(200, json.dumps({"token": self._secret()}).encode())
        else:
            self._error(401, "UNAUTHORIZED", "authentication required")

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
