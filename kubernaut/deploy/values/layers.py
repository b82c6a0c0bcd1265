"""The values of a deploy: layers merged by Helm's rules, and results compared. Pure, but for read files.

The values of a deploy are complete, in Helm's order: chart defaults < the version's environment file < ``--values`` <
``--set-json`` < ``--set`` < ``--set-string`` < ``--set-file`` < ``--set-literal``; their order on the command line does not matter.
The defaults stay in the chart; the rest is merged here and passed to Helm once, with ``--reset-values``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernaut.deploy.values.set_arguments import file_as_string, literal_as_string, merge, set_json, set_string, set_typed
from kubernaut.history.detail import leaves
from kubernaut.yaml_reader import read_yaml


@dataclass(frozen=True)
class Values:
    """The requested values in layers; the chart's own defaults stay in the chart.

    Attributes:
        environment: The values that the version was published with for the environment.
        layers: The contents of ``--values``; later layers win.
        json_sets: The arguments of ``--set-json``, in Helm's syntax; later ones win, and all win over ``layers``.
        sets: The arguments of ``--set``, which win over ``json_sets``.
        string_sets: The arguments of ``--set-string``, which win over ``sets``; those of ``--set-file`` and ``--set-literal``
            follow them, in the same form.
        reuse: Whether the current release's values lie between ``environment`` and ``layers`` (``--reuse-values``).
    """

    environment: Mapping[str, Any] = field(default_factory=dict)
    layers: Sequence[Mapping[str, Any]] = ()
    sets: Sequence[str] = ()
    reuse: bool = False
    json_sets: Sequence[str] = ()
    string_sets: Sequence[str] = ()

    def merged(self, current: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the merged values, given those of the current release. Raises: ValuesInvalid."""
        merged: dict[str, Any] = {}
        for layer in (self.environment, (current or {}) if self.reuse else {}, *self.layers):
            merged = merge(merged, layer)
        merged = copy.deepcopy(merged)
        for text in self.json_sets:
            merged = set_json(text, merged)
        for text in self.sets:
            set_typed(text, merged)
        for text in self.string_sets:
            set_string(text, merged)
        return merged


def read_values(
    environment: Mapping[str, Any] | None = None,
    values: Sequence[str | Path | Mapping[str, Any]] = (),
    sets: Sequence[str] = (),
    *,
    reuse: bool = False,
    json_sets: Sequence[str] = (),
    string_sets: Sequence[str] = (),
    file_sets: Sequence[str] = (),
    literal_sets: Sequence[str] = (),
) -> Values:
    """Return the requested values; files are read and checked here, before any request is sent.

    Args:
        environment: The values of the version's environment.
        values: ``--values``: YAML files, or values themselves.
        sets: ``--set``.
        reuse: ``--reuse-values``.
        json_sets: ``--set-json``.
        string_sets: ``--set-string``.
        file_sets: ``--set-file``, whose files are read.
        literal_sets: ``--set-literal``.

    Raises:
        ValuesInvalid: A file cannot be read, or an argument cannot be parsed.
    """
    layers = tuple(read_yaml(Path(layer)) if isinstance(layer, str | Path) else layer for layer in values)
    strings = (*string_sets, *map(file_as_string, file_sets), *map(literal_as_string, literal_sets))
    found = Values(environment or {}, layers, tuple(sets), reuse, tuple(json_sets), strings)
    found.merged()
    return found


def canonical(values: Mapping[str, Any] | None) -> str:
    """Return a text that is equal for values that are equal to Helm: numbers are 64-bit floats, and no values an empty map."""
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
    """Return the keys that only the current release's values set, as ``a.b``; never their values."""
    return sorted(_missing(current or {}, new, ""))


def _missing(current: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in current.items():
        path = prefix + key.replace(".", "\\.")
        if key not in new:
            yield path
        elif isinstance(value, Mapping) and isinstance(new[key], Mapping):
            yield from _missing(value, new[key], path + ".")


def differing(current: Mapping[str, Any] | None, new: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, as ``a.b``; never the values themselves."""
    before, after = (
        {path: json.dumps(_normal(value), sort_keys=True) for path, value in leaves(one)} for one in (current or {}, new)
    )
    return sorted(path for path in before.keys() | after.keys() if before.get(path, "") != after.get(path, ""))
