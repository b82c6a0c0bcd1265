"""A real `kubernaut serve` process, and requests to it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from support.processes import Ended, Running
from support.waiting import until

PROGRAM = Path(sys.executable).with_name("kubernaut")
_ADDRESS = re.compile(r"curl -H @(?P<file>\S+) (?P<url>http://\S+?)/api/releases")


@dataclass
class ServerProcess:
    """A server that listens.

    Attributes:
        url: Its address, without a path.
        header_file: The file with the Authorization header, for curl's ``-H @FILE``.
    """

    running: Running
    url: str
    header_file: Path

    @property
    def headers(self) -> dict[str, str]:
        name, _, value = self.header_file.read_text().strip().partition(": ")
        return {name: value}

    def ask(
        self, method: str, path: str, *, status: int | None = 200, headers: Mapping[str, str] | None = None, **how: Any
    ) -> requests.Response:
        """Send a request, and check the status of the answer."""
        response = requests.request(method, self.url + path, headers={**self.headers, **(headers or {})}, timeout=330, **how)
        assert status in (None, response.status_code), f"{method} {path}: {response.status_code}\n{response.text}"
        return response

    def get(self, path: str) -> Any:
        """GET JSON."""
        return self.ask("GET", path).json()

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, status: int | None = 202, **headers: str) -> Any:
        """POST JSON; a header's ``_`` is a ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, status=status, headers=sent, json=body).json()

    def shows(self, path: str) -> Any:
        """GET JSON; empty while it is not found, because the index lags a write a little."""
        answer = self.ask("GET", path, status=None)
        assert answer.status_code in (200, 404), answer.text
        return answer.json() if answer.status_code == 200 else {}

    def ready(self) -> bool:
        """Return whether its index is loaded."""
        return self.ask("GET", "/readyz", status=None).status_code == 200

    def stop(self, seconds: float = 60.0) -> Ended:
        """SIGTERM, and wait for its end."""
        self.running.signal(signal.SIGTERM)
        return self.running.wait(seconds)


def listening(running: Running) -> ServerProcess:
    """Wait until a server that was started with ``--port 0`` is ready."""

    def address() -> re.Match[str] | None:
        assert running.process.poll() is None, running.wait().stderr
        assert isinstance(running.stderr, Path)
        return _ADDRESS.search(running.stderr.read_text())

    until(address, "the server listens", 30)
    found = address()
    assert found is not None
    served = ServerProcess(running, found["url"], Path(found["file"]))
    until(served.ready, "the server is ready", 30)
    return served


@contextmanager
def serving(environment: Mapping[str, str], directory: Path, folder: Path, *arguments: str) -> Iterator[ServerProcess]:
    """Run a server, and end it; its output goes into files of ``folder``."""
    files = [folder / "server.stdout", folder / "server.stderr"]
    with files[0].open("wb") as stdout, files[1].open("wb") as stderr:
        process = subprocess.Popen(
            [PROGRAM, "serve", "--port", "0", *arguments],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield listening(Running(process, *files))
    finally:
        process.terminate()
        process.wait(60)
