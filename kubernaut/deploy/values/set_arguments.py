r"""The arguments of ``--set``, ``--set-string``, ``--set-json``, ``--set-file`` and ``--set-literal``, parsed as Helm parses them.

A port of Helm's ``pkg/strvals`` (no Python library exists), so that values can be compared before Helm runs: ``a.b=c``,
``a[0].b=c``, ``a={x,y}``, ``a=1,b=2``, and ``\`` before a character that is not to be special. A value of ``--set`` is ``true``,
``false``, ``null``, an integer without a leading zero, or a text; one of ``--set-string`` is a text, one of ``--set-json`` is JSON.
Contract tests compare it with the real programs. Pure, but for the files of ``--set-file``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubernaut.errors import ValuesInvalid

_MAX_INDEX = 65_536
_MAX_DEPTH = 30
_MAX_FILE = 1 << 20
_INT64 = range(-(2**63), 2**63)
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""The spaces of Go's ``unicode.IsSpace``."""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?")
_HTTP_NAMES = {"--set": "set", "--set-string": "setString", "--set-json": "setJson"}

Convert = Callable[[str], Any]
"""Returns the value of a text after ``=``."""


def set_typed(text: str, into: dict[str, Any]) -> None:
    """Parse a ``--set`` argument into ``into``, which is changed. Raises: ValuesInvalid."""
    _parse("--set", text, _Parser(text, _typed), into)


def set_string(text: str, into: dict[str, Any]) -> None:
    """Parse a ``--set-string`` argument into ``into``, which is changed. Raises: ValuesInvalid."""
    _parse("--set-string", text, _Parser(text, str), into)


def set_json(text: str, into: dict[str, Any]) -> dict[str, Any]:
    """Return ``into`` with a ``--set-json`` argument: ``KEY=JSON,…``, or a JSON object, which is merged. Raises: ValuesInvalid."""
    stripped = text.strip(_SPACE)
    if not stripped.startswith("{"):
        _parse("--set-json", text, _JsonParser(text, str), into)
        return into
    try:
        value, end = _json_value(stripped, 0)
        if end != len(stripped):
            raise _Invalid("text follows the JSON object")
    except _Invalid as error:
        raise _refused("--set-json", "", error) from None
    return merge(into, value)


def file_as_string(text: str) -> str:
    """Return a ``--set-file`` argument, ``KEY=PATH,…``, as one of ``--set-string``; the files are read. Raises: ValuesInvalid."""
    files: list[tuple[int, int, str]] = []
    parser = _FileParser(text, files)
    _parse("--set-file", text, parser, {})
    for start, end, content in reversed(files):
        text = text[:start] + _escaped(content) + text[end:]
    return text


def literal_as_string(text: str) -> str:
    """Return a ``--set-literal`` argument, ``KEY=VALUE`` with a value that has no syntax, as one of ``--set-string``."""
    key, equals, value = text.partition("=")
    # Helm takes `a[0].b=` at the end for no value at all, except in --set-literal.
    return re.sub(r"([\\,])", r"\\\1", key) + equals + (_escaped(value) or "," * len(equals))


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both merged as Helm does: maps are merged; all else of ``over`` replaces, including lists and ``null``."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _parse(option: str, text: str, parser: _Parser, into: dict[str, Any]) -> None:
    try:
        while True:
            parser.key(into, 0)
    except _End:
        return
    except _Invalid as error:
        raise _refused(option, text.split("=", 1)[0], error) from None


def _refused(option: str, key: str, error: Exception) -> ValuesInvalid:
    """Return the error for an argument; it names the key, and never the whole text, which may contain a secret."""
    value = {"--set-file": "PATH", "--set-json": "JSON"}.get(option, "VALUE")
    return ValuesInvalid(
        f"{option} {key}…: {error}.",
        hint=f"The syntax of {option} is Helm's: KEY={value}[,KEY={value}…].",
        http_hint=f"The syntax of `{_HTTP_NAMES.get(option, 'set')}` is that of Helm: KEY={value}[,KEY={value}…].",
    )


class _End(Exception):
    """The end of the argument is reached."""


class _Invalid(Exception):
    """Helm would refuse the argument."""


class _Parser:
    """Parses one argument.

    Args:
        text: The argument.
        convert: Returns the value of a text.
    """

    def __init__(self, text: str, convert: Convert) -> None:
        self._text = text
        self._convert = convert
        self._at = 0
        self._ended = False
        """Whether an item of a list had no value, so that the lists around it stay as they are."""

    def key(self, data: dict[str, Any], depth: int) -> None:
        """Read a key and its value into ``data``."""
        key, stop = self._until("=[,.")
        if not stop:
            if not key:
                raise _End
            raise _Invalid(f"the key {key!r} has no value")
        if stop == "[":
            existing = data.get(key, [])
            items = self._item(_as_list(existing, key), self._index(), depth)
            _set(data, key, items)
            if self._ended:
                raise _End
        elif stop == "=":
            self._assign(data, key)
        elif stop == ",":
            raise _Invalid(f"the key {key!r} has no value")
        else:
            self._nested(data, key, depth + 1)

    def _assign(self, data: dict[str, Any], key: str) -> None:
        if self._at == len(self._text):
            _set(data, key, "")
            raise _End
        _set(data, key, self._value())

    def _nested(self, data: dict[str, Any], key: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _Invalid(f"more than {_MAX_DEPTH} levels")
        inner = data.get(key, {})
        if not isinstance(inner, dict):
            raise _Invalid(f"{key!r} is not a map")
        try:
            self.key(inner, depth)
        except _End:
            if inner:
                _set(data, key, inner)
            raise
        if not inner:
            raise _Invalid(f"the map {key!r} has no value")
        _set(data, key, inner)

    def _index(self) -> int:
        digits, stop = self._until("]")
        sign = digits[:1] if digits[:1] in ("+", "-") else ""
        if not stop or not (digits[len(sign) :].isascii() and digits[len(sign) :].isdigit()):
            raise _Invalid(f"{digits!r} is not an index")
        index = int(digits)
        if not 0 <= index <= _MAX_INDEX:
            raise _Invalid(f"the index {index} is not between 0 and {_MAX_INDEX}")
        return index

    def _item(self, items: list[Any], index: int, depth: int) -> list[Any]:
        between, stop = self._until("[.=")
        if between:
            raise _Invalid(f"unexpected {between!r} after an index")
        if not stop:
            self._ended = True
            return items
        old = items[index] if index < len(items) else None
        value: Any
        if stop == "=":
            value = self._item_value()
        elif stop == "[":
            value = self._item(_as_list([] if old is None else old, "a nested list"), self._index(), depth)
            if self._ended:
                return items
        else:
            value = old if isinstance(old, dict) else {}
            if index < len(items):
                items[index] = value
            try:
                self.key(value, depth)
            except _End:
                self._ended = True
                return items
        items.extend([None] * (index + 1 - len(items)))
        items[index] = value
        return items

    def _item_value(self) -> Any:
        return "" if self._at == len(self._text) else self._value()

    def _value(self) -> Any:
        if self._text[self._at] != "{":
            return self._converted(",")[0]
        self._at += 1
        items: list[Any] = []
        while True:
            value, stop = self._converted(",}")
            if not stop:
                raise _Invalid("a list must end with '}'")
            items.append(value)
            if stop == "}":
                self._at += self._text[self._at : self._at + 1] == ","
                return items

    def _converted(self, stops: str) -> tuple[Any, str]:
        """Read a value up to one of ``stops``; return it converted, and the stop."""
        text, stop = self._until(stops)
        return self._convert(text), stop

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


class _JsonParser(_Parser):
    """Parses one ``--set-json`` argument; a value that is missing is ``null``."""

    def _assign(self, data: dict[str, Any], key: str) -> None:
        _set(data, key, self._item_value())

    def _item_value(self) -> Any:
        if self._skip_space():
            return None
        value, self._at = _json_value(self._text, self._at)
        self._skip_space()
        return value

    def _skip_space(self) -> bool:
        """Skip spaces, and a comma after them; return whether a comma or the end follows."""
        while self._at < len(self._text):
            character = self._text[self._at]
            if character != "," and character not in _SPACE:
                return False
            self._at += 1
            if character == ",":
                return True
        return True


class _FileParser(_Parser):
    """Parses one ``--set-file`` argument; adds the start and the end of each path, and the content of the file, to ``files``."""

    def __init__(self, text: str, files: list[tuple[int, int, str]]) -> None:
        super().__init__(text, _read_file)
        self._files = files

    def _converted(self, stops: str) -> tuple[Any, str]:
        start = self._at
        content, stop = super()._converted(stops)
        self._files.append((start, self._at - len(stop), content))
        return content, stop


def _read_file(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise _Invalid(f"{name} is larger than {_MAX_FILE >> 20} MiB")
        return data.decode("utf-8")
    except (OSError, ValueError) as error:
        why = (
            "it is not UTF-8; base64 makes a text of it"
            if isinstance(error, UnicodeDecodeError)
            else getattr(error, "strerror", "")
        )
        raise _Invalid(f"{name} cannot be read: {why or error}") from error


def _escaped(text: str) -> str:
    return re.sub(r"([\\,{}])", r"\\\1", text)


def _json_value(text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value that starts at a position, and where it ends; numbers are 64-bit floats, as Helm reads them."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):  # its message would repeat the text
        raise _Invalid("the value is not JSON") from None
    number = _NUMBER.match(text, at)
    # Go expects more after `1.` and `1e`, where Python ends the number before the letter.
    unfinished = "" if not number or number["exponent"] else "eE" if number["fraction"] else ".eE"
    if text[end : end + 1] and text[end : end + 1] in unfinished:
        raise _Invalid("the value is not JSON")
    return value, end


def _go_number(digits: str) -> float | int:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(digits)
    return int(number) if number.is_integer() and abs(number) < 1e21 else number


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_int=_go_number, parse_float=_go_number, parse_constant=_no_constant)


def _typed(text: str) -> Any:
    """Return the value of a text after ``=``."""
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
        raise _Invalid(f"{name} is not a list")
    return value
