"""The record that Helm compares a rollback with: the objects of the target that it lacks, and how they are named in it. Pure.

Helm 3, and Helm 4 before 4.2, refuse to roll back over an object that exists and that this record does not have: one that an
earlier revision kept, that a failed upgrade was to remove, or that others created again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from kubernaut.deploy.planning.removed_kinds import MAP_RECORD
from kubernaut.history.manifest import manifest_of
from kubernaut.history.records import NAMED, Record
from kubernaut.models import Action
from kubernaut.rollout.expected import why_manifest_unread
from kubernaut.rollout.objects import Expected, Object, expected_objects, metadata_of


def missing_objects(target: Record, compared: Record) -> tuple[Expected, ...]:
    """Return the objects of a rollback's target that the compared record lacks; none if either of them cannot be read.

    Args:
        target: The record that Helm rolls back to.
        compared: The current record, which Helm compares with.
    """
    if target.manifest == compared.manifest or why_manifest_unread(target) or why_manifest_unread(compared):
        return ()
    return new_objects(manifest_of(target).objects, manifest_of(compared).objects, target.namespace)


def new_objects(wanted: Sequence[Object], known: Sequence[Object], namespace: str) -> tuple[Expected, ...]:
    """Return the objects of one manifest that another one of the same release lacks, each once.

    Args:
        wanted: The objects of the manifest that is applied.
        known: The objects of the manifest that Helm compares it with.
        namespace: The release's namespace.
    """
    keys = {one.key for one in expected_objects(known, namespace)}
    new = {one.key: one for one in expected_objects(wanted, namespace) if one.key not in keys}
    return tuple(one for key, one in new.items() if key.kind and key.name)


def with_named(manifest: str, objects: Iterable[Expected]) -> str:
    """Return a manifest that also names objects, without their fields: Helm then sets those of the target and removes none.

    :attr:`kubernaut.history.records.Record.manifest` leaves them out.
    """
    return manifest + "".join(_document(one) for one in objects)


def restore_action(record: Record) -> Action:
    """Return the action that stores a record's own manifest again, after a rollback that was interrupted."""
    return Action(kind=MAP_RECORD, subject=record.id, reason="an interrupted rollback named objects in it that are not part of it")


def _document(one: Expected) -> str:
    metadata = {name: value for name, value in metadata_of(one.object).items() if name in ("name", "namespace")}
    fields = (("apiVersion", one.object.get("apiVersion")), ("kind", one.key.kind), ("metadata", metadata))
    return "".join([f"\n---\n{NAMED}", *(f"\n{name}: {json.dumps(value)}" for name, value in fields)])
