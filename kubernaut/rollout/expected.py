"""The objects that a release consists of, by its record: those of its manifest, and its hooks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from kubernaut.history.manifest import manifest_of, read_manifest
from kubernaut.history.records import GONE, Record
from kubernaut.rollout.objects import Expected, expected_objects

DELETE_EVENTS = ("pre-delete", "post-delete")
ROLLOUT_EVENTS = frozenset(f"{when}-{verb}" for when in ("pre", "post") for verb in ("install", "upgrade", "rollback"))


def expected_of(record: Record) -> tuple[Expected, ...] | None:
    """Return the objects of a record, its hooks last; ``None`` if its manifest cannot be read whole."""
    if why_unread(record):
        return None
    manifest, hooks = manifest_of(record), [read_manifest(text) for text in hook_manifests(record)]
    return expected_objects(manifest.objects, record.namespace, [item for hook in hooks for item in hook.objects])


def rendered_objects(record: Record) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a record's manifest and of its hooks as they are in it; those that cannot be read are left out."""
    yield from manifest_of(record).objects
    for text in hook_manifests(record):
        yield from read_manifest(text).objects


def expected_before(current: Record) -> tuple[Expected, ...] | None:
    """Return the objects of the current release that exist before Helm starts: of a deleted one only its hooks may."""
    return hooks_of(current) if current.status in GONE else expected_of(current)


def why_unread(record: Record) -> str:
    """Return that and why a record's objects, or those of its hooks, cannot be read; empty if they can be."""
    hooks = (
        f"a hook of {record.id} cannot be read: {hook.problem}"
        for hook in map(read_manifest, hook_manifests(record))
        if hook.problem
    )
    return why_manifest_unread(record) or next(hooks, "")


def why_manifest_unread(record: Record) -> str:
    """Return that and why the objects of a record's manifest cannot be read; empty if they can be."""
    if record.damaged:
        return f"the record of {record.id} is damaged: {record.damaged}"
    problem = manifest_of(record).problem
    return f"the manifest of {record.id} cannot be read: {problem}" if problem else ""


def hook_manifests(record: Record) -> list[str]:
    """Return the manifests of a record's hooks."""
    hooks = record.content.get("hooks")
    return [str(hook.get("manifest") or "") for hook in hooks if isinstance(hook, dict)] if isinstance(hooks, list) else []


def hooks_of(record: Record, events: Collection[str] = ()) -> tuple[Expected, ...]:
    """Return the objects of a record's hooks, of all events or only of some; those that cannot be read are left out."""
    objects = [item for text in hook_manifests(record) for item in read_manifest(text).objects]
    found = expected_objects((), record.namespace, objects)
    if not events:
        return found
    chosen = (replace(one, hook=tuple(event for event in one.hook if event in events)) for one in found)
    return tuple(one for one in chosen if one.hook)
