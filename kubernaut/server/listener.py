"""The HTTP listener: waitress with limits on threads, memory, connections and time.

Waitress reads requests in one thread and answers them in others. This module adds features that its adjustments do not offer: a
deadline for a whole request, even one that arrives byte by byte; closing the connections of clients that do not read; waitress' own
errors as problems; and a stop that waits for open responses.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from kubernaut.errors import KubernautError, PortTaken, RequestMalformed, RequestTimeout, RequestTooLarge, SettingInvalid
from kubernaut.server.problems import MEDIA_TYPE, problem_json
from kubernaut.server.request import MAX_BODY_BYTES, request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@dataclass(frozen=True)
class Limits:
    """The limits on clients.

    Attributes:
        threads: The number of requests that are answered at once.
        connections: The number of open connections; further ones wait.
        header_bytes: The size of a request's headers.
        header_seconds: The time until the headers have arrived, and until a new connection sends its first byte.
        request_seconds: The time until the whole request has arrived.
        idle_seconds: The time that a connection may stay open without traffic.
        check_seconds: The interval of the checks for exceeded times.
    """

    threads: int = 16
    connections: int = 500
    header_bytes: int = 16 * 1024
    header_seconds: float = 15.0
    request_seconds: float = 60.0
    idle_seconds: float = 60.0
    check_seconds: float = 1.0


_BACKLOG = 256
_BUFFER_BYTES = 64 * 1024  # per connection and direction in memory; larger requests and responses are buffered in files
_STREAM_AHEAD_BYTES = 1024 * 1024  # of a response that the client has not read yet

logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns whenever a request waits a moment for a thread


def _adjustments(behind_tls_proxy: bool, limits: Limits) -> Adjustments:
    proxy: dict[str, Any] = {"trusted_proxy": "*", "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto"}}
    return Adjustments(
        threads=limits.threads,
        connection_limit=limits.connections,
        max_request_header_size=limits.header_bytes,
        cleanup_interval=limits.check_seconds,
        max_request_body_size=MAX_BODY_BYTES + 1024,  # a slightly larger body is refused by the app, with a better message
        inbuf_overflow=_BUFFER_BYTES,
        outbuf_overflow=_BUFFER_BYTES,
        outbuf_high_watermark=_STREAM_AHEAD_BYTES,
        backlog=_BACKLOG,
        channel_request_lookahead=1,  # notices a client that disconnects during its request
        asyncore_use_poll=True,  # select() is limited to 1024 files
        clear_untrusted_proxy_headers=True,
        log_socket_errors=False,
        ident="",
        **(proxy if behind_tls_proxy else {}),
    )


class _RequestTimeout(Error):
    code = 408
    reason = "Request Timeout"


class _ErrorTask(ErrorTask):
    """Answers requests that waitress refuses."""

    request: Any
    response_headers: Any

    def execute(self) -> None:
        error = self.request.error
        id = request_id(None)
        body = problem_json(_error(error), request_id=id, status=error.code)
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", MEDIA_TYPE),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-Id", id),
        ]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Task(WSGITask):
    """Answers a request; while the server stops, with ``Connection: close``."""

    channel: Any

    def build_response_header(self) -> bytes:
        if self.channel.server.stopping:
            self.set_close_on_finish()
        return super().build_response_header()


class _Channel(HTTPChannel):
    """A connection."""

    server: Any
    request: Any
    requests: Any
    requests_lock: threading.Lock
    task_class = _Task
    error_task_class = _ErrorTask

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._request_started = time.monotonic()
        self._new = True
        super().__init__(*args, **kwargs)

    def received(self, data: bytes) -> bool:
        """Process received bytes, and note when a request starts."""
        before, self._new = self.request, False
        processed = super().received(data)
        if self.request is not before:
            self._request_started = time.monotonic()
        return bool(processed)

    def check_times(self, limits: Limits, now: float) -> None:
        """Refuse a request that takes too long to arrive, and close a connection without traffic."""
        if self.total_outbufs_len or not (self.requests or self.request):
            if now - self.last_activity > (limits.header_seconds if self._new else limits.idle_seconds):
                self.handle_close()
        elif self.request is not None:
            allowed = limits.request_seconds if self.request.headers_finished else limits.header_seconds
            if time.monotonic() - self._request_started > allowed:
                self._refuse()

    def idle(self) -> bool:
        """Return whether no request and no response is in progress."""
        return not (self.requests or self.request or self.total_outbufs_len)

    def _refuse(self) -> None:
        refused = self.parser_class(self.adj)
        refused.parse_header(b"GET / HTTP/1.1\r\n")  # a response needs the version of a request
        refused.error, refused.completed = _RequestTimeout("timeout"), True
        with self.requests_lock:
            if self.request is None or self.will_close or self.close_when_flushed:
                return
            self.request.close()
            self.request = None
            self.requests.append(refused)
            if len(self.requests) == 1:
                self.server.add_task(self)


class HttpServer(TcpWSGIServer):
    """A listening server: the socket, and the loop that reads and writes all connections, in its own thread.

    Attributes:
        port: The port, also when it was chosen by the system.
        address: The base URL.
    """

    channel_class = _Channel
    active_channels: Any
    effective_port: int
    _map: Any

    def __init__(self, app: WSGIApplication, host: str, listening: socket.socket, adjustments: Adjustments, limits: Limits) -> None:
        self.stopping = False
        self._limits = limits
        self._deadline = 0.0
        self._trigger_lock = threading.Lock()
        self._closed = False
        sockinfo = (listening.family, listening.type, listening.proto, listening.getsockname())
        super().__init__(app, _sock=listening, adj=adjustments, sockinfo=sockinfo, bind_socket=False)
        self.port = int(self.effective_port)
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(target=self._serve, name="kubernaut-listen")
        self._thread.start()

    def maintenance(self, now: float) -> None:
        """Check the times of every connection; waitress calls this every ``cleanup_interval`` seconds."""
        for channel in [*self.active_channels.values()]:
            channel.check_times(self._limits, now)

    def _serve(self) -> None:
        """Serve until :meth:`stop` is called and the open responses are sent."""
        while not self.stopping:
            self._loop_once()
        wasyncore.dispatcher.close(self)
        while self._close_idle() and time.monotonic() < self._deadline:
            self._loop_once()
        with self._trigger_lock:
            self._closed = True
            wasyncore.close_all(self._map)
        self.task_dispatcher.shutdown(timeout=1)

    def pull_trigger(self) -> None:
        """Wake the loop, from any thread; after the end its pipe is closed, and the descriptor may belong to another file."""
        with self._trigger_lock:
            if not self._closed:
                super().pull_trigger()

    def stop(self, grace: float = 10.0) -> None:
        """Refuse new connections, wait ``grace`` seconds for open responses, cut off the rest, and stop."""
        self._deadline = time.monotonic() + grace
        self.stopping = True
        self.pull_trigger()
        self._thread.join()

    def _close_idle(self) -> bool:
        """Close idle connections; return whether others are left."""
        self.maintenance(time.time())
        for channel in [*self.active_channels.values()]:
            if channel.idle():
                channel.handle_close()
        return bool(self.active_channels)

    def _loop_once(self) -> None:
        wasyncore.loop(timeout=self._limits.check_seconds, use_poll=True, map=self._map, count=1)


def listen(
    app: WSGIApplication, host: str, port: int, *, behind_tls_proxy: bool = False, limits: Limits | None = None
) -> HttpServer:
    """Start serving an app.

    Args:
        app: The app.
        host: The address to listen on.
        port: The port; 0 for any free one.
        behind_tls_proxy: Trust a proxy's ``X-Forwarded-For`` and ``X-Forwarded-Proto``; otherwise they are removed.
            ``X-Forwarded-Host`` is never trusted.
        limits: The limits on clients.

    Raises:
        PortTaken: Another process listens on the port.
        SettingInvalid: The host is not an address of this machine.
    """
    limits = limits or Limits()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"Port {port} of {host} is in use.", hint="Choose another port: kubernaut serve --port PORT") from error
        raise SettingInvalid(f"The server cannot listen on {host}, port {port}: {error.strerror}.") from error
    return HttpServer(app, host, listening, _adjustments(behind_tls_proxy, limits), limits)


def _error(error: Error) -> KubernautError:
    if error.code == 408:
        return RequestTimeout("The request did not arrive in time.")
    if error.code in (413, 431):
        what = "body is" if error.code == 413 else "headers are"
        return RequestTooLarge(f"The request's {what} too large.")
    if error.code == 501:
        return RequestMalformed("The Transfer-Encoding of the request is not supported.")
    if error.code < 500:
        return RequestMalformed("The request is not valid HTTP.", hint="Send HTTP/1.1, with one header per line.")
    return KubernautError("The server failed unexpectedly.")
