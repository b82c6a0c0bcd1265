"""Failures of docker-py and the engine; the engine here is a socket with prepared answers."""

from __future__ import annotations

import errno
import inspect
import io
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker.errors
import pytest
from support.messages import facts

from kubernaut.adapters.docker import DockerEngine, context_paths, credentials_for
from kubernaut.adapters.registry import TOKEN_USER, Credentials
from kubernaut.errors import BuildFailed, EngineUnreachable, KubernautError, RegistryDenied, RegistryUnreachable, SettingInvalid

EMPTY = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
CANARY = "canary-5f3a"
ID = "sha256:" + "a" * 64


class Answering:
    """An engine that answers each request with the next of its answers, and closes."""

    def __init__(self, path: Path, *answers: bytes) -> None:
        self.asked: list[str] = []
        self._answers = [b'{"ApiVersion": "1.41", "Version": "20.10"}', *answers]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        answers = iter(self._answers)
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(1 << 16)
                if not asked:  # a connection without a request
                    continue
                while b"chunked" in asked and not asked.endswith(b"0\r\n\r\n"):
                    asked += connection.recv(1 << 16)
                answer = next(answers, b"")
                self.asked.append(asked.decode(errors="replace"))
                connection.sendall(answer if answer.startswith(b"HTTP") or not answer else ok(answer))

    def close(self) -> None:
        """End the thread before the descriptor is free: it would accept for the next user of its number."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._socket.close()


def ok(body: bytes, *, cut: bool = False) -> bytes:
    """A chunked answer, or one that is cut off."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(body), body)
    return head + (chunk if cut else chunk + b"0\r\n\r\n")


def lines(*messages: object) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\r\n" for message in messages)


@contextmanager
def engine(folder: Path, *answers: bytes) -> Iterator[tuple[DockerEngine, Answering]]:
    answering = Answering(folder / "s", *answers)
    client = DockerEngine(f"unix://{folder}/s", timeout=5, docker_config=str(folder))
    try:
        yield client, answering
    finally:
        client.close()
        answering.close()


def build(client: DockerEngine, log: Callable[[str], None] = lambda _: None) -> str:
    return client.build(io.BytesIO(b"tar"), dockerfile="Dockerfile", tag="host/shop:1", target=None, args={}, labels={}, log=log)


def push(client: DockerEngine, credentials: Credentials | None = None) -> str:
    return client.push("host/shop", "1", credentials=credentials, log=lambda _: None)


def test_image_id_is_read_from_the_result_not_from_step_output(tmp_path: Path) -> None:
    output: list[str] = []
    answer = lines(
        {"stream": "Step 1/1 : RUN x\n"},
        {"aux": {"ID": ID}},
        {"stream": f"sha256:{'b' * 64}\n"},
        {"stream": "hal"},
        {"stream": "f\n"},
    )
    with engine(tmp_path, answer) as (client, _):
        assert build(client, output.append) == ID
    assert output == ["Step 1/1 : RUN x", f"sha256:{'b' * 64}", "half"]


def test_error_in_the_stream_is_raised(tmp_path: Path) -> None:
    messages = [{"stream": "Step 2/3 : RUN make\n"}, *({"stream": f"line {number}\n"} for number in range(30))]
    answer = lines(*messages, {"errorDetail": {"code": 2, "message": "returned a non-zero code: 2"}, "error": "returned"})
    with engine(tmp_path, answer) as (client, _), pytest.raises(BuildFailed) as caught:
        build(client)
    assert re.search(facts("Step 2/3 : RUN make", "returned a non-zero code: 2"), caught.value.message)
    assert caught.value.details == tuple(f"line {number}" for number in range(10, 30))


def test_build_without_a_result_fails(tmp_path: Path) -> None:
    answer = lines({"stream": "Step 1/1 : RUN x\n"})
    with engine(tmp_path, answer) as (client, _), pytest.raises(EngineUnreachable, match=facts("host/shop:1")) as caught:
        build(client)
    assert caught.value.details == ("Step 1/1 : RUN x",)


@pytest.mark.parametrize(
    "answer", [b"", ok(lines({"stream": "x"}), cut=True), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
)
def test_dying_engine_is_unreachable(tmp_path: Path, answer: bytes) -> None:
    for action in (build, push):
        (tmp_path / action.__name__).mkdir()
        with engine(tmp_path / action.__name__, answer) as (client, _), pytest.raises((EngineUnreachable, RegistryUnreachable)):
            action(client)


def test_exception_of_the_log_is_not_converted(tmp_path: Path) -> None:
    def log(line: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    with engine(tmp_path, lines({"stream": "x\n"}, {"aux": {"ID": ID}})) as (client, _), pytest.raises(BrokenPipeError):
        build(client, log)


def test_dockerfile_that_needs_buildkit_fails_with_a_hint(tmp_path: Path) -> None:
    body = json.dumps({"message": "the --mount option requires BuildKit. Refer to https://docs"}).encode()
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with engine(tmp_path, answer) as (client, _), pytest.raises(BuildFailed) as caught:
        build(client)
    assert re.search(facts("--mount", "--image IMAGE@DIGEST"), caught.value.hint)


def test_push_returns_the_digest(tmp_path: Path) -> None:
    with engine(tmp_path, lines({"status": "Pushed", "id": "a"}, {"aux": {"Tag": "1", "Digest": ID, "Size": 1}})) as (client, _):
        assert push(client) == ID


@pytest.mark.parametrize(
    ("messages", "error", "fact"),
    [
        ([], RegistryUnreachable, "digest"),
        ([{"status": "Pushed"}], RegistryUnreachable, "digest"),
        (
            [{"errorDetail": {"message": "unauthorized: authentication required"}}],
            RegistryDenied,
            "unauthorized: authentication required",
        ),
        (
            [{"error": "denied: requested access to the resource is denied"}],
            RegistryDenied,
            "denied: requested access to the resource is denied",
        ),
        ([{"error": "received unexpected HTTP status: 500 Internal Server Error"}], RegistryUnreachable, "500 Internal"),
        ([{"aux": {"Digest": ID}}, {"error": "connection reset by peer"}], RegistryUnreachable, "connection reset"),
    ],
)
def test_failed_push_is_classified(tmp_path: Path, messages: list[object], error: type[KubernautError], fact: str) -> None:
    with engine(tmp_path, ok(lines(*messages)) if messages else EMPTY) as (client, _), pytest.raises(error) as caught:
        push(client)
    assert re.search(facts("host/shop:1", fact), caught.value.message)


def test_push_sends_credentials_only_in_the_header(tmp_path: Path) -> None:
    with engine(tmp_path, lines({"error": "unauthorized"})) as (client, answering), pytest.raises(RegistryDenied) as caught:
        push(client, Credentials("ada", CANARY))
    assert CANARY not in answering.asked[1].split("\r\n")[0]
    assert "X-Registry-Auth" in answering.asked[1]
    assert CANARY not in json.dumps(caught.value.problem()) + repr(caught.value.__context__)


def test_missing_socket_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match=facts(f"unix://{tmp_path}/none", os.strerror(errno.ENOENT))) as caught:
        DockerEngine(f"unix://{tmp_path}/none").check()
    assert "DOCKER_HOST" in caught.value.hint


@pytest.mark.parametrize("host", ["nonsense://x", "tcp://127.0.0.1:9", "unix://"])
def test_silent_address_is_unreachable(host: str) -> None:
    with pytest.raises(EngineUnreachable):
        DockerEngine(host).check()


def test_tls_without_certificates_is_an_invalid_setting(tmp_path: Path) -> None:
    environment = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(SettingInvalid, match=facts("TLS")):
        DockerEngine("tcp://127.0.0.1:9", environment=environment).check()


@pytest.mark.parametrize(
    "error", [error for _, error in inspect.getmembers(docker.errors, inspect.isclass) if issubclass(error, Exception)]
)
def test_every_docker_error_is_converted(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    client = DockerEngine("unix:///none")

    def fail() -> None:
        made = error.__new__(error)
        made.__dict__.update(response=None, explanation="x", msg="x", name="x", param="x")
        raise made

    monkeypatch.setattr(client, "_client", fail)
    with pytest.raises(KubernautError):
        client.check()


def config(folder: Path, content: object) -> str:
    (folder / "config.json").write_text(json.dumps(content))
    return str(folder)


def test_credentials_are_read_as_docker_reads_them(tmp_path: Path) -> None:
    folder = config(
        tmp_path,
        {
            "auths": {
                "registry.example.com": {"auth": "YWRhOnBhc3M6d29yZA=="},
                "https://other.example.com/v1/": {"identitytoken": "t"},
            }
        },
    )
    found = credentials_for("registry.example.com/team/shop", folder)
    assert found == Credentials("ada", "pass:word")
    assert credentials_for("other.example.com/x", folder) == Credentials(TOKEN_USER, "t")
    assert credentials_for("third.example.com", folder) is None
    assert credentials_for("registry.example.com", str(tmp_path / "none")) is None


def test_credential_helper_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-fake"
    helper.write_text(
        "#!/bin/sh\nread host\n"
        '[ "$host" = good.example.com ] && echo \'{"Username": "ada", "Secret": "s"}\' && exit\n'
        "echo 'credentials not found in native keychain'; exit 1\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    folder = config(tmp_path, {"credsStore": "fake"})
    assert credentials_for("good.example.com", folder) == Credentials("ada", "s")
    assert credentials_for("bad.example.com", folder) is None
    folder = config(tmp_path, {"credHelpers": {"good.example.com": "nothere"}})
    with pytest.raises(RegistryDenied, match=facts("good.example.com", "config.json")):
        credentials_for("good.example.com", folder)


def test_invalid_docker_config_is_refused(tmp_path: Path) -> None:
    folder = config(tmp_path, {"auths": {"a": "b"}})
    with pytest.raises(RegistryDenied, match=facts("a", "config.json")):
        credentials_for("a", folder)


def test_context_paths_follow_dockerignore(tmp_path: Path) -> None:
    for name in ("a.js", "b.log", "node_modules/x/y.js", "src/a.js", "src/deep/b.log", "src/keep.log", "Dockerfile", ".git/HEAD"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("src")
    assert ".git/HEAD" not in context_paths(tmp_path, "Dockerfile")
    assert "link" in context_paths(tmp_path, "Dockerfile")
    assert "link/a.js" not in context_paths(tmp_path, "Dockerfile")
    (tmp_path / ".dockerignore").write_text("\ufeff# comment\n*\n!src\n**/*.log\n!src/keep.log\n", encoding="utf-8")
    files = [path for path in context_paths(tmp_path, "Dockerfile") if (tmp_path / path).is_file()]
    assert files == [".dockerignore", "Dockerfile", "src/a.js", "src/keep.log"]


@pytest.mark.filterwarnings("ignore:docker-credential-nowhere")  # docker-py warns, and then raises
@pytest.mark.parametrize("content", [{"credsStore": "nowhere"}, {"credHelpers": {"host": "nowhere"}}])
def test_build_fails_without_its_credential_helper(tmp_path: Path, content: dict[str, object]) -> None:
    config(tmp_path, content)
    with (
        engine(tmp_path) as (client, _),
        pytest.raises(RegistryDenied, match=facts("config.json", "docker-credential-nowhere")) as caught,
    ):
        build(client)
    assert re.search(facts("`credsStore`", "`credHelpers`"), caught.value.hint)
