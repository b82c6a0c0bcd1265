from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import NameInvalid
from kubernaut.models import check_name, check_namespace, check_release_name

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
def test_invalid_name_is_refused(check: object, name: str) -> None:
    with pytest.raises(NameInvalid):
        check(name)  # type: ignore[operator]


def test_length_limits() -> None:
    assert check_name("a" * 53) == "a" * 53
    assert check_namespace("a" * 63) == "a" * 63
    assert check_release_name("a" * 53) == "a" * 53
    for check in (check_name, check_release_name):
        with pytest.raises(NameInvalid):
            check("a" * 54)


def test_only_release_names_may_have_dots() -> None:
    assert check_release_name("my.app") == "my.app"
    for name in ("my.app", "a..b"):
        with pytest.raises(NameInvalid):
            check_name(name)
    for name in ("a..b", ".a", "a."):
        with pytest.raises(NameInvalid):
            check_release_name(name)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?", fullmatch=True))
def test_every_label_is_accepted(name: str) -> None:
    assert check_name(name) == check_namespace(name) == check_release_name(name) == name


@given(st.text(max_size=60))
def test_accepted_name_is_safe_in_arguments_paths_and_urls(name: str) -> None:
    try:
        check_release_name(name)
    except NameInvalid:
        return
    assert re.fullmatch(r"[a-z0-9.-]+", name)
    assert name[0] not in "-."
    assert ".." not in name


def test_message_names_the_kind() -> None:
    for check, kind in ((check_name, "name"), (check_namespace, "namespace"), (check_release_name, "release's name")):
        with pytest.raises(NameInvalid, match=f"'A' cannot be a {kind}"):
            check("A")
