"""Merging, comparing and listing values; the contract with the real Helm is in ``tests/contract/test_values.py``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import facts

from kubernaut.deploy.values.layers import Values, canonical, differing, overrides_lost, read_values
from kubernaut.deploy.values.set_arguments import merge
from kubernaut.errors import ValuesInvalid

VALUES = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
)


def test_maps_are_merged_and_everything_else_replaces() -> None:
    under = {"map": {"a": 1, "b": 2}, "list": [1, 2], "text": "x", "gone": {"a": 1}}
    over = {"map": {"b": 3}, "list": [9], "text": None, "gone": None}
    assert merge(under, over) == {"map": {"a": 1, "b": 3}, "list": [9], "text": None, "gone": None}
    assert under["map"] == {"a": 1, "b": 2}


@given(VALUES)
def test_merge_with_itself_or_nothing_changes_nothing(values: dict[str, object]) -> None:
    assert merge(values, values) == values
    assert merge({}, values) == values
    assert merge(values, {}) == values
    assert differing(values, values) == []
    assert overrides_lost(values, values) == []


@given(VALUES, VALUES)
def test_canonical_texts_are_equal_for_equal_values(one: dict[str, object], two: dict[str, object]) -> None:
    assert (canonical(one) == canonical(two)) == (differing(one, two) == [])


def test_canonical_follows_helm() -> None:
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2.0, "a": 1.0})
    assert canonical(None) == canonical({})
    assert canonical({"a": 2**63}) == canonical({"a": float(2**63)})
    for one, two in (({"a": 1}, {"a": True}), ({"a": 1}, {"a": "1"}), ({"a": None}, {}), ({"a": {}}, {}), ({"a": 0}, {"a": False})):
        assert canonical(one) != canonical(two)


def test_overrides_lost() -> None:
    current = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": "x"}
    assert overrides_lost(current, {"a": {"b": 9}, "f": None}) == ["a.c", "e"]
    assert overrides_lost(None, {"a": 1}) == []
    assert overrides_lost({"a": {"b": 1}}, {"a": "no map any more"}) == []


def test_read_values_reads_files(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("a: 0644\nb: yes\n")
    assert read_values({"a": 1, "c": 1}, [file, {"b": 2}, str(file)], ["c=3"]).merged() == {"a": 420, "b": True, "c": 3}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\na: 2\n", ("line 2", "'a'")),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", ("line 4", "'c'")),
        ("a: [1\n", ("line 2",)),
        ("- a\n", ()),
        ("a: 1\n---\nb: 1\n", ("line 2",)),
        ("a: .inf\n", ("JSON",)),
        ("a: " + "[" * 900 + "]" * 900, ()),
        ("a: " + "[" * 200_000, ()),
        ("- " * 200_000, ()),
    ],
)
def test_invalid_values_file_is_named_with_its_line(tmp_path: Path, text: str, where: tuple[str, ...]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    with pytest.raises(ValuesInvalid) as caught:
        read_values({}, [file])
    assert re.search(facts(str(file), *where), caught.value.message)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe9\n")
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + number)}: &{chr(98 + number)} [{','.join([f'*{chr(97 + number)}'] * 10)}]\n" for number in range(8)
    )
    (tmp_path / "bomb").write_text(bomb)
    (tmp_path / "large").write_text("a: " + "x" * (1 << 20))
    for name in ("latin", "bomb", "large", "missing", ""):
        with pytest.raises(ValuesInvalid):
            read_values({}, [tmp_path / name])


def test_hint_about_a_file_that_does_not_exist_is_about_its_path() -> None:
    with pytest.raises(ValuesInvalid) as caught:
        read_values({}, ["missing.yaml"])
    assert "path" in caught.value.hint
    with pytest.raises(ValuesInvalid) as caught:
        read_values({}, ["~/missing.yaml"])
    assert "`--values ~/FILE`" in caught.value.hint


def test_invalid_set_does_not_reveal_its_value() -> None:
    with pytest.raises(ValuesInvalid, match=r"--set a\.b…") as caught:
        read_values({"a": 1}, sets=["a.b=hunter2"])
    assert "hunter2" not in str(caught.value)


# the values


def test_merged_layers_in_order() -> None:
    values = Values({"a": 1, "b": 1, "c": 1, "d": 1}, ({"b": 2, "c": 2}, {"c": 3}), ("d=4", "e.f=5"))
    assert values.merged({"a": 9, "z": 9}) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": {"f": 5}}
    reusing = Values({"a": 1, "n": 1}, ({"b": 2},), ("c=3",), reuse=True)
    assert reusing.merged({"a": 9, "b": 9, "c": 9, "z": 9}) == {"a": 9, "n": 1, "b": 2, "c": 3, "z": 9}
    assert reusing.merged(None) == {"a": 1, "n": 1, "b": 2, "c": 3}


def test_merged_leaves_the_layers_unchanged() -> None:
    environment = {"a": {"b": [1]}}
    Values(environment, (), ("a.b[0]=2", "a.c=3")).merged()
    assert environment == {"a": {"b": [1]}}
