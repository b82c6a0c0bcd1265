from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import NameInvalid
from kubernaut.names import check_name, check_namespace, check_release_name

BAD = [
    "",
    "--x",
    "-x",
    "x-",
    "A",
    "a_b",
    "a b",
    "..",
    ".",
    "a/../b",
    "a/b",
    "hello\n",
    "\nhello",
    "a\x00",
    "é",
    "\uff41",
    "٣",
    "%2e%2e",
    "a" * 64,
]


@pytest.mark.parametrize("check", [check_name, check_namespace, check_release_name])
@pytest.mark.parametrize("name", BAD)
def test_names_that_are_none(check: object, name: str) -> None:
    with pytest.raises(NameInvalid):
        check(name)  # type: ignore[operator]


def test_lengths() -> None:
    assert check_name("a" * 53) == "a" * 53
    assert check_namespace("a" * 63) == "a" * 63
    assert check_release_name("a" * 53) == "a" * 53
    for check in (check_name, check_release_name):
        with pytest.raises(NameInvalid):
            check("a" * 54)


def test_only_releases_of_others_have_dots() -> None:
    assert check_release_name("my.app") == "my.app"
    for name in ("my.app", "a..b"):
        with pytest.raises(NameInvalid):
            check_name(name)
    for name in ("a..b", ".a", "a."):
        with pytest.raises(NameInvalid):
            check_release_name(name)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True))
def test_every_label_is_a_name(name: str) -> None:
    assert check_name(name) == check_namespace(name) == check_release_name(name) == name


@given(st.text(max_size=60))
def test_what_passes_is_safe_as_an_argument_a_path_and_a_url(name: str) -> None:
    try:
        check_release_name(name)
    except NameInvalid:
        return
    assert re.fullmatch(r"[a-z0-9.-]+", name)
    assert name[0] not in "-."
    assert ".." not in name


def test_the_message_names_what_it_is_about() -> None:
    with pytest.raises(NameInvalid, match="'A' cannot be a release"):
        check_name("A", "release")
