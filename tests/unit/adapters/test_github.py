"""GitHub's client: one request, its token in one place, and each refusal in words."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from support.github import CANARY, FakeGitHub

from kubernaut.adapters.github import CommitStatus, GitHub, NotTold
from kubernaut.adapters.token import find_token, given
from kubernaut.settings import is_loopback, load_settings

SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
STATUS = CommitStatus("team/shop", SHA, "kubernaut/release", "success", "1.4.2 is published", "https://ci.example.com/job/shop/7/")


def client(url: str, token: str | None = CANARY, *, plain: bool = False) -> GitHub:
    return GitHub(url, token=given(token), plain_http=lambda host: plain or is_loopback(host.partition(":")[0]))


def refusal(url: str, token: str | None = CANARY, **how: Any) -> NotTold:
    with pytest.raises(NotTold) as caught:
        client(url, token).set_status(STATUS, **how)
    assert CANARY not in f"{caught.value!r} {caught.value.reason}"
    return caught.value


def test_a_status_is_one_request() -> None:
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


def test_the_token_is_in_one_header_and_nowhere_else(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeGitHub() as github:
        teller = client(github.url)
        teller.set_status(STATUS)
        github.fail(422, message=f"the token {CANARY} is not welcome")
        refused = refusal(github.url)
    for asked in github.requests:
        others = {name: value for name, value in asked.headers.items() if name != "authorization"}
        assert CANARY not in f"{asked.path} {others} {asked.body!r}"
    out, err = capfd.readouterr()
    assert CANARY not in f"{refused.reason} {teller!r} {vars(teller)!r} {caplog.text} {out} {err}"
    assert "***" in refused.reason, "what GitHub said is told, without the token"


def test_an_enterprise_server_has_a_path_of_its_own() -> None:
    with FakeGitHub(base="/api/v3") as github:
        client(github.url + "/").set_status(CommitStatus("team/shop", SHA, "kubernaut/deploy/demo", "pending", "…"))
    assert [told.repository for told in github.statuses] == ["team/shop"]
    assert "target_url" not in github.statuses[0].body


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "it answers HTTP 400: told to fail"),
        (401, "it does not know the token (HTTP 401): told to fail"),
        (403, "the token may not set statuses in team/shop (HTTP 403): told to fail"),
        (404, "there is no team/shop, or the token may not see it (HTTP 404): told to fail"),
        (422, "it does not take it for 6dcb09b5b578 of team/shop (HTTP 422): told to fail"),
    ],
)
def test_what_would_be_refused_again_is_lasting(status: int, words: str) -> None:
    with FakeGitHub() as github:
        github.fail(status)
        refused = refusal(github.url)
    assert (refused.reason, refused.passing, refused.wait) == (words, False, None)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_what_is_wrong_at_github_may_pass(status: int) -> None:
    with FakeGitHub() as github:
        github.fail(status)
        refused = refusal(github.url)
    assert refused.passing
    assert refused.wait is None
    assert f"HTTP {status}" in refused.reason


@pytest.mark.parametrize(
    ("status", "headers", "least", "most"),
    [
        (403, {"retry_after": "7"}, 7, 7),
        (429, {"retry_after": "7"}, 7, 7),
        (429, {}, 60, 60),
        (403, {}, 60, 60),  # a secondary limit that says so in words only
        (403, {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60, 60),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "+30"}, 29, 32),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "1"}, 1, 1),  # it was
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "99999999999"}, 86400, 86400),
        (429, {"retry_after": "99999999999"}, 86400, 86400),
        (429, {"retry_after": "9" * 400}, 60, 60),
    ],
)
def test_a_limited_rate_says_when_to_come_again(status: int, headers: dict[str, str], least: float, most: float) -> None:
    said = {name: str(int(time.time() + int(value))) if value.startswith("+") else value for name, value in headers.items()}
    with FakeGitHub() as github:
        github.limit(status, **said)
        refused = refusal(github.url)
    assert refused.passing
    assert refused.wait is not None
    assert least <= refused.wait <= most
    assert refused.reason.startswith(f"its rate limit is reached (HTTP {status}): You have exceeded")


def test_nobody_is_sent_on_with_the_token() -> None:
    with FakeGitHub() as other, FakeGitHub() as github:
        github.fail(307, headers={"Location": f"{other.url}/repositories/1/statuses/{SHA}"})
        refused = refusal(github.url)
    assert other.requests == []
    assert not refused.passing
    assert "was team/shop renamed?" in refused.reason


@pytest.mark.parametrize("page", [b"<html>Please log in</html>", b"[]", b"\xff", b'{"ok": true}', b"", b"[" * 5000])
def test_a_page_is_no_success(page: bytes) -> None:
    with FakeGitHub() as github:
        github.say(200, page)
        assert "does not answer like GitHub's API" in refusal(github.url).reason


@pytest.mark.parametrize("page", [b"<html>Bad gateway</html>", b'{"message": 7, "errors": 3}', b'{"errors": [[], {}, null]}'])
def test_a_proxy_s_page_is_not_repeated(page: bytes) -> None:
    with FakeGitHub() as github:
        github.say(502, page)
        assert refusal(github.url).reason == "it answers HTTP 502"


def test_a_long_message_is_cut_and_steers_no_terminal() -> None:
    with FakeGitHub() as github:
        github.fail(422, message="\x1b[31m" + "x" * 5000)
        reason = refusal(github.url).reason
    assert len(reason) < 320
    assert reason.isprintable()


def test_what_hangs_ends_in_time() -> None:
    with FakeGitHub() as github:
        github.hang()
        began = time.monotonic()
        refused = refusal(github.url, timeout=0.2)
        assert time.monotonic() - began < 2
    assert (refused.reason, refused.passing) == ("no answer in time", True)


def test_nobody_there() -> None:
    with FakeGitHub() as github:
        url = github.url
    refused = refusal(url)
    assert (refused.reason, refused.passing) == ("Connection refused", True)


@pytest.mark.parametrize(
    "url", ["http://github.example.com/api/v3", "ftp://github.example.com", "https://user@github.com", "nonsense"]
)
def test_the_token_goes_nowhere_in_the_clear(url: str) -> None:
    assert not refusal(url).passing


def test_a_token_that_cannot_be_read_is_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(CANARY)
    file.chmod(0o644)
    for variables, found in (({}, str(file)), ({}, str(tmp_path / "none")), ({"T": f"{CANARY} x"}, None)):
        teller = GitHub(
            "https://127.0.0.1:1",
            token=lambda variables=variables, found=found: find_token(
                load_settings(environment=variables, directory=tmp_path), "T", found
            )(),  # type: ignore[misc]
            plain_http=is_loopback,
        )
        with pytest.raises(NotTold) as caught:
            teller.set_status(STATUS)
        assert not caught.value.passing
        assert CANARY not in caught.value.reason
    assert refusal("https://127.0.0.1:1", None).reason == "there is no token"


def test_closed_and_used_again() -> None:
    with FakeGitHub() as github:
        teller = client(github.url)
        teller.set_status(STATUS)
        teller.close()
        teller.set_status(STATUS)
        teller.close()
    assert len(github.statuses) == 2
