"""The ``--set`` family: what each argument means; the contract with the real Helm is in ``tests/contract/test_values.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.deploy.values.layers import canonical, read_values
from kubernaut.deploy.values.set_arguments import file_as_string, literal_as_string, set_json, set_string, set_typed
from kubernaut.errors import ValuesInvalid

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
PARTS = st.text("ab.[]{}=,\\01 -\"'", max_size=12)


def parsed(*texts: str) -> dict[str, Any]:
    into: dict[str, Any] = {}
    for text in texts:
        set_string(text, into)
    return into


def test_set_string_makes_texts() -> None:
    assert parsed("a=1,b=true,c=null,d={1,x},e.f=0", "g[1]=2") == {
        "a": "1",
        "b": "true",
        "c": "null",
        "d": ["1", "x"],
        "e": {"f": "0"},
        "g": [None, "2"],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a[0]", {"a": []}),
        ("a[0][1]", {"a": []}),
        ("a[0].b[0]", {"a": []}),
        ("a[0][1].b=", {"a": []}),
        ("a[0]=x,a[0][1]", None),
        ("a[0][1]=x", {"a": [[None, "x"]]}),
    ],
)
def test_an_item_without_a_value_changes_nothing(text: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        with pytest.raises(ValuesInvalid):
            parsed(text)
    else:
        assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a={"b": [1, null]},c=2', {"a": {"b": [1, None]}, "c": 2}),
        ('a="x,y" , b=true', {"a": "x,y", " b": True}),
        ("a=,b=1", {"a": None, "b": 1}),
        ("a=", {"a": None}),
        ("a[1].b=[]", {"a": [None, {"b": []}]}),
        ("a[0]=", {"a": [None]}),
        ("a=1e3", {"a": 1000}),
        ("a=12345678901234567890", {"a": 12345678901234567000}),
        (' {"a": {"b": 1}} ', {"a": {"b": 1, "z": 0}, "kept": 1}),
        ('{"a": null}', {"a": None, "kept": 1}),
    ],
)
def test_set_json_takes_json(text: str, expected: dict[str, Any]) -> None:
    under: dict[str, Any] = {"a": {"z": 0}, "kept": 1} if text.strip().startswith("{") else {}
    assert canonical(set_json(text, under)) == canonical(expected)


@pytest.mark.parametrize(
    "text", ["a=x", "a=1.", "a=1e", "a=01", "a=NaN", "a=Infinity", "a=1e999", "a={", "a=[1", "{", "{} x", "a", "a.b"]
)
def test_set_json_refuses_what_is_not_json(text: str) -> None:
    with pytest.raises(ValuesInvalid, match="--set-json"):
        set_json(text, {})


@given(JSON)
def test_any_json_survives(value: Any) -> None:
    assert canonical(set_json(f"k={json.dumps(value)}", {})) == canonical({"k": value})


@given(PARTS)
def test_literal_has_no_syntax(text: str) -> None:
    assert parsed(literal_as_string(f"a.b={text}")) == {"a": {"b": text}}
    assert parsed(literal_as_string(f"a[0].b={text}")) == {"a": [{"b": text}]}


@given(PARTS, PARTS)
def test_files_are_taken_as_they_are(tmp_path_factory: pytest.TempPathFactory, one: str, two: str) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "one").write_text(one, newline="")
    (folder / "two").write_text(two, newline="")
    text = f"a={folder}/one,b.c={{{folder}/two,{folder}/one}},d[0]={folder}/two"
    assert parsed(file_as_string(text)) == {"a": one, "b": {"c": [two, one]}, "d": [two]}


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    for name in ("missing", "binary", "large", "."):
        with pytest.raises(ValuesInvalid, match=name if name != "." else "cannot be read"):
            file_as_string(f"a={tmp_path / name}")


def test_precedence_does_not_depend_on_the_order_of_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("file")
    keys = "abcdef"
    layers: dict[str, Any] = {
        "values": [dict.fromkeys(keys, "values")],
        "json_sets": [json.dumps(dict.fromkeys(keys[1:], "json"))],
        "sets": [f"{key}=set" for key in keys[2:]],
        "string_sets": [f"{key}=string" for key in keys[3:]],
        "file_sets": [f"{key}={tmp_path / 'f'}" for key in keys[4:]],
        "literal_sets": ["f=literal"],
    }
    assert list(read_values(**layers).merged().values()) == ["values", "json", "set", "string", "file", "literal"]


@pytest.mark.parametrize("parse", [set_typed, set_string, set_json])
def test_refused_arguments_do_not_reveal_their_values(parse: Any) -> None:
    with pytest.raises(ValuesInvalid) as caught:
        parse("a.b={hunter2", {})
    assert "hunter2" not in str(caught.value)
    assert "a.b" in caught.value.message


@given(PARTS)
def test_any_argument_is_parsed_or_refused(text: str) -> None:
    for parse in (set_typed, set_string, set_json):
        try:
            parse(text, {})
        except ValuesInvalid:
            continue
