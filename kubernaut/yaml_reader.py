"""YAML as Helm reads it (:func:`parse_yaml`), and with the line of each key for error messages (:func:`read_document`).

For Helm ``0644`` is 420, ``yes``, ``on`` and ``y`` are true, dates stay text, and ``1e3`` is a number: its YAML library (go-yaml 2)
resolves plain scalars by its own rules, close but not equal to PyYAML's. Helm and PyYAML silently take the last of two equal keys;
here a duplicate key is an error.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from kubernaut.errors import ValuesInvalid

_TAG = "tag:yaml.org,2002:"
_LARGEST_FILE = 1 << 20
_MOST_NODES = 200_000
_DEEPEST = 500
_DOCUMENT_DEPTH = 32
_DOCUMENT_NODES = 100_000
_OPENING = ("[", "{", "- ", "-\t", "? ", ": ")

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{
        sign + word: math.copysign(math.inf, -1 if sign == "-" else 1)
        for sign in ("", "+", "-")
        for word in (".inf", ".Inf", ".INF")
    },
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DOTTED = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?")  # Go takes underscores between digits
_INT = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_INT64, _UINT64 = range(-(2**63), 2**63), range(2**64)
_BASES = (16, 2, 8, 10)


def resolve_plain(word: str) -> Any:
    """Return the value of a plain (unquoted) YAML scalar in Helm."""
    if word in _WORDS:
        return _WORDS[word]
    if word[0] == ".":
        return _float(word.replace("_", "")) if _DOTTED.fullmatch(word) else word
    if word[0] not in "+-0123456789":
        return word
    digits = word.replace("_", "")
    number = _int(digits)
    if number is not None:
        return number
    value = _float(digits)
    return word if value is digits else value


def _int(digits: str) -> int | None:
    match = _INT.fullmatch(digits)
    if match is None:
        return None
    base, text = next((base, group) for base, group in zip(_BASES, match.groups()[1:], strict=True) if group is not None)
    number = int(text, base) * (-1 if match[1] == "-" else 1)
    return number if number in _INT64 or (number in _UINT64 and not match[1]) else None


def _float(text: str) -> Any:
    if not _FLOAT.fullmatch(text):
        return text
    value = float(text)
    return text if math.isinf(value) else value


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's parser with Helm's resolution of plain scalars."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Return a node's tag: our own for a plain scalar, else the default."""
        if kind is yaml.ScalarNode and implicit[0]:
            return f"{_TAG}merge" if value == "<<" else "!plain"
        if kind is yaml.ScalarNode:
            return f"{_TAG}str"
        return f"{_TAG}seq" if kind is yaml.SequenceNode else f"{_TAG}map"

    def scalar(self, node: yaml.ScalarNode) -> Any:
        """Build a scalar."""
        if node.tag == f"{_TAG}binary":
            try:
                return base64.b64decode(node.value).decode("utf-8", "replace")
            except binascii.Error as error:
                raise yaml.constructor.ConstructorError(None, None, "!!binary is not base64", node.start_mark) from error
        if node.tag in {"!plain", *(_TAG + name for name in ("int", "float", "bool", "null"))}:
            return resolve_plain(node.value)
        return node.value

    def mapping(self, node: yaml.Node) -> dict[str, Any]:
        """Build a map with its merge keys; a duplicate key is an error."""
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                self._merge(merged, value_node)
                continue
            key = _key(self.construct_object(key_node, deep=True), key_node)
            if key in own:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            own[key] = self.construct_object(value_node, deep=True)
        return {**merged, **own}

    def _merge(self, merged: dict[str, Any], node: yaml.Node) -> None:
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.construct_object(part, deep=True)
            if not isinstance(value, dict):
                raise yaml.constructor.ConstructorError(None, None, "only a map can be merged", part.start_mark)
            for key, item in value.items():
                merged.setdefault(key, item)

    def any_node(self, node: yaml.Node) -> Any:
        """Build a node by its kind; custom tags are ignored."""
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.construct_object(item, deep=True) for item in node.value]
        return self.mapping(node)


_Loader.yaml_constructors = {None: _Loader.any_node}
_Loader.yaml_multi_constructors = {}


def _key(key: Any, node: yaml.Node) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str):
        return key
    if isinstance(key, int):
        return str(key)
    if isinstance(key, float) and math.isfinite(key):
        return str(int(key)) if key.is_integer() and abs(key) < 1e15 else repr(key)
    raise yaml.constructor.ConstructorError(None, None, "a key must be a scalar", node.start_mark)


def parse_yaml(text: str | bytes, source: str) -> dict[str, Any]:
    """Return the map in a YAML document, which messages call ``source``; an empty document is an empty map.

    Raises:
        ValuesInvalid: The document cannot be parsed, or is not a map; the message names the line.
    """
    if len(text) > _LARGEST_FILE:
        raise ValuesInvalid(f"{source} is larger than {_LARGEST_FILE >> 20} MiB.")
    try:
        if is_too_deep(text):
            raise ValuesInvalid(f"{source} is nested too deeply.")
        content = yaml.load(text, Loader=_Loader)  # noqa: S506
        _check_values(content, [0], source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise ValuesInvalid(f"{source}{where}: {problem}.") from error
    except RecursionError as error:
        raise ValuesInvalid(f"{source} is nested too deeply.") from error
    except UnicodeDecodeError as error:
        raise ValuesInvalid(f"{source} is not UTF-8.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValuesInvalid(f"{source} must be a map of values, not a {type(content).__name__}.")
    return content


def is_too_deep(text: str | bytes) -> bool:
    """Return whether YAML is nested too deeply to read: libyaml recurses on the C stack, and would crash this process."""
    sample = text if isinstance(text, str) else text.decode("utf-8", "replace")
    if sum(sample.count(opening) for opening in _OPENING) <= _DEEPEST:
        return False
    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the map in a YAML file. Raises: ValuesInvalid."""
    try:
        return parse_yaml(path.read_bytes(), str(path))
    except OSError as error:
        raise ValuesInvalid(f"{path} cannot be read: {error.strerror}.") from error


def _check_values(content: Any, seen: list[int], source: str) -> None:
    """Refuse content that aliases expand too far, and numbers that JSON does not have."""
    seen[0] += 1
    if seen[0] > _MOST_NODES:
        raise ValuesInvalid(f"{source} has more than {_MOST_NODES} values.")
    if isinstance(content, float) and not math.isfinite(content):
        raise ValuesInvalid(f"{source} has the value {content}, which is not a JSON number.")
    for item in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _check_values(item, seen, source)


# with the line of each key


class YamlProblem(Exception):
    """The text is not valid YAML; ``message`` is the problem, ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class Document:
    """One YAML document: its content, the line of each key, and the problems found (line and text)."""

    def __init__(self, content: Any, lines: dict[tuple[Any, ...], int], problems: list[tuple[int, str]]) -> None:
        self.content = content
        self.problems = problems
        self._lines = lines

    def line(self, place: Sequence[Any]) -> int:
        """Return the line of a key, or of its nearest parent that has one."""
        for length in range(len(place), -1, -1):
            line = self._lines.get(tuple(place[:length]))
            if line is not None:
                return line
        return 1

    @staticmethod
    def unknown_key(key: str, known: Sequence[str], where: str = "") -> str:
        """Return the message for an unknown key, with the nearest known key."""
        inside = f" in {where}" if where else ""
        near = get_close_matches(key, known, n=1)
        return f"unknown key {key!r}{inside}" + (f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}")


def read_document(data: bytes) -> Document:
    """Read one YAML document. Raises: YamlProblem (the data is not UTF-8, not YAML, too large, or more than one document)."""
    if len(data) > _LARGEST_FILE:
        raise YamlProblem(1, f"larger than {_LARGEST_FILE >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlProblem(data.count(b"\n", 0, error.start) + 1, "the text is not UTF-8") from error
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        reader = _Reader(loader)
        content = None if node is None else reader.plain(node, ())
    except yaml.reader.ReaderError as error:
        raise YamlProblem(text.count("\n", 0, error.position) + 1, "contains a character that YAML does not allow") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(1 if mark is None else mark.line + 1, f"not YAML: {error.problem or error.context}") from error
    except RecursionError as error:  # PyYAML parses nested nodes recursively
        raise YamlProblem(1, "nested too deeply") from error
    finally:
        if loader is not None:
            loader.dispose()
    return Document(content, reader.lines, reader.problems)


class _Reader:
    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.lines: dict[tuple[Any, ...], int] = {}
        self.problems: list[tuple[int, str]] = []
        self._loader = loader
        self._seen = 0

    def plain(self, node: yaml.Node, place: tuple[Any, ...]) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        self._seen += 1
        if self._seen > _DOCUMENT_NODES:  # nested aliases multiply
            raise YamlProblem(line, f"more than {_DOCUMENT_NODES} values")
        if len(place) > _DOCUMENT_DEPTH:
            raise YamlProblem(line, f"more than {_DOCUMENT_DEPTH} levels deep")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, line)

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        if node.tag == "tag:yaml.org,2002:timestamp":  # text, as in Helm; 2024-13-45 is not a date
            return node.value
        try:
            return self._loader.construct_object(node, deep=True)
        except (ValueError, KeyError) as error:  # what PyYAML raises for `!!int many` and `!!bool perhaps`
            raise YamlProblem(line, f"{node.value[:40]!r} is not a valid {node.tag.rpartition(':')[2]}") from error

    def _mapping(self, node: yaml.MappingNode, place: tuple[Any, ...]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append((line, "a key must be text"))
                continue
            key = key_node.value
            if key in content:
                self.problems.append((line, f"duplicate key {key!r}"))
                continue
            self.lines[(*place, key)] = line
            content[key] = self.plain(value_node, (*place, key))
        return content
