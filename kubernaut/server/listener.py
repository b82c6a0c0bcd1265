"""Listens: waitress with explicit limits, so that nobody takes the server's threads, memory or connections for himself.

Waitress reads whole requests in one thread, without waiting for anybody, and lets others answer them. What it lacks is added: a
request has a deadline as a whole, not only one for each byte; a client that reads nothing loses its connection; what waitress
itself answers is a problem as well; and the server ends when the answers under way have been sent.
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
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import Error

from kubernaut.errors import KubernautError, PortTaken, RequestMalformed, RequestTimeout, RequestTooLarge, SettingInvalid
from kubernaut.server.http import body, incoming
from kubernaut.server.problems import MEDIA_TYPE, problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@dataclass(frozen=True)
class Limits:
    """What the server gives its clients.

    Attributes:
        threads: How many requests are answered at once.
        connections: How many connections are open at once; more wait.
        header_bytes: How large a request's headers may be.
        header_seconds: How long they may take to arrive, and a new connection to begin with them.
        request_seconds: How long a request may take to arrive, its body included.
        idle_seconds: How long a connection may be kept on which nothing moves.
        look_seconds: How often the server looks for those that took too long.
    """

    threads: int = 16
    connections: int = 500
    header_bytes: int = 16 * 1024
    header_seconds: float = 15.0
    request_seconds: float = 60.0
    idle_seconds: float = 60.0
    look_seconds: float = 1.0


_BACKLOG = 256
_BUFFER = 64 * 1024  # what a connection may hold in memory of a request and of a response; more of them lies in files
_STREAM_AHEAD = 1024 * 1024  # how much of a response is made before the client has read what came before


class Listening:
    """A server that listens, in a thread of its own.

    Attributes:
        port: Where, also when any port was asked for.
        address: The URL to ask it by.
    """

    def __init__(self, server: _Server, host: str) -> None:
        self.port = int(server.effective_port)
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._server = server
        self._thread = threading.Thread(target=server.serve, name="kubernaut-listen")
        self._thread.start()

    def stop(self, grace: float = 10.0) -> None:
        """Take no more connections, let the answers under way end, and return.

        Args:
            grace: Seconds that they may take; afterwards they are broken off.
        """
        self._server.end(grace)
        self._thread.join()


def listen(
    app: WSGIApplication, host: str, port: int, *, behind_tls_proxy: bool = False, limits: Limits | None = None
) -> Listening:
    """Serve an app, from now on.

    Args:
        app: The app.
        host: The address to listen at.
        port: The port; 0 for any that is free.
        behind_tls_proxy: Whether a proxy says who the client is; of anybody else such headers are taken away. What host was asked
            for is never taken from a proxy's header.
        limits: What clients are given.

    Raises:
        PortTaken: Somebody else listens there.
        SettingInvalid: It is no address of this machine.
    """
    limits = limits or Limits()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        place = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"The port {port} of {host} is taken.", hint="Choose another one with --port.") from error
        raise SettingInvalid(f"The server cannot listen at {host}, port {port}: {error.strerror}.") from error
    return Listening(_Server(app, place, _adjustments(behind_tls_proxy, limits), limits), host)


def _adjustments(behind_tls_proxy: bool, limits: Limits) -> Adjustments:
    proxy: dict[str, Any] = {"trusted_proxy": "*", "trusted_proxy_headers": {"x-forwarded-for", "x-forwarded-proto"}}
    return Adjustments(
        threads=limits.threads,
        connection_limit=limits.connections,
        max_request_header_size=limits.header_bytes,
        max_request_body_size=body.LARGEST + 1024,  # the app refuses what is larger than LARGEST, and says it better
        inbuf_overflow=_BUFFER,
        outbuf_overflow=_BUFFER,
        outbuf_high_watermark=_STREAM_AHEAD,
        backlog=_BACKLOG,
        channel_request_lookahead=1,  # so that a client which goes away is noticed while its request is under way
        asyncore_use_poll=True,  # select() knows no more than 1024 files
        clear_untrusted_proxy_headers=True,
        log_socket_errors=False,
        expose_tracebacks=False,
        ident="",
        **(proxy if behind_tls_proxy else {}),
    )


class _Slow(Error):
    code = 408
    reason = "Request Timeout"


class _ErrorTask(ErrorTask):
    """Answers what waitress itself refuses."""

    request: Any
    response_headers: Any

    def execute(self) -> None:
        error = self.request.error
        request_id = incoming.request_id(None)
        told = problem(_failure(error), request_id=request_id, status=error.code)
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [
            ("Content-Type", MEDIA_TYPE),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Request-Id", request_id),
        ]
        self.set_close_on_finish()
        self.content_length = len(told)
        self.write(told)


class _Task(WSGITask):
    """Answers a request, and tells the client when there will be no further answer on its connection."""

    channel: Any

    def build_response_header(self) -> bytes:
        if self.channel.server.ending:
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

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._began = time.monotonic()
        self._fresh = True
        super().__init__(*arguments, **named)

    def received(self, data: bytes) -> bool:
        """Take what came, and note when a request begins."""
        before, self._fresh = self.request, False
        went_on = super().received(data)
        if self.request is not before:
            self._began = time.monotonic()
        return bool(went_on)

    def look_after(self, limits: Limits, now: float) -> None:
        """Refuse a request that takes too long to arrive, and close a connection on which nothing moves."""
        stands_still = now - self.last_activity
        if self.total_outbufs_len or not (self.requests or self.request):
            if stands_still > (limits.header_seconds if self._fresh else limits.idle_seconds):
                self.handle_close()
        elif self.request is not None:
            allowed = limits.request_seconds if self.request.headers_finished else limits.header_seconds
            if time.monotonic() - self._began > allowed:
                self._refuse()

    def at_rest(self) -> bool:
        """Whether there is no answer under way, and no request."""
        return not (self.requests or self.request or self.total_outbufs_len)

    def _refuse(self) -> None:
        refused = self.parser_class(self.adj)
        refused.parse_header(b"GET / HTTP/1.1\r\n")  # what an answer must know of its request
        refused.error, refused.completed = _Slow("too slow"), True
        with self.requests_lock:
            if self.request is None or self.will_close or self.close_when_flushed:
                return
            self.request.close()
            self.request = None
            self.requests.append(refused)
            if len(self.requests) == 1:
                self.server.add_task(self)


class _Server(TcpWSGIServer):
    """The socket that listens, and the loop that moves all bytes."""

    channel_class = _Channel
    active_channels: Any
    next_channel_cleanup: Any
    effective_port: int
    _map: Any

    def __init__(self, app: WSGIApplication, place: socket.socket, adjustments: Adjustments, limits: Limits) -> None:
        self.ending = False
        self._limits = limits
        self._until = 0.0
        self._wakes = threading.Lock()
        self._ended = False
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.queue_logger = logging.Logger("queue", logging.ERROR)  # requests that wait a moment for a thread are no news
        dispatcher.set_thread_count(limits.threads)
        sockinfo = (place.family, place.type, place.proto, place.getsockname())
        super().__init__(app, _sock=place, dispatcher=dispatcher, adj=adjustments, sockinfo=sockinfo, bind_socket=False)

    def maintenance(self, now: float) -> None:
        """Look after every connection; waitress calls this in the loop."""
        self.next_channel_cleanup = now + self._limits.look_seconds
        for channel in [*self.active_channels.values()]:
            channel.look_after(self._limits, now)

    def serve(self) -> None:
        """Serve until :meth:`end` is called, and the answers under way have ended."""
        while not self.ending:
            self._turn()
        wasyncore.dispatcher.close(self)
        while self._under_way() and time.monotonic() < self._until:
            self._turn()
        with self._wakes:
            self._ended = True
            wasyncore.close_all(self._map)
        self.task_dispatcher.shutdown(timeout=1)

    def pull_trigger(self) -> None:
        """Wake the loop, from any thread; once it has ended its pipe is closed, and may be somebody else's file."""
        with self._wakes:
            if not self._ended:
                super().pull_trigger()

    def _under_way(self) -> bool:
        """Close the connections on which no answer is under way; say whether others are left."""
        self.maintenance(time.time())
        for channel in [*self.active_channels.values()]:
            if channel.at_rest():
                channel.handle_close()
        return bool(self.active_channels)

    def end(self, grace: float) -> None:
        """Let :meth:`serve` end within so many seconds; from any thread."""
        self._until = time.monotonic() + grace
        self.ending = True
        self.pull_trigger()

    def _turn(self) -> None:
        wasyncore.loop(timeout=self._limits.look_seconds, use_poll=True, map=self._map, count=1)


def _failure(error: Error) -> KubernautError:
    if error.code == 408:
        return RequestTimeout("The request did not arrive in time.")
    if error.code in (413, 431):
        what = "body is" if error.code == 413 else "headers are"
        return RequestTooLarge(f"The request's {what} too large.")
    if error.code == 501:
        return RequestMalformed("The request is sent in a Transfer-Encoding that the server does not take.")
    if error.code < 500:
        return RequestMalformed("The request is not HTTP as the server reads it.", hint="Send HTTP/1.1, with one header a line.")
    return KubernautError("The server failed in a way that nobody foresaw.")
