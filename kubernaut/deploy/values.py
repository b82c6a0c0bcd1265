"""Values: what is wished of a chart, merged by Helm's rules and made comparable. Pure but for reading the files that are named.

A deploy's values are the whole wish: chart defaults < the version's environment file < ``--values`` < ``--set``. The chart's
defaults stay in the chart; everything else is merged here and given to Helm once, with ``--reset-values``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubernaut.deploy.strvals import parse_set
from kubernaut.deploy.yamlvalues import parse_yaml, read_yaml

__all__ = ["canonical", "differing", "merge", "overrides_lost", "parse_set", "parse_yaml", "read_yaml", "wish"]


def wish(
    environment: Mapping[str, Any] | None = None,
    values: Sequence[str | Path | Mapping[str, Any]] = (),
    sets: Sequence[str] = (),
    *,
    reused: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a deploy's values.

    Args:
        environment: What the version's environment file holds.
        values: ``--values``: files of YAML, or values themselves; the later wins.
        sets: ``--set``, in Helm's syntax; the later wins, and all win over ``values``.
        reused: ``--reuse-values``: what the current release was deployed with; everything else wins over it.

    Raises:
        ValuesInvalid: A file or a ``--set`` cannot be read.
    """
    wanted = copy.deepcopy(dict(reused or {}))
    for layer in (environment or {}, *values):
        wanted = merge(wanted, read_yaml(Path(layer)) if isinstance(layer, str | Path) else layer)
    wanted = copy.deepcopy(wanted)
    for text in sets:
        parse_set(text, wanted)
    return wanted


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
