"""What GitHub is told of what: which repository, which commit, in which words; or why nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.commit_status import LONGEST, NotTellable, deploy_context, line, repository_at, where
from kubernaut.settings import Settings, load_settings

SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
DOTCOM = "https://api.github.com"
GHES = "https://github.example.com/api/v3"


@pytest.mark.parametrize(
    ("api", "source", "expected"),
    [
        (DOTCOM, "https://github.com/team/shop.git", "team/shop"),
        (DOTCOM, "https://github.com/team/shop", "team/shop"),
        (DOTCOM, "https://github.com/team/shop/", "team/shop"),
        (DOTCOM, "https://ada@GitHub.com/team/shop.git", "team/shop"),
        (DOTCOM, "https://github.com:443/team/shop.git", "team/shop"),
        (DOTCOM, "git@github.com:team/shop.git", "team/shop"),
        (DOTCOM, "github.com:team/shop", "team/shop"),
        (DOTCOM, "git@github.com:/team/shop.git", "team/shop"),
        (DOTCOM, "ssh://git@github.com/team/shop.git", "team/shop"),
        (DOTCOM, "ssh://git@ssh.github.com:443/team/shop.git", "team/shop"),
        (DOTCOM, "git://github.com/team/shop.dot.git", "team/shop.dot"),
        (DOTCOM, "https://github.com/team/.github", "team/.github"),
        (GHES, "https://github.example.com/team/shop.git", "team/shop"),
        (GHES, "git@github.example.com:team/shop.git", "team/shop"),
        (GHES, "ssh://git@github.example.com:122/team/shop.git", "team/shop"),
        ("https://github.example.com:8443/api/v3", "https://github.example.com:8443/team/shop.git", "team/shop"),
        ("https://api.octo.ghe.com", "https://octo.ghe.com/team/shop.git", "team/shop"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/team/shop.git", "team/shop"),
        # other hosts
        (DOTCOM, "https://gitlab.com/team/shop.git", None),
        (DOTCOM, "https://github.com.evil.example/team/shop.git", None),
        (DOTCOM, "https://evilgithub.com/team/shop.git", None),
        (DOTCOM, "https://github.com@evil.example/team/shop.git", None),
        (DOTCOM, "git@evil.example:github.com/shop.git", None),
        (DOTCOM, "https://api.github.com.evil/team/shop", None),
        (DOTCOM, "https://github.example.com/team/shop.git", None),
        (GHES, "https://github.com/team/shop.git", None),
        (GHES, "https://example.com/team/shop.git", None),
        ("https://github.example.com/api/v3", "https://github.example.com:8443/team/shop.git", None),
        ("https://api.example.com", "https://example.com/team/shop.git", None),
        # no repositories
        (DOTCOM, "https://github.com/team", None),
        (DOTCOM, "https://github.com/team/shop/tree/main", None),
        (DOTCOM, "https://github.com/../shop", None),
        (DOTCOM, "https://github.com/team/..", None),
        (DOTCOM, "https://github.com/team/%2e%2e", None),
        (DOTCOM, "https://github.com/team/sh op", None),
        (DOTCOM, "https://github.com/team/.git", None),
        (DOTCOM, "https://github.com:x/team/shop", None),
        (DOTCOM, "https://[/team/shop", None),
        (DOTCOM, "file:///github.com/team/shop", None),
        (DOTCOM, "/srv/git/shop.git", None),
        (DOTCOM, "../shop", None),
        (DOTCOM, "", None),
    ],
)
def test_which_repository_a_source_is(api: str, source: str, expected: str | None) -> None:
    assert repository_at(api, source) == expected


def settings(tmp_path: Path, **given: Any) -> Settings:
    return load_settings(given, environment={"HOME": str(tmp_path)}, directory=tmp_path)


def test_the_setting_names_the_repository(tmp_path: Path) -> None:
    source = "git@github.com:team/shop.git"
    assert where(SHA, source, settings(tmp_path)) == ("team/shop", SHA)
    assert where(SHA, source, settings(tmp_path, github_repository="other/shop")) == ("other/shop", SHA)
    assert where(SHA, None, settings(tmp_path, github_repository="other/shop")) == ("other/shop", SHA)
    assert where("a" * 64, source, settings(tmp_path))[1] == "a" * 64


@pytest.mark.parametrize(
    ("commit", "source", "why"),
    [
        (None, "https://github.com/team/shop", "not known which commit"),
        (f"{SHA}-dirty", "https://github.com/team/shop", "more than its commit"),
        (SHA[:7], "https://github.com/team/shop", "no commit in full"),
        ("../../user", "https://github.com/team/shop", "no commit in full"),
        (f"{SHA}\n", "https://github.com/team/shop", "no commit in full"),
        (SHA.upper(), "https://github.com/team/shop", "no commit in full"),
        (SHA, None, "name it by `github_repository`"),
        (SHA, "https://gitlab.com/team/shop", "not one of https://api.github.com; name it by `github_repository`"),
    ],
)
def test_why_there_is_nothing_to_tell_of(commit: str | None, source: str | None, why: str, tmp_path: Path) -> None:
    with pytest.raises(NotTellable, match=why):
        where(commit, source, settings(tmp_path))


@pytest.mark.parametrize("url", ["https://[", "https://github.example.com:99999/api/v3"])
def test_an_address_that_is_none_is_no_defect(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotTellable, match="name it by"):
        where(SHA, "https://github.com/team/shop", settings(tmp_path, github_url=url))


def test_a_dirty_commit_is_not_told_whatever_the_settings_say(tmp_path: Path) -> None:
    with pytest.raises(NotTellable):
        where(f"{SHA}-dirty", None, settings(tmp_path, github_repository="team/shop"))


@given(st.text())
def test_a_line_is_what_github_takes(text: str) -> None:
    taken = line(text)
    assert len(taken) <= LONGEST
    assert taken == "" or taken.isprintable()
    assert all(ord(char) <= 0xFFFF for char in taken)
    assert line(taken) == taken


def test_a_line_is_cut_where_it_must_be() -> None:
    assert line("1.4.2 runs\n in  demo\x07 \U0001f600") == "1.4.2 runs in demo \ufffd"
    assert line("x" * LONGEST) == "x" * LONGEST
    assert line("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"


def test_each_namespace_has_its_own_context() -> None:
    assert deploy_context("demo") == "kubernaut/deploy/demo"
