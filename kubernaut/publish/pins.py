"""Set the image in the chart's values.yaml.

Comments, order and quotes of the file are kept. The result is read back as Helm reads it, to check that only the pins changed; if
that fails, the values are written as JSON instead.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from kubernaut.errors import ChartInvalid, ValuesInvalid
from kubernaut.yaml_reader import YamlProblem, parse_yaml, read_document


def pin_values(text: bytes, pins: Mapping[str, str], *, shown: str) -> bytes:
    """Return the bytes of a values file with the pins set: values by dotted path. Messages call the file ``shown``.

    Raises:
        ChartInvalid: The file is not YAML, or a pin's parent is not a mapping.
    """
    pinned = _with_pins(text, pins, shown)
    kept = _keeping_comments(text, pins)
    if kept is not None and _plain(kept) == pinned:
        return kept
    return json.dumps(pinned, indent=2, ensure_ascii=False).encode()


def _with_pins(text: bytes, pins: Mapping[str, str], shown: str) -> dict[str, Any]:
    try:
        document = read_document(text)
    except YamlProblem as error:
        raise ChartInvalid(f"{shown}:{error.line}: {error.message}.") from error
    for line, fault in document.problems:
        raise ChartInvalid(f"{shown}:{line}: {fault}.")
    if document.content is not None and not isinstance(document.content, dict):
        raise ChartInvalid(f"{shown}:1: expected a mapping.")
    try:
        content = parse_yaml(text, shown)
    except ValuesInvalid as error:
        raise ChartInvalid(error.message) from error
    unshared: dict[str, Any] = _unshared(content)
    for path, value in pins.items():
        keys = path.split(".")
        place = unshared
        for depth, key in enumerate(keys[:-1]):
            if place.get(key) is None:
                place[key] = {}
            place = place[key]
            if not isinstance(place, dict):
                line = document.line(keys[: depth + 1])
                raise ChartInvalid(f"{shown}:{line}: {'.'.join(keys[: depth + 1])} is not a mapping, so {path} cannot be pinned.")
        place[keys[-1]] = value
    return unshared


def _unshared(content: Any) -> Any:
    # Two aliases of one mapping are one object: a pin in the first must not appear in the second.
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_unshared(value) for value in content]
    return content


def _keeping_comments(text: bytes, pins: Mapping[str, str]) -> bytes | None:
    from ruamel.yaml import YAML  # costs 30 ms, and only a build needs it
    from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError

    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = 1 << 16
    try:
        content = editor.load(text.decode("utf-8-sig")) or editor.map()
        for path, value in pins.items():
            *above, last = path.split(".")
            place = content
            for key in above:
                if place.get(key) is None:
                    place[key] = editor.map()
                place = place[key]
            place[last] = value
        out = io.BytesIO()
        editor.dump(content, out)
    except (YAMLStreamError, MarkedYAMLError, ValueError, AttributeError, TypeError):
        return None
    return out.getvalue()


def _plain(text: bytes) -> Any:
    try:
        return parse_yaml(text, "")
    except ValuesInvalid:
        return None
