"""The fields of live objects that others changed: where an object differs from the manifest that Helm applied. Pure.

Only fields that the manifest sets count. The API server adds defaults and writes some values in another form, and admission may
change an object while Helm applies it; so a field counts only if its value differs and, where the object names its field managers,
another manager than Helm wrote it last. A field that is gone names none: it counts if applying the manifest would restore it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from kubernaut.history.records import few
from kubernaut.rollout.field_managers import MERGE_KEY_DEFAULTS, Item, Path, exists_in, identity_of, writer_of
from kubernaut.rollout.objects import (
    Expected,
    Object,
    ObjectKey,
    annotations_of,
    is_deleted,
    labels_of,
    mappings,
    metadata_of,
    spec_of,
    time_in,
)

_SKIPPED = frozenset({"apiVersion", "kind", "metadata", "status"})
_FILLED_IN = frozenset({"caBundle"})
"""Fields that a controller fills in where the manifest has a placeholder."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MERGE_KEYS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "ports": (("containerPort", "protocol"), ("port", "protocol")),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "hostAliases": (("ip",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
}
_QUANTITIES = frozenset(
    {"resources", "limits", "requests", "hard", "capacity", "sizeLimit", "divisor", "metrics", "min", "max", "default", "overhead"}
)
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?")
_SUFFIXES = {
    **{name: Decimal(1024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    **{name: Decimal(1000) ** power for power, name in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{name: Decimal(1000) ** -power for power, name in enumerate(("m", "u", "n"), 1)},
}
_REPLICAS = ("spec", "replicas")
_MOST_FIELDS = 20
_MOST_NAMED = 5


@dataclass(frozen=True)
class Changed:
    """What others changed.

    Attributes:
        object: The object.
        field: The path of its field, such as ``spec.template.spec.containers[web].image``; empty if the object does not exist.
        manager: The field manager that wrote it last; empty if that is not known, and for a removed field.
        since: When it did.
    """

    object: ObjectKey
    field: str = ""
    manager: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class Comparison:
    """Live objects beside a manifest.

    Attributes:
        changed: What others changed, in the order of the manifest.
        missing: By object, the fields that it lacks without a trace of who removed them. ``kubectl set env deployment/web NAME-``
            leaves none, and neither does a field that the API server or admission never accepted.
    """

    changed: tuple[Changed, ...]
    missing: Mapping[ObjectKey, tuple[Path, ...]]


def compare(expected: Iterable[Expected], live: Mapping[ObjectKey, Object]) -> Comparison:
    """Compare the objects of a manifest with those that exist.

    Args:
        expected: The objects of the manifest, whole; hooks do not count.
        live: Those that exist, by identity; one that could not be read must be left out of ``expected``.
    """
    changed: list[Changed] = []
    missing: dict[ObjectKey, tuple[Path, ...]] = {}
    for one in expected:
        if one.hook or not one.key.name:
            continue
        item = live.get(one.key)
        if item is None or is_deleted(item):
            changed.append(Changed(one.key))
            continue
        found = list(_with_writers(one, item))
        changed += [_changed(one.key, path, writer) for path, writer in found if writer is not None]
        gone = tuple(path for path, writer in found if writer is None and not exists_in(item, path))
        missing |= {one.key: gone} if gone else {}
    return Comparison(tuple(changed), missing)


def restored(one: Expected, missing: Iterable[Path], applied: Object) -> list[Changed]:
    """Return those of the missing fields that others removed: the object has them again if the manifest is applied.

    Args:
        one: The object of the manifest.
        missing: Its fields in :attr:`Comparison.missing`.
        applied: The live object as it would be if the manifest was applied to it.
    """
    return [Changed(one.key, shown(path)) for path in missing if exists_in(applied, path)]


def _changed(key: ObjectKey, path: Path, writer: Object) -> Changed:
    return Changed(key, shown(path), str(writer.get("manager") or ""), time_in(writer, "time"))


def _with_writers(one: Expected, live: Object) -> Iterator[tuple[Path, Object | None]]:
    """Yield the fields that differ, each with the entry of the manager that wrote it: ``None`` for Helm, empty if not known."""
    managed = tuple(mappings(metadata_of(live).get("managedFields")))
    for path in islice(differences(one.object, live), _MOST_FIELDS):
        yield path, writer_of(path, managed, exists=exists_in(live, path)) if managed else {}


def sentence(found: Sequence[Changed]) -> str:
    """Return what was changed, by whom and when, of the first object that was, and how many others were."""
    first = [change for change in found if change.object == found[0].object]
    others = len({change.object for change in found}) - 1
    more = f", and {others} other object{'s' if others > 1 else ''}" if others else ""
    if not first[0].field:
        return f"{first[0].object} of the manifest does not exist{more}"
    return f"{first[0].object} differs from the manifest: {few([_clause(change) for change in first], _MOST_NAMED)}{more}"


def _clause(change: Changed) -> str:
    """Return a field with its writer: ``spec.replicas (kubectl, 2026-11-28 12:00:00 UTC)``."""
    since = f"{change.since:%Y-%m-%d %H:%M:%S} UTC" if change.since else ""
    by = ", ".join(filter(None, (change.manager, since)))
    return f"{change.field} ({by})" if by else change.field


def without_scaled(found: Iterable[Changed], scalers: Iterable[Object]) -> tuple[Changed, ...]:
    """Return changes without the replicas of objects that a HorizontalPodAutoscaler scales.

    Args:
        found: The changes.
        scalers: HorizontalPodAutoscalers, of the release and of its namespaces.
    """
    scaled = {
        (str(target.get("kind")), str(metadata_of(scaler).get("namespace") or ""), str(target.get("name")))
        for scaler in scalers
        if isinstance(target := spec_of(scaler).get("scaleTargetRef"), Mapping)
    }

    def is_scaled(change: Changed) -> bool:
        key = change.object
        return is_replicas(change) and not {(key.kind, key.namespace, key.name), (key.kind, "", key.name)}.isdisjoint(scaled)

    return tuple(change for change in found if not is_scaled(change))


def is_replicas(change: Changed) -> bool:
    """Return whether a change is the number of replicas."""
    return change.field == ".".join(_REPLICAS)


def shown(path: Path) -> str:
    """Return a path as text: ``spec.template.spec.containers[web].env[A].value``."""
    text = ""
    for step in path:
        if isinstance(step, Item):
            text += str(step)
        elif "." in step or "/" in step:
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


# the values


def differences(manifest: Object, live: Object) -> Iterator[Path]:
    """Yield the fields that a manifest sets and that differ in the live object; by their values alone."""
    for name, of in (("labels", labels_of), ("annotations", annotations_of)):
        wanted = {key: value for key, value in of(manifest).items() if key != _LAST_APPLIED}
        yield from _differences(wanted, of(live), ("metadata", name))
    wanted = {key: value for key, value in _readable(manifest).items() if key not in _SKIPPED}
    yield from _differences(wanted, _readable(live), ())


def _readable(item: Object) -> dict[str, Any]:
    """Return an object's fields; a Secret's data decoded, and a claim without its specification, which can only grow."""
    fields = dict(item)
    if item.get("kind") == "PersistentVolumeClaim":
        fields.pop("spec", None)
    if item.get("kind") == "Secret" and not str(item.get("apiVersion", "")).count("/"):
        data = item.get("data") if isinstance(item.get("data"), Mapping) else {}
        plain = fields.pop("stringData", None)
        texts = plain if isinstance(plain, Mapping) else {}
        fields["data"] = {key: _decoded(value) for key, value in dict(data or {}).items()} | {
            key: str(value).encode() for key, value in texts.items()
        }
    return fields


def _decoded(value: Any) -> Any:
    try:
        return base64.b64decode("".join(str(value or "").split()), validate=True)
    except (binascii.Error, ValueError):
        return value


def _differences(wanted: Any, live: Any, path: Path) -> Iterator[Path]:
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in wanted.items():
            if key in _FILLED_IN or value is None:  # Helm leaves out what is null
                continue
            if key in live:
                yield from _differences(value, live[key], (*path, str(key)))
            elif not _is_nothing(value):
                yield (*path, str(key))
    elif isinstance(wanted, list) and isinstance(live, list):
        yield from _list_differences(wanted, live, path)
    elif not _equal(wanted, live, path):
        yield path


def _list_differences(wanted: Sequence[Any], live: Sequence[Any], path: Path) -> Iterator[Path]:
    keys = _merge_keys(path, wanted, live)
    if keys is None:
        if len(wanted) != len(live):
            yield path
            return
        for place, (one, other) in enumerate(zip(wanted, live, strict=True)):
            yield from _differences(one, other, (*path, Item(place=place)))
        return
    known = {identity_of(item, keys): item for item in live}
    for item in wanted:
        step = Item(dict(zip(keys, identity_of(item, keys), strict=True)))
        other = known.get(identity_of(item, keys))
        if other is None:
            yield (*path, step)
        else:
            yield from _differences(item, other, (*path, step))


def _merge_keys(path: Path, wanted: Sequence[Any], live: Sequence[Any]) -> tuple[str, ...] | None:
    """Return the keys that identify the items of a list; ``None`` if only their places do."""
    items = [*wanted, *live]
    name = path[-1] if path and isinstance(path[-1], str) else ""
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    for keys in (*_MERGE_KEYS.get(name, ()), ("name",)):
        required = [key for key in keys if key not in MERGE_KEY_DEFAULTS]
        named = all(isinstance(item.get(key), str | int) for item in items for key in required)
        if named and all(len({identity_of(item, keys) for item in some}) == len(some) for some in (wanted, live)):
            return keys
    return None


def _is_nothing(value: Any) -> bool:
    """Return whether the API leaves a value out: an empty one, and lists and maps of such."""
    if isinstance(value, Mapping):
        return all(_is_nothing(one) for one in value.values())
    return value is None or value in ("", b"", [], False, 0)


def _equal(wanted: Any, live: Any, path: Path) -> bool:
    if isinstance(wanted, bool) or isinstance(live, bool):
        return wanted is live or (_is_nothing(wanted) and _is_nothing(live))
    if wanted == live or (_is_nothing(wanted) and _is_nothing(live)):
        return True
    if not isinstance(wanted, str | int | float) or not isinstance(live, str | int | float):
        return False
    if str(wanted) == str(live):
        return True
    one, other = (_quantity(value) for value in (wanted, live))
    return one is not None and one == other and any(isinstance(step, str) and step in _QUANTITIES for step in path)


def _quantity(value: Any) -> Decimal | None:
    """Return a quantity of Kubernetes, such as ``500m`` or ``1Gi``, as a number."""
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        return None
    try:
        exponent = Decimal(10) ** int(found[2]) if found[2] and len(found[2]) < 4 else Decimal(1)
        return Decimal(found[1]) * exponent * _SUFFIXES.get(found[3] or "", Decimal(1))
    except InvalidOperation:
        return None
