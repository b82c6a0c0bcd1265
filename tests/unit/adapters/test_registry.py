from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
import requests
import responses
from support.messages import facts

from kubernaut.adapters.registry import TOKEN_USER, Credentials, RegistryClient
from kubernaut.errors import KubernautError, RegistryDenied, RegistryUnreachable
from kubernaut.testing.registry import CUT, FakeRegistry

CANARY = "canary-5f3a"
HOST = "registry.example.com"
URL = f"https://{HOST}/v2/team/shop"
MANIFEST = b'{"annotations": {"a": "b"}}'
DIGEST = f"sha256:{sha256(MANIFEST).hexdigest()}"


def web(username: str = "ada", *, asked: list[str] | None = None, plain: bool = False) -> RegistryClient:
    def credentials(host: str) -> Credentials:
        if asked is not None:
            asked.append(host)
        return Credentials(username, CANARY)

    return RegistryClient(plain_http=lambda _: plain, credentials=credentials)


def anonymous() -> RegistryClient:
    return RegistryClient(plain_http=lambda registry: registry.startswith("127."))


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def test_public_registry_needs_no_credentials(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    asked: list[str] = []
    manifest = web(asked=asked).manifest(f"{HOST}/team/shop", "1.0.0")
    assert manifest is not None
    assert (manifest.digest, manifest.content) == (DIGEST, {"annotations": {"a": "b"}})
    assert asked == []
    assert "Authorization" not in http.calls[0].request.headers


def test_docker_hub_has_another_server(http: responses.RequestsMock) -> None:
    http.get("https://registry-1.docker.io/v2/team/shop/tags/list", json={"tags": ["1.0.0"]})
    assert web().tags("docker.io/team/shop") == ["1.0.0"]


def test_basic_login(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    asked: list[str] = []
    client = web(asked=asked)
    assert client.manifest(f"{HOST}/team/shop", "1.0.0") is not None
    assert client.manifest(f"{HOST}/team/shop", "1.0.0") is not None
    assert asked == [HOST]
    assert [call.request.headers.get("Authorization", "")[:6] for call in http.calls] == ["", "Basic ", "Basic "]


CHALLENGE = {"WWW-Authenticate": 'Bearer realm="https://auth.example.com/token",service="reg",scope="repository:team/shop:pull"'}


def test_bearer_login(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/tags/list", status=401, headers=CHALLENGE)
    http.get("https://auth.example.com/token", json={"token": "tok"})
    http.get(f"{URL}/tags/list", json={"tags": ["1.0.0"]})
    client = web()
    assert client.tags(f"{HOST}/team/shop") == ["1.0.0"]
    assert client.tags(f"{HOST}/team/shop") == ["1.0.0"]
    sent = [(call.request.url, call.request.headers.get("Authorization", "")[:6]) for call in http.calls]
    assert [authorization for _, authorization in sent] == ["", "Basic ", "Bearer", "Bearer"]
    assert sent[1][0] == "https://auth.example.com/token?scope=repository%3Ateam%2Fshop%3Apull&service=reg"


def test_identity_token_is_exchanged(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers=CHALLENGE)
    http.post("https://auth.example.com/token", json={"access_token": "tok"})
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    assert web(TOKEN_USER).manifest(f"{HOST}/team/shop", "1.0.0") is not None
    assert f"refresh_token={CANARY}" in str(http.calls[1].request.body)
    assert CANARY not in str(http.calls[1].request.url)


@pytest.mark.parametrize(
    ("challenge", "fact"),
    [
        ('Bearer realm="http://auth.example.com/token"', "auth.example.com"),
        ('Bearer service="x"', "TLS"),
        ("Negotiate", "'Negotiate'"),
        ("", "''"),
    ],
)
def test_unsupported_challenge_is_denied(http: responses.RequestsMock, challenge: str, fact: str) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers={"WWW-Authenticate": challenge})
    with pytest.raises(RegistryDenied, match=facts(HOST, fact)):
        web().manifest(f"{HOST}/team/shop", "1.0.0")
    assert len(http.calls) == 1


@pytest.mark.parametrize("token", [{"token": "a\nb"}, {"token": ""}, {}, {"token": 7}])
def test_invalid_token_is_denied(http: responses.RequestsMock, token: dict[str, Any]) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers=CHALLENGE)
    http.get("https://auth.example.com/token", json=token)
    with pytest.raises(RegistryDenied, match=facts(HOST, f"{HOST}/team/shop")):
        web().manifest(f"{HOST}/team/shop", "1.0.0")


def test_missing_credentials_are_denied(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    with pytest.raises(RegistryDenied, match=facts(HOST, f"{HOST}/team/shop")) as caught:
        anonymous().manifest(f"{HOST}/team/shop", "1.0.0")
    assert "docker login" in caught.value.hint


def test_redirect_to_another_host_gets_no_credentials(http: responses.RequestsMock) -> None:
    blob = b"layer"
    digest = f"sha256:{sha256(blob).hexdigest()}"
    http.get(f"{URL}/blobs/{digest}", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    http.get(f"{URL}/blobs/{digest}", status=307, headers={"Location": "https://storage.example.net/x"})
    http.get("https://storage.example.net/x", blob)
    assert web().blob(f"{HOST}/team/shop", digest) == blob
    assert "Authorization" in http.calls[1].request.headers
    assert "Authorization" not in http.calls[2].request.headers


def test_netrc_is_not_used(http: responses.RequestsMock, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine {HOST} login ada password {CANARY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    anonymous().manifest(f"{HOST}/team/shop", "1.0.0")
    assert "Authorization" not in http.calls[0].request.headers


@pytest.mark.parametrize(
    ("status", "error"), [(401, RegistryDenied), (403, RegistryDenied), (400, RegistryUnreachable), (429, RegistryUnreachable)]
)
def test_refusal_names_the_repository(http: responses.RequestsMock, status: int, error: type[KubernautError]) -> None:
    answer = {"errors": [{"code": "X", "message": "because\x07 of " + "x" * 500}]}
    http.get(f"{URL}/manifests/1.0.0", json=answer, status=status, headers={"WWW-Authenticate": 'Basic realm="x"'})
    with pytest.raises(error, match=rf"(?=.*{HOST}/team/shop)(?=.*HTTP {status}).*: because of x"):
        web().manifest(f"{HOST}/team/shop", "1.0.0")


def test_missing_content_is_none(http: responses.RequestsMock) -> None:
    for path in ("manifests/1.0.0", "blobs/sha256:0", "tags/list"):
        http.get(f"{URL}/{path}", status=404)
    http.head(f"{URL}/manifests/1.0.0", status=404)
    client = web()
    assert client.manifest(f"{HOST}/team/shop", "1.0.0") is None
    assert client.manifest_digest(f"{HOST}/team/shop", "1.0.0") is None
    assert client.blob(f"{HOST}/team/shop", "sha256:0") is None
    assert client.tags(f"{HOST}/team/shop") == []


def test_digest_without_the_header_is_computed(http: responses.RequestsMock) -> None:
    http.head(f"{URL}/manifests/1.0.0", headers={"Content-Length": "27"})
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    assert web().manifest_digest(f"{HOST}/team/shop", "1.0.0") == DIGEST


def test_content_with_another_digest_is_refused(http: responses.RequestsMock) -> None:
    wrong = "sha256:" + "0" * 64
    http.get(f"{URL}/manifests/{wrong}", MANIFEST)
    http.get(f"{URL}/blobs/{wrong}", MANIFEST)
    with pytest.raises(RegistryUnreachable, match=facts(f"{HOST}/team/shop@{wrong}", DIGEST)):
        web().manifest(f"{HOST}/team/shop", wrong)
    with pytest.raises(RegistryUnreachable, match=facts(f"{HOST}/team/shop@{wrong}", DIGEST)):
        web().blob(f"{HOST}/team/shop", wrong)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff", b"[" * 5000])
def test_response_of_another_server_is_refused(http: responses.RequestsMock, body: bytes) -> None:
    http.get(f"{URL}/manifests/1.0.0", body)
    with pytest.raises(RegistryUnreachable, match=facts("OCI", f"{HOST}/team/shop")):
        web().manifest(f"{HOST}/team/shop", "1.0.0")


def test_responses_have_a_size_limit(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", b" " * (5 << 20))
    http.get(f"{URL}/blobs/sha256:1", b"x" * 11)
    with pytest.raises(RegistryUnreachable, match=facts("4194304")):
        web().manifest(f"{HOST}/team/shop", "1.0.0")
    with pytest.raises(RegistryUnreachable, match=facts("10 bytes")):
        web().blob(f"{HOST}/team/shop", "sha256:1", 10)


def test_circular_pages_end(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/tags/list", json={"tags": ["1"]}, headers={"Link": '</v2/team/shop/tags/list?n=1000>; rel="next"'})
    assert web().tags(f"{HOST}/team/shop") == ["1"]


def test_next_page_is_requested_from_the_same_registry(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/tags/list", json={"tags": ["1"]}, headers={"Link": '<https://evil.example.net/v2/x?n=1&last=1>; rel="next"'})
    web().tags(f"{HOST}/team/shop")
    assert {str(call.request.url).split("?")[0] for call in http.calls} == {f"{URL}/tags/list"}


@pytest.mark.parametrize(
    "error", [requests.ConnectionError, requests.Timeout, requests.exceptions.SSLError, requests.TooManyRedirects]
)
def test_every_error_of_requests_is_converted(http: responses.RequestsMock, error: type[Exception]) -> None:
    http.get(f"{URL}/manifests/1.0.0", body=error(f"https://ada:{CANARY}@x"))
    with pytest.raises(RegistryUnreachable, match=facts(HOST, f"{HOST}/team/shop")) as caught:
        web().manifest(f"{HOST}/team/shop", "1.0.0")
    assert CANARY not in json.dumps(caught.value.problem())


# with a real server


def test_read_is_repeated_after_a_server_error() -> None:
    with FakeRegistry() as registry:
        registry.put_manifest("shop", "1.0.0", MANIFEST)
        registry.fail("GET /v2/shop", 503, times=1)
        assert anonymous().manifest(f"{registry.address}/shop", "1.0.0") is not None
        assert len(registry.requests) == 2
        registry.fail("GET /v2/shop", CUT, times=1)
        assert anonymous().manifest(f"{registry.address}/shop", "1.0.0") is not None


def test_failing_server_is_unreachable() -> None:
    with FakeRegistry() as registry:
        registry.fail("GET", 503)
        with pytest.raises(RegistryUnreachable, match=facts("HTTP 503", "configured to fail")):
            anonymous().manifest(f"{registry.address}/shop", "1.0.0")
        assert len(registry.requests) == 3


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_login_to_a_server(scheme: Any) -> None:
    with FakeRegistry(login=("ada", CANARY), scheme=scheme) as registry:
        registry.put_manifest("shop", "1.0.0", MANIFEST)
        assert web(plain=True).manifest(f"{registry.address}/shop", "1.0.0") is not None
        with pytest.raises(RegistryDenied) as caught:
            web("eve", plain=True).manifest(f"{registry.address}/shop", "1.0.0")
        assert CANARY not in json.dumps(caught.value.problem()) + repr(caught.value.__cause__)


def test_loopback_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with FakeRegistry() as registry:
        registry.put_manifest("shop", "1.0.0", MANIFEST)
        assert anonymous().manifest(f"{registry.address}/shop", "1.0.0") is not None


def test_closed_port_is_unreachable() -> None:
    with pytest.raises(RegistryUnreachable, match=facts("127.0.0.1:9", "127.0.0.1:9/shop", os.strerror(errno.ECONNREFUSED))):
        anonymous().manifest("127.0.0.1:9/shop", "1.0.0")


def test_credentials_are_not_in_the_repr() -> None:
    assert CANARY not in repr(Credentials("ada", CANARY))


# redirects

BLOB = b"layer"
BLOB_DIGEST = f"sha256:{sha256(BLOB).hexdigest()}"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.manifest(f"{HOST}/team/shop", "1.0.0"),
        lambda client: client.manifest_digest(f"{HOST}/team/shop", "1.0.0"),
        lambda client: client.tags(f"{HOST}/team/shop"),
    ],
)
@pytest.mark.parametrize("target", ["https://other.example.net/x?signed=1", f"http://{HOST}/v2/x", f"https://{HOST}:8443/x"])
def test_manifests_and_tags_are_not_redirected_to_another_server(http: responses.RequestsMock, ask: Any, target: str) -> None:
    for add in (http.get, http.head):
        add(f"{URL}/manifests/1.0.0", status=307, headers={"Location": target})
    http.get(f"{URL}/tags/list", status=302, headers={"Location": target})
    with pytest.raises(RegistryUnreachable, match=facts(HOST, f"{HOST}/team/shop", target.split("/")[2])) as caught:
        ask(anonymous())
    assert len(http.calls) == 1
    assert "signed" not in caught.value.message


def test_redirect_within_the_registry_keeps_credentials(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    http.get(f"{URL}/manifests/1.0.0", status=307, headers={"Location": "/v2/moved/manifests/1.0.0"})
    http.get(f"https://{HOST}/v2/moved/manifests/1.0.0", MANIFEST)
    manifest = web().manifest(f"{HOST}/team/shop", "1.0.0")
    assert manifest is not None
    assert manifest.digest == DIGEST
    assert http.calls[2].request.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("target", ["http://storage.example.net/x", "file:///etc/passwd", "ftp://storage.example.net/x"])
def test_blob_is_not_redirected_to_plain_http(http: responses.RequestsMock, target: str) -> None:
    http.get(f"{URL}/blobs/{BLOB_DIGEST}", status=307, headers={"Location": target})
    with pytest.raises(RegistryUnreachable, match=facts(HOST, target.split(":")[0])):
        anonymous().blob(f"{HOST}/team/shop", BLOB_DIGEST)
    assert len(http.calls) == 1


def test_blob_may_be_redirected_to_a_plain_http_host(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/blobs/{BLOB_DIGEST}", status=307, headers={"Location": "http://storage.example.net/x"})
    http.get("http://storage.example.net/x", BLOB)
    client = RegistryClient(plain_http=lambda registry: registry == "storage.example.net")
    assert client.blob(f"{HOST}/team/shop", BLOB_DIGEST) == BLOB


def test_redirected_blob_is_checked_for_digest_and_size(http: responses.RequestsMock) -> None:
    for _ in range(2):
        http.get(f"{URL}/blobs/{BLOB_DIGEST}", status=307, headers={"Location": "https://storage.example.net/x"})
    http.get("https://storage.example.net/x", b"other")
    with pytest.raises(RegistryUnreachable, match=facts(f"sha256:{sha256(b'other').hexdigest()}")):
        anonymous().blob(f"{HOST}/team/shop", BLOB_DIGEST)
    with pytest.raises(RegistryUnreachable, match=facts("3 bytes")):
        anonymous().blob(f"{HOST}/team/shop", BLOB_DIGEST, 3)


def test_blob_server_gets_no_login(http: responses.RequestsMock) -> None:
    asked: list[str] = []
    http.get(f"{URL}/blobs/{BLOB_DIGEST}", status=307, headers={"Location": "https://storage.example.net/x"})
    challenge = {"WWW-Authenticate": 'Bearer realm="https://evil.example.net/token"'}
    http.get("https://storage.example.net/x", status=401, headers=challenge)
    with pytest.raises(RegistryDenied, match="HTTP 401"):
        web(asked=asked).blob(f"{HOST}/team/shop", BLOB_DIGEST)
    assert asked == []
    assert len(http.calls) == 2


def test_circular_redirects_end(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=307, headers={"Location": f"{URL}/manifests/1.0.0"})
    with pytest.raises(RegistryUnreachable, match=facts(HOST, f"{HOST}/team/shop")):
        anonymous().manifest(f"{HOST}/team/shop", "1.0.0")
    assert len(http.calls) < 10


def test_token_service_is_not_redirected(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers=CHALLENGE)
    http.get("https://auth.example.com/token", status=302, headers={"Location": "https://evil.example.net/token"})
    with pytest.raises(RegistryUnreachable, match=facts("https://evil.example.net")):
        web().manifest(f"{HOST}/team/shop", "1.0.0")
    assert len(http.calls) == 2
