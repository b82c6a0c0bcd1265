"""A console becomes lines, each shown once, however the chunks are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubernaut.jenkins.responses import ConsoleChunk
from kubernaut.jenkins.tracking import MAX_LINE, LineBuffer


def chunk(text: str, *, reset: bool = False) -> ConsoleChunk:
    return ConsoleChunk(text, 0, True, reset)


def test_incomplete_line_is_kept() -> None:
    lines = LineBuffer()
    assert lines.feed(chunk("one\ntw")) == ["one"]
    assert lines.feed(chunk("")) == []
    assert lines.feed(chunk("o\n\nthr")) == ["two", ""]
    assert lines.flush() == ["thr"]
    assert lines.flush() == []


def test_repeated_log_is_not_shown_again() -> None:
    lines = LineBuffer()
    assert lines.feed(chunk("one\ntw")) == ["one"]
    assert lines.feed(chunk("one\ntwo\nthree\n", reset=True)) == ["two", "three"]
    assert not lines.replaced
    assert lines.feed(chunk("one\ntwo\nthree\nfour\n", reset=True)) == ["four"]


def test_replaced_log_is_shown_from_its_beginning() -> None:
    lines = LineBuffer()
    lines.feed(chunk("one\ntw"))
    assert lines.feed(chunk("begun again\n", reset=True)) == ["tw", "begun again"]
    assert lines.replaced
    assert lines.feed(chunk("begun again\nand on\n", reset=True)) == ["and on"]
    assert not lines.replaced


def test_endless_line_is_shown_in_parts() -> None:
    assert LineBuffer().feed(chunk("." * (MAX_LINE + 1))) == ["." * (MAX_LINE + 1)]


@given(st.lists(st.text(alphabet="ab\n😀\udc80", max_size=8)), st.sets(st.integers(0, 20)))
def test_each_line_is_shown_once_however_chunks_are_cut(parts: list[str], resets: set[int]) -> None:
    lines, shown, log = LineBuffer(), [], ""
    for index, part in enumerate(parts):
        log += part
        shown += lines.feed(chunk(log, reset=True) if index in resets else chunk(part))
    shown += lines.flush()
    assert shown == (log.removesuffix("\n").split("\n") if log else [])
