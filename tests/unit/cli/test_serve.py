"""``kubernaut serve`` as a process: its output, its end by a signal, and that no output has a token."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import Result
from support.programs import program
from support.waiting import until
from unit.cli.stub import StubKubernaut
from unit.cli.test_processes import environment

from kubernaut.errors import ClusterUnreachable

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parent / "serving.py"
CANARY = "kanarie-0123456789-abcdefghijklmnopqrstuvwxyz"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that it is refused
CURL = re.compile(r"^curl .*?(?P<url>http://\S+)/api/releases$", re.MULTILINE)
Run = Callable[..., Result]


class Server:
    """A server as a process; what it says goes into files."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.folder = folder
        self._out, self._err = folder / "stdout", folder / "stderr"
        known = environment("", XDG_STATE_HOME=str(folder / "state"), HOME=str(folder), **variables)
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), "serve", "--port", "0", *arguments], stdout=out, stderr=err, env=known, cwd=folder
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def header_file(self) -> Path:
        return self.folder / "state" / "kubernaut" / "token"

    def listening(self) -> Server:
        until(lambda: CURL.search(self.err) or self.process.poll() is not None, "it listens")
        assert self.process.poll() is None, self.err
        return self

    @property
    def curl(self) -> str:
        """The printed curl command."""
        found = CURL.search(self.err)
        assert found is not None, self.err
        return found[0]

    def ask(self, path: str, token: str | None = None) -> requests.Response:
        found = CURL.search(self.err)
        assert found is not None
        return requests.get(found["url"] + path, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=10)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(30)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server."""
    servers: list[Server] = []

    def start(*arguments: str, **variables: str) -> Server:
        servers.append(Server(tmp_path, *arguments, **variables))
        return servers[-1]

    yield start
    for server in servers:
        with suppress(ProcessLookupError):
            server.process.kill()
        server.process.wait(30)


def tokens_file(folder: Path) -> Path:
    path = folder / "tokens.toml"
    path.write_text(f'[tokens.ci]\ntoken = "{CANARY}"\nrole = "read"\n')
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_printed_command_works_and_a_signal_stops_the_server(serve: Callable[..., Server], number: signal.Signals) -> None:
    server = serve().listening()
    assert re.search(r"^listening at http://127\.0\.0\.1:[1-9][0-9]*$", server.err, re.MULTILINE)
    assert f"the token is in {server.header_file}\n" in server.err
    until(lambda: server.ask("/readyz").status_code == 200, "it is ready")
    assert server.ask("/api/releases").status_code == 401
    words = shlex.split(server.curl)
    assert words[:3] == ["curl", "-H", f"@{server.header_file}"]
    asked = subprocess.run(
        [program("curl"), "-fsS", "--noproxy", "*", *words[1:]], capture_output=True, text=True, timeout=20, check=False
    )
    assert json.loads(asked.stdout) == {"items": [], "count": 0, "next": None}, asked.stderr
    server.signal(number)
    assert server.ended() == 0
    assert server.out == ""
    assert "stopping: " in server.err
    assert "error" not in server.err


def test_the_address_is_printed_as_json(serve: Callable[..., Server]) -> None:
    server = serve("-o", "json").listening()
    until(lambda: server.out.endswith("}\n"), "the JSON is complete")
    printed = json.loads(server.out)
    assert printed["tokenFile"] == str(server.header_file)
    assert requests.get(f"{printed['url']}/healthz", timeout=10).status_code == 200


def test_a_running_deploy_may_end(serve: Callable[..., Server], tmp_path: Path) -> None:
    job = tmp_path / "job"
    server = serve(JOB=str(job)).listening()
    server.signal(signal.SIGTERM)
    until(lambda: "stopping: " in server.err, "it begins to stop")
    until(lambda: server.ask("/readyz").status_code == 503, "it takes on nothing new")
    assert server.process.poll() is None
    job.touch()
    assert server.ended() == 0
    assert not job.with_suffix(".stopped").exists()
    assert '"outcome": "succeeded"' in server.err


@pytest.mark.parametrize(("second", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_stops_it(serve: Callable[..., Server], tmp_path: Path, second: signal.Signals, status: int) -> None:
    job = tmp_path / "job"
    server = serve("--grace", "1h", JOB=str(job)).listening()
    server.signal(signal.SIGTERM)
    until(lambda: "stopping: " in server.err, "it begins to stop")
    server.signal(second)
    assert server.ended() == status
    assert job.with_suffix(".stopped").exists()
    assert "error: Stopped by " in server.err
    assert "Traceback" not in server.err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_signal_delivered_to_another_thread_counts(serve: Callable[..., Server], tmp_path: Path) -> None:
    """The system may hand it to any thread, and does when deploys begin; the main thread sleeps meanwhile."""
    job = tmp_path / "job"
    server = serve("--grace", "1h", JOB=str(job)).listening()
    pid = server.process.pid
    other = min(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir() if int(entry.name) != pid)
    assert ctypes.CDLL(None).tgkill(pid, other, signal.SIGTERM) == 0
    until(lambda: "stopping: " in server.err, "it begins to stop")
    assert ctypes.CDLL(None).tgkill(pid, other, signal.SIGTERM) == 0
    assert server.ended() == 143
    assert job.with_suffix(".stopped").exists()


def test_work_beyond_the_grace_is_stopped(serve: Callable[..., Server], tmp_path: Path) -> None:
    job = tmp_path / "job"
    server = serve("--grace", "0", JOB=str(job)).listening()
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert job.with_suffix(".stopped").exists()
    assert '"outcome": "interrupted"' in server.err


def test_no_token_shows_anywhere(serve: Callable[..., Server], tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    server = serve("--tokens", str(tokens_file(tmp_path)), "--audit-log", str(audit), "-v").listening()
    until(lambda: server.ask("/readyz").status_code == 200, "it is ready")
    answers = [
        server.ask("/api/releases", CANARY),
        server.ask("/api/releases", f"{CANARY}x"),
        server.ask(f"/api/releases?access_token={CANARY}", CANARY),
        server.ask(f"/api/releases?token={CANARY}"),
        server.ask(f"/api/releases/{CANARY}", CANARY),
        server.ask("/metrics", CANARY),
        requests.post(
            f"{server.curl.split()[-1]}", json={"token": CANARY}, headers={"Authorization": f"Bearer {CANARY}"}, timeout=10
        ),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 422, 401, 422, 200, 403]
    for answer in (*answers[:2], *answers[3:4], *answers[5:]):
        assert CANARY not in answer.text
        assert CANARY not in str(answer.headers)
    if sys.platform == "linux":
        process = Path("/proc") / str(server.process.pid)
        assert CANARY not in (process / "cmdline").read_text()
        assert CANARY not in (process / "environ").read_text()
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert CANARY not in server.out + server.err
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(line["event"], line["caller"], line["status"]) for line in lines] == [("request", "ci", 403)]
    assert CANARY not in audit.read_text()


def test_the_generated_token_shows_nowhere(serve: Callable[..., Server]) -> None:
    server = serve("-v", "-o", "json").listening()
    token = server.header_file.read_text().split()[-1]
    until(lambda: server.ask("/readyz").status_code == 200, "it is ready")
    assert server.ask("/api/releases", token).status_code == 200
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert token not in server.out + server.err


def test_named_tokens_are_reported_by_file_and_no_token_is_generated(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--tokens", str(tokens_file(tmp_path))).listening()
    assert f"tokens: {tmp_path / 'tokens.toml'}\n" in server.err
    assert server.curl.startswith("curl -H @HEADER_FILE ")
    assert not server.header_file.exists()
    assert server.ask("/metrics", CANARY).status_code == 200


def test_without_tokens_the_command_line_has_none(serve: Callable[..., Server]) -> None:
    server = serve("--auth", "none").listening()
    assert server.curl.startswith("curl http://")
    assert not server.header_file.exists()
    assert server.ask("/metrics").status_code == 200


def test_a_port_that_is_taken_is_a_conflict(serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        server = serve("--port", port, "-o", "json")
        assert server.ended() == 5
    printed = json.loads(server.out)
    assert printed["code"] == "port_taken"
    assert port in printed["detail"]


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        (("--host", EVERYWHERE), 3, "--behind-tls-proxy"),
        (("--host", EVERYWHERE, "--behind-tls-proxy"), 3, "--allow-host"),
        (("--host", EVERYWHERE, "--auth", "none", "--behind-tls-proxy", "--allow-host", "a.example.com"), 3, "--auth none"),
        (("--tokens", "tokens.toml", "--token-file", "token"), 2, "--token-file"),
        (("--auth", "none", "--tokens", "tokens.toml"), 2, "--auth none"),
        (("--auth", "basic"), 2, "--auth"),
        (("--grace", "soon"), 2, "--grace"),
        (("--port", "65536"), 2, "--port"),
        (("--workers", "0"), 2, "--workers"),
        (("--allow-host", "a b"), 3, "--allow-host"),
        (("--allow-charts", "https://a.example.com"), 3, "--allow-charts"),
        (("--namespace", "Demo"), 3, "namespace"),
        (("--tokens", "missing.toml"), 3, "missing.toml"),
    ],
)
def test_invalid_options_are_refused_with_a_hint(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...], status: int, words: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    result = run("serve", *line)
    assert result.exit_code == status, result.stderr
    assert words in result.stderr
    assert "hint: " in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_settings_decide_where_the_server_listens(
    run: Run, stub: StubKubernaut, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stub.answers["index"] = ClusterUnreachable("far enough")
    monkeypatch.setenv("KUBERNAUT_SERVE_PORT", "9090")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert run("serve", "--context", "other", "--token-file", str(tmp_path / "mine")).exit_code == 8
    assert stub.settings is not None
    assert (stub.settings.serve_host, stub.settings.serve_port) == ("127.0.0.1", 9090)
    assert stub.settings.context == "other"
    assert stub.settings.token_path() == tmp_path / "mine"
    assert run("serve", "--port", "9091", "--host", "127.0.0.2", "--auth", "none").exit_code == 8
    assert (stub.settings.serve_host, stub.settings.serve_port) == ("127.0.0.2", 9091)
    assert stub.settings.origins["serve_port"] == "argument --port"


def test_help_of_serve_imports_no_server() -> None:
    script = (
        "import sys\nfrom kubernaut.cli.main import main\ntry: main(['serve', '--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ))
    loaded: set[Any] = set(done.stdout.splitlines()[-1].split())
    assert not {"bottle", "waitress", "prometheus_client", "lightkube", "kubernaut.server.routing"} & loaded
