"""Values: what is wished of a chart, merged by Helm's rules and made comparable. Pure but for reading the files that are named.

A deploy's values are the whole wish: chart defaults < the version's environment file < ``--values`` < ``--set``. The chart's
defaults stay in the chart; everything else is merged here and given to Helm once, with ``--reset-values``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernaut.deploy.strvals import parse_set
from kubernaut.helm_yaml import parse_yaml, read_yaml

__all__ = ["Wish", "canonical", "differing", "merge", "overrides_lost", "parse_set", "parse_yaml", "read_wish", "read_yaml"]


@dataclass(frozen=True)
class Wish:
    """The values that are wished, layer by layer; the chart's own defaults stay in the chart.

    Attributes:
        environment: What the version was published with for the environment.
        layers: ``--values``, already read; the later wins.
        sets: ``--set``, in Helm's syntax; the later wins, and all win over ``layers``.
        reuse: ``--reuse-values``: whether the current release's values lie between ``environment`` and ``layers``.
    """

    environment: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Any]] = ()
    sets: Sequence[str] = ()
    reuse: bool = False

    def values(self, current: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the values, given those of the current release. Raises: ValuesInvalid."""
        merged: dict[str, Any] = {}
        for layer in (self.environment, (current or {}) if self.reuse else {}, *self.layers):
            merged = merge(merged, layer)
        merged = copy.deepcopy(merged)
        for text in self.sets:
            parse_set(text, merged)
        return merged


def read_wish(
    environment: Mapping[str, Any] | None = None,
    values: Sequence[str | Path | Mapping[str, Any]] = (),
    sets: Sequence[str] = (),
    *,
    reuse: bool = False,
) -> Wish:
    """Return what is wished; files are read and checked here, before any cluster is asked.

    Args:
        environment: What the version's environment file holds.
        values: ``--values``: files of YAML, or values themselves.
        sets: ``--set``.
        reuse: ``--reuse-values``.

    Raises:
        ValuesInvalid: A file or a ``--set`` cannot be read.
    """
    layers = tuple(read_yaml(Path(layer)) if isinstance(layer, str | Path) else layer for layer in values)
    wish = Wish(environment or {}, layers, tuple(sets), reuse)
    wish.values()
    return wish


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, as Helm merges them: maps are merged, everything else of ``over`` replaces, lists and ``null`` too."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def canonical(values: Mapping[str, Any] | None) -> str:
    """Return a text that is equal for values that are equal to Helm: numbers are 64-bit floats, no values are an empty map."""
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
    """Return the keys that the current release's values set and the new ones do not, as ``a.b``; never their values."""
    return sorted(_missing(current or {}, new, ""))


def _missing(current: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in current.items():
        path = prefix + key.replace(".", "\\.")
        if key not in new:
            yield path
        elif isinstance(value, Mapping) and isinstance(new[key], Mapping):
            yield from _missing(value, new[key], path + ".")


def differing(current: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ between two releases, as ``a.b``; never the values themselves."""
    old, wanted = dict(_leaves(current or {}, "")), dict(_leaves(new, ""))
    return sorted(path for path in old.keys() | wanted.keys() if old.get(path, "") != wanted.get(path, ""))


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        path = prefix + key.replace(".", "\\.")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path + ".")
        else:
            yield path, json.dumps(_normal(value), sort_keys=True)
