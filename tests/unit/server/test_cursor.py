"""The cursor of a list: it round-trips, and anything else is refused."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import RequestInvalid
from kubernaut.server.routes.releases import MAX_CURSOR_LENGTH, Position, decode_cursor, encode_cursor

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=63)
POSITIONS = st.tuples(NAMES, NAMES, st.integers(0, 10**9))


def raw(value: Any, **how: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, **how).encode()).rstrip(b"=").decode()


@given(POSITIONS | st.tuples(st.text(min_size=1, max_size=63), st.text(min_size=1, max_size=63), st.integers(0, 10**9)))
def test_a_cursor_round_trips(position: Position) -> None:
    assert decode_cursor(encode_cursor(position)) == position


@given(POSITIONS)
def test_a_cursor_is_url_safe_and_short(position: Position) -> None:
    assert re.fullmatch("[A-Za-z0-9_-]+", encode_cursor(position))
    assert len(encode_cursor(position)) <= MAX_CURSOR_LENGTH


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "====",
        "Ünicode",
        "a" * 10_000,
        encode_cursor(("demo", "shop", 3)) + "=",
        encode_cursor(("demo", "shop", 3)) + " ",
        encode_cursor(("demo", "shop", 3))[:-1],
        raw(["demo", "shop", 3], indent=1),
        raw(["demo", "shop", True]),
        raw(["demo", "shop", 3.0]),
        raw(["demo", "shop", "3"]),
        raw(["demo", "shop", -1]),
        raw(["demo", "shop", 2**63]),
        raw(["demo", "", 3]),
        raw(["", "shop", 3]),
        raw(["d" * 300, "shop", 3]),
        raw(["demo", "shop"]),
        raw(["demo", "shop", 3, 4]),
        raw([["demo"], "shop", 3]),
        raw({"namespace": "demo"}),
        raw(None),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("="),
        base64.urlsafe_b64encode(f'["a","b",{"9" * 5000}]'.encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(b'["a","\\ud800x","b"]').decode().rstrip("="),
    ],
)
def test_invalid_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(RequestInvalid, match="cursor"):
        decode_cursor(cursor)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode().rstrip("=")))
def test_any_text_is_a_canonical_cursor_or_refused(text: str) -> None:
    try:
        assert encode_cursor(decode_cursor(text)) == text
    except RequestInvalid:
        return
