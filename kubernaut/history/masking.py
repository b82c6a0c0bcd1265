"""Takes what is secret out of a release's manifest and values, before anybody is shown them. Pure.

Of a manifest everything is masked that a Secret holds, wherever it stands: in a List, in another object, as a text; the values of
variables, flags and keys that are called like a password; and in every other text what :mod:`kubernaut.redact` knows. Keys stay,
in their order. What cannot be read as YAML might be a Secret, and is masked whole. Comments go, but for Helm's ``# Source``.

A hidden value of eight characters or more whose key says that it is secret is masked in all other texts of the manifest too. It
cannot be known of a password that stands alone under a harmless name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import yaml

from kubernaut.helm_yaml import is_deep
from kubernaut.history.records import Record
from kubernaut.redact import MASK, is_secret_key, is_secret_variable, redact

Mark = Callable[[str], str]
"""Returns what stands in the place of a hidden text; :data:`kubernaut.redact.MASK`, and perhaps something after it."""

_TEXT = "tag:yaml.org,2002:str"
_NO_SECRETS = frozenset({"tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"})
_MERGE = "<<"
_HOLDS_SECRET = re.compile(r"""\bkind\\?["']?\s*:\s*\\?["']?Secret(?:List)?\b""", re.IGNORECASE)
_SHORTEST_REPEATED = 8
_SHORTEST_OWN = 4


class Sensitivity(Enum):
    """What is known of a part of a manifest before it is looked at."""

    ANY = "any"
    SECRET = "a Secret, or a list of some, even if it does not say so"  # noqa: S105 - no password
    HIDDEN = "to be hidden, all of it"


class SecretScanner:
    """What is secret in the documents of a manifest."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, Sensitivity], yaml.Node] = {}  # the nodes too: whose id is known must not make room for another
        self._hidden: set[int] = set()
        self._done: set[int] = set()
        self._telling: set[str] = set()
        self._texts: dict[int, str] = {}

    def look(self, node: yaml.Node, kind: Sensitivity) -> None:
        """Find what is secret; each node once, since aliases may make circles."""
        if (id(node), kind) in self._seen:
            return
        self._seen[id(node), kind] = node
        if isinstance(node, yaml.MappingNode):
            self._look_at_mapping(node, kind)
        elif isinstance(node, yaml.SequenceNode):
            texts = [item.value if isinstance(item, yaml.ScalarNode) else None for item in node.value]
            for item, (_, after) in zip(node.value, after_flags(texts), strict=True):
                self.look(item, Sensitivity.HIDDEN if after else kind)
        elif kind is Sensitivity.HIDDEN or _HOLDS_SECRET.search(node.value):
            self._hidden.add(id(node))
        else:
            self._texts[id(node)] = node.value

    def _look_at_mapping(self, node: yaml.MappingNode, kind: Sensitivity) -> None:
        said, name = _kinds(node), _texts(node).get("name", "")
        secret = kind is Sensitivity.SECRET or "secret" in said
        own = set(_values_of(node)) if secret else set()
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else ""
            self.look(key, Sensitivity.HIDDEN if not word else Sensitivity.ANY)
            if kind is Sensitivity.HIDDEN or word == "stringData" or (secret and word == "data"):
                below = Sensitivity.HIDDEN
                self._note(value)
            elif ("secretlist" in said and word == "items") or (secret and word == _MERGE):
                below = Sensitivity.SECRET
            elif _is_secret_pair(word, value, name):
                below = Sensitivity.HIDDEN
                if not word.casefold().endswith("secret"):  # which may as well be a Secret's name
                    self._telling.add(value.value)
            else:
                below = Sensitivity.ANY
            self.look(value, below)
            if secret and word == "metadata":
                self._look_at_annotations(value, own)

    def _look_at_annotations(self, metadata: yaml.Node, own: set[str]) -> None:
        """Hide the annotations that repeat what their Secret holds."""
        annotations = _child(metadata, "annotations")
        for key, value in annotations.value if isinstance(annotations, yaml.MappingNode) else ():
            applied = "applied" in str(key.value)  # what tools keep there is all of it, some packed
            if applied or any(text in str(value.value) for text in own):
                self.look(value, Sensitivity.HIDDEN)

    def _note(self, data: yaml.Node) -> None:
        for key, text in _texts(data).items():
            if is_secret_key(key):
                self._telling.update((text, *_decoded(text), base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")))

    def repeated(self) -> tuple[str, ...]:
        """Return the texts that are hidden in one place and stand in another, where they are masked too; the longest first."""
        others = "\n".join(text for place, text in self._texts.items() if place not in self._hidden)
        found = (text for text in self._telling if len(text) >= _SHORTEST_REPEATED and text in others)
        return tuple(sorted(found, key=len, reverse=True))

    def hide(self, node: yaml.Node, secrets: tuple[str, ...], mark: Mark) -> None:
        """Mask what was found, and what is secret in every other text."""
        if id(node) in self._done:
            return
        self._done.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            text = mark(node.value) if id(node) in self._hidden else redacted(node.value, secrets, mark)
            if text != node.value:
                node.value, node.tag = text, _TEXT
                node.style = None if id(node) in self._hidden else node.style
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self.hide(key, secrets, mark)
                self.hide(value, secrets, mark)
        else:
            for item in node.value:
                self.hide(item, secrets, mark)


def after_flags(items: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield the items of a list of arguments, each with whether it follows a flag such as ``--password``."""
    after = False
    for item in items:
        yield item, after and not str(item).startswith("-")
        after = isinstance(item, str) and item.startswith("-") and is_secret_key(item.lstrip("-"))


def is_secret_name(name: Any) -> bool:
    """Say whether the name of a key or of a variable says that its value is secret."""
    return is_secret_key(name) or (isinstance(name, str) and name.isupper() and is_secret_variable(name))


def _is_secret_pair(word: str, value: yaml.Node, name: str) -> bool:
    """Say whether a key, or in a list of variables the name beside it, says that its value is secret."""
    if not isinstance(value, yaml.ScalarNode) or not value.value or value.tag in _NO_SECRETS:
        return False
    return is_secret_name(word) or (word == "value" and is_secret_name(name))


def _kinds(node: yaml.MappingNode) -> set[str]:
    """Return the kinds that a map says it is, itself or by what is merged into it."""
    found: set[str] = set()
    left, seen = [node], set[int]()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, yaml.SequenceNode):
            left += one.value
        elif isinstance(one, yaml.MappingNode):
            found |= {value.value.casefold() for key, value in one.value if key.value == "kind" and _is_scalar(value)}
            left += [value for key, value in one.value if key.value == _MERGE]
    return found


def _texts(node: yaml.Node | None) -> dict[str, str]:
    """Return the texts in a map, by their keys."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {key.value: value.value for key, value in pairs if _is_scalar(key) and _is_scalar(value)}


def title(node: yaml.Node) -> str:
    """Return an object's kind, its namespace if it names one, and its name."""
    names = _texts(_child(node, "metadata"))
    return "/".join(filter(None, (_texts(node).get("kind", "object"), names.get("namespace"), names.get("name"))))


def _is_scalar(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _child(node: yaml.Node, word: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in pairs if _is_scalar(key) and key.value == word), None)


def _values_of(secret: yaml.Node) -> Iterator[str]:
    """Yield what a Secret holds, as it is written and as it is meant."""
    for word in ("data", "stringData"):
        data = _child(secret, word)
        for text in _texts(data).values():
            yield from (known for known in (text, *_decoded(text)) if len(known) >= _SHORTEST_OWN)


def _decoded(text: str) -> Iterator[str]:
    try:
        yield base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return


def redacted(text: str, secrets: tuple[str, ...], mark: Mark) -> str:
    """Return a text with what is secret in it masked, line by line where that can be told."""
    shown = redact(text, secrets)
    if MASK not in shown:
        return shown
    before, after = text.split("\n"), shown.split("\n")
    if len(before) != len(after):
        return shown.replace(MASK, mark(text))
    return "\n".join(line.replace(MASK, mark(own)) for own, line in zip(before, after, strict=True))


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_SOURCE = re.compile(r"\s*(# Source: [\w./-]{1,500})[ \t]*$", re.MULTILINE)
_ONE_LINE = 1 << 20


def masked(_hidden: str) -> str:
    """Return the mask, whatever is hidden."""
    return MASK


@dataclass(frozen=True)
class MaskedObject:
    """An object of a manifest with what is secret masked.

    Attributes:
        title: Its kind, its namespace if it names one, and its name, such as ``Secret/shop``; of an unread one, where it is from.
        text: As YAML, with Helm's ``# Source`` before it.
    """

    title: str
    text: str


def mask_record(record: Record, mark: Mark = masked) -> Iterator[MaskedObject]:
    """Yield the objects of a record's manifest with what is secret masked; its hooks come last, as in ``helm template``."""
    hooks = record.content.get("hooks")
    parts = [
        f"---\n# Source: {hook.get('path')}\n{hook['manifest']}"
        for hook in (hooks if isinstance(hooks, list) else ())
        if isinstance(hook, Mapping) and isinstance(hook.get("manifest"), str)
    ]
    return mask_objects("\n".join((record.manifest, *parts)), mark)


def join_objects(objects: Iterable[MaskedObject]) -> str:
    """Return objects as a manifest."""
    return "".join(f"---\n{one.text}" for one in objects)


def mask_objects(manifest: str, mark: Mark = masked) -> Iterator[MaskedObject]:
    """Yield the objects of a manifest with what is secret masked; a document that cannot be read is masked whole, and says so."""
    findings = SecretScanner()
    documents = [_Document.read(text, findings) for text in _START.split(manifest) if text.strip()]
    secrets = findings.repeated()
    for document in documents:
        yield from document.masked(findings, secrets, mark)


def mask_values(values: Any, mark: Mark = masked) -> Any:
    """Return values with what is secret masked: whatever stands under a key that says so, variables, and in every other text."""
    return _mask_value(values, mark, hidden=False)


def _mask_value(value: Any, mark: Mark, *, hidden: bool) -> Any:
    if isinstance(value, Mapping):
        entry = is_secret_name(value.get("name"))
        return {
            key: _mask_value(item, mark, hidden=hidden or is_secret_name(key) or (entry and key == "value"))
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_mask_value(item, mark, hidden=hidden or after) for item, after in after_flags(value)]
    if hidden and value not in (None, "") and not isinstance(value, bool):
        return mark(str(value))
    return redacted(value, (), mark) if isinstance(value, str) else value


@dataclass(frozen=True)
class _Document:
    """A document of a manifest: what Helm says where it comes from, and the objects in it; ``unread`` where it is no YAML."""

    source: str
    text: str
    nodes: tuple[yaml.Node, ...] = ()
    unread: bool = False

    @classmethod
    def read(cls, text: str, findings: SecretScanner) -> _Document:
        found = _SOURCE.match(text)
        source = f"{found[1]}\n" if found else ""
        try:
            if is_deep(text):
                return cls(source, text, unread=True)
            nodes = tuple(yaml.compose_all(text, Loader=_LOADER))
            for node in nodes:
                findings.look(node, Sensitivity.ANY)
        except (yaml.YAMLError, ValueError, RecursionError):
            return cls(source, text, unread=True)
        unread = not all(isinstance(node, yaml.MappingNode) for node in nodes)  # no map is no object, and might be anything
        return cls(source, text, () if unread else nodes, unread)

    def masked(self, findings: SecretScanner, secrets: tuple[str, ...], mark: Mark) -> Iterator[MaskedObject]:
        if self.unread:
            text = f"{self.source}# A document that cannot be read as YAML is masked whole: {mark(self.text)}\n"
            yield MaskedObject(self.source.removeprefix("# Source: ").strip() or "unread", text)
        for node in self.nodes:
            findings.hide(node, secrets, mark)
            text = yaml.serialize(node, Dumper=_DUMPER, width=_ONE_LINE, allow_unicode=True)
            yield MaskedObject(title(node), self.source + text)
