"""The client for commit statuses: the request, the token in one header only, and the reason of each refusal."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path

import pytest
from support.github import CANARY, FakeGitHub
from support.messages import facts

from kubernaut.adapters.github import Status, StatusClient
from kubernaut.adapters.http import RequestError
from kubernaut.adapters.secret_files import static_token, token_from_settings
from kubernaut.settings import is_loopback, load_settings

SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
STATUS = Status("team/shop", SHA, "kubernaut/release", "success", "1.4.2 is published", "https://ci.example.com/job/shop/7/")


def client(url: str, token: str | None = CANARY, *, plain: bool = False) -> StatusClient:
    return StatusClient(url, token=static_token(token), plain_http=lambda host: plain or is_loopback(host.partition(":")[0]))


def refusal(url: str, token: str | None = CANARY) -> RequestError:
    with pytest.raises(RequestError) as caught:
        client(url, token).set_status(STATUS)
    assert CANARY not in repr(caught.value)
    return caught.value


def test_status_is_one_request() -> None:
    with FakeGitHub() as github:
        client(github.url).set_status(STATUS)
    (asked,) = github.requests
    assert (asked.method, asked.path) == ("POST", f"/repos/team/shop/statuses/{SHA}")
    assert json.loads(asked.body) == {
        "state": "success",
        "context": "kubernaut/release",
        "description": "1.4.2 is published",
        "target_url": "https://ci.example.com/job/shop/7/",
    }
    assert asked.headers["authorization"] == f"Bearer {CANARY}"
    assert asked.headers["accept"] == "application/vnd.github+json"
    assert asked.headers["x-github-api-version"] == "2022-11-28"
    assert asked.headers["user-agent"] == "kubernaut"
    assert asked.headers["content-type"] == "application/json"


def test_token_is_in_one_header_only(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeGitHub() as github:
        statuses = client(github.url)
        statuses.set_status(STATUS)
        github.fail(422, message=f"the token {CANARY} is not welcome")
        refused = refusal(github.url)
    for asked in github.requests:
        others = {name: value for name, value in asked.headers.items() if name != "authorization"}
        assert CANARY not in f"{asked.path} {others} {asked.body!r}"
    out, err = capfd.readouterr()
    assert CANARY not in f"{refused!s} {statuses!r} {vars(statuses)!r} {caplog.text} {out} {err}"
    assert "***" in str(refused), "the message is shown without the token"


def test_enterprise_server_has_a_path_prefix() -> None:
    with FakeGitHub(base="/api/v3") as github:
        client(github.url + "/").set_status(Status("team/shop", SHA, "kubernaut/deploy/demo", "pending", "…"))
    assert [status.repository for status in github.statuses] == ["team/shop"]
    assert "target_url" not in github.statuses[0].body


@pytest.mark.parametrize(
    ("status", "fact"), [(400, ""), (401, "token"), (403, "team/shop"), (404, "team/shop"), (422, "6dcb09b5b578 of team/shop")]
)
def test_refusal_is_not_retried(status: int, fact: str) -> None:
    with FakeGitHub() as github:
        github.fail(status)
        reason = str(refusal(github.url))
    assert len(github.requests) == 1
    assert f"HTTP {status}" in reason
    assert fact in reason
    assert reason.endswith(": injected failure")


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_server_error_is_tried_twice(status: int) -> None:
    with FakeGitHub() as github:
        github.fail(status)
        refused = refusal(github.url)
    assert len(github.requests) == 2
    assert f"HTTP {status}" in str(refused)


def test_second_try_succeeds() -> None:
    with FakeGitHub() as github:
        github.fail(502, times=1)
        client(github.url).set_status(STATUS)
    assert (len(github.requests), len(github.statuses)) == (2, 1)


@pytest.mark.parametrize("status", [403, 429])
def test_rate_limit_is_not_retried(status: int) -> None:
    with FakeGitHub() as github:
        github.fail(status, headers={"retry-after": "7"}, message="You have exceeded a secondary rate limit.")
        refused = refusal(github.url)
    assert len(github.requests) == 1
    assert f"HTTP {status}" in str(refused)
    assert "secondary rate limit" in str(refused)


def test_redirect_to_another_host_is_not_followed() -> None:
    with FakeGitHub() as other, FakeGitHub() as github:
        github.fail(307, headers={"Location": f"{other.url}/repositories/1/statuses/{SHA}"})
        refused = refusal(github.url)
    assert other.requests == []
    assert not refused.retryable
    assert "team/shop" in str(refused)


@pytest.mark.parametrize("page", [b"<html>Please log in</html>", b"[]", b"\xff", b'{"ok": true}', b"", b"[" * 5000])
def test_page_is_not_a_success(page: bytes) -> None:
    with FakeGitHub() as github:
        github.send_page(200, page)
        assert re.search(facts("127.0.0.1", "github_url"), str(refusal(github.url)))


@pytest.mark.parametrize("page", [b"<html>Bad gateway</html>", b'{"message": 7, "errors": 3}', b'{"errors": [[], {}, null]}'])
def test_proxy_page_is_not_part_of_the_reason(page: bytes) -> None:
    with FakeGitHub() as github:
        github.send_page(502, page)
        assert str(refusal(github.url)) == "HTTP 502"


def test_long_message_is_cut_and_printable() -> None:
    with FakeGitHub() as github:
        github.fail(422, message="\x1b[31m" + "x" * 5000)
        reason = str(refusal(github.url))
    assert len(reason) < 320
    assert reason.isprintable()


def test_hanging_server_takes_three_seconds() -> None:
    with FakeGitHub() as github:
        github.hang()
        began = time.monotonic()
        assert str(refusal(github.url))
        assert time.monotonic() - began < 4.5
    assert len(github.requests) == 1


def test_unreachable_server() -> None:
    with FakeGitHub() as github:
        url = github.url
    assert str(refusal(url)) == "Connection refused"


@pytest.mark.parametrize(
    "url", ["http://github.example.com/api/v3", "ftp://github.example.com", "https://user@github.com", "nonsense"]
)
def test_token_is_not_sent_without_tls(url: str) -> None:
    assert not refusal(url).retryable


def test_unreadable_token_is_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(CANARY)
    file.chmod(0o644)
    for variables, found in (({}, str(file)), ({}, str(tmp_path / "none")), ({"T": f"{CANARY} x"}, None)):
        statuses = StatusClient(
            "https://127.0.0.1:1",
            token=lambda variables=variables, found=found: token_from_settings(
                load_settings(environment=variables, directory=tmp_path), "T", found
            )(),  # type: ignore[misc]
            plain_http=is_loopback,
        )
        with pytest.raises(RequestError) as caught:
            statuses.set_status(STATUS)
        assert not caught.value.retryable
        assert CANARY not in str(caught.value)
    assert str(refusal("https://127.0.0.1:1", None)) == "no token"


def test_client_is_usable_after_close() -> None:
    with FakeGitHub() as github:
        statuses = client(github.url)
        statuses.set_status(STATUS)
        statuses.close()
        statuses.set_status(STATUS)
        statuses.close()
    assert len(github.statuses) == 2
