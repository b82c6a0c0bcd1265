r"""The values of a deploy: layers merged by Helm's rules, ``--set`` arguments parsed, results compared. Pure, but for read files.

The values of a deploy are complete: chart defaults < the version's environment file < ``--values`` < ``--set``. The defaults stay
in the chart; the rest is merged here and passed to Helm once, with ``--reset-values``.

The parser of ``--set`` is a port of Helm's ``pkg/strvals`` (no Python library exists), so that values can be compared before Helm
runs: ``a.b=c``, ``a[0].b=c``, ``a={x,y}``, ``a=1,b=2``, and ``\`` before a character that is not to be special. A value is
``true``, ``false``, ``null``, an integer without a leading zero, or a text. Contract tests compare it with the real program.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernaut.errors import ValuesInvalid
from kubernaut.history.detail import leaves
from kubernaut.yaml_reader import read_yaml

_MAX_INDEX = 65_536
_MAX_DEPTH = 30
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Values:
    """The requested values in layers; the chart's own defaults stay in the chart.

    Attributes:
        environment: The values that the version was published with for the environment.
        layers: The contents of ``--values``; later layers win.
        sets: The arguments of ``--set``, in Helm's syntax; later ones win, and all win over ``layers``.
        reuse: Whether the current release's values lie between ``environment`` and ``layers`` (``--reuse-values``).
    """

    environment: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Any]] = ()
    sets: Sequence[str] = ()
    reuse: bool = False

    def merged(self, current: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the merged values, given those of the current release. Raises: ValuesInvalid."""
        merged: dict[str, Any] = {}
        for layer in (self.environment, (current or {}) if self.reuse else {}, *self.layers):
            merged = merge(merged, layer)
        merged = copy.deepcopy(merged)
        for text in self.sets:
            parse_set(text, merged)
        return merged


def read_values(
    environment: Mapping[str, Any] | None = None,
    values: Sequence[str | Path | Mapping[str, Any]] = (),
    sets: Sequence[str] = (),
    *,
    reuse: bool = False,
) -> Values:
    """Return the requested values; files are read and checked here, before any request is sent.

    Args:
        environment: The values of the version's environment.
        values: ``--values``: YAML files, or values themselves.
        sets: ``--set``.
        reuse: ``--reuse-values``.

    Raises:
        ValuesInvalid: A file cannot be read, or a ``--set`` cannot be parsed.
    """
    layers = tuple(read_yaml(Path(layer)) if isinstance(layer, str | Path) else layer for layer in values)
    found = Values(environment or {}, layers, tuple(sets), reuse)
    found.merged()
    return found


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both merged as Helm does: maps are merged; all else of ``over`` replaces, including lists and ``null``."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def canonical(values: Mapping[str, Any] | None) -> str:
    """Return a text that is equal for values that are equal to Helm: numbers are 64-bit floats, and no values an empty map."""
    return json.dumps(_normal(values or {}), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _normal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        return int(number) if number.is_integer() else number
    return value


def overrides_lost(current: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    """Return the keys that only the current release's values set, as ``a.b``; never their values."""
    return sorted(_missing(current or {}, new, ""))


def _missing(current: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in current.items():
        path = prefix + key.replace(".", "\\.")
        if key not in new:
            yield path
        elif isinstance(value, Mapping) and isinstance(new[key], Mapping):
            yield from _missing(value, new[key], path + ".")


def differing(current: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, as ``a.b``; never the values themselves."""
    before, after = (
        {path: json.dumps(_normal(value), sort_keys=True) for path, value in leaves(one)} for one in (current or {}, new)
    )
    return sorted(path for path in before.keys() | after.keys() if before.get(path, "") != after.get(path, ""))


# --set


def parse_set(text: str, into: dict[str, Any]) -> None:
    """Parse a ``--set`` argument into ``into``, which is changed. Raises: ValuesInvalid."""
    parser = _SetParser(text)
    try:
        while True:
            parser.key(into, 0)
    except _End:
        return
    except _Invalid as error:
        key = text.split("=", 1)[0]  # never the whole text, which may contain a secret
        raise ValuesInvalid(
            f"--set {key}…: {error}.",
            hint="The syntax of --set is Helm's: KEY=VALUE[,KEY=VALUE…].",
            http_hint="The syntax of `set` is that of Helm: KEY=VALUE[,KEY=VALUE…].",
        ) from None


class _End(Exception):
    """The end of the argument is reached."""


class _Invalid(Exception):
    """Helm would refuse the argument."""


class _SetParser:
    """Parses one ``--set`` argument."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

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
            return _typed(text)
        self._at += 1
        items: list[Any] = []
        while True:
            text, stop = self._until(",}")
            if not stop:
                raise _Invalid("a list must end with '}'")
            items.append(_typed(text))
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
