"""A server with a certificate of a private authority, over real TLS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Certificates, make_certificates
from support.chart_repository import ChartRepository, serve_charts

from kubernaut.adapters.chart_repository import ChartRepositoryClient
from kubernaut.adapters.registry import RegistryClient
from kubernaut.errors import RegistryUnreachable

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
INDEX = b"entries: {}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def repository(certificates: Certificates) -> Iterator[ChartRepository]:
    with serve_charts(certificate=certificates.server) as served:
        served.files["/stable/index.yaml"] = INDEX
        yield served


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def index(repository: ChartRepository) -> bytes:
    return ChartRepositoryClient(plain_http=lambda _: False).index(repository.url)


def test_unknown_authority_is_refused_with_the_variable_that_adds_it(repository: ChartRepository) -> None:
    with pytest.raises(RegistryUnreachable) as caught:
        index(repository)
    assert "SSL_CERT_FILE" in caught.value.message
    assert "plain_http" not in caught.value.message


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authority_of_the_environment_is_trusted(
    repository: ChartRepository, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(certificates.authority))
    assert index(repository) == INDEX


def test_variable_of_the_http_library_comes_before_that_of_helm(
    repository: ChartRepository, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    assert index(repository) == INDEX


def test_registry_trusts_the_same_authority(
    repository: ChartRepository, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    assert RegistryClient(plain_http=lambda _: False).tags(f"{repository.address}/charts/web") == []


@pytest.mark.parametrize("content", [None, "", "no certificate\n"])
def test_file_that_holds_no_authorities_is_an_error(
    repository: ChartRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(RegistryUnreachable) as caught:
        index(repository)
    assert str(path) in caught.value.message
    assert "SSL_CERT_FILE" in caught.value.message


def test_certificate_of_another_host_is_refused_without_the_advice(
    repository: ChartRepository, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    elsewhere = repository.url.replace("127.0.0.1", "localhost")
    with pytest.raises(RegistryUnreachable) as caught:
        ChartRepositoryClient(plain_http=lambda _: False).index(elsewhere)
    assert "certificate" in caught.value.message
    assert "SSL_CERT_FILE" not in caught.value.message
