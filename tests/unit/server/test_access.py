"""Access to releases by role and namespace, and the pattern of release IDs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import KubernautError, NameInvalid, NotAllowed
from kubernaut.history.releases import ReleaseId
from kubernaut.server.auth.access import Caller, Role, require_access, visible_namespaces
from kubernaut.server.routes.releases import ID_PATTERN

EVERYWHERE, TEAM = Caller("ada", Role.DEPLOY), Caller("team", Role.READ, frozenset({"demo", "test"}))
PATTERN = re.compile(ID_PATTERN)
WORDS = st.sampled_from(
    ["demo", "a", "v3", "v", "v0", "v01", "current", "Demo", "-x", "x-", "", "a.b", "v1234567890", "é", "v1.v2"]
)


@given(st.lists(WORDS, min_size=1, max_size=5).map(".".join) | st.from_regex(ID_PATTERN, fullmatch=True) | st.text())
def test_the_documented_id_pattern_matches_the_parser(text: str) -> None:
    try:
        found = ReleaseId.parse(text)
    except NameInvalid:
        assert not PATTERN.fullmatch(text)
    else:
        assert PATTERN.fullmatch(text)
        assert PATTERN.fullmatch(str(found))


def refused(text: str, caller: Caller, namespaces: tuple[str, ...], role: Role = Role.READ) -> type[KubernautError] | None:
    try:
        require_access(ReleaseId.parse(text).namespace, caller, namespaces, role)
    except KubernautError as error:
        return type(error)
    return None


@pytest.mark.parametrize(
    ("text", "caller", "namespaces", "role", "expected"),
    [
        ("demo.shop.v3", EVERYWHERE, (), Role.READ, None),
        ("prod.shop", EVERYWHERE, ("prod",), Role.DEPLOY, None),
        ("demo.shop", EVERYWHERE, ("prod",), Role.READ, NotAllowed),
        ("demo.shop.current", TEAM, (), Role.READ, None),
        ("demo.shop.current", TEAM, (), Role.DEPLOY, NotAllowed),
        ("prod.shop.current", TEAM, (), Role.READ, NotAllowed),
        ("test.shop", TEAM, ("demo", "prod"), Role.READ, NotAllowed),
        ("prod.shop", TEAM, ("demo", "prod"), Role.READ, NotAllowed),
        ("Prod.shop", TEAM, (), Role.READ, NameInvalid),
    ],
)
def test_a_release_needs_a_role_in_its_namespace(
    text: str, caller: Caller, namespaces: tuple[str, ...], role: Role, expected: type[KubernautError] | None
) -> None:
    assert refused(text, caller, namespaces, role) is expected


def test_visible_namespaces_are_those_with_access() -> None:
    for caller in (EVERYWHERE, TEAM, Caller("guest", Role.READ, frozenset())):
        for namespaces in ((), ("demo",), ("demo", "prod")):
            seen = visible_namespaces(caller, namespaces)
            for namespace in ("demo", "test", "prod"):
                try:
                    require_access(namespace, caller, namespaces)
                except NotAllowed:
                    assert seen is not None
                    assert namespace not in seen
                else:
                    assert seen is None or namespace in seen
