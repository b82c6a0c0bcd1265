from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
import requests
import responses

from kubernaut.clients.engine import TOKEN_USER, Credentials
from kubernaut.clients.web import Web
from kubernaut.errors import KubernautError, RegistryDenied, RegistryUnreachable
from kubernaut.testing.registry import CUT, FakeRegistry

CANARY = "canary-5f3a"
HOST = "registry.example.com"
URL = f"https://{HOST}/v2/team/shop"
MANIFEST = b'{"annotations": {"a": "b"}}'
DIGEST = f"sha256:{sha256(MANIFEST).hexdigest()}"


def web(username: str = "ada", *, asked: list[str] | None = None, plain: bool = False) -> Web:
    def credentials(host: str) -> Credentials:
        if asked is not None:
            asked.append(host)
        return Credentials(username, CANARY)

    return Web(plain_http=lambda _: plain, credentials=credentials)


def anonymous() -> Web:
    return Web(plain_http=lambda registry: registry.startswith("127."))


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def test_what_needs_no_login_asks_for_no_credentials(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    asked: list[str] = []
    manifest = web(asked=asked).manifest(f"{HOST}/team/shop", "1.0.0")
    assert manifest is not None
    assert (manifest.digest, manifest.content) == (DIGEST, {"annotations": {"a": "b"}})
    assert asked == []
    assert "Authorization" not in http.calls[0].request.headers


def test_basic(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    asked: list[str] = []
    client = web(asked=asked)
    assert client.manifest(f"{HOST}/team/shop", "1.0.0") is not None
    assert client.manifest(f"{HOST}/team/shop", "1.0.0") is not None
    assert asked == [HOST]
    assert [call.request.headers.get("Authorization", "")[:6] for call in http.calls] == ["", "Basic ", "Basic "]


CHALLENGE = {"WWW-Authenticate": 'Bearer realm="https://auth.example.com/token",service="reg",scope="repository:team/shop:pull"'}


def test_bearer(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/tags/list", status=401, headers=CHALLENGE)
    http.get("https://auth.example.com/token", json={"token": "tok"})
    http.get(f"{URL}/tags/list", json={"tags": ["1.0.0"]})
    client = web()
    assert client.tags(f"{HOST}/team/shop") == ["1.0.0"]
    assert client.tags(f"{HOST}/team/shop") == ["1.0.0"]
    sent = [(call.request.url, call.request.headers.get("Authorization", "")[:6]) for call in http.calls]
    assert [authorization for _, authorization in sent] == ["", "Basic ", "Bearer", "Bearer"]
    assert sent[1][0] == "https://auth.example.com/token?scope=repository%3Ateam%2Fshop%3Apull&service=reg"


def test_an_identity_token_is_exchanged(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers=CHALLENGE)
    http.post("https://auth.example.com/token", json={"access_token": "tok"})
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    assert web(TOKEN_USER).manifest(f"{HOST}/team/shop", "1.0.0") is not None
    assert f"refresh_token={CANARY}" in str(http.calls[1].request.body)
    assert CANARY not in str(http.calls[1].request.url)


@pytest.mark.parametrize(
    ("challenge", "match"),
    [
        ('Bearer realm="http://auth.example.com/token"', "without TLS; refused"),
        ('Bearer service="x"', "nowhere without TLS"),
        ("Negotiate", "a login that kubernaut does not know"),
        ("", "a login that kubernaut does not know"),
    ],
)
def test_challenges_that_are_not_answered(http: responses.RequestsMock, challenge: str, match: str) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers={"WWW-Authenticate": challenge})
    with pytest.raises(RegistryDenied, match=match):
        web().manifest(f"{HOST}/team/shop", "1.0.0")
    assert len(http.calls) == 1


@pytest.mark.parametrize("token", [{"token": "a\nb"}, {"token": ""}, {}, {"token": 7}])
def test_tokens_that_are_none(http: responses.RequestsMock, token: dict[str, Any]) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers=CHALLENGE)
    http.get("https://auth.example.com/token", json=token)
    with pytest.raises(RegistryDenied, match="gives no token"):
        web().manifest(f"{HOST}/team/shop", "1.0.0")


def test_no_credentials_for_a_registry_that_wants_some(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    with pytest.raises(RegistryDenied, match="there are none") as caught:
        anonymous().manifest(f"{HOST}/team/shop", "1.0.0")
    assert "docker login" in caught.value.hint


def test_a_redirect_to_another_host_gets_no_credentials(http: responses.RequestsMock) -> None:
    blob = b"layer"
    digest = f"sha256:{sha256(blob).hexdigest()}"
    http.get(f"{URL}/blobs/{digest}", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    http.get(f"{URL}/blobs/{digest}", status=307, headers={"Location": "https://storage.example.net/x"})
    http.get("https://storage.example.net/x", blob)
    assert web().blob(f"{HOST}/team/shop", digest) == blob
    assert "Authorization" in http.calls[1].request.headers
    assert "Authorization" not in http.calls[2].request.headers


def test_netrc_is_left_alone(http: responses.RequestsMock, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine {HOST} login ada password {CANARY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    anonymous().manifest(f"{HOST}/team/shop", "1.0.0")
    assert "Authorization" not in http.calls[0].request.headers


@pytest.mark.parametrize(
    ("status", "error"), [(401, RegistryDenied), (403, RegistryDenied), (400, RegistryUnreachable), (429, RegistryUnreachable)]
)
def test_refusals_say_what_was_asked(http: responses.RequestsMock, status: int, error: type[KubernautError]) -> None:
    answer = {"errors": [{"code": "X", "message": "because\x07 of " + "x" * 500}]}
    http.get(f"{URL}/manifests/1.0.0", json=answer, status=status, headers={"WWW-Authenticate": 'Basic realm="x"'})
    with pytest.raises(error, match=rf"{HOST} .*team/shop.*HTTP {status}|{HOST} answers HTTP {status} .*team/shop.*because of x"):
        web().manifest(f"{HOST}/team/shop", "1.0.0")


def test_what_is_not_there_is_none(http: responses.RequestsMock) -> None:
    for path in ("manifests/1.0.0", "blobs/sha256:0", "tags/list"):
        http.get(f"{URL}/{path}", status=404)
    http.head(f"{URL}/manifests/1.0.0", status=404)
    client = web()
    assert client.manifest(f"{HOST}/team/shop", "1.0.0") is None
    assert client.manifest_digest(f"{HOST}/team/shop", "1.0.0") is None
    assert client.blob(f"{HOST}/team/shop", "sha256:0") is None
    assert client.tags(f"{HOST}/team/shop") == []


def test_a_digest_without_the_header_is_computed(http: responses.RequestsMock) -> None:
    http.head(f"{URL}/manifests/1.0.0", headers={"Content-Length": "27"})
    http.get(f"{URL}/manifests/1.0.0", MANIFEST)
    assert web().manifest_digest(f"{HOST}/team/shop", "1.0.0") == DIGEST


def test_content_that_is_not_what_its_digest_says(http: responses.RequestsMock) -> None:
    wrong = "sha256:" + "0" * 64
    http.get(f"{URL}/manifests/{wrong}", MANIFEST)
    http.get(f"{URL}/blobs/{wrong}", MANIFEST)
    with pytest.raises(RegistryUnreachable, match="with other content"):
        web().manifest(f"{HOST}/team/shop", wrong)
    with pytest.raises(RegistryUnreachable, match="with other content"):
        web().blob(f"{HOST}/team/shop", wrong)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff", b"[" * 5000])
def test_what_is_no_registry(http: responses.RequestsMock, body: bytes) -> None:
    http.get(f"{URL}/manifests/1.0.0", body)
    with pytest.raises(RegistryUnreachable, match="does not answer like an OCI registry"):
        web().manifest(f"{HOST}/team/shop", "1.0.0")


def test_answers_have_a_size_limit(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/manifests/1.0.0", b" " * (5 << 20))
    http.get(f"{URL}/blobs/sha256:1", b"x" * 11)
    with pytest.raises(RegistryUnreachable, match="more than 4194304 bytes"):
        web().manifest(f"{HOST}/team/shop", "1.0.0")
    with pytest.raises(RegistryUnreachable, match="more than 10 bytes"):
        web().blob(f"{HOST}/team/shop", "sha256:1", 10)


def test_pages_that_turn_in_a_circle_end(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/tags/list", json={"tags": ["1"]}, headers={"Link": '</v2/team/shop/tags/list?n=1000>; rel="next"'})
    assert web().tags(f"{HOST}/team/shop") == ["1"]


def test_pages_stay_with_their_registry(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/tags/list", json={"tags": ["1"]}, headers={"Link": '<https://evil.example.net/v2/x?n=1&last=1>; rel="next"'})
    web().tags(f"{HOST}/team/shop")
    assert {str(call.request.url).split("?")[0] for call in http.calls} == {f"{URL}/tags/list"}


@pytest.mark.parametrize(
    "error", [requests.ConnectionError, requests.Timeout, requests.exceptions.SSLError, requests.TooManyRedirects]
)
def test_every_failure_of_requests_is_ours(http: responses.RequestsMock, error: type[Exception]) -> None:
    http.get(f"{URL}/manifests/1.0.0", body=error(f"https://ada:{CANARY}@x"))
    with pytest.raises(RegistryUnreachable, match=rf"{HOST} does not answer \(asked for {HOST}/team/shop\)") as caught:
        web().manifest(f"{HOST}/team/shop", "1.0.0")
    assert CANARY not in json.dumps(caught.value.problem())


# with a real server


def test_a_server_that_stumbles_is_asked_again() -> None:
    with FakeRegistry() as registry:
        registry.put_manifest("shop", "1.0.0", MANIFEST)
        registry.fail("GET /v2/shop", 503, times=1)
        assert anonymous().manifest(f"{registry.address}/shop", "1.0.0") is not None
        assert len(registry.requests) == 2
        registry.fail("GET /v2/shop", CUT, times=1)
        assert anonymous().manifest(f"{registry.address}/shop", "1.0.0") is not None


def test_a_server_that_stays_down() -> None:
    with FakeRegistry() as registry:
        registry.fail("GET", 503)
        with pytest.raises(RegistryUnreachable, match=r"answers HTTP 503 .*: told to fail"):
            anonymous().manifest(f"{registry.address}/shop", "1.0.0")
        assert len(registry.requests) == 3


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_a_server_that_asks_for_a_login(scheme: Any) -> None:
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


def test_nobody_listens() -> None:
    with pytest.raises(
        RegistryUnreachable, match=r"127\.0\.0\.1:9 does not answer \(asked for 127\.0\.0\.1:9/shop\): Connection refused\."
    ):
        anonymous().manifest("127.0.0.1:9/shop", "1.0.0")


def test_credentials_do_not_show() -> None:
    assert CANARY not in repr(Credentials("ada", CANARY))
