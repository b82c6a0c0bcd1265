r"""``--set``, by Helm's own rules: ``a.b=c``, ``a[0].b=c``, ``a={x,y}``, ``a=1,b=2``, and ``\`` before what should not be special.

A port of Helm's ``pkg/strvals`` (no Python library has it), so that values can be compared before Helm runs; the contract tests
hold it to the real program. A value is ``true``, ``false``, ``null``, a whole number without a leading zero, or a text.
"""

from __future__ import annotations

from typing import Any

from kubernaut.errors import ValuesInvalid

_LARGEST_INDEX = 65_536
_DEEPEST = 30
_INT64 = range(-(2**63), 2**63)


class _End(Exception):
    """The text is read to its end."""


def parse_set(text: str, into: dict[str, Any]) -> None:
    """Set what a ``--set`` argument says in ``into``, which is changed. Raises: ValuesInvalid."""
    parser = _Parser(text)
    try:
        while True:
            parser.key(into, 0)
    except _End:
        return
    except _Wrong as wrong:
        # Not the text itself: it may hold a secret.
        raise ValuesInvalid(
            f"--set {text.split('=', 1)[0]}…: {wrong}.", hint="Helm's rules for --set: KEY=VALUE[,KEY=VALUE…]."
        ) from None


class _Wrong(Exception):
    """What Helm would not take."""


class _Parser:
    """A reader of one ``--set`` argument."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def key(self, data: dict[str, Any], depth: int) -> None:
        """Read a key and its value into ``data``."""
        key, stop = self._until("=[,.")
        if not stop:
            if not key:
                raise _End
            raise _Wrong(f"the key {key!r} has no value")
        if stop == "[":
            existing = data.get(key, [])
            items = self._item(_as_list(existing, key), self._index(), depth)
            _set(data, key, items)
        elif stop == "=":
            self._assign(data, key)
        elif stop == ",":
            raise _Wrong(f"the key {key!r} has no value")
        else:
            self._nested(data, key, depth + 1)

    def _assign(self, data: dict[str, Any], key: str) -> None:
        if self._at == len(self._text):
            _set(data, key, "")
            raise _End
        _set(data, key, self._value())

    def _nested(self, data: dict[str, Any], key: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise _Wrong(f"more than {_DEEPEST} levels")
        inner = data.get(key, {})
        if not isinstance(inner, dict):
            raise _Wrong(f"{key!r} is no map, and keys cannot be set inside it")
        try:
            self.key(inner, depth)
        except _End:
            if inner:
                _set(data, key, inner)
            raise
        if not inner:
            raise _Wrong(f"the map {key!r} has no value")
        _set(data, key, inner)

    def _index(self) -> int:
        digits, stop = self._until("]")
        sign = digits[:1] if digits[:1] in ("+", "-") else ""
        if not stop or not (digits[len(sign) :].isascii() and digits[len(sign) :].isdigit()):
            raise _Wrong(f"{digits!r} is no index")
        index = int(digits)
        if not 0 <= index <= _LARGEST_INDEX:
            raise _Wrong(f"the index {index} is not between 0 and {_LARGEST_INDEX}")
        return index

    def _item(self, items: list[Any], index: int, depth: int) -> list[Any]:
        between, stop = self._until("[.=")
        if between:
            raise _Wrong(f"unexpected {between!r} after an index")
        if not stop:
            return items
        old = items[index] if index < len(items) else None
        value: Any
        if stop == "=":
            value = "" if self._at == len(self._text) else self._value()
        elif stop == "[":
            value = self._item(_as_list([] if old is None else old, "a nested list"), self._index(), depth)
        else:
            value = old if isinstance(old, dict) else {}
            if index < len(items):
                items[index] = value
            try:
                self.key(value, depth)
            except _End:
                return items
        items.extend([None] * (index + 1 - len(items)))
        items[index] = value
        return items

    def _value(self) -> Any:
        if self._text[self._at] != "{":
            text, _ = self._until(",")
            return typed(text)
        self._at += 1
        items: list[Any] = []
        while True:
            text, stop = self._until(",}")
            if not stop:
                raise _Wrong("a list must end with '}'")
            items.append(typed(text))
            if stop == "}":
                self._at += self._text[self._at : self._at + 1] == ","
                return items

    def _until(self, stops: str) -> tuple[str, str]:
        """Read up to one of ``stops``; return what was read and the stop, empty at the end."""
        read: list[str] = []
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character in stops:
                return "".join(read), character
            if character == "\\":
                if self._at == len(self._text):
                    break
                character = self._text[self._at]
                self._at += 1
            read.append(character)
        return "".join(read), ""


def typed(text: str) -> Any:
    """Return the value that a text after ``=`` means."""
    word = text.lower()
    if word in ("true", "false"):
        return word == "true"
    if word == "null":
        return None
    if text == "0":
        return 0
    digits = text[1:] if text[:1] in ("+", "-") else text
    if text[:1] != "0" and digits.isascii() and digits.isdigit() and len(digits) < 30 and int(text) in _INT64:
        return int(text)
    return text


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    if key:
        data[key] = value


def _as_list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Wrong(f"{name} is no list, and has no index")
    return value
