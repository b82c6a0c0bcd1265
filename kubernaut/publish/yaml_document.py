"""YAML with the line of each key, for error messages.

PyYAML drops line numbers and lets the last of two equal keys win; this reader keeps the lines and reports duplicate keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import yaml

_DEPTH = 32
_SIZE = 1 << 20
_NODES = 100_000


class YamlProblem(Exception):
    """The text is not valid YAML.

    Args:
        line: The line, from 1.
        message: The problem.
    """

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
    """Read one YAML document.

    Raises:
        YamlProblem: The data is not UTF-8, not YAML, too large, or more than one document.
    """
    if len(data) > _SIZE:
        raise YamlProblem(1, f"larger than {_SIZE >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlProblem(data.count(b"\n", 0, error.start) + 1, "the text is not UTF-8") from error
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: dict[tuple[Any, ...], int] = {}
        problems: list[tuple[int, str]] = []
        content = None if node is None else _Reader(loader, lines, problems).plain(node, ())
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
    return Document(content, lines, problems)


class _Reader:
    def __init__(self, loader: yaml.SafeLoader, lines: dict[tuple[Any, ...], int], problems: list[tuple[int, str]]) -> None:
        self._loader = loader
        self._lines = lines
        self._problems = problems
        self._seen = 0

    def plain(self, node: yaml.Node, place: tuple[Any, ...]) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(place, line)
        self._seen += 1
        if self._seen > _NODES:  # nested aliases multiply
            raise YamlProblem(line, f"more than {_NODES} values")
        if len(place) > _DEPTH:
            raise YamlProblem(line, f"more than {_DEPTH} levels deep")
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
                self._problems.append((line, "a key must be text"))
                continue
            key = key_node.value
            if key in content:
                self._problems.append((line, f"duplicate key {key!r}"))
                continue
            self._lines[(*place, key)] = line
            content[key] = self.plain(value_node, (*place, key))
        return content
