"""Waiting for two things at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kubernaut.history.index.ahead import ahead, meanwhile


def test_what_is_called_meanwhile_is_told_when_it_is_asked_for() -> None:
    go_on = threading.Event()
    called = meanwhile(lambda: go_on.wait(10))
    assert not called.done()
    go_on.set()
    assert called.result(10)


def test_what_is_raised_meanwhile_is_raised_to_who_asks() -> None:
    with pytest.raises(ZeroDivisionError):
        meanwhile(lambda: 1 // 0).result(10)


def test_the_next_is_got_while_one_is_worked_on() -> None:
    got = [threading.Event() for _ in range(3)]

    def things() -> Iterator[int]:
        for number, event in enumerate(got):
            event.set()
            yield number

    for number in ahead(things()):
        assert all(event.wait(10) for event in got[: number + 2])


def test_what_an_iterator_raises_is_raised_in_its_place() -> None:
    def things() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    found = ahead(things())
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
