"""The objects of the in-memory cluster, of every kind: versions, labels, pages, and the log of changes for watches."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubernaut.adapters.kube_http import Labels, NotEqual, Page, ResourceExpired
from kubernaut.adapters.kube_resources import Resource
from kubernaut.errors import Conflict, NotFound
from kubernaut.testing.changes import Changes, FakeWatch

Object = dict[str, Any]
Objects = dict[tuple[str, str], Object]
_TYPE = ("apiVersion", "kind")


class FakeObjects:
    """Objects by kind, namespace and name; an object of the cluster has the namespace ``""``.

    Args:
        clock: The API server's clock.

    Attributes:
        changes: The log of changes.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.changes = Changes()
        self._clock = clock
        self._version = 0
        self._objects: dict[str, Objects] = {}
        self._pages: dict[str, Page] = {}

    def of(self, resource: Resource) -> Objects:
        """Return the objects of a kind by namespace and name."""
        return self._objects.setdefault(resource.full_name, {})

    def create(self, resource: Resource, namespace: str, wanted: Object) -> Object:
        """Add an object and return it. Raises: Conflict if it exists."""
        name = str(wanted["metadata"]["name"])
        if (namespace, name) in self.of(resource):
            raise Conflict(f'{resource.full_name} "{name}" already exists.')
        stamp = stamped(self._clock())
        server = {"uid": str(uuid.uuid4()), "creationTimestamp": stamp, "resourceVersion": self._next()}
        place = {"namespace": namespace} if namespace else {}
        wanted = typed(resource, wanted)
        return self._store(
            resource, None, {**wanted, "metadata": {**wanted["metadata"], **place, **server, "managedFields": _by(stamp)}}
        )

    def found(self, resource: Resource, namespace: str, name: str, version: str | None = None, uid: str | None = None) -> Object:
        """Return the object to change. Raises: NotFound, Conflict for another uid or resource version."""
        kept = self.of(resource).get((namespace, name))
        if kept is None:
            raise NotFound(f'{resource.full_name} "{name}" not found.')
        if version not in (None, kept["metadata"]["resourceVersion"]) or uid not in (None, kept["metadata"]["uid"]):
            raise Conflict(f'Operation cannot be fulfilled on {resource.full_name} "{name}": the object has been modified.')
        return kept

    def update(self, resource: Resource, kept: Object, wanted: Object) -> Object:
        """Store a changed object and return it; an unchanged one keeps its version, as on a real API server."""
        wanted = typed(resource, wanted)
        if wanted == kept:
            return copy.deepcopy(wanted)
        fields = {"resourceVersion": self._next(), "managedFields": _by(stamped(self._clock()))}
        return self._store(resource, kept, {**wanted, "metadata": {**wanted["metadata"], **fields}})

    def put(self, resource: Resource, namespace: str, wanted: Mapping[str, Any]) -> Object:
        """Store an object as a controller would, and return it; identity, creation and version are the server's unless stated."""
        kept = self.of(resource).get((namespace, str(wanted["metadata"]["name"])))
        before = kept["metadata"] if kept is not None else {"uid": str(uuid.uuid4()), "creationTimestamp": stamped(self._clock())}
        server = {key: before[key] for key in ("uid", "creationTimestamp")}
        place = {"namespace": namespace} if namespace else {}
        metadata = {**server, **wanted["metadata"], **place, "resourceVersion": self._next()}
        return self._store(resource, kept, {**copy.deepcopy(dict(wanted)), "metadata": copy.deepcopy(metadata)})

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object, and those of its kind that it alone owns."""
        objects = self.of(resource)
        gone = objects.pop((namespace, name))
        self._next()
        self.changes.note(self._version, resource.full_name, copy.deepcopy(gone), None)
        uid = gone["metadata"]["uid"]
        uids = {one["metadata"]["uid"] for one in objects.values()}
        for place, other in list(objects):
            kept = objects.get((place, other))
            owners = [owner["uid"] for owner in (kept["metadata"].get("ownerReferences") or [])] if kept else []
            if uid in owners and not uids.intersection(owners):
                self.remove(resource, place, other)

    def page(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Labels,
        *,
        metadata_only: bool,
        limit: int | None,
        token: str,
        more: Sequence[Object] = (),
    ) -> Page:
        """Return a page of the objects with these labels, and of ``more`` objects. Raises: ResourceExpired."""
        if token and token not in self._pages:
            raise ResourceExpired("The provided continue parameter is too old.")
        whole = self._pages.pop(token, None) or Page(
            [
                copy.deepcopy({"metadata": one["metadata"]} if metadata_only else _untyped(one))
                for one in (*(one for _, one in sorted(self.of(resource).items())), *more)
                if _is_selected(one, namespace, labels)
            ],
            str(self._version),
        )
        if limit is None or len(whole.items) <= limit:
            return whole
        token = uuid.uuid4().hex
        self._pages[token] = Page(whole.items[limit:], whole.resource_version)
        return Page(whole.items[:limit], whole.resource_version, token)

    def watch(
        self, resource: Resource, namespace: str | None, labels: Labels, version: str, seconds: float, *, metadata_only: bool
    ) -> FakeWatch:
        """Return a watch of the objects with these labels from a version on."""

        def selected(name: str, one: Mapping[str, Any]) -> bool:
            return name == resource.full_name and _is_selected(one, namespace, labels)

        def shown(one: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"metadata": one["metadata"]} if metadata_only else typed(resource, one)

        return FakeWatch(self.changes, selected, shown, int(version), seconds)

    def forget(self) -> None:
        """Expire all list tokens and resource versions so far."""
        self._pages.clear()
        self.changes.forget()

    def _store(self, resource: Resource, before: Object | None, after: Object) -> Object:
        self.of(resource)[str(after["metadata"].get("namespace") or ""), str(after["metadata"]["name"])] = after
        self.changes.note(self._version, resource.full_name, copy.deepcopy(before), copy.deepcopy(after))
        return copy.deepcopy(after)

    def _next(self) -> str:
        self._version += 1
        return str(self._version)


def merge_patch(kept: Object, patch: Mapping[str, Any]) -> None:
    """Apply a JSON merge patch to an object."""
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        elif isinstance(value, Mapping):
            merge_patch(kept.setdefault(key, {}), value)
        else:
            kept[key] = value


def with_manifest(kept: Object, manifest: Mapping[str, Any], *, merges_lists: bool) -> Object:
    """Return an object as a patch with a manifest makes it; lists of named items are merged by name, or replaced."""
    patched: Object = _patched(copy.deepcopy(dict(kept)), manifest, merges_lists=merges_lists)
    return patched


def _patched(kept: Any, wanted: Any, *, merges_lists: bool) -> Any:
    if isinstance(wanted, Mapping):
        fields = {key: value for key, value in wanted.items() if value is not None}
        before = kept if isinstance(kept, dict) else {}
        return before | {key: _patched(before.get(key), value, merges_lists=merges_lists) for key, value in fields.items()}
    if merges_lists and isinstance(wanted, list) and isinstance(kept, list) and all("name" in one for one in (*kept, *wanted)):
        names = [one["name"] for one in wanted]
        known = {one["name"]: one for one in kept}
        others = [one for one in kept if one["name"] not in names]
        return [*(_patched(known.get(one["name"]), one, merges_lists=True) for one in wanted), *others]
    return copy.deepcopy(wanted)


def stamped(time: datetime) -> str:
    """Return a time as the API writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _by(stamp: str) -> list[dict[str, Any]]:
    return [{"manager": "kubernaut", "operation": "Update", "time": stamp}]


def typed(resource: Resource, one: Mapping[str, Any]) -> Object:
    """Return an object with its kind and version."""
    return {"apiVersion": resource.api_version, "kind": resource.kind, **one}


def _untyped(one: Object) -> Object:
    """Return an object as lists show it."""
    return {key: value for key, value in one.items() if key not in _TYPE}


def _is_selected(one: Mapping[str, Any], namespace: str | None, wanted: Labels) -> bool:
    metadata = one.get("metadata") or {}
    labels = metadata.get("labels") or {}

    def fits(key: str, value: str | Sequence[str]) -> bool:
        if isinstance(value, NotEqual):
            return bool(labels.get(key) != value)
        return labels.get(key) in ((value,) if isinstance(value, str) else value)

    here = namespace is None or metadata.get("namespace", namespace) == namespace
    return here and all(fits(key, value) for key, value in wanted.items())
