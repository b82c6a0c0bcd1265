"""Records with kinds that the cluster does not serve any more: which they are, and what becomes of them.

Helm builds the objects of the records that it compares, deletes or rolls back to, and fails for all of them if it cannot build
one. An apiVersion that has a successor is therefore replaced in the stored manifest, as ``helm mapkubeapis`` does; objects of a
kind that is gone, such as those of a CustomResourceDefinition that was deleted, do not exist any more and are taken out. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubernaut.history.manifest import manifest_of, read_manifest
from kubernaut.history.records import Record, Status, as_mapping, few
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action
from kubernaut.yaml_reader import split_documents

MAP_RECORD = "map-record"
"""The action that takes removed kinds out of a record's manifest."""
Kind = tuple[str, str]
"""An apiVersion and a kind."""
Removed = Mapping[Kind, str]
"""The kinds that the cluster does not serve, each with the apiVersion that replaces it; empty for none."""

MAX_NAMED = 10
_API_VERSION = re.compile(r"^apiVersion:.*$", re.MULTILINE)


def built_records(history: ReleaseHistory, actions: Iterable[Action]) -> Iterator[Record]:
    """Yield the records whose objects Helm builds in the actions of a plan, each once."""
    found: dict[str, Record] = {}
    for action in actions:
        if action.kind == "helm-upgrade":
            # the one that is compared with: the newest deployed one or, without it, the current one
            compared = [record for record in history.records if record.status == Status.DEPLOYED][:1]
            names = [record.id for record in (*history.records[:1], *compared)]
        elif action.kind == "helm-rollback":
            names = [action.subject, *(record.id for record in history.records[:1])]
        elif action.kind == "helm-uninstall":
            names = [action.subject]
        else:
            continue
        found |= {record.id: record for record in history.records if record.id in names and not record.damaged}
    return iter(found.values())


def map_action(record: Record, removed: Removed) -> Action | None:
    """Return the action that takes removed kinds out of a record; ``None`` if it has none of them."""
    mapped: dict[str, None] = {}
    gone: list[str] = []
    for item in manifest_of(record).objects:
        known = _kind_of(item)
        if known not in removed:
            continue
        name = f"{known[1]} {as_mapping(item.get('metadata')).get('name')}"
        if removed[known]:
            mapped[f"{name} becomes {removed[known]}, because the cluster does not serve {known[0]} any more"] = None
        else:
            gone.append(f"{name} ({known[0]})")
    clauses = list(mapped)
    if gone:
        clauses.append(f"the cluster does not serve {few(gone, MAX_NAMED)} any more, so Helm skips it")
    return Action(kind=MAP_RECORD, subject=record.id, reason="; ".join(clauses)) if clauses else None


def mapped_manifest(manifest: str, removed: Removed) -> str:
    """Return a manifest with the apiVersions that replace removed ones, and without the objects whose kind is gone."""
    return "".join(_mapped(separator, text, removed) for separator, text in split_documents(manifest))


def _mapped(separator: str, text: str, removed: Removed) -> str:
    objects = read_manifest(text).objects
    hits = [item for item in objects if _kind_of(item) in removed]
    if not hits:
        return separator + text
    if len(objects) == 1:
        successor = removed[_kind_of(objects[0])]
        return separator + _API_VERSION.sub(f"apiVersion: {successor}", text, count=1) if successor else ""
    kept = [{**item, "apiVersion": removed.get(_kind_of(item), item.get("apiVersion"))} for item in objects]
    items = [item for item in kept if item["apiVersion"]]
    return f"{separator}\n{json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': items})}\n"


def kinds_of(record: Record) -> Iterator[Kind]:
    """Yield the kinds of the objects in a record's manifest."""
    return (_kind_of(item) for item in manifest_of(record).objects)


def _kind_of(item: Mapping[str, Any]) -> Kind:
    return str(item.get("apiVersion") or ""), str(item.get("kind") or "")
