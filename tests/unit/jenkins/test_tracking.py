"""A console becomes lines, each shown once, however it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.jenkins.responses import ConsoleChunk
from kubernaut.jenkins.tracking import MAX_LINE, LineBuffer


def piece(text: str, *, reset: bool = False) -> ConsoleChunk:
    return ConsoleChunk(text, 0, True, reset)


def test_a_line_is_held_back_until_it_is_whole() -> None:
    lines = LineBuffer()
    assert lines.take(piece("one\ntw")) == ["one"]
    assert lines.take(piece("")) == []
    assert lines.take(piece("o\n\nthr")) == ["two", ""]
    assert lines.rest() == ["thr"]
    assert lines.rest() == []


def test_a_log_that_is_told_again_is_not_shown_again() -> None:
    lines = LineBuffer()
    assert lines.take(piece("one\ntw")) == ["one"]
    assert lines.take(piece("one\ntwo\nthree\n", reset=True)) == ["two", "three"]
    assert not lines.anew
    assert lines.take(piece("one\ntwo\nthree\nfour\n", reset=True)) == ["four"]


def test_another_log_is_shown_from_its_beginning() -> None:
    lines = LineBuffer()
    lines.take(piece("one\ntw"))
    assert lines.take(piece("begun again\n", reset=True)) == ["tw", "begun again"]
    assert lines.anew
    assert lines.take(piece("begun again\nand on\n", reset=True)) == ["and on"]
    assert not lines.anew


def test_what_never_ends_its_line_is_shown_in_parts() -> None:
    assert LineBuffer().take(piece("." * (MAX_LINE + 1))) == ["." * (MAX_LINE + 1)]


@given(st.lists(st.text(alphabet="ab\n😀\udc80", max_size=8)), st.sets(st.integers(0, 20)))
def test_however_it_is_cut_each_line_is_shown_once(parts: list[str], resets: set[int]) -> None:
    lines, shown, told = LineBuffer(), [], ""
    for index, part in enumerate(parts):
        told += part
        shown += lines.take(piece(told, reset=True) if index in resets else piece(part))
    shown += lines.rest()
    assert shown == (told.removesuffix("\n").split("\n") if told else [])
