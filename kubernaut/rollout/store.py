"""The objects of a release as they were seen, and the snapshots of it that all judgements are made from. Pure.

The store keeps the objects of the release only: those that its manifest names, and those whose owner or Service has such a name.
The exact owners are compared by UID when a snapshot is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from kubernaut.history.records import as_mapping
from kubernaut.rollout.objects import (
    Expected,
    Object,
    ObjectKey,
    created_at,
    is_deleted,
    key_of,
    labels_of,
    mappings,
    metadata_of,
    name_of,
    number,
    owner_uids,
    time_in,
    uid_of,
)

MOST_PODS = 200
MOST_EVENTS = 2_000
SERVICE_NAME = "kubernetes.io/service-name"
# A generated name has 63 characters at most: the beginning of its stem, and five random ones.
LONGEST_STEM = 58
_LONGEST_VERSION = 20

_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job")
_OWNED = ("Pod", "ReplicaSet", "Job")


@dataclass(frozen=True)
class Snapshot:
    """A release's objects as the cluster showed them at one moment.

    Attributes:
        at: The moment, by the cluster's clock.
        objects: The objects by identity.
        events: The events about an object by its UID, oldest first.
        unreadable: By kind, why its objects are not known: ``cannot read events in demo: no right to list events``.
        left_out: By kind, how many objects are not in it because there are too many.
        contact: When the cluster was heard last, by its clock: ``at`` while it is heard.
        disconnected: Why the cluster is not heard, so that what is known may be old; empty while it is heard.
        removed: The last state of each Job that is gone: one with ``ttlSecondsAfterFinished: 0`` is deleted as soon as it ends.
    """

    at: datetime
    objects: Mapping[ObjectKey, Object] = field(default_factory=dict)
    events: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    contact: datetime | None = None
    disconnected: str = ""
    removed: Mapping[ObjectKey, Object] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Sequence[Object]:
        """Return the objects of one of Kubernetes' own kinds, by namespace and name."""
        return self._by_kind.get(kind, ())

    def owned_by(self, owner: Object, kind: str) -> list[Object]:
        """Return the objects of a kind with this owner that are not being deleted, by name."""
        owned = self._by_owner.get(uid_of(owner), ())
        return [item for item in owned if item.get("kind") == kind and not is_deleted(item)]

    @cached_property
    def _by_kind(self) -> Mapping[str, Sequence[Object]]:
        found: dict[str, list[Object]] = {}
        for key in sorted(self.objects):
            if not key.group:
                found.setdefault(key.kind, []).append(self.objects[key])
        return found

    @cached_property
    def _by_owner(self) -> Mapping[str, Sequence[Object]]:
        found: dict[str, list[Object]] = {}
        for kind in _OWNED:
            for item in self.of_kind(kind):
                for uid in owner_uids(item):
                    found.setdefault(uid, []).append(item)
        return found

    def events_about(self, item: Object) -> Sequence[Object]:
        """Return the events about an object, oldest first."""
        return self.events.get(uid_of(item), ())

    def knows_all(self, kind: str) -> bool:
        """Return whether every object of the release of this kind is known."""
        return kind not in self.unreadable and not self.left_out.get(kind)


class Store:
    """The last known state of a release's objects.

    Args:
        expected: The objects of the manifest and its hooks.
    """

    def __init__(self, expected: Iterable[Expected] = ()) -> None:
        self._objects: dict[ObjectKey, Object] = {}
        self._pods: set[ObjectKey] = set()
        self._removed: dict[ObjectKey, Object] = {}
        self._events: dict[str, Object] = {}
        self._event_order: dict[str, tuple[float, int]] = {}
        self._left_out: dict[tuple[str, str], set[object]] = {}
        self._unreadable: dict[tuple[str, str], str] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._all_names: frozenset[str] = frozenset()
        self.expect(expected)

    def expect(self, expected: Iterable[Expected]) -> None:
        """Set the objects that the release consists of; what is known already stays."""
        names: dict[str, set[str]] = {}
        for one in expected:
            names.setdefault(one.key.kind, set()).add(one.key.name)
        self._names = {kind: frozenset(found) for kind, found in names.items()}
        self._all_names = frozenset().union(*self._names.values()) - {""} if names else frozenset()

    def replace(self, kind: str, items: Iterable[Object], namespace: str = "", group: str = "") -> None:
        """Set all objects of a kind, as a list returned them; the kind is readable again.

        Args:
            kind: The kind.
            items: Its objects; Kubernetes leaves their kind out of a list.
            namespace: The namespace of the list; empty for all namespaces.
            group: The API group of a kind that is not one of Kubernetes' own.
        """
        self.set_readable(kind, namespace)
        for place in [place for place in self._left_out if _is_within(place, kind, namespace)]:
            del self._left_out[place]
        if kind == "Event":
            for uid in [uid for uid, event in self._events.items() if namespace in ("", key_of(event).namespace)]:
                self._remove_event(uid)
        for key in [key for key in self._objects if _is_within((key.kind, key.namespace), kind, namespace) and key.group == group]:
            self._remove(key)
        for item in items:
            self.apply("ADDED", {"kind": kind, **item})

    def apply(self, change: str, item: Object) -> bool:
        """Apply a change that a watch reported; return whether the object belongs to the release.

        A change that is older than what is known of the object, as a list and a watch may cross, is left out.

        Args:
            change: ``ADDED``, ``MODIFIED`` or ``DELETED``.
            item: The object, with its kind.
        """
        if not self.belongs(item):
            return False
        key = key_of(item)
        if key.kind == "Event":
            self._apply_event(change, item)
        elif 0 < _version(item) < _version(self._objects.get(key, {})):
            return True
        elif change == "DELETED":
            self._remove(key)
            if key.kind == "Job":
                self._removed[key] = item
        else:
            self._objects[key] = item
            if key.kind == "Pod":
                self._add_pod(key)
        return True

    def set_unreadable(self, kind: str, why: str, namespace: str = "", group: str = "") -> None:
        """Note that the objects of a kind cannot be read, and forget those that were known; the arguments are as for a list."""
        self.replace(kind, (), namespace, group)
        self._unreadable[kind, namespace] = why

    def set_readable(self, kind: str, namespace: str = "") -> None:
        """Note that the objects of a kind can be read again."""
        for place in [place for place in self._unreadable if _is_within(place, kind, namespace)]:
            del self._unreadable[place]

    def belongs(self, item: Object) -> bool:
        """Return whether an object is one of the release's, by its name or its owner's name."""
        kind = str(item.get("kind"))
        if kind == "Event":
            return self._is_related(str(as_mapping(item.get("involvedObject")).get("name")))
        if name_of(item) in self._names.get(kind, ()):
            return True
        if kind == "EndpointSlice":
            return str(labels_of(item).get(SERVICE_NAME)) in self._names.get("Service", ())
        if kind == "PersistentVolumeClaim":
            return any(f"-{name}-" in name_of(item) for name in self._names.get("StatefulSet", ()))
        if kind in _OWNED:
            owners = mappings(metadata_of(item).get("ownerReferences"))
            return any(owner.get("kind") in _WORKLOADS and self._is_related(str(owner.get("name"))) for owner in owners)
        return False

    def snapshot(self, at: datetime) -> Snapshot:
        """Return the objects as they are known now."""
        events: dict[str, list[Object]] = {}
        for event in map(self._events.__getitem__, sorted(self._events, key=self._event_order.__getitem__)):
            events.setdefault(str(as_mapping(event.get("involvedObject")).get("uid")), []).append(event)
        left_out: Counter[str] = Counter()
        for (kind, _), found in self._left_out.items():
            left_out[kind] += len(found)
        unreadable = {kind: why for (kind, _), why in reversed(self._unreadable.items())}
        return Snapshot(at, dict(self._objects), events, unreadable, +left_out, removed=dict(self._removed))

    def _is_related(self, name: str) -> bool:
        """Return whether a name is an expected object's, or begins with one: ``web-7f9-x2`` is a pod of ``web``.

        Of a long name only the beginning is in a pod's name.
        """
        parts = name.split("-")
        if any("-".join(parts[:length]) in self._all_names for length in range(len(parts), 0, -1)):
            return True
        stem = name[:LONGEST_STEM]
        return len(stem) == LONGEST_STEM and any(expected.startswith(stem) for expected in self._all_names)

    def _add_pod(self, key: ObjectKey) -> None:
        """Note a pod; of too many, the oldest are left out, because the newest are of the newest revision."""
        self._pods.add(key)
        self._left_out.get(("Pod", key.namespace), set()).discard(key)
        while len(self._pods) > MOST_PODS:
            oldest = min(self._pods, key=lambda pod: _age_order(self._objects[pod]))
            self._remove(oldest)
            self._left_out.setdefault(("Pod", oldest.namespace), set()).add(oldest)

    def _remove(self, key: ObjectKey) -> None:
        self._objects.pop(key, None)
        self._pods.discard(key)
        self._left_out.get((key.kind, key.namespace), set()).discard(key)

    def _apply_event(self, change: str, event: Object) -> None:
        identity = uid_of(event) or name_of(event)
        self._remove_event(identity)
        if change == "DELETED":
            return
        self._events[identity], self._event_order[identity] = event, _event_order(event)
        while len(self._events) > MOST_EVENTS:
            oldest = min(self._event_order, key=self._event_order.__getitem__)
            namespace = key_of(self._events[oldest]).namespace
            self._remove_event(oldest)
            self._left_out.setdefault(("Event", namespace), set()).add(oldest)

    def _remove_event(self, identity: str) -> None:
        self._events.pop(identity, None)
        self._event_order.pop(identity, None)


def _is_within(place: tuple[str, str], kind: str, namespace: str) -> bool:
    """Return whether the objects of a kind and namespace are among those of another, where no namespace means all."""
    return place[0] == kind and namespace in ("", place[1])


def _version(item: Object) -> int:
    """Return the resource version of an object, a number that grows with each change; 0 for one that is not a number."""
    text = str(metadata_of(item).get("resourceVersion") or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_VERSION else 0


def _age_order(item: Object) -> tuple[float, str]:
    created = created_at(item)
    return created.timestamp() if created else 0.0, name_of(item)


def event_time(event: Object) -> datetime | None:
    """Return when an event happened last, by the cluster's clock."""
    series = as_mapping(event.get("series"))
    metadata = metadata_of(event)
    times = (time_in(event, "lastTimestamp"), time_in(series, "lastObservedTime"), time_in(event, "eventTime"))
    return next((time for time in times if time), None) or time_in(metadata, "creationTimestamp")


def event_count(event: Object) -> int:
    """Return how often an event happened."""
    return max(number(event, "count"), number(as_mapping(event.get("series")), "count"), 1)


def _event_order(event: Object) -> tuple[float, int]:
    """Order events by time, which has whole seconds, and within a second by their versions."""
    time = event_time(event)
    return time.timestamp() if time else 0.0, _version(event)
