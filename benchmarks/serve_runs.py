"""The measurements of serve.py."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from measure import MeasurementFailed, kubernaut, run
from serve_fill import record
from serve_load import Load

from kubernaut.adapters.kube import Cluster
from kubernaut.history.records import HELM_OWNER, Status, decode

HERE = Path(__file__).parent
LIST = "/api/releases?limit=100"
ROUNDS = 10
# The server prints this command when it listens.
_CURL_HINT = re.compile(r"curl -H @(?P<file>\S+) (?P<url>http://\S+?)/api/releases")
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    url: str
    header_file: Path

    def get(self, path: str) -> bytes:
        """Return the body of a GET. Raises: OSError."""
        name, _, value = self.header_file.read_text(encoding="ascii").strip().partition(": ")
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers={name: value}), timeout=30) as answer:  # noqa: S310
            body: bytes = answer.read()
            return body

    def load(self, path: str, *, connections: int, requests: int, rate: float | None = None) -> Load:
        """Send requests from another process."""
        how = ["--connections", str(connections), "--requests", str(requests), *(["--rate", str(rate)] if rate else [])]
        command = [sys.executable, str(HERE / "serve_load.py"), self.url + path, "--header-file", str(self.header_file), *how]
        return Load(**json.loads(subprocess.run(command, capture_output=True, check=True).stdout))

    def megabytes(self) -> float:
        """Return its resident memory in megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def list_and_decode(environment: Mapping[str, str]) -> float:
    """Time a metadata list and a decode of the current records, without a server."""
    cluster = Cluster(environment["KUBECONFIG"])
    cluster.namespace_exists("default")  # connect first
    started = time.perf_counter()
    cluster.list_secrets(None, {"owner": HELM_OWNER}, metadata_only=True)
    current = cluster.list_secrets(None, {"owner": HELM_OWNER, "status": Status.DEPLOYED.value})
    for secret in current:
        found = decode(secret)
        assert found is not None
        assert not found.damaged
    seconds = time.perf_counter() - started
    cluster.close()
    return seconds


def time_to_ready(environment: Mapping[str, str], folder: Path) -> float:
    """Time the start of a server until it is ready."""
    started = time.perf_counter()
    with _server([kubernaut(), "serve", "--port", "0"], environment, folder) as server:
        _wait_until(lambda: _is_ready(server), "the server is ready")
        return time.perf_counter() - started


def helm_list(environment: Mapping[str, str]) -> float:
    """Time `helm list`."""
    return run(["helm", "list", "-A", "-m", "100000", "-o", "json"], HERE, environment)


@contextmanager
def serving(environment: Mapping[str, str], folder: Path) -> Iterator[tuple[Server, Server]]:
    """Run the server, and a second one that returns a constant body as large as its list."""
    with _server([kubernaut(), "serve", "--port", "0"], environment, folder) as server:
        _wait_until(lambda: _is_ready(server), "the server is ready")
        body = folder / "body.json"
        body.write_bytes(server.get(LIST))
        with _server([sys.executable, str(HERE / "serve_constant.py"), str(body)], environment, folder) as constant:
            yield server, constant


def lists(server: Server, constant: Server) -> tuple[Load, Load]:
    """Send requests to both servers alternately."""
    lists, constants = [], []
    for _ in range(ROUNDS):
        lists.append(server.load(LIST, connections=1, requests=100))
        constants.append(constant.load("/api/constant", connections=1, requests=100))
    return _joined(lists), _joined(constants)


def saturate(server: Server) -> tuple[Load, Load]:
    """Send requests at the maximum rate, then at half of it."""
    maximum = server.load(LIST, connections=8, requests=1500)
    return maximum, server.load(LIST, connections=8, requests=1500, rate=maximum.rate / 2)


def visibility_delays(server: Server, cluster: Cluster) -> list[float]:
    """Write records as Helm does, and time each until the server shows it."""
    return [_visibility_delay(server, cluster, revision) for revision in range(1, 2 * ROUNDS + 1)]


def _visibility_delay(server: Server, cluster: Cluster, revision: int) -> float:
    cluster.create_secret("bench-0", record("bench-0", "shown", revision, Status.DEPLOYED, 20_000))
    started = time.monotonic()
    while time.monotonic() < started + _TIMEOUT_SECONDS:
        with suppress(urllib.error.HTTPError):  # not shown yet
            if json.loads(server.get("/api/releases/bench-0.shown.current"))["revision"] == revision:
                return time.monotonic() - started
    raise MeasurementFailed(f"The server does not show revision {revision} after {_TIMEOUT_SECONDS:.0f} s.")


def churn(server: Server, cluster: Cluster, seconds: float) -> tuple[float, float]:
    """Create and delete releases and request lists for a while; return the memory in megabytes before and after."""
    before, until = server.megabytes(), time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() > until:
            break
        name = f"churn-{number % 50}"
        for revision in (1, 2):
            cluster.create_secret("bench-0", record("bench-0", name, revision, Status.DEPLOYED, 20_000))
        server.get(LIST)
        for revision in (1, 2):
            cluster.delete_secret("bench-0", f"sh.helm.release.v1.{name}.v{revision}")
    return before, server.megabytes()


@contextmanager
def _server(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[Server]:
    output = folder / "server.log"
    variables = {**environment, "XDG_STATE_HOME": str(folder / "state")}
    with output.open("wb") as log:
        process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_until(lambda: process.poll() is not None or _CURL_HINT.search(output.read_text()), "the server listens")
        found = _CURL_HINT.search(output.read_text())
        if found is None:
            raise MeasurementFailed(f"{command[0]}: {output.read_text()}")
        yield Server(process, found["url"], Path(found["file"]))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _is_ready(server: Server) -> bool:
    try:
        server.get("/readyz")
    except OSError:
        return False
    return True


def _wait_until(condition: Callable[[], object], description: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"Not within {_TIMEOUT_SECONDS:.0f} s: {description}.")
        time.sleep(0.01)


def _joined(loads: Sequence[Load]) -> Load:
    seconds = [second for load in loads for second in load.seconds]
    return Load(seconds, sum(load.errors for load in loads), sum(load.duration for load in loads))
