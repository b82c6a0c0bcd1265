"""Masks secret values in manifests and values before they are shown. Pure.

In a manifest everything that a Secret holds is masked, also in a List, in another object or as a text; values of variables, flags
and keys with a name like a password's; and what :mod:`kubernaut.redact` finds in any text. Keys and their order stay. A document
that is not YAML might be a Secret and is masked whole. Comments are dropped, except Helm's ``# Source``.

A masked value of eight characters or more under a secret key is masked in all other texts of the manifest too. A password under a
harmless key cannot be recognized.
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

from kubernaut._yaml_nodes import is_too_deep
from kubernaut.history.records import Record
from kubernaut.redact import MASK, SHORTEST_SECRET, is_secret_key, is_secret_variable, redact, secret_texts

Mark = Callable[[str], str]
"""Returns the mask for a secret text: :data:`kubernaut.redact.MASK`, perhaps with a suffix."""

_TEXT = "tag:yaml.org,2002:str"
_NO_SECRETS = frozenset({"tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"})
_MERGE = "<<"
_HOLDS_SECRET = re.compile(r"""\bkind\\?["']?\s*:\s*\\?["']?Secret(?:List)?\b""", re.IGNORECASE)
_SHORTEST_REPEATED = 8
_SHORTEST_OWN = 4
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_SOURCE = re.compile(r"\s*(# Source: [\w./-]{1,500})[ \t]*$", re.MULTILINE)
_ONE_LINE = 1 << 20


class Sensitivity(Enum):
    """How the nodes below a node are scanned."""

    NORMAL = "normal"
    SECRET_OBJECT = "a Secret, even without its kind"  # noqa: S105 - not a password
    SECRET_VALUE = "secret as a whole"  # noqa: S105 - not a password


class SecretScanner:
    """Finds the secret nodes in the documents of a manifest, then masks them in place.

    A node is scanned for each way in which it is reached, and masked once: what is secret under one alias is secret under all.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, Sensitivity], yaml.Node] = {}  # keeps the nodes, so that no id() is reused
        self._secret_nodes: set[int] = set()
        self._masked_nodes: set[int] = set()
        self._secret_texts: set[str] = set()
        self._held_texts: set[str] = set()
        self._texts: dict[int, str] = {}

    def scan(self, node: yaml.Node, sensitivity: Sensitivity) -> None:
        """Find secret nodes; each node is scanned once, since aliases can form cycles."""
        if (id(node), sensitivity) in self._seen:
            return
        self._seen[id(node), sensitivity] = node
        if isinstance(node, yaml.MappingNode):
            self._scan_mapping(node, sensitivity)
        elif isinstance(node, yaml.SequenceNode):
            texts = [item.value if isinstance(item, yaml.ScalarNode) else None for item in node.value]
            for item, (_, after) in zip(node.value, after_flags(texts), strict=True):
                self.scan(item, Sensitivity.SECRET_VALUE if after else sensitivity)
        elif sensitivity is Sensitivity.SECRET_VALUE or _HOLDS_SECRET.search(node.value):
            self._secret_nodes.add(id(node))
            self._held_texts.add(node.value)
        else:
            self._texts[id(node)] = node.value

    def _scan_mapping(self, node: yaml.MappingNode, sensitivity: Sensitivity) -> None:
        kinds, name = _kinds(node), _texts(node).get("name", "")
        secret = sensitivity is Sensitivity.SECRET_OBJECT or "secret" in kinds
        own = set(_values_of(node)) if secret else set()
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else ""
            self.scan(key, Sensitivity.SECRET_VALUE if not word else Sensitivity.NORMAL)
            if sensitivity is Sensitivity.SECRET_VALUE or word == "stringData" or (secret and word == "data"):
                below = Sensitivity.SECRET_VALUE
                self._collect(value)
            elif ("secretlist" in kinds and word == "items") or (secret and word == _MERGE):
                below = Sensitivity.SECRET_OBJECT
            elif _is_secret_pair(word, value, name):
                below = Sensitivity.SECRET_VALUE
                if not word.casefold().endswith("secret"):  # which may also be a Secret's name
                    self._secret_texts.add(value.value)
            else:
                below = Sensitivity.NORMAL
            self.scan(value, below)
            if secret and word == "metadata":
                self._scan_annotations(value, own)

    def _scan_annotations(self, metadata: yaml.Node, own: set[str]) -> None:
        """Mark the annotations that repeat the data of their Secret."""
        annotations = _child(metadata, "annotations")
        for key, value in annotations.value if isinstance(annotations, yaml.MappingNode) else ():
            applied = "applied" in str(key.value)  # tools store the whole object there, some compressed
            if applied or any(text in str(value.value) for text in own):
                self.scan(value, Sensitivity.SECRET_VALUE)

    def _collect(self, data: yaml.Node) -> None:
        for key, text in _texts(data).items():
            self._held_texts.update(_decoded(text))
            if is_secret_key(key):
                self._secret_texts.update(
                    (text, *_decoded(text), base64.b64encode(text.encode("utf-8", "replace")).decode("ascii"))
                )

    def repeated(self) -> tuple[str, ...]:
        """Return the secret texts that also occur elsewhere, where they are masked too; the longest first."""
        others = "\n".join(text for place, text in self._texts.items() if place not in self._secret_nodes)
        found = (text for text in self._secret_texts if len(text) >= _SHORTEST_REPEATED and text in others)
        return tuple(sorted(found, key=len, reverse=True))

    def known(self, secret: Iterable[str], doubtful: Iterable[str]) -> tuple[str, ...]:
        """Return the secret texts that can be masked in any text, the longest first.

        What stands under a harmless key of a Secret, or is ``doubtful``, may be a host or a Secret's name: it counts unless it also
        stands elsewhere in the manifest in plain sight.

        Args:
            secret: Further texts that are secret.
            doubtful: Further texts that may be.
        """
        others = "\n".join(text for place, text in self._texts.items() if place not in self._secret_nodes)
        held = {text for text in (*self._held_texts, *doubtful) if len(text) >= _SHORTEST_REPEATED and text not in others}
        found = held.union(text for text in (*self._secret_texts, *secret) if _is_distinctive(text))
        return tuple(sorted(found, key=lambda text: (-len(text), text)))

    def mask(self, node: yaml.Node, secrets: tuple[str, ...], mark: Mark) -> None:
        """Mask the secret nodes below a node, and secrets in all other texts."""
        if id(node) in self._masked_nodes:
            return
        self._masked_nodes.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            text = mark(node.value) if id(node) in self._secret_nodes else redacted(node.value, secrets, mark)
            if text != node.value:
                node.value, node.tag = text, _TEXT
                node.style = None if id(node) in self._secret_nodes else node.style
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    self.mask(key, secrets, mark)
                self.mask(value, secrets, mark)
        else:
            for item in node.value:
                self.mask(item, secrets, mark)


def _is_distinctive(text: str) -> bool:
    """Return whether a text is long enough to be masked everywhere, which would ruin sentences for a short word."""
    return len(text) >= _SHORTEST_REPEATED or (len(text) >= SHORTEST_SECRET and not text.isalpha())


def after_flags(items: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield the items of an argument list, each with whether it follows a flag such as ``--password``."""
    after = False
    for item in items:
        yield item, after and not str(item).startswith("-")
        after = isinstance(item, str) and item.startswith("-") and is_secret_key(item.lstrip("-"))


def is_secret_name(name: Any) -> bool:
    """Return whether a key or a variable of this name has a secret value."""
    return is_secret_key(name) or (isinstance(name, str) and name.isupper() and is_secret_variable(name))


def _is_secret_pair(word: str, value: yaml.Node, name: str) -> bool:
    """Return whether a value is secret by its key, or in a list of variables by the name beside it."""
    if not isinstance(value, yaml.ScalarNode) or not value.value or value.tag in _NO_SECRETS:
        return False
    return is_secret_name(word) or (word == "value" and is_secret_name(name))


def _kinds(node: yaml.MappingNode) -> set[str]:
    """Return the kinds of a map, in lower case, including those of merged maps."""
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
    """Return the scalars of a map, by key."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {key.value: value.value for key, value in pairs if _is_scalar(key) and _is_scalar(value)}


def title(node: yaml.Node) -> str:
    """Return an object's kind, namespace if it has one, and name."""
    names = _texts(_child(node, "metadata"))
    return "/".join(filter(None, (_texts(node).get("kind", "object"), names.get("namespace"), names.get("name"))))


def _is_scalar(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _child(node: yaml.Node, word: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for key, value in pairs if _is_scalar(key) and key.value == word), None)


def _values_of(secret: yaml.Node) -> Iterator[str]:
    """Yield the data of a Secret, as written and decoded."""
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
    """Return a text with its secrets masked, line by line where the lines correspond."""
    shown = redact(text, secrets)
    if MASK not in shown:
        return shown
    before, after = text.split("\n"), shown.split("\n")
    if len(before) != len(after):
        return shown.replace(MASK, mark(text))
    return "\n".join(line.replace(MASK, mark(own)) for own, line in zip(before, after, strict=True))


def plain_mask(_text: str) -> str:
    """Return the mask without a suffix."""
    return MASK


@dataclass(frozen=True)
class MaskedObject:
    """An object of a manifest with its secrets masked.

    Attributes:
        title: Kind, namespace if it has one, and name, such as ``Secret/shop``; for an unreadable document its source.
        text: YAML, after Helm's ``# Source``.
    """

    title: str
    text: str


def mask_record(record: Record, mark: Mark = plain_mask) -> Iterator[MaskedObject]:
    """Yield the masked objects of a record's manifest; hooks come last, as in ``helm template``."""
    return mask_objects(_manifest_with_hooks(record), mark)


def _manifest_with_hooks(record: Record) -> str:
    hooks = record.content.get("hooks")
    parts = [
        f"---\n# Source: {hook.get('path')}\n{hook['manifest']}"
        for hook in (hooks if isinstance(hooks, list) else ())
        if isinstance(hook, Mapping) and isinstance(hook.get("manifest"), str)
    ]
    return "\n".join((record.manifest, *parts))


def known_secrets(record: Record) -> tuple[str, ...]:
    """Return the values of a release that are known to be secret, the longest first: in logs and messages they are masked.

    They are those below secret keys of its values and of its manifest, and the data of its Secrets.
    """
    scanner = SecretScanner()
    for text in _START.split(_manifest_with_hooks(record)):
        _scan_document(text, scanner)
    secret: set[str] = set()
    doubtful: set[str] = set()
    for key, text in secret_texts(record.config):
        (doubtful if key.casefold().endswith("secret") else secret).add(text)  # which may also be a Secret's name
    return scanner.known(secret, doubtful)


def join_objects(objects: Iterable[MaskedObject]) -> str:
    """Return the objects as a manifest."""
    return "".join(f"---\n{one.text}" for one in objects)


def mask_objects(manifest: str, mark: Mark = plain_mask) -> Iterator[MaskedObject]:
    """Yield the masked objects of a manifest; an unreadable document becomes a comment."""
    scanner = SecretScanner()
    documents = [(text, _scan_document(text, scanner)) for text in _START.split(manifest) if text.strip()]
    secrets = scanner.repeated()
    for text, nodes in documents:
        found = _SOURCE.match(text)
        source = f"{found[1]}\n" if found else ""
        if nodes is None:
            comment = f"{source}# A document that is not YAML is masked whole: {mark(text)}\n"
            yield MaskedObject(source.removeprefix("# Source: ").strip() or "unread", comment)
        for node in nodes or ():
            scanner.mask(node, secrets, mark)
            masked = yaml.serialize(node, Dumper=_DUMPER, width=_ONE_LINE, allow_unicode=True)
            yield MaskedObject(title(node), source + masked)


def _scan_document(text: str, scanner: SecretScanner) -> tuple[yaml.Node, ...] | None:
    """Return the objects of a document, scanned; ``None`` for text that is not YAML, or not maps, and may be secret as a whole."""
    try:
        if is_too_deep(text):
            return None
        nodes = tuple(yaml.compose_all(text, Loader=_LOADER))
        for node in nodes:
            scanner.scan(node, Sensitivity.NORMAL)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return nodes if all(isinstance(node, yaml.MappingNode) for node in nodes) else None


def mask_values(values: Any, *, secret: bool = False) -> Any:
    """Return values with the values of secret keys and variables masked, all if ``secret``, and the secrets in all other texts."""
    if isinstance(values, Mapping):
        is_variable = is_secret_name(values.get("name"))
        return {
            key: mask_values(item, secret=secret or is_secret_name(key) or (is_variable and key == "value"))
            for key, item in values.items()
        }
    if isinstance(values, list | tuple):
        return [mask_values(item, secret=secret or after) for item, after in after_flags(values)]
    if secret and values not in (None, "") and not isinstance(values, bool):
        return MASK
    return redacted(values, (), plain_mask) if isinstance(values, str) else values
