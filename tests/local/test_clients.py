"""Querying supervisord and slirp4netns while they are stopped or killed."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from kubernaut_local import clients
from kubernaut_local.clients import list_processes
from kubernaut_local.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path, "s")
    layout.run.mkdir(parents=True)
    return layout


def listen(layout: Layout) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(layout.supervisor_socket))
    server.listen(1)
    return server


def test_missing_supervisord_has_no_answer(layout: Layout) -> None:
    assert list_processes(layout, {}) is None
    listen(layout).close()  # a dead one leaves its socket behind
    assert list_processes(layout, {}) is None


def test_suspended_supervisord_is_not_waited_for(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "TIMEOUT_SECONDS", 0.2)
    started = time.monotonic()
    with listen(layout):
        assert list_processes(layout, {}) is None
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("body", [b"", b"<methodResponse><para", b"no XML"])
def test_supervisord_killed_while_answering(layout: Layout, body: bytes) -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n" + body)

    with listen(layout) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        assert list_processes(layout, {}) is None
        thread.join(10)


def test_link_killed_while_answering(layout: Layout) -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)

    with listen(layout) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        with pytest.raises(clients.NO_ANSWER):
            clients.list_forwarded_ports(layout.supervisor_socket)
        thread.join(10)
