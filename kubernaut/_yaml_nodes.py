"""YAML nodes and their values in go-yaml 2, the library of Helm and kubectl.

Its rules are close to PyYAML's, but not equal: ``0644`` is 420, ``yes``, ``on`` and ``y`` are true, dates and ``=`` are text, and
``1e3`` is a number.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_STR, _MERGE, _PLAIN = f"{_TAG}str", f"{_TAG}merge", "!plain"
_TYPES: dict[str, type] = {f"{_TAG}int": int, f"{_TAG}float": float, f"{_TAG}bool": bool, f"{_TAG}null": type(None)}
_DEEPEST = 500
_DEEP_PREFIX = re.compile(r"(?:^|[\r\x85\u2028\u2029])[ \t?:-]{120}", re.MULTILINE)
"""A block this far right; each level of blocks is further right than the one around it, or a list in a map."""
_NEWLINE = re.compile(r"[\r\n]")

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
    """PyYAML's parser; plain scalars stay unresolved."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Return the tag of a node that has none."""
        if kind is yaml.ScalarNode:
            return _STR if not implicit[0] else _MERGE if value == "<<" else _PLAIN
        return f"{_TAG}seq" if kind is yaml.SequenceNode else f"{_TAG}map"


def compose(text: str | bytes, *, single: bool = False) -> yaml.Node | None:
    """Return the root node of the first document; Helm reads no other, and with ``single`` another one is an error.

    Raises: yaml.YAMLError, RecursionError.
    """
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node() if single else loader.get_node() if loader.check_node() else None
        return node
    finally:
        loader.dispose()


class Builder:
    """Builds the value of a node as go-yaml 2 does; custom tags are ignored.

    Args:
        strict: A duplicate key is an error; otherwise the last one counts.
        api: Numbers are those that an API object has after JSON: ``1e3`` and ``1.0`` are integers, and ``.nan`` is an error.
    """

    def __init__(self, *, strict: bool, api: bool) -> None:
        self._strict = strict
        self._api = api
        self._built: dict[int, tuple[Any, int] | None] = {}  # ``None`` while it is being built
        self._count = 0
        self._aliased = 0

    def value(self, node: yaml.Node) -> Any:
        """Return the value of a node. Raises: yaml.YAMLError, RecursionError."""
        if isinstance(node, yaml.ScalarNode):
            self._count += 1
            value = _scalar(node)
            return _json_number(value, node) if self._api and type(value) in (int, float) else value
        if id(node) in self._built:
            return self._alias(node)
        self._built[id(node)] = None
        before = self._count
        self._count += 1
        built = self._mapping(node) if isinstance(node, yaml.MappingNode) else [self.value(item) for item in node.value]
        self._built[id(node)] = built, self._count - before
        return built

    def _alias(self, node: yaml.Node) -> Any:
        known = self._built[id(node)]
        if known is None:
            raise _error("an anchor's value contains itself", node)
        self._count += known[1]
        self._aliased += known[1]
        # the limits of go-yaml: nested aliases multiply
        share = 0.99 - 0.89 * min(max((self._count - 400_000) / 3_600_000, 0.0), 1.0)
        if self._aliased > 100 and self._count > 1000 and self._aliased > share * self._count:
            raise _error("too many aliases", node)
        return known[0]

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        content: dict[str, Any] = {}
        own: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:  # a merge counts where it stands: it replaces the keys before it
                content.update(self._merged(value_node))
                continue
            key = _key(key_node)
            if self._strict and key in own:
                raise _error(f"duplicate key {key!r}", key_node)
            own.add(key)
            content[key] = self.value(value_node)
        return content

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for part in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(part, yaml.MappingNode):
                raise _error("only a map can be merged", part)
            merged.update(self.value(part))
        return merged


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.tag == _PLAIN:
        return resolve_plain(node.value)
    if node.tag in _TYPES:
        return _tagged(node)
    if node.tag != f"{_TAG}binary":
        return node.value
    try:
        return base64.b64decode(_NEWLINE.sub("", node.value), validate=True).decode("utf-8", "replace")
    except ValueError as error:
        raise _error("!!binary is not base64", node) from error


def _json_number(value: int | float, node: yaml.ScalarNode) -> int | float:
    if not math.isfinite(value):
        raise _error(f"{node.value} is not a JSON number", node)
    whole = int(value) if value == int(value) else None
    return float(value) if whole is None or whole not in _INT64 else whole


def _tagged(node: yaml.ScalarNode) -> Any:
    value = resolve_plain(node.value)
    wanted = _TYPES[node.tag]
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise _error(f"{node.value[:40]!r} is not a valid {node.tag.removeprefix(_TAG)}", node)
    return value


def _key(node: yaml.Node) -> str:
    key = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int) and key in _INT64:
        return str(key)
    if isinstance(key, float):
        return _float_key(key)
    raise _error("a key must be text, a number or a boolean", node)


def _float_key(key: float) -> str:
    """Return a number as Go's ``FormatFloat(key, 'g', -1, 32)``: in single precision, with the fewest digits that it needs."""
    try:
        single = struct.pack("f", key)
    except OverflowError:
        key = math.copysign(math.inf, key)
    if not math.isfinite(key):
        return ".nan" if math.isnan(key) else ".inf" if key > 0 else "-.inf"
    digits, text = next((more, text) for more in range(9) if struct.pack("f", float(text := f"{key:.{more}e}")) == single)
    exponent = int(text.partition("e")[2])
    return f"{float(text):.{max(digits - exponent, 0)}f}" if -4 <= exponent < 6 else text


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def is_too_deep(text: str | bytes) -> bool:
    """Return whether YAML is nested too deeply to read: libyaml recurses on the C stack, and would crash this process."""
    sample = text if isinstance(text, str) else text.decode("utf-8", "replace")
    if sample.count("[") + sample.count("{") <= _DEEPEST // 2 and not _DEEP_PREFIX.search(sample):
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
