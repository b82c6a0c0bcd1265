"""Integers of ``--set`` that the templates write in another form than ``helm --set`` does. Pure.

``helm --set`` passes an integer to the templates as an integer; in a values file, and so in kubernaut's one document, a number is a
64-bit float. Both are written alike below a million. From there on ``{{ .Values.x }}`` writes a float with an exponent, and digits
beyond 2^53 are lost.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from kubernaut.deploy.values.layers import Values
from kubernaut.deploy.values.set_arguments import set_typed
from kubernaut.history.records import as_mapping

_SAME_BELOW = 1_000_000
_Path = tuple[str | int, ...]


def changed_numbers(values: Values, merged: Mapping[str, Any], objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a notice for each integer of ``--set`` that an object contains in another form; it names the path, never the number.

    Args:
        values: The requested values.
        merged: The same, merged.
        objects: The rendered objects.
    """
    numbers = dict(_large(values, merged))
    if not numbers:
        return []
    found: dict[_Path, str] = {}
    for item in objects:
        scalars = [*_scalars(item), *_secret_texts(item)]
        for path, number in numbers.items():
            if path not in found and any(_is_changed(number, scalar) for scalar in scalars):
                found[path] = f"{item.get('kind')} {as_mapping(item.get('metadata')).get('name')}"
    return [_notice(path, title) for path, title in found.items()]


def as_template_writes(number: int) -> str:
    """Return an integer as Helm's templates write it once it is a 64-bit float: ``1.2345678e+07``, below a million ``123456``."""
    if abs(number) < _SAME_BELOW:
        return str(number)
    mantissa, _, exponent = format(Decimal(repr(float(number))).normalize(), "e").partition("e")
    return f"{mantissa}e{int(exponent):+03}"


def _large(values: Values, merged: Mapping[str, Any]) -> Iterator[tuple[_Path, int]]:
    """Yield the large integers of ``--set`` that nothing else overrides, with their paths."""
    alone: dict[str, Any] = {}
    for text in values.sets:
        set_typed(text, alone)
    for path, value in _leaves(alone):
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _SAME_BELOW and _at(merged, path) == value:
            yield path, value


def _leaves(value: Any, above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*above, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*above, index))
    else:
        yield above, value


def _at(value: Any, path: _Path) -> Any:
    for part in path:
        if isinstance(value, Mapping) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return None if isinstance(value, bool | float) else value


def _scalars(value: Any) -> Iterator[Any]:
    return (scalar for _, scalar in _leaves(value))


def _secret_texts(item: Mapping[str, Any]) -> Iterator[str]:
    """Yield the decoded texts of a Secret."""
    if item.get("kind") != "Secret":
        return
    for text in as_mapping(item.get("data")).values():
        try:
            yield base64.b64decode(str(text), validate=True).decode()
        except (binascii.Error, ValueError):
            continue


def _is_changed(number: int, scalar: Any) -> bool:
    exact = int(float(number)) == number
    if isinstance(scalar, str):
        forms = [as_template_writes(number)] if exact else [as_template_writes(number), str(int(float(number)))]
        return any(re.search(rf"(?<![\w.]){re.escape(form)}(?![\w.]*\w)", scalar) for form in forms)
    return not exact and isinstance(scalar, int | float) and not isinstance(scalar, bool) and scalar == float(number)


def _notice(path: _Path, title: str) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else "." + re.sub(r"([\\.,=\[])", r"\\\1", part) for part in path)
    shown = "".join(parts).removeprefix(".")
    return (
        f"{title} contains the number {shown} in another form, such as 1e+06: numbers from a million on reach the chart as floats."
        f" As a text it keeps its digits: --set-string {shown}=NUMBER (setString over HTTP)."
    )
