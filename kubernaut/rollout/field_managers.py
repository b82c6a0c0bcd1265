"""Who wrote a field of an object, by ``metadata.managedFields``. Pure.

Its form is that of https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubernaut.rollout.objects import Object, time_in

MERGE_KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}
"""The values of merge keys that an item may leave out."""


@dataclass(frozen=True)
class Item:
    """A step of a path into a list: the item with these merge keys, or the one at a place."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    place: int | None = None

    def __str__(self) -> str:
        values = [str(value) for name, value in self.keys.items() if MERGE_KEY_DEFAULTS.get(name) != value]
        return f"[{'/'.join(values) if self.keys else self.place}]"


Path = tuple[str | Item, ...]


def is_helm(manager: str) -> bool:
    """Return whether a field manager is Helm, under any name of its program."""
    return "helm" in manager.lower()


def writer_of(path: Path, managed: Sequence[Object], *, exists: bool) -> Object | None:
    """Return the entry of the manager that wrote a field last, empty if that is not known; ``None`` if Helm did.

    Helm owns what it wrote, so another wrote a field without an owner: ``kubectl scale --replicas=0`` leaves one. A field that is
    gone never has an owner: it counts if another manager changed the object after Helm.
    """
    owned = [(_owned(entry.get("fieldsV1"), path), entry) for entry in managed]
    deepest = max((depth for depth, _ in owned), default=0)
    owners = [entry for depth, entry in owned if depth == deepest > 0]
    if owners:
        others = [entry for entry in owners if not is_helm(str(entry.get("manager")))]
        if len(others) == len(owners):
            return others[-1]
        if exists:
            return None
    elif exists:
        return {}
    mine = [entry for entry in managed if is_helm(str(entry.get("manager")))]
    last = max(filter(None, (time_in(entry, "time") for entry in mine)), default=None)
    for entry in managed:
        at = time_in(entry, "time")
        is_other = entry not in mine and not entry.get("subresource")
        if is_other and (last is None or at is None or at >= last):
            return {}
    return None


def exists_in(item: Any, path: Path) -> bool:
    """Return whether an object has a field."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(item, Mapping) or step not in item:
                return False
            item = item[step]
            continue
        items = item if isinstance(item, list) else []
        if step.keys:
            keys = tuple(step.keys)
            found = [one for one in items if isinstance(one, Mapping) and identity_of(one, keys) == tuple(step.keys.values())]
        else:
            found = items[step.place or 0 : (step.place or 0) + 1]
        if not found:
            return False
        item = found[0]
    return True


def _owned(fields: Any, path: Path) -> int:
    """Return how many steps of a path a set of fields has; fewer than all for a list or map that it has as a whole, 0 for none.

    ``"f:data": {}`` is a map as a whole, or one whose last own key another manager has taken; then that one has more steps.
    """
    for depth, step in enumerate(path):
        if not isinstance(fields, Mapping):
            return 0
        if not fields:
            return depth
        name = _entry(fields, step)
        if name is None:
            return 0
        fields = fields[name]
    return len(path)


def _entry(fields: Mapping[str, Any], step: str | Item) -> str | None:
    """Return the name of a step in a set of fields."""
    if isinstance(step, str):
        return f"f:{step}" if f"f:{step}" in fields else None
    if not step.keys:
        return f"i:{step.place}" if f"i:{step.place}" in fields else None
    for name in fields:
        if name.startswith("k:"):
            try:
                keys = json.loads(name[2:])
            except ValueError:
                continue
            if isinstance(keys, dict) and all(keys.get(key) in (None, value) for key, value in step.keys.items()):
                return name
    return None


def identity_of(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    """Return the values of an item's merge keys."""
    return tuple(item.get(key) or MERGE_KEY_DEFAULTS.get(key) for key in keys)
