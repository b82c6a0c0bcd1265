from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import ChartInvalid
from kubernaut.publish.chart import pin_values

PINS = {"image.repository": "host/shop", "image.digest": "sha256:" + "0" * 64, "image.tag": "1.0.0"}


def pin(text: str, pins: dict[str, str] | None = None) -> str:
    return pin_values(text.encode(), pins or PINS, shown="values.yaml").decode()


def test_only_the_pins_change() -> None:
    text = (
        "# the shop\n"
        "replicas: 1   # few\n"
        "\n"
        "image:\n"
        "  # set when it is published\n"
        '  repository: "old"\n'
        "  tag: ''\n"
        "  digest:\n"
        "list:\n"
        "- a\n"
        "- b: 'c'\n"
        "long: " + "word " * 60 + "end\n"
        "mode: 0644\n"
        "answer: yes\n"
        "multi: |\n"
        "  line\n"
        "   line\n"
    )
    lines = pin(text).splitlines()
    assert set(text.splitlines()) - set(lines) == {'  repository: "old"', "  tag: ''", "  digest:"}
    assert [line for line in lines if line not in text.splitlines()] == [
        '  repository: "host/shop"', "  tag: '1.0.0'", "  digest: sha256:" + "0" * 64
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n", "---\n", "image: {}\n", "image:\n", "image: ~\n", "other: 1\n"])
def test_places_that_are_not_there_are_made(text: str) -> None:
    image = yaml.safe_load(pin(text))["image"]
    assert image == {"repository": "host/shop", "digest": "sha256:" + "0" * 64, "tag": "1.0.0"}


def test_a_version_that_looks_like_a_number_stays_text() -> None:
    assert yaml.safe_load(pin("a: 1\n", {"tag": "1.10"}))["tag"] == "1.10"
    assert yaml.safe_load(pin("a: 1\n", {"tag": "012"}))["tag"] == "012"


def test_an_alias_of_the_pinned_mapping_is_left_alone() -> None:
    text = "base: &base\n  repository: old\nimage: *base\n"
    content = yaml.safe_load(pin(text))
    assert content["base"] == {"repository": "old"}
    assert content["image"]["repository"] == "host/shop"


def test_a_merged_mapping() -> None:
    text = "base: &base\n  repository: old\n  pull: Always\nimage:\n  <<: *base\n  digest: x\n"
    content = yaml.safe_load(pin(text))
    assert content["base"] == {"repository": "old", "pull": "Always"}
    assert content["image"] == {"pull": "Always", "repository": "host/shop", "digest": "sha256:" + "0" * 64, "tag": "1.0.0"}


@pytest.mark.parametrize(
    ("text", "line", "fact"),
    [
        ("a: 1\nimage: nginx\n", 2, "image.repository"),
        ("image: [a]\n", 1, "image"),
        ("- a\n", 1, "mapping"),
        ("a: [\n", 2, "YAML"),
        ("a: 1\n---\nb: 1\n", 2, "YAML"),
        ("a: 1\na: 2\n", 2, "'a'"),
        ("a: !!python/name:os.system\n", 1, "YAML"),
        ("a: *nothing\n", 1, "YAML"),
    ],
)
def test_values_that_cannot_be_pinned_are_reported_with_their_line(text: str, line: int, fact: str) -> None:
    with pytest.raises(ChartInvalid) as caught:
        pin(text)
    assert f"values.yaml:{line}: " in caught.value.message
    assert fact in caught.value.message


scalars = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=6)
)
keys = st.text("abcimage", min_size=1, max_size=5)
trees = st.dictionaries(
    keys, st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2))
)


@given(trees)
def test_pins_are_set_and_all_other_values_stay(content: dict[str, Any]) -> None:
    content.pop("image", None)
    pinned = yaml.safe_load(pin(yaml.safe_dump(content, allow_unicode=True)))
    image = pinned.pop("image")
    assert image["digest"] == PINS["image.digest"]
    assert pinned == content
