"""Names of jobs, and their URLs."""

from __future__ import annotations

from urllib.parse import unquote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.jobs import JobPath


@pytest.mark.parametrize(
    ("text", "url_path", "name"),
    [
        ("shop-release", "job/shop-release", "shop-release"),
        ("team/shop-release", "job/team/job/shop-release", "shop-release"),
        ("a b/c", "job/a%20b/job/c", "c"),
        ("Büro/été", "job/B%C3%BCro/job/%C3%A9t%C3%A9", "été"),
        ("😀", "job/%F0%9F%98%80", "😀"),
        (".hidden", "job/.hidden", ".hidden"),
        ("1.0", "job/1.0", "1.0"),
        ("job/job", "job/job/job/job", "job"),
        ("a+b='c'", "job/a%2Bb%3D%27c%27", "a+b='c'"),
    ],
)
def test_valid_names(text: str, url_path: str, name: str) -> None:
    path = JobPath.parse(text)
    assert (path.url_path, path.name, str(path)) == (url_path, name, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/shop",
        "shop/",
        "a//b",
        ".",
        "..",
        "...",
        "../shop",
        "team/..",
        "team/../shop",
        "%2e%2e",
        "%2e%2e/shop",
        "a%2fb",
        "a\\b",
        " shop",
        "shop ",
        "shop.",
        "sh\nop",
        "sh\top",
        "sh\x00op",
        "sh\x7fop",
        "sh\u200bop",
        "sh\u202eop",
        "sh\u00a0op",
        "sh\udc80op",
        *(f"sh{char}op" for char in "?*%!@#$^&|<>[]:;"),
        "http://ci.example.com/job/shop",
        "s" * 256,
        "é" * 128,
    ],
)
def test_invalid_names(text: str) -> None:
    with pytest.raises(JobInvalid) as caught:
        JobPath.parse(text)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


@given(st.text())
def test_no_name_leads_to_another_path(text: str) -> None:
    try:
        path = JobPath.parse(text)
    except JobInvalid:
        return
    where = urljoin("https://ci.example.com/jenkins/", path.url_path)
    parts = where.removeprefix("https://ci.example.com/jenkins/").split("/")
    assert set(parts[::2]) == {"job"}
    assert tuple(unquote(part) for part in parts[1::2]) == path.segments
    assert JobPath.parse(str(path)) == path
