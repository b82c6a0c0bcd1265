"""Registries and chart repositories that do not answer, or refuse: the message names what was read, the hint fits the cause."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from support.certificates import make_certificates
from support.chart_repository import serve_charts
from support.in_process_server import COMMAND_LINE
from support.messages import facts

from kubernaut.adapters.chart_repository import ChartRepositoryClient
from kubernaut.adapters.registry import Credentials, RegistryClient
from kubernaut.errors import KubernautError, RegistryDenied, RegistryUnreachable
from kubernaut.testing.registry import FakeRegistry

HOST = "registry.example.com"


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "SSL_CERT_FILE",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


def registry_error(host: str, *, user: str | None = None, plain: bool = False) -> KubernautError:
    """Return the error of reading ``HOST/team/web:1.0.0``."""
    credentials = None if user is None else Credentials(user, "hunter2")
    with pytest.raises(KubernautError, match=facts(f"{host}/team/web:1.0.0", host)) as caught:
        RegistryClient(plain_http=lambda _: plain, credentials=lambda _: credentials).manifest(f"{host}/team/web", "1.0.0")
    assert "hunter2" not in caught.value.hint + str(caught.value.problem())
    assert host in caught.value.hint
    assert not COMMAND_LINE.search(caught.value.http_hint)
    return caught.value


def repository_error(url: str) -> KubernautError:
    with pytest.raises(KubernautError, match=facts(f"{url}/index.yaml")) as caught:
        ChartRepositoryClient(plain_http=lambda _: True).index(url)
    return caught.value


def test_a_name_that_does_not_resolve() -> None:
    error = registry_error("no-such-host.invalid")
    assert "`nslookup no-such-host.invalid`" in error.hint
    assert "`kubernaut config`" in error.hint
    assert "no-such-host.invalid" in error.http_hint
    hint = repository_error("https://no-such-host.invalid/stable").hint
    assert "nslookup" in hint
    assert "kubernaut config" not in hint


def test_a_refused_connection_names_the_port() -> None:
    hint = registry_error("127.0.0.1:9", plain=True).hint
    assert "port is 9" in hint
    assert "`curl -v http://127.0.0.1:9`" in hint
    assert "`curl -v https://127.0.0.1:9`" in repository_error("https://127.0.0.1:9/stable").hint


@pytest.mark.parametrize(("raised", "word"), [(requests.ConnectTimeout(), "HTTPS_PROXY"), (requests.ReadTimeout(), "HTTPS_PROXY")])
def test_no_answer_in_time(raised: Exception, word: str) -> None:
    with responses.RequestsMock() as http:
        http.get(f"https://{HOST}/v2/team/web/manifests/1.0.0", body=raised)
        assert word in registry_error(HOST).hint


def test_a_proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    error = registry_error(HOST)
    assert "proxy" in error.message
    assert f"`export NO_PROXY={HOST}`" in error.hint


def test_a_server_without_tls() -> None:
    with FakeRegistry() as registry, serve_charts() as repository:
        assert f"`export KUBERNAUT_PLAIN_HTTP={registry.address}`" in registry_error(registry.address).hint
        hint = repository_error(f"https://{repository.address}/stable").hint
        assert f"http://{repository.address}" in hint


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_certificates_that_are_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = make_certificates(tmp_path)
    with serve_charts(certificate=certificates.server) as repository:
        assert "`export SSL_CERT_FILE=" in repository_error(repository.url).hint
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        other = repository.url.replace("127.0.0.1", "localhost")
        error = repository_error(other)
        assert "SSL_CERT_FILE" not in error.hint
        assert "localhost" in error.hint


@pytest.mark.parametrize(
    ("status", "user", "word"),
    [
        (401, None, "none are stored"),
        (401, "ada", "stored credentials"),
        (403, None, "refuses access"),
    ],
)
def test_a_refusal_names_the_login(status: int, user: str | None, word: str) -> None:
    headers: dict[str, Any] = {"WWW-Authenticate": 'Basic realm="x"'}
    with responses.RequestsMock() as http:
        http.get(f"https://{HOST}/v2/team/web/manifests/1.0.0", status=status, headers=headers)
        error = registry_error(HOST, user=user)
    assert isinstance(error, RegistryDenied)
    assert word in error.message
    assert str(status) in error.message
    assert f"`docker login {HOST}`" in error.hint


def test_a_repository_that_refuses_names_the_login() -> None:
    with serve_charts(login=("ada", "hunter2")) as repository:
        error = repository_error(repository.url)
    assert isinstance(error, RegistryDenied)
    assert f"`docker login {repository.address}`" in error.hint


@pytest.mark.parametrize(("status", "word"), [(429, "docker login"), (500, "operator"), (400, "port")])
def test_other_statuses_have_hints_that_fit(status: int, word: str) -> None:
    with responses.RequestsMock() as http:
        http.get(f"https://{HOST}/v2/team/web/manifests/1.0.0", status=status)
        error = registry_error(HOST)
    assert isinstance(error, RegistryUnreachable)
    assert str(status) in error.message
    assert word in error.hint
