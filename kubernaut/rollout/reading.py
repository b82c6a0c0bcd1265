"""Reads the objects of releases once, within some seconds: in few requests, of which several are under way at a time.

What cannot be read makes no error: a snapshot says why.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from kubernaut.adapters.kube_http import ResourceExpired
from kubernaut.adapters.kube_resources import RESOURCES, SCALERS, Resource, known_resource
from kubernaut.errors import ClusterDenied, KubernautError, NotFound
from kubernaut.rollout.needs import kinds_to_watch
from kubernaut.rollout.objects import Expected, Object, ObjectKey, metadata_of
from kubernaut.rollout.store import Snapshot, Store

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_MOST_BY_NAME = 20
_MOST_LISTS = 3
_MOST_NAMESPACES = 20
_PAGE_SIZE = 500
_MOST_PAGES = 20
_MOST_THREADS = 6
_PER_THREAD = 3
_OF_PODS = ("Pod", "ReplicaSet", "EndpointSlice")
_OWNED = ("Pod", "ReplicaSet", "PersistentVolumeClaim")

_Place = tuple[str, str]
"""A kind, and a namespace."""


@dataclass(frozen=True)
class Call:
    """One or a few requests, and the places that are unreadable if they are not answered in time."""

    make: Callable[[], None]
    places: tuple[_Place, ...]


@dataclass
class Reading:
    """The objects that are read of the cluster within some seconds.

    Args:
        cluster: The cluster.
        seconds: How long to wait for all of it.

    Attributes:
        own_objects: The objects of manifests that exist.
        listed: The objects that belong to them, by kind and namespace.
        unreadable: By kind and namespace, why its objects are not known.
    """

    cluster: Cluster
    seconds: float
    own_objects: dict[ObjectKey, Object] = field(default_factory=dict)
    listed: dict[_Place, list[Object]] = field(default_factory=dict)
    unreadable: dict[_Place, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds

    @property
    def at(self) -> datetime:
        """The moment, by the cluster's clock."""
        return self.cluster.server_time or datetime.now(UTC)

    # requests

    def run(self, calls: Sequence[Call]) -> None:
        """Make calls, and note what they did not read in time."""
        done = at_once([call.make for call in calls], self._until - time.monotonic())
        for number in range(len(calls)):
            for kind, namespace in () if number in done else calls[number].places:
                self.unreadable[kind, namespace] = f"cannot read {kind} objects in {namespace}: {late(self.seconds)}"

    def own(self, expected: Sequence[Expected]) -> list[Call]:
        """Return the requests for the objects of manifests."""
        kinds: dict[tuple[str, str, str], list[Expected]] = {}
        for one in expected:
            kinds.setdefault((one.key.group, str(one.object.get("apiVersion")), one.key.kind), []).append(one)
        wanted = [[one] for one in expected] if len(expected) <= _MOST_BY_NAME else list(kinds.values())
        read = self._get if len(expected) <= _MOST_BY_NAME else self._list_own
        return [Call(partial(read, some), tuple((one.key.kind, one.key.namespace) for one in some)) for some in wanted]

    def named(self, expected: Sequence[Expected]) -> list[Call]:
        """Return the requests for objects of manifests, each by its name."""
        return [Call(partial(self._get, [one]), ((one.key.kind, one.key.namespace),)) for one in expected if one.key.name]

    def belonging(self, expected: Sequence[Expected]) -> list[Call]:
        """Return the requests for what belongs to the objects of manifests: pods, and what explains their state."""
        own = {(one.key.kind, one.key.namespace) for one in expected if one.key.kind not in _OWNED}
        needs = [need for need in kinds_to_watch(expected) if (need.resource.kind, need.namespace) not in own]
        namespaces = list(dict.fromkeys(need.namespace for need in needs))[:_MOST_NAMESPACES]
        chosen = [need for need in needs if need.namespace in namespaces]
        return [
            Call(partial(self._list, need.resource, need.namespace), ((need.resource.kind, need.namespace),)) for need in chosen
        ]

    def is_read(self, one: Expected) -> bool:
        """Return whether an object of a manifest has been read, or found to be missing."""
        return (one.key.kind, one.key.namespace) not in self.unreadable

    def scalers(self, namespaces: Iterable[str]) -> list[Object] | None:
        """Return the HorizontalPodAutoscalers of namespaces; ``None`` if they cannot be read in time."""
        found: dict[str, list[Object]] = {}
        wanted = list(dict.fromkeys(namespaces))

        def read(namespace: str) -> None:
            with suppress(KubernautError, ResourceExpired):
                items, _ = self._pages(SCALERS, namespace)
                found[namespace] = [{**item, "metadata": {**metadata_of(item), "namespace": namespace}} for item in items]

        at_once([partial(read, namespace) for namespace in wanted], self._until - time.monotonic())
        return [item for items in found.values() for item in items] if len(found) == len(wanted) else None

    def applied(self, expected: Sequence[Expected]) -> Mapping[ObjectKey, Object]:
        """Return objects as they would be with their manifests applied; those of which the cluster does not say it are left out."""
        found: dict[ObjectKey, Object] = {}

        def read(one: Expected) -> None:
            place = one.key.namespace
            with suppress(KubernautError):  # the right to patch is missing, or a webhook knows no dry run
                found[one.key] = self.cluster.with_applied(
                    self._resource(one), place, one.object, merges_lists=one.is_builtin, timeout=self.seconds
                )

        at_once([partial(read, one) for one in expected], self._until - time.monotonic())
        return dict(found)

    def _get(self, wanted: Sequence[Expected]) -> None:
        (one,) = wanted
        key = one.key
        place = f"{key} in {key.namespace}"
        try:
            item = self.cluster.get_object(self._resource(one), key.namespace, key.name, timeout=self.seconds)
        except KubernautError as error:
            self.unreadable[key.kind, key.namespace] = f"cannot read {place}: {_why(error, one, 'get')}"
        else:
            self._keep(one, item)

    def _list_own(self, wanted: Sequence[Expected]) -> None:
        """List a kind in few namespaces, else in the whole cluster; where that is not allowed, in some of the namespaces."""
        namespaces = list(dict.fromkeys(one.key.namespace for one in wanted))
        try:
            resource = self._resource(wanted[0])
        except KubernautError as error:
            for one in wanted:
                self.unreadable[one.key.kind, one.key.namespace] = f"cannot read {one.key}: {_why(error, one, 'list')}"
            return
        found: dict[tuple[str, str], Object] = {}
        whole = not resource.namespaced or len(namespaces) > _MOST_LISTS
        if whole:
            whole = self._list_into(found, resource, None, namespaces)
        for namespace in () if whole else namespaces[:_MOST_NAMESPACES]:
            self._list_into(found, resource, namespace, [namespace])
        for namespace in () if whole else namespaces[_MOST_NAMESPACES:]:
            self.unreadable[resource.kind, namespace] = f"did not read {resource.plural} in {namespace}: too many namespaces"
        for one in wanted:
            self._keep(one, found.get((one.key.namespace if resource.namespaced else "", one.key.name)))

    def _list_into(
        self, found: dict[tuple[str, str], Object], resource: Resource, namespace: str | None, places: Sequence[str]
    ) -> bool:
        """List a kind; return whether that was possible, or has failed in a way that other lists would fail too."""
        where = namespace or "all namespaces"
        try:
            items, whole = self._pages(resource, namespace)
        except ClusterDenied:
            if namespace is None and resource.namespaced:
                return False
            why = f"no right to list {resource.plural}"
        except (KubernautError, ResourceExpired) as error:
            why = str(error)
        else:
            found.update(
                {(str(metadata_of(item).get("namespace") or ""), str(metadata_of(item).get("name"))): item for item in items}
            )
            if whole:
                return True
            why = f"more than {_MOST_PAGES * _PAGE_SIZE} of them"
        for place in places:
            self.unreadable[resource.kind, place] = f"cannot read {resource.plural} in {where}: {why}"
        return True

    def _list(self, resource: Resource, namespace: str) -> None:
        """List a kind that belongs to others, in a namespace."""
        try:
            items, whole = self._pages(resource, namespace)
        except (KubernautError, ResourceExpired) as error:
            why = f"no right to list {resource.plural}" if isinstance(error, ClusterDenied) else str(error)
            self.unreadable[resource.kind, namespace] = f"cannot read {resource.plural} in {namespace}: {why}"
            return
        self.listed[resource.kind, namespace] = [
            {"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in items
        ]
        if not whole:
            self.unreadable[resource.kind, namespace] = f"did not read all {resource.plural} in {namespace}: too many"

    def _pages(self, resource: Resource, namespace: str | None) -> tuple[list[Object], bool]:
        """Return the objects of a kind, and whether these are all."""
        items, token = list[Object](), ""
        for _ in range(_MOST_PAGES):
            page = self.cluster.list_objects(resource, namespace, limit=_PAGE_SIZE, continue_token=token, timeout=self.seconds)
            items += page.items
            token = page.continue_token
            if not token:
                break
        return items, not token

    def _resource(self, one: Expected) -> Resource:
        api_version = str(one.object.get("apiVersion"))
        known = RESOURCES.get(one.key.kind) if one.is_builtin else None
        known = known or known_resource(api_version, one.key.kind)
        return known or self.cluster.find_resource(api_version, one.key.kind)

    def _keep(self, one: Expected, item: Object | None) -> None:
        """Keep an object under the manifest's identity, which has a namespace also where the kind has none."""
        if item is not None:
            metadata = {**metadata_of(item), "namespace": one.key.namespace, "name": one.key.name}
            known = {**item, "apiVersion": one.object.get("apiVersion"), "kind": one.key.kind, "metadata": metadata}
            self.own_objects[one.key] = known

    # snapshots

    def by_numbers(self, expected: Sequence[Expected]) -> Snapshot:
        """Return a release's own objects; their controllers' numbers have to do."""
        keys = [one.key for one in expected]
        objects = {key: self.own_objects[key] for key in keys if key in self.own_objects}
        unreadable = {key.kind: why for key in keys if (why := self.unreadable.get((key.kind, key.namespace)))}
        return Snapshot(self.at, objects, unreadable=unreadable, left_out=dict.fromkeys(_OF_PODS, 1))

    def has_pods(self, expected: Sequence[Expected]) -> bool:
        """Return whether what belongs to a release has been read."""
        return any(("Event", one.key.namespace) in {*self.listed, *self.unreadable} for one in expected)

    def whole(self, expected: Sequence[Expected]) -> Snapshot:
        """Return a release's own objects with all that belongs to them."""
        namespaces = {one.key.namespace for one in expected}
        store = Store(expected)
        for (_, namespace), items in list(self.listed.items()):  # a late answer may add to it
            for item in items if namespace in namespaces else ():
                store.apply("ADDED", item)
        for (kind, namespace), why in list(self.unreadable.items()):
            if namespace in namespaces:
                store.set_unreadable(kind, why, namespace)
        for one in expected:
            if one.key in self.own_objects:
                store.apply("ADDED", self.own_objects[one.key])
        return store.snapshot(self.at)


def late(seconds: float) -> str:
    """Return why something is not known that was not read in time."""
    return f"no answer within {seconds:g} s"


def _why(error: KubernautError, one: Expected, verb: str) -> str:
    if isinstance(error, ClusterDenied):
        known = RESOURCES.get(one.key.kind) if one.is_builtin else None
        return f"no right to {verb} {known.plural if known else f'{one.key.kind} objects'}"
    if isinstance(error, NotFound):
        return f"the cluster does not serve {one.key.kind} of {one.object.get('apiVersion')}"
    return error.message


def at_once(calls: Sequence[Callable[[], None]], seconds: float) -> frozenset[int]:
    """Make calls, several at a time, and return the numbers of those that have ended in time; the others are abandoned."""
    left = deque(enumerate(calls))
    done: set[int] = set()
    failures: list[Exception] = []

    def work() -> None:
        while left and not failures:
            with suppress(IndexError):  # another thread took the last one
                number, call = left.popleft()
                try:
                    call()
                except Exception as defect:  # noqa: BLE001 - raised below
                    failures.append(defect)
                done.add(number)

    # A new connection takes longer than a few requests on an open one.
    count = min(_MOST_THREADS, -(-len(calls) // _PER_THREAD))
    threads = [threading.Thread(target=work, daemon=True, name=f"kubernaut-read-{number}") for number in range(count)]
    until = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    left.clear()
    if failures:
        raise failures[0]
    return frozenset(done)
