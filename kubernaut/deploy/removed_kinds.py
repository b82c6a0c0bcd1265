"""Records with kinds that the cluster does not serve any more: which they are, and what becomes of them.

Helm builds the objects of the records that it compares, deletes or rolls back to, and fails for all of them if it cannot build
one. An apiVersion that has a successor is therefore replaced in the stored manifest, as ``helm mapkubeapis`` does; objects of a
kind that is gone, such as those of a CustomResourceDefinition that was deleted, do not exist any more and are taken out. Pure,
except :func:`missing_in`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kubernaut.errors import KubernautError, NotFound
from kubernaut.history.manifest import manifest_of, read_manifest
from kubernaut.history.records import Record, Status, as_mapping, few
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Action
from kubernaut.rollout.helm_failures import SUCCESSORS
from kubernaut.yaml_reader import split_documents

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

MAP_RECORD = "map-record"
"""The action that takes removed kinds out of a record's manifest."""
Kind = tuple[str, str]
"""An apiVersion and a kind."""
Removed = Mapping[Kind, str]
"""The kinds that the cluster does not serve, each with the apiVersion that replaces it; empty for none."""

MAX_NAMED = 10
_ALWAYS_SERVED = frozenset(
    {
        "v1",
        "apps/v1",
        "batch/v1",
        "autoscaling/v1",
        "autoscaling/v2",
        "policy/v1",
        "networking.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
        "storage.k8s.io/v1",
        "scheduling.k8s.io/v1",
        "coordination.k8s.io/v1",
        "discovery.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "admissionregistration.k8s.io/v1",
    }
)
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


def missing_in(cluster: Cluster, records: Iterable[Record]) -> Removed:
    """Return the kinds of records that the cluster does not serve; what cannot be asked counts as served."""
    found: dict[Kind, str] = {}
    for api_version, kind in sorted({kind for record in records for kind in _kinds(record)}):
        if api_version in _ALWAYS_SERVED or _serves(cluster, api_version, kind):
            continue
        successor = SUCCESSORS.get((kind, api_version), "")
        found[api_version, kind] = successor if successor and _serves(cluster, successor, kind) else ""
    return found


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


def _kinds(record: Record) -> Iterator[Kind]:
    return (_kind_of(item) for item in manifest_of(record).objects)


def _kind_of(item: Mapping[str, Any]) -> Kind:
    return str(item.get("apiVersion") or ""), str(item.get("kind") or "")


def _serves(cluster: Cluster, api_version: str, kind: str) -> bool:
    try:
        cluster.find_resource(api_version, kind)
    except NotFound:
        return False
    except KubernautError:  # then Helm finds out
        return True
    return True
