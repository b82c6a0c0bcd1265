"""Takes what is secret out of a release's manifest and values, before anybody is shown them. Pure.

Of a manifest everything is masked that a Secret holds, wherever it stands: in a List, in another object, as a text; the values of
variables, flags and keys that are called like a password; and in every other text what :mod:`kubernaut.redact` knows. Keys stay,
in their order. What cannot be read as YAML might be a Secret, and is masked whole. Comments go, but for Helm's ``# Source``.

A hidden value of eight characters or more whose key says that it is secret is masked in all other texts of the manifest too. It
cannot be known of a password that stands alone under a harmless name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from kubernaut.helm_yaml import is_deep
from kubernaut.history.record import Record
from kubernaut.history.secret_scan import Findings, Kind, Mark, after_flags, is_secret_name, redacted, title
from kubernaut.redact import MASK

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_SOURCE = re.compile(r"\s*(# Source: [\w./-]{1,500})[ \t]*$", re.MULTILINE)
_ONE_LINE = 1 << 20


def masked(_hidden: str) -> str:
    """Return the mask, whatever is hidden."""
    return MASK


@dataclass(frozen=True)
class Masked:
    """An object of a manifest with what is secret masked.

    Attributes:
        title: Its kind, its namespace if it names one, and its name, such as ``Secret/shop``; of an unread one, where it is from.
        text: As YAML, with Helm's ``# Source`` before it.
    """

    title: str
    text: str


def mask_record(record: Record, mark: Mark = masked) -> Iterator[Masked]:
    """Yield the objects of a record's manifest with what is secret masked; its hooks come last, as in ``helm template``."""
    hooks = record.content.get("hooks")
    parts = [
        f"---\n# Source: {hook.get('path')}\n{hook['manifest']}"
        for hook in (hooks if isinstance(hooks, list) else ())
        if isinstance(hook, Mapping) and isinstance(hook.get("manifest"), str)
    ]
    return mask_objects("\n".join((record.manifest, *parts)), mark)


def mask_manifest(manifest: str) -> str:
    """Return a manifest with what is secret masked."""
    return joined(mask_objects(manifest))


def joined(objects: Iterable[Masked]) -> str:
    """Return objects as a manifest."""
    return "".join(f"---\n{one.text}" for one in objects)


def mask_objects(manifest: str, mark: Mark = masked) -> Iterator[Masked]:
    """Yield the objects of a manifest with what is secret masked; a document that cannot be read is masked whole, and says so."""
    findings = Findings()
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
    def read(cls, text: str, findings: Findings) -> _Document:
        found = _SOURCE.match(text)
        source = f"{found[1]}\n" if found else ""
        try:
            if is_deep(text):
                return cls(source, text, unread=True)
            nodes = tuple(yaml.compose_all(text, Loader=_LOADER))
            for node in nodes:
                findings.look(node, Kind.ANY)
        except (yaml.YAMLError, ValueError, RecursionError):
            return cls(source, text, unread=True)
        unread = not all(isinstance(node, yaml.MappingNode) for node in nodes)  # no map is no object, and might be anything
        return cls(source, text, () if unread else nodes, unread)

    def masked(self, findings: Findings, secrets: tuple[str, ...], mark: Mark) -> Iterator[Masked]:
        if self.unread:
            text = f"{self.source}# A document that cannot be read as YAML is masked whole: {mark(self.text)}\n"
            yield Masked(self.source.removeprefix("# Source: ").strip() or "unread", text)
        for node in self.nodes:
            findings.hide(node, secrets, mark)
            text = yaml.serialize(node, Dumper=_DUMPER, width=_ONE_LINE, allow_unicode=True)
            yield Masked(title(node), self.source + text)
