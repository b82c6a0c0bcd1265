"""The client of the REST API: its URLs and its token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import responses
from support.answers import CANARY, URL, client

from kubernaut.errors import SettingInvalid, Unreachable


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.mark.parametrize("line", [f"Authorization: Bearer {CANARY}\n", f"authorization:bearer  {CANARY}", f"{CANARY}\n"])
def test_token_file_is_read_for_each_request(http: responses.RequestsMock, tmp_path: Path, line: str) -> None:
    http.get(f"{URL}/api/releases", json={"items": [], "count": 0, "next": None})
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(line)
    there = client(token=None, token_file=file)
    there.list()
    file.write_text("another")
    there.list()
    assert [call.request.headers["Authorization"] for call in http.calls] == [f"Bearer {CANARY}", "Bearer another"]


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [
        (0o644, CANARY, "mode 0644"),
        (0o660, CANARY, "mode 0660"),
        (0o600, "", "token file .*token"),
        (0o600, f"{CANARY}\n{CANARY}", "token file .*token"),
        (0o600, f"Basic {CANARY} x", "token file .*token"),
    ],
)
def test_unsafe_token_files_are_refused(tmp_path: Path, mode: int, content: str, words: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(SettingInvalid, match=words) as caught:
        client(token=None, token_file=file).list()
    assert CANARY not in json.dumps(caught.value.problem())


def test_missing_token_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match=r"/token\b"):
        client(token=None, token_file=tmp_path / "token").list()


@pytest.mark.parametrize("how", [{"token": "a\nb"}, {"token": ""}, {"token_file": "x"}])
def test_invalid_tokens_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(SettingInvalid):
        client(**how)


@pytest.mark.parametrize(
    "url",
    [
        "kubernaut.example.com",
        "ftp://x",
        "https://",
        f"https://ada:{CANARY}@x",
        f"https://x?token={CANARY}",
        "https://x#y",
        "https://x:y",
        "http://[::1",
        "http://kubernaut.example.com",
        "http://10.0.0.1:8080",
        "http://127.0.0.1.example.com",
    ],
)
def test_invalid_and_unencrypted_urls_are_refused(url: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        client(url=url)
    assert CANARY not in json.dumps(caught.value.problem())


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost/", "http://[::1]:8080", "https://x/kubernaut/"])
def test_https_and_loopback_urls_are_accepted(url: str) -> None:
    client(url=url)


def test_plain_http_allows_a_host(http: responses.RequestsMock) -> None:
    http.get("http://build:8080/api/releases", json={"items": [], "count": 0})
    assert client(url="http://build:8080", plain_http=lambda host: host == "build:8080").list().count == 0


def test_redirects_are_not_followed(http: responses.RequestsMock) -> None:
    http.get(f"{URL}/api/releases", status=307, headers={"Location": f"https://evil.example.net/x?{CANARY}"})
    with pytest.raises(Unreachable, match=r"https://evil\.example\.net") as caught:
        client().list()
    assert len(http.calls) == 1
    assert CANARY not in json.dumps(caught.value.problem())
