"""A proxy between one subject (a kubernaut process and the Helm that it starts) and the API server, at which a test makes faults.

The subject gets a kubeconfig without credentials that names the proxy; the proxy has those of the real one. It streams, so watches
and logs work. It holds requests at named points (:mod:`support.faultpoints`), loses them, answers in the API server's place, is
slow, or unreachable. Each subject has its own proxy, so that faults of one do not affect another. It kills no process.
"""

from __future__ import annotations

import base64
import http.client
import json
import select
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from kubernaut_local.ports import candidates, is_free
from support.faultpoints import POINTS, Matches, Point, Request

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade", "te"})
_CHUNK = 65_536
_CONNECT_SECONDS = 10.0
# Below those that Linux gives to outgoing connections: one of them would have the port when the proxy comes back.
_PORTS_FROM = 25081


class FaultProxy:
    """A proxy on 127.0.0.1; a context manager.

    Args:
        kubeconfig: The real kubeconfig, whose client certificate the proxy uses.
        folder: Where the subject's kubeconfig is written.

    Attributes:
        kubeconfig: The subject's kubeconfig.
        seen: The requests so far, in order.
        failures: Which requests could not be carried to their end, and why.
    """

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        self.upstream = _Upstream(kubeconfig, folder)
        self.seen: list[Request] = []
        self.failures: list[str] = []
        self._holds: dict[str, _Hold] = {}
        self._answers: list[_Answer] = []
        self._delays: list[tuple[Matches, float]] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._closing = threading.Event()
        self.port = next(port for port in candidates(str(folder), _PORTS_FROM) if is_free(port))
        self._server: _Server | None = _Server(self, self.port)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(_kubeconfig(f"http://127.0.0.1:{self.port}")))

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for hold in self._holds.values():
            hold.let_go(False)
        self.cut()

    # for tests

    def hold(self, name: str, *, where: Matches = lambda _: True) -> None:
        """Hold the next request at this point, once; the others pass."""
        with self._lock:
            assert name not in self._holds or self._holds[name].released.is_set(), f"{name} is held already"
            self._holds[name] = _Hold(POINTS[name], where)

    def wait_for(self, name: str, seconds: float = 20.0) -> Request:
        """Wait until a request is held at this point, and return it."""
        hold = self._holds[name]
        if not hold.reached.wait(seconds):
            raise AssertionError(f"nothing came to {name} within {seconds:.0f} s; seen: {[str(one) for one in self.seen[-20:]]}")
        assert hold.request is not None
        return hold.request

    def reached(self, name: str) -> bool:
        """Return whether a request is or was held at this point."""
        return self._holds[name].reached.is_set()

    def answered(self, name: str) -> bool:
        """Return whether the API server has answered, even with an error, the request that was held at this point."""
        return self._holds[name].answered.is_set()

    def release(self, name: str, *, forward: bool = True) -> None:
        """Let the held request go on, or lose it (its answer, where it was answered): the connection is closed."""
        self._holds[name].let_go(forward)

    def answer(self, matches: Matches, status: int, *, times: int = 1, reason: str = "", message: str = "a fault") -> None:
        """Answer the next requests that match, in the API server's place."""
        with self._lock:
            self._answers.append(_Answer(matches, status, times, reason, message))

    def delay(self, matches: Matches, seconds: float) -> None:
        """Let requests that match wait so long before they go on."""
        with self._lock:
            self._delays.append((matches, seconds))

    def undo(self) -> None:
        """Remove the prepared answers and delays."""
        with self._lock:
            self._answers.clear()
            self._delays.clear()

    def cut(self) -> None:
        """Refuse connections and break those that are open, until :meth:`restore`."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Be there again."""
        if self._server is None:
            self._server = _Server(self, self.port)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be cut off while the block runs."""
        self.cut()
        try:
            yield
        finally:
            self.restore()

    def count(self, matches: Matches) -> int:
        """Return how many requests so far match."""
        return sum(1 for request in list(self.seen) if matches(request))

    # for the handlers

    def note(self, request: Request) -> None:
        self.seen.append(request)

    def answer_for(self, request: Request) -> _Answer | None:
        with self._lock:
            found = next((one for one in self._answers if one.times > 0 and one.matches(request)), None)
            if found is not None:
                found.times -= 1
            return found

    def wait(self, request: Request) -> None:
        """Be as slow as the test wants."""
        for matches, seconds in list(self._delays):
            if matches(request):
                self._closing.wait(seconds)

    def passes(self, request: Request, *, answered: bool) -> bool:
        """Hold a request at its point, if the test asked for that; return whether it is forwarded."""
        with self._lock:
            hold = next((one for one in self._holds.values() if one.takes(request, answered)), None)
            # Atomically: a hold that is set after the answer is for later requests.
            for one in self._holds.values():
                if answered and one.request is request:
                    one.answered.set()
            if hold is None:
                return True
            hold.request = request
        hold.reached.set()
        hold.released.wait()
        return hold.forward

    def opened(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.add(one)

    def closed(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(one)


@dataclass
class _Answer:
    matches: Matches
    status: int
    times: int
    reason: str
    message: str

    def body(self) -> bytes:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": self.status}
        return json.dumps({**status, "reason": self.reason, "message": self.message}).encode()


@dataclass
class _Hold:
    point: Point
    where: Matches
    request: Request | None = None
    forward: bool = True
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)

    def takes(self, request: Request, answered: bool) -> bool:
        free = self.request is None and not self.released.is_set()
        return free and self.point.answered == answered and self.point.matches(request) and self.where(request)

    def let_go(self, forward: bool) -> None:
        if not self.released.is_set():
            self.forward = forward
            self.released.set()


class _Upstream:
    """The real API server: its address, and the credentials for it."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        address = urlsplit(cluster["server"])
        self._host, self._port = address.hostname or "", address.port or 443
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        file = folder / "client.pem"  # ssl reads certificates from files only
        file.touch(mode=0o600)
        try:
            file.write_bytes(b"\n".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
            self._context.load_cert_chain(file)
        finally:
            file.unlink()

    def connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=_CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(None)  # a watch may be silent for long
        return connection


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy, port: int) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True, name="faultproxy")
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # killed subjects are normal here
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """A connection of the subject, with a matching one to the API server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        self._upstream: http.client.HTTPSConnection | None = None
        self._proxy = self.server.proxy
        super().setup()
        self._proxy.opened(self.connection)

    def finish(self) -> None:
        self._forget_upstream()
        self._proxy.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: requests contain secrets."""

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, address.path, address.query, body, self.headers.get("User-Agent", ""))
        self._proxy.note(request)
        try:
            self._handle(request)
        except (OSError, http.client.HTTPException) as failure:  # the API server is gone, or the subject is
            self._proxy.failures.append(f"{request}: {failure!r}")
            self._drop()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server's names

    def _handle(self, request: Request) -> None:
        self._proxy.wait(request)
        instead = self._proxy.answer_for(request)
        if instead is not None:
            self._reply(instead.status, instead.body())
            return
        if not self._proxy.passes(request, answered=False):
            self._drop()
            return
        response = self._ask(request)
        if not self._proxy.passes(request, answered=True):
            self._drop()
            return
        self._relay(response)

    def _ask(self, request: Request) -> http.client.HTTPResponse:
        if self._upstream is not None and _has_ended(self._upstream):
            self._forget_upstream()
        if self._upstream is None:
            self._upstream = self._proxy.upstream.connect()
            self._proxy.opened(self._upstream.sock)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
        self._upstream.request(self.command, self.path, request.body or None, headers)
        return self._upstream.getresponse()

    def _relay(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status)
        for key, value in response.getheaders():
            if key.lower() not in _HOP_BY_HOP:
                self.send_header(key, value)
        length = response.getheader("Content-Length")
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        if length is not None or bodiless:
            self.send_header("Content-Length", length or "0")
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if length is not None or bodiless:
            self.wfile.write(response.read())
            return
        while chunk := response.read1(_CHUNK):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drop(self) -> None:
        """Break the connection: the subject does not learn the result of its request."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _forget_upstream(self) -> None:
        if self._upstream is not None:
            self._proxy.closed(self._upstream.sock)
            self._upstream.close()
            self._upstream = None


def _has_ended(upstream: http.client.HTTPSConnection) -> bool:
    """Return whether the API server has closed an idle connection, which a direct client would notice too."""
    return upstream.sock is None or bool(select.select([upstream.sock], [], [], 0)[0])


def _kubeconfig(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "faults",
        "clusters": [{"name": "faults", "cluster": {"server": server}}],
        "users": [{"name": "faults", "user": {}}],
        "contexts": [{"name": "faults", "context": {"cluster": "faults", "user": "faults"}}],
    }
