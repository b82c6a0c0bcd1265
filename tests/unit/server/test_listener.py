"""The listener on a real socket: limits, its own errors, slow clients, and stopping."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from support.in_process_server import COMMAND_LINE, DEPLOYER, HOST, InProcessServer
from support.stub_routes import StubRoutes

from kubernaut.errors import PortTaken, SettingInvalid
from kubernaut.server.listener import HttpServer, Limits, listen

QUICK = Limits(header_seconds=0.4, request_seconds=0.8, idle_seconds=0.6, check_seconds=0.05)
PATIENT = Limits(check_seconds=0.05)
ASKED = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@contextmanager
def listening(app: Any, limits: Limits = PATIENT, **more: Any) -> Iterator[HttpServer]:
    server = listen(app, "127.0.0.1", 0, limits=limits, **more)
    try:
        yield server
    finally:
        server.stop(1)


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer."""
    response = HTTPResponse(client)
    response.begin()
    body = response.read()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def exchange(server: HttpServer, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    with connect(server) as client:
        client.sendall(sent)
        return answer(client)


def problem(answered: tuple[int, dict[str, str], bytes], status: int, code: str) -> dict[str, Any]:
    got, headers, body = answered
    assert got == status, body
    assert headers["content-type"] == "application/problem+json"
    payload: dict[str, Any] = json.loads(body)
    assert (payload["status"], payload["code"]) == (status, code)
    assert payload["hint"]
    assert not COMMAND_LINE.search(payload["hint"]), payload["hint"]
    assert payload["requestId"] == headers["x-request-id"]
    return payload


def closed(client: socket.socket) -> bool:
    """Wait until the server closes a connection."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def threads() -> set[threading.Thread]:
    """The servers' threads; those of a server that has just ended may still be among them."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(("waitress", "kubernaut-listen"))}


def test_the_app_is_served_over_new_and_kept_alive_connections(tmp_path: Path) -> None:
    serving = InProcessServer(tmp_path, StubRoutes().routes)
    headers = {"Authorization": f"Bearer {DEPLOYER}", "Content-Type": "application/json", "Host": HOST}
    with listening(serving.app) as server, closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as client:
        for _ in range(3):
            client.request("POST", "/things", b'{"name": "a"}', headers)
            response = client.getresponse()
            assert (response.status, response.read()) == (200, b'{"seen": true}\n')
            assert response.getheader("Server") is None
        client.request("POST", "/things", iter([b'{"name"', b': "a"}']), headers, encode_chunked=True)
        assert client.getresponse().read() == b'{"seen": true}\n'


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "request_malformed"),
        (b"GET /\r\nHost x\r\n\r\n", 400, "request_malformed"),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request_malformed"),
        (ASKED + b"X: a\nb\r\n\r\n", 400, "request_malformed"),
        (ASKED + b"Content-Length: x\r\n\r\n", 400, "request_malformed"),
        (ASKED + b"Content-Length: -5\r\n\r\n", 400, "request_malformed"),
        (ASKED + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "request_malformed"),
        (ASKED + b"Transfer-Encoding: chunked\r\n\r\nxx\r\n", 400, "request_malformed"),
        (ASKED + b"Transfer-Encoding: gzip\r\n\r\n", 501, "request_malformed"),
        (ASKED + b"X: " + b"x" * 100_000 + b"\r\n\r\n", 431, "request_too_large"),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "request_too_large"),
        (ASKED + b"X: x\r\n" * 20_000 + b"\r\n", 431, "request_too_large"),
        (ASKED + b"Content-Length: 2000000\r\n\r\n", 413, "request_too_large"),
        (ASKED + b"Content-Length: 99999999999999999999\r\n\r\n", 413, "request_too_large"),
        (ASKED + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 20, 413, "request_too_large"),
    ],
)
def test_requests_that_waitress_refuses_get_problems(sent: bytes, status: int, code: str) -> None:
    with listening(hello) as server, connect(server) as client:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before all of it was sent
            client.sendall(sent)
        payload = problem(answer(client), status, code)
        assert "xxx" not in json.dumps(payload)
        assert exchange(server, ASKED + b"\r\n")[2] == b"hello"


def test_an_app_error_becomes_a_problem_without_a_traceback() -> None:
    def broken(environ: Any, start_response: Any) -> list[bytes]:
        raise RuntimeError("canary-8f3a-secret")

    with listening(broken) as server:
        answered = exchange(server, ASKED + b"\r\n")
        problem(answered, 500, "internal")
        assert b"canary" not in answered[2]


@pytest.mark.parametrize("beginning", [b"", ASKED, ASKED + b"Content-Length: 1000\r\n\r\n"])
def test_a_request_that_trickles_in_times_out_with_408(beginning: bytes) -> None:
    with listening(hello, QUICK) as server, connect(server) as client:
        client.sendall(beginning)
        drip = Drip([client])
        try:
            payload = problem(answer(client), 408, "request_timeout")
            assert "in time" in payload["detail"]
            assert closed(client)
        finally:
            drip.stop()


def test_idle_connections_are_closed() -> None:
    with listening(hello, QUICK) as server, connect(server) as silent, connect(server) as kept:
        kept.sendall(ASKED + b"\r\n")
        assert answer(kept)[2] == b"hello"
        assert closed(silent)
        assert closed(kept)


def test_a_client_that_does_not_read_is_disconnected() -> None:
    ended = threading.Event()

    def endless(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    with listening(endless, QUICK) as server, connect(server) as client:
        client.sendall(ASKED + b"\r\n")
        assert ended.wait(10)


def test_a_disconnected_client_ends_its_stream() -> None:
    ended, went = threading.Event(), threading.Event()

    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        try:
            while True:
                yield b": beat\n\n"
                went.wait(0.01)
        finally:
            ended.set()

    with listening(stream) as server:
        with connect(server) as client:
            client.sendall(ASKED + b"\r\n")
            assert client.recv(10)
        assert ended.wait(10)


def test_slow_clients_do_not_delay_others() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(listening(hello, PATIENT))
        slow = [stack.enter_context(connect(server)) for _ in range(200)]
        for number, client in enumerate(slow):
            client.sendall(ASKED if number % 2 else ASKED + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
        drip = Drip(slow)
        stack.callback(drip.stop)
        before = threads()
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            assert exchange(server, ASKED + b"\r\n")[2] == b"hello"
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1.0
        assert threads() <= before


def test_proxy_headers_are_trusted_only_behind_a_proxy() -> None:
    def who(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        payload = {
            name: environ.get(name) for name in ("REMOTE_ADDR", "HTTP_HOST", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST")
        }
        return [json.dumps(payload).encode()]

    sent = ASKED + b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: evil.example.com\r\n\r\n"
    with listening(who) as server:
        payload = json.loads(exchange(server, sent)[2])
        assert payload == {
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "x",
            "HTTP_X_FORWARDED_FOR": None,
            "HTTP_X_FORWARDED_HOST": None,
        }
    with listening(who, behind_tls_proxy=True) as server:
        payload = json.loads(exchange(server, sent)[2])
        assert (payload["REMOTE_ADDR"], payload["HTTP_HOST"], payload["HTTP_X_FORWARDED_HOST"]) == ("192.0.2.1", "x", None)


def test_stop_waits_for_open_responses_and_refuses_connections() -> None:
    begun, proceed = threading.Event(), threading.Event()

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        begun.set()
        proceed.wait(10)
        return hello(environ, start_response)

    server = listen(slow, "127.0.0.1", 0, limits=PATIENT)
    with connect(server) as client, connect(server) as idle:
        client.sendall(ASKED + b"\r\n")
        assert begun.wait(10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert closed(idle)
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        assert stopping.is_alive()
        proceed.set()
        status, headers, body = answer(client)
        assert (status, headers["connection"], body) == (200, "close", b"hello")
        stopping.join(10)
        assert not stopping.is_alive()


def test_stop_returns_after_the_grace_and_leaves_no_thread() -> None:
    before = threads()
    proceed = threading.Event()

    def stuck(environ: Any, start_response: Any) -> list[bytes]:
        proceed.wait(10)
        return hello(environ, start_response)

    server = listen(stuck, "127.0.0.1", 0, limits=PATIENT)
    with connect(server) as client:
        client.sendall(ASKED + b"\r\n")
        began = time.monotonic()
        server.stop(0.2)
        assert time.monotonic() - began < 5
        assert closed(client)
    proceed.set()
    wait_for(lambda: threads() <= before)


def test_stopping_twice_has_no_effect() -> None:
    """Its pipe is closed by then, and its number may be another file's."""
    with listening(hello) as server:
        server.stop(1)


def test_a_taken_port_and_an_invalid_address_are_named() -> None:
    before = threads()
    with listening(hello) as server, pytest.raises(PortTaken, match=str(server.port)):
        listen(hello, "127.0.0.1", server.port)
    with pytest.raises(SettingInvalid, match=r"192\.0\.2\.1"):
        listen(hello, "192.0.2.1", 0)
    with pytest.raises(SettingInvalid, match=r"no\.such\.host\.invalid"):
        listen(hello, "no.such.host.invalid", 0)
    wait_for(lambda: threads() <= before)


class Drip:
    """Sends a byte on each connection now and then, until it is stopped."""

    def __init__(self, clients: list[socket.socket]) -> None:
        self._clients = clients
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(0.05):
            for client in self._clients:
                try:
                    client.send(b"x")
                except OSError:
                    return
