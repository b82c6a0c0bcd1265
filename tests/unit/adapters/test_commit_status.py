"""The repository, the commit and the description of a commit status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.adapters.github import MAX_DESCRIPTION, NoCommit, description_of, find_commit, repository_at
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
def test_repository_of_a_git_url(api: str, source: str, expected: str | None) -> None:
    assert repository_at(api, source) == expected


def settings(tmp_path: Path, **given: Any) -> Settings:
    return load_settings(given, environment={"HOME": str(tmp_path)}, directory=tmp_path)


def test_setting_overrides_the_repository(tmp_path: Path) -> None:
    source = "git@github.com:team/shop.git"
    assert find_commit(SHA, source, settings(tmp_path)) == ("team/shop", SHA)
    assert find_commit(SHA, source, settings(tmp_path, github_repository="other/shop")) == ("other/shop", SHA)
    assert find_commit(SHA, None, settings(tmp_path, github_repository="other/shop")) == ("other/shop", SHA)
    assert find_commit("a" * 64, source, settings(tmp_path))[1] == "a" * 64


@pytest.mark.parametrize(
    ("commit", "source", "why"),
    [
        (None, "https://github.com/team/shop", "commit"),
        (f"{SHA}-dirty", "https://github.com/team/shop", "uncommitted"),
        (SHA[:7], "https://github.com/team/shop", "SHA"),
        ("../../user", "https://github.com/team/shop", "SHA"),
        (f"{SHA}\n", "https://github.com/team/shop", "SHA"),
        (SHA.upper(), "https://github.com/team/shop", "SHA"),
        (SHA, None, "github_repository"),
        (SHA, "https://gitlab.com/team/shop", "https://api.github.com"),
    ],
)
def test_version_without_a_commit(commit: str | None, source: str | None, why: str, tmp_path: Path) -> None:
    with pytest.raises(NoCommit, match=why):
        find_commit(commit, source, settings(tmp_path))


@pytest.mark.parametrize("url", ["https://[", "https://github.example.com:99999/api/v3"])
def test_invalid_github_url_is_a_reason(url: str, tmp_path: Path) -> None:
    with pytest.raises(NoCommit, match="github_repository"):
        find_commit(SHA, "https://github.com/team/shop", settings(tmp_path, github_url=url))


def test_dirty_commit_is_refused_despite_the_setting(tmp_path: Path) -> None:
    with pytest.raises(NoCommit):
        find_commit(f"{SHA}-dirty", None, settings(tmp_path, github_repository="team/shop"))


@given(st.text())
def test_description_is_acceptable(text: str) -> None:
    taken = description_of(text)
    assert len(taken) <= MAX_DESCRIPTION
    assert taken == "" or taken.isprintable()
    assert all(ord(char) <= 0xFFFF for char in taken)
    assert description_of(taken) == taken


def test_long_description_is_cut() -> None:
    assert description_of("1.4.2 runs\n in  demo\x07 \U0001f600") == "1.4.2 runs in demo \ufffd"
    assert description_of("x" * MAX_DESCRIPTION) == "x" * MAX_DESCRIPTION
    assert description_of("x" * (MAX_DESCRIPTION + 1)) == "x" * (MAX_DESCRIPTION - 1) + "…"
