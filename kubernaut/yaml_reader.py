"""YAML as Helm and Kubernetes read it, and with the line of each key for error messages (:func:`read_document`).

Values (:func:`parse_yaml`) must not have duplicate keys; Helm and Kubernetes silently take the last one. So do manifests
(:func:`parse_documents`), which are read as they were applied.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from kubernaut._yaml_nodes import Builder, compose, is_too_deep
from kubernaut.errors import ValuesInvalid

_LARGEST_FILE = 1 << 20
_LARGEST_MANIFEST = 16 << 20
_MOST_NODES = 200_000
_DOCUMENT_DEPTH = 32
_DOCUMENT_NODES = 100_000
_SEPARATOR = re.compile(r"^---(.*)$", re.MULTILINE)


def parse_yaml(text: str | bytes, source: str, *, largest: int = _LARGEST_FILE, most: int = _MOST_NODES) -> dict[str, Any]:
    """Return the map in a YAML document, which messages call ``source``; an empty document is an empty map.

    Args:
        text: The document.
        source: Its name.
        largest: How many bytes or characters it may have.
        most: How many values it may have.

    Raises:
        ValuesInvalid: The document cannot be parsed, or is not a map; the message names the line.
    """
    if len(text) > largest:
        raise ValuesInvalid(f"{source} is larger than {largest >> 20} MiB.")
    try:
        if is_too_deep(text):
            raise ValuesInvalid(f"{source} is nested too deeply.")
        node = compose(text, single=True)
        content = None if node is None else Builder(strict=True, api=False).value(node)
        _check_values(content, [0], source, most)
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


def parse_documents(text: str) -> Iterator[tuple[int, Any]]:
    """Yield the documents of a manifest, each with its first line, as Kubernetes reads them; empty ones are ``None``.

    Helm divides a manifest at lines that begin with ``---`` before it parses YAML, and converts each document to JSON.

    Raises:
        YamlProblem: A document cannot be parsed, or is not JSON; the documents before it have been yielded.
    """
    if len(text) > _LARGEST_MANIFEST:
        raise YamlProblem(1, f"larger than {_LARGEST_MANIFEST >> 20} MiB")
    start, line = 0, 1
    for separator in _SEPARATOR.finditer(text):
        yield line, _parse_document(text[start : separator.start()], line)
        line += text.count("\n", start, separator.start())
        if separator[1].strip() and not separator[1].lstrip().startswith("#"):
            raise YamlProblem(line, "text follows the separator `---`")
        start = separator.end()
    yield line, _parse_document(text[start:], line)


def split_documents(text: str) -> Iterator[tuple[str, str]]:
    """Yield the documents of a manifest as text, each with the line that separates it from the one before; together they are it."""
    start, separator = 0, ""
    for found in _SEPARATOR.finditer(text):
        yield separator, text[start : found.start()]
        start, separator = found.end(), found[0]
    yield separator, text[start:]


def _parse_document(text: str, line: int) -> Any:
    try:
        if is_too_deep(text):
            raise YamlProblem(line, "nested too deeply")
        node = compose(text)
        return None if node is None else Builder(strict=False, api=True).value(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        below = min(mark.line if mark else 0, text.rstrip().count("\n"))  # the end of the text is the end of its last line
        raise YamlProblem(line + below, str(error.problem or error.context)) from error
    except yaml.YAMLError as error:
        raise YamlProblem(line, str(getattr(error, "reason", None) or "not YAML")) from error
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise YamlProblem(line + text.count("\n", 0, error.start), "the text is not Unicode") from error
    except RecursionError as error:
        raise YamlProblem(line, "nested too deeply") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the map in a YAML file. Raises: ValuesInvalid."""
    try:
        return parse_yaml(path.read_bytes(), str(path))
    except OSError as error:
        hint = "Check the path: a relative one counts from the folder that the command runs in."
        if str(path).startswith("~"):  # in --values=~/FILE
            hint = "A shell replaces ~ only at the start of a word: write `--values ~/FILE`, or the whole path."
        raise ValuesInvalid(f"{path} cannot be read: {error.strerror}.", hint=hint) from error


def _check_values(content: Any, seen: list[int], source: str, most: int) -> None:
    """Refuse content that aliases expand too far, and numbers that JSON does not have."""
    seen[0] += 1
    if seen[0] > most:
        raise ValuesInvalid(f"{source} has more than {most} values.")
    if isinstance(content, float) and not math.isfinite(content):
        raise ValuesInvalid(f"{source} has the value {content}, which is not a JSON number.")
    for item in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _check_values(item, seen, source, most)


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
