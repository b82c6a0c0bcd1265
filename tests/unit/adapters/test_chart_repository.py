"""The HTTP client of chart repositories: what it reads, from where, and what it sends to whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses
from support.chart_repository import ChartRepository, serve_charts
from support.messages import facts

from kubernaut.adapters.chart_repository import ChartRepositoryClient
from kubernaut.adapters.registry import TOKEN_USER, Credentials
from kubernaut.errors import KubernautError, RegistryDenied, RegistryUnreachable, VersionNotFound

CANARY = "canary-5f3a"
URL = "https://charts.example.com/stable"
INDEX = f"{URL}/index.yaml"


def client(username: str = "ada", *, asked: list[str] | None = None, plain: str = "") -> ChartRepositoryClient:
    def credentials(host: str) -> Credentials:
        if asked is not None:
            asked.append(host)
        return Credentials(username, CANARY)

    return ChartRepositoryClient(plain_http=lambda host: host == plain, credentials=credentials)


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def test_a_public_repository_needs_no_credentials(http: responses.RequestsMock) -> None:
    http.get(INDEX, b"entries: {}")
    asked: list[str] = []
    assert client(asked=asked).index(URL) == b"entries: {}"
    assert asked == []
    assert "Authorization" not in http.calls[0].request.headers


def test_credentials_are_sent_when_the_host_asks_for_them(http: responses.RequestsMock) -> None:
    http.get(INDEX, status=401)
    http.get(INDEX, b"entries: {}")
    asked: list[str] = []
    assert client(asked=asked).index(URL) == b"entries: {}"
    assert asked == ["charts.example.com"]
    assert http.calls[1].request.headers["Authorization"].startswith("Basic ")


def test_another_host_gets_its_own_credentials_only(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/web.tgz", status=401)
    http.get(f"{URL}/web.tgz", status=302, headers={"Location": "https://cdn.example.com/web.tgz?signature=x"})
    http.get("https://cdn.example.com/web.tgz", b"package")
    asked: list[str] = []
    assert client(asked=asked).package(f"{URL}/web.tgz", 100) == b"package"
    assert asked == ["charts.example.com"]
    assert "Authorization" not in http.calls[2].request.headers


@pytest.mark.parametrize("username", ["ada", TOKEN_USER])
def test_refused_credentials_are_reported_without_them(http: responses.RequestsMock, username: str) -> None:
    http.get(INDEX, status=401)
    with pytest.raises(RegistryDenied, match=facts(INDEX, "401")) as caught:
        client(username).index(URL)
    assert CANARY not in str(caught.value.problem())


@pytest.mark.parametrize(
    ("status", "error"), [(404, VersionNotFound), (403, RegistryDenied), (500, RegistryUnreachable), (204, RegistryUnreachable)]
)
def test_other_statuses_are_errors(http: responses.RequestsMock, status: int, error: type[KubernautError]) -> None:
    http.get(INDEX, status=status)
    with pytest.raises(error, match=facts(INDEX)):
        client().index(URL)


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example.com/web.tgz",
        "ftp://cdn.example.com/x",
        "file:///etc/passwd",
        "https://ada:secret@cdn.example.com/x",
        "//",
    ],
)
def test_a_redirect_without_tls_is_refused(http: responses.RequestsMock, location: str) -> None:
    http.get(f"{URL}/web.tgz", status=302, headers={"Location": location})
    with pytest.raises(RegistryUnreachable, match=facts(f"{URL}/web.tgz")) as caught:
        client().package(f"{URL}/web.tgz", 100)
    assert "secret" not in str(caught.value.problem())


def test_redirects_end(http: responses.RequestsMock) -> None:
    http.get(INDEX, status=302, headers={"Location": INDEX})
    with pytest.raises(RegistryUnreachable, match="redirects"):
        client().index(URL)
    assert len(http.calls) < 10


def test_plain_http_is_for_named_hosts(http: responses.RequestsMock) -> None:
    http.get("http://charts.example.com/stable/index.yaml", b"entries: {}")
    with pytest.raises(RegistryUnreachable) as caught:
        client().index("http://charts.example.com/stable")
    assert "plain_http" in caught.value.hint
    assert client(plain="charts.example.com").index("http://charts.example.com/stable") == b"entries: {}"


@pytest.fixture
def repository() -> Iterator[ChartRepository]:
    with serve_charts(login=("ada", CANARY)) as served:
        yield served


def test_a_real_server_is_read_within_a_limit(repository: ChartRepository) -> None:
    repository.files["/stable/web.tgz"] = b"x" * 2000
    reader = client(plain=repository.address)
    assert len(reader.package(f"{repository.url}/web.tgz", 2000)) == 2000
    assert repository.requests == [("/stable/web.tgz", None), ("/stable/web.tgz", "ada")]
    with pytest.raises(RegistryUnreachable, match=facts(f"{repository.url}/web.tgz")):
        reader.package(f"{repository.url}/web.tgz", 1999)
    reader.close()


def test_a_host_that_does_not_answer_is_named(repository: ChartRepository) -> None:
    repository.address = "127.0.0.1:1"
    with pytest.raises(RegistryUnreachable, match=facts(f"{repository.url}/index.yaml")):
        client(plain=repository.address).index(repository.url)
