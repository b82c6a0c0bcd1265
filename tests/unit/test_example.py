"""examples/hello-world: its responses, its shutdown, and its files for kubernaut and Docker."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.programs import program

from kubernaut.publish.application import check_dockerfile, load_application
from kubernaut.publish.source import read_source

APPLICATION = Path(__file__).parents[2] / "examples" / "hello-world"
DEADLINE = 20.0
QUICKLY = 2.5  # less than the time that open requests are given


@dataclass
class Server:
    """A running hello-world."""

    process: subprocess.Popen[str]
    port: int
    first_line: str

    def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float, str]:
        """Send the signal; return the exit status, the seconds it took, and what was logged after the first line."""
        started = time.monotonic()
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, time.monotonic() - started, output


@pytest.fixture(scope="session")
def node() -> str:
    return program("node")


@pytest.fixture
def start(node: str) -> Iterator[Callable[..., Server]]:
    processes = []

    def start(**environment: str) -> Server:
        process = subprocess.Popen(
            [node, str(APPLICATION / "index.js")],
            env={"PATH": os.environ["PATH"], "PORT": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"listens on port (\d+)$", line)
        assert match, line
        return Server(process, int(match[1]), line)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_root_returns_greeting_version_and_commit(start: Callable[..., Server]) -> None:
    server = start(GREETING="Ahoj", VERSION="1.4.2", COMMIT="31fba06")
    status, headers, body = server.get("/?from=here")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"greeting": "Ahoj, world!", "version": "1.4.2", "commit": "31fba06"}
    assert server.first_line == f"hello-world 1.4.2 (31fba06) listens on port {server.port}\n"


def test_an_unset_version_is_unknown(start: Callable[..., Server]) -> None:
    assert json.loads(start().get("/")[2]) == {"greeting": "Hello, world!", "version": "unknown", "commit": "unknown"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/nowhere", 404),
        ("GET", "//", 404),
        ("GET", "/constructor", 404),
        ("POST", "/", 405),
        ("DELETE", "/nowhere", 404),
    ],
)
def test_status_by_method_and_path(start: Callable[..., Server], method: str, path: str, status: int) -> None:
    answer, headers, body = start().get(path, method)
    assert answer == status
    assert json.loads(body)
    assert headers.get("Allow") == ("GET, HEAD" if status == 405 else None)


def test_head_has_no_body(start: Callable[..., Server]) -> None:
    status, headers, body = start().get("/", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_at_once(start: Callable[..., Server], number: signal.Signals) -> None:
    status, seconds, output = start(VERSION="1.4.2").stop(number)
    assert status == 0
    assert number.name in output
    assert seconds < QUICKLY


def test_an_idle_keep_alive_connection_does_not_delay_the_shutdown(start: Callable[..., Server]) -> None:
    server = start()
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)) as connection:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("Connection") == "keep-alive"
        status, seconds, _ = server.stop()
    assert status == 0
    assert seconds < QUICKLY


def test_shutdown_answers_open_requests_and_refuses_new_ones(start: Callable[..., Server]) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as open_request:
        open_request.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
        assert server.get("/healthz")[0] == 200  # now the half request above has been read, too
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stdout is not None
        assert "SIGTERM" in server.process.stdout.readline()
        with pytest.raises(ConnectionRefusedError):
            server.get("/")
        open_request.sendall(b"\r\n")
        answer = b"".join(iter(lambda: open_request.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer
    assert server.process.wait(timeout=DEADLINE) == 0


def test_shutdown_closes_a_request_that_does_not_end(start: Callable[..., Server]) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as open_request:
        open_request.sendall(b"GET / HTTP/1.1\r\n")
        assert server.get("/healthz")[0] == 200
        status, seconds, _ = server.stop()
    assert status == 0
    assert seconds < 8  # Kubernetes would kill it 10 s after it asked


def test_a_taken_port_is_reported_on_one_line(node: str) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [node, str(APPLICATION / "index.js")], env={"PORT": str(port)}, capture_output=True, text=True, timeout=DEADLINE
        )
    assert result.returncode == 1
    assert re.fullmatch(rf".*\b{port}\b.*PORT.*\n", result.stderr)


def test_the_image_runs_node_directly_and_not_as_root() -> None:
    lines = (APPLICATION / "Dockerfile").read_text().splitlines()
    assert "USER 1000" in lines
    assert lines[-1] == 'CMD ["node", "index.js"]'
    copied = next(line for line in lines if line.startswith("COPY")).split()[1:-1]
    assert all((APPLICATION / name).is_file() for name in copied)


def test_kubernaut_yaml_is_valid() -> None:
    application = load_application(APPLICATION)
    check_dockerfile(application)
    assert application.name == json.loads((APPLICATION / "package.json").read_text())["name"]
    assert application.chart_path == APPLICATION.parents[1] / "charts" / "hello-world"
    assert set(application.environment_paths) == {"production"}
    assert application.probe is not None


def test_the_build_context_contains_only_the_image_files() -> None:
    context = {entry.name for entry in read_source(load_application(APPLICATION)).section("context")}
    assert context - {"Dockerfile", ".dockerignore"} == {"index.js", "package.json"}
