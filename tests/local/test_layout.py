from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubernaut.errors import NameInvalid, SettingInvalid
from kubernaut_local.layout import Layout, cache_home, check_name, state_home


@pytest.mark.parametrize("name", ["default", "a", "a-1", "1", "x" * 40])
def test_valid_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a/b", "..", "a\n", "x" * 41, "--help"])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(NameInvalid):
        check_name(name)


def test_folders_follow_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_STATE_HOME", "/s")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert state_home() == Path("/s")
    assert cache_home() == Path("/home/me/.cache")
    assert Layout(state_home(), "x").root == Path("/s/kubernaut/local/x")


@pytest.mark.parametrize("folder", ["/a b", "/a%b", '/a"b', "/a:b", "/a,b", "/ä"])
def test_unsupported_path_is_refused(folder: str) -> None:
    with pytest.raises(SettingInvalid, match=re.escape(folder)):
        Layout(Path(folder), "x").check()


def test_too_long_path_is_refused() -> None:
    with pytest.raises(SettingInvalid, match="a" * 80):
        Layout(Path("/" + "a" * 80), "x").check()
    Layout(Path("/" + "a" * 20), "x").check()


def test_longest_path_leaves_room_for_the_kubelet_s_socket() -> None:
    beside = len(str(Layout(Path("/"), "x").kubelet_socket))
    Layout(Path("/" + "a" * (106 - beside)), "x").check()
    with pytest.raises(SettingInvalid):
        Layout(Path("/" + "a" * (107 - beside)), "x").check()
