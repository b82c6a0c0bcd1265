"""Reads the health of releases, of one or of thousands, in few requests at a time.

The objects of the manifests come first: by name for few of them, else as one list of each kind in a namespace or in the whole
cluster. What the controllers report about their pods is enough for a release that is well. Only for the others the pods, and what
belongs to them, are read. What cannot be read makes no error: it is the reason of the health ``unknown``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cachetools import LRUCache

from kubernaut.adapters.kube_http import ResourceExpired
from kubernaut.adapters.kube_resources import RESOURCES, Resource
from kubernaut.errors import ClusterDenied, KubernautError, NotFound
from kubernaut.history.explanation import clean
from kubernaut.history.masking import known_secrets
from kubernaut.history.records import Record, decode, secret_name
from kubernaut.history.releases import HealthStatus, Release, ReleaseHealth, ReleaseId, ReleaseList
from kubernaut.history.store import HistoryStore
from kubernaut.rollout.health import Subject, health_of, subject_of
from kubernaut.rollout.needs import kinds_to_watch
from kubernaut.rollout.objects import Expected, Object, ObjectKey, metadata_of
from kubernaut.rollout.rules import rules_from
from kubernaut.rollout.store import Snapshot, Store

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.settings import Settings

_SECONDS = 10.0
_MOST_SUBJECTS = 2_000
_MOST_BY_NAME = 20
_MOST_LISTS = 3
_MOST_NAMESPACES = 20
_MOST_EXAMINED = 50
_PAGE_SIZE = 500
_MOST_PAGES = 20
_MOST_THREADS = 6
_PER_THREAD = 3
_OF_PODS = ("Pod", "ReplicaSet", "EndpointSlice")
_OWNED = ("Pod", "ReplicaSet", "PersistentVolumeClaim")
_UNWELL = (HealthStatus.DEGRADED, HealthStatus.PROGRESSING)

_Place = tuple[str, str]
"""A kind, and a namespace."""
_Named = tuple[Resource, str, str]
"""A resource, a namespace (empty for an object of the cluster), and a name."""


class HealthReader:
    """Reads the health of releases; for several threads.

    Args:
        store: The release history.
        cluster: Opens the cluster.
        settings: The settings, with the rules of rollouts.
    """

    def __init__(self, store: HistoryStore, cluster: Callable[[], Cluster], settings: Settings) -> None:
        self._store = store
        self._open = cluster
        self._settings = settings
        self._subjects: LRUCache[str, Subject] = LRUCache(_MOST_SUBJECTS)
        self._lock = threading.Lock()

    def list(self, namespace: str | None = None, *, all: bool = False) -> ReleaseList:
        """Return the releases that :meth:`HistoryStore.list` returns, with their health."""
        items = self.add(self._store.list_records(namespace, all=all))
        return ReleaseList(items=items, count=len(items))

    def release(self, wanted: ReleaseId) -> Release:
        """Return a release with its health. Raises: ReleaseNotFound."""
        history = self._store.get(wanted.namespace, wanted.name)
        record = history.record(wanted)
        return self.add([(history.release(record), record)])[0]

    def health(self, record: Record, *, quick: bool = False) -> ReleaseHealth:
        """Return the health of a record.

        Args:
            record: The record.
            quick: Look at its pods only if it is not well by what their controllers report.
        """
        return self._read({record.uid: self._subject(record)}, {record.uid: record}, quick=quick)[record.uid]

    def add(self, releases: Iterable[tuple[Release, Record | None]]) -> tuple[Release, ...]:
        """Return releases with their health, in the same order.

        Args:
            releases: Each release, and its record if that is at hand; else it is read.
        """
        subjects: dict[str, Subject] = {}
        records: dict[str, Record] = {}
        unread: list[Release] = []
        found: list[Release] = []
        for release, record in releases:  # one at a time, because a manifest that was just read is at hand
            found.append(release)
            if release.has_objects and record is not None:
                subjects[release.uid], records[release.uid] = self._subject(record), record
            elif release.has_objects:
                unread.append(release)
        subjects |= self._subjects_of(unread)
        health = self._read(subjects, records, quick=len(subjects) > 1)
        return tuple(one.model_copy(update={"health": health[one.uid]}) if one.uid in health else one for one in found)

    def _subject(self, record: Record) -> Subject:
        return subject_of(record, lambda annotations: rules_from(self._settings, annotations)[0])

    def _subjects_of(self, releases: Sequence[Release]) -> dict[str, Subject]:
        """Return the subjects of releases whose records are not at hand; a record's objects never change."""
        with self._lock:
            found = {one.uid: self._subjects[one.uid] for one in releases if one.uid in self._subjects}

        def read(release: Release) -> None:
            try:
                secret = self._open().get_secret(release.namespace, secret_name(release.name, release.revision))
                record = decode(secret) if secret is not None else None
            except KubernautError as error:
                found[release.uid] = Subject(unread=f"the record of {release.id} cannot be read: {error.message}")
                return
            if record is None or record.uid != release.uid:
                found[release.uid] = Subject(unread=f"the record of {release.id} does not exist any more")
                return
            found[release.uid] = replace(self._subject(record), secrets=known_secrets(record))
            with self._lock:
                self._subjects[release.uid] = found[release.uid]

        _at_once([lambda release=release: read(release) for release in releases if release.uid not in found])  # type: ignore[misc]
        return found

    def _read(self, subjects: Mapping[str, Subject], records: Mapping[str, Record], *, quick: bool) -> Mapping[str, ReleaseHealth]:
        """Return the health of subjects, by the UIDs of their records; in reasons the secrets of those records are masked."""
        found = self._examine(subjects, quick=quick)

        def secrets(uid: str) -> tuple[str, ...]:
            return known_secrets(records[uid]) if uid in records else subjects[uid].secrets

        return {
            uid: ReleaseHealth(status=health.status, reason=clean(health.reason, secrets(uid))) if health.reason else health
            for uid, health in found.items()
        }

    def _examine(self, subjects: Mapping[str, Subject], *, quick: bool) -> Mapping[str, ReleaseHealth]:
        if not any(subject.expected for subject in subjects.values()):
            return {uid: health_of(subject, Snapshot(datetime.now(UTC))) for uid, subject in subjects.items()}
        reading = _Reading(self._open())
        expected = [one for subject in subjects.values() for one in subject.expected]
        _at_once([*reading.own(expected), *([] if quick else reading.belonging(expected))])
        examined = list(subjects)
        found: dict[str, ReleaseHealth] = {}
        if quick:
            found = {uid: health_of(subject, reading.by_numbers(subject)) for uid, subject in subjects.items()}
            examined = [uid for uid, health in found.items() if health.status in _UNWELL][:_MOST_EXAMINED]
            _at_once(reading.belonging([one for uid in examined for one in subjects[uid].expected]))
        for uid in examined:
            if not quick or reading.has_pods(subjects[uid]):
                found[uid] = health_of(subjects[uid], reading.whole(subjects[uid]))
        return found


@dataclass
class _Reading:
    """What is read of the cluster at one time."""

    cluster: Cluster
    own_objects: dict[ObjectKey, Object] = field(default_factory=dict)
    listed: dict[_Place, list[Object]] = field(default_factory=dict)
    unreadable: dict[_Place, str] = field(default_factory=dict)

    @property
    def at(self) -> datetime:
        return self.cluster.server_time or datetime.now(UTC)

    # requests

    def own(self, expected: Sequence[Expected]) -> list[Callable[[], None]]:
        """Return the requests for the objects of manifests."""
        kinds: dict[tuple[str, str, str], list[Expected]] = {}
        for one in expected:
            kinds.setdefault((one.key.group, str(one.object.get("apiVersion")), one.key.kind), []).append(one)
        by_name = len(expected) <= _MOST_BY_NAME
        if by_name:
            return [lambda one=one: self._get(one) for one in expected]  # type: ignore[misc]
        return [lambda wanted=wanted: self._list_own(wanted) for wanted in kinds.values()]  # type: ignore[misc]

    def belonging(self, expected: Sequence[Expected]) -> list[Callable[[], None]]:
        """Return the requests for what belongs to the objects of manifests: pods, and what explains their state."""
        own = {(one.key.kind, one.key.namespace) for one in expected if one.key.kind not in _OWNED}
        needs = [need for need in kinds_to_watch(expected) if (need.resource.kind, need.namespace) not in own]
        namespaces = list(dict.fromkeys(need.namespace for need in needs))[:_MOST_NAMESPACES]
        chosen = [need for need in needs if need.namespace in namespaces]
        return [lambda need=need: self._list(need.resource, need.namespace) for need in chosen]  # type: ignore[misc]

    def _get(self, one: Expected) -> None:
        key = one.key
        place = f"{key} in {key.namespace}"
        try:
            item = self.cluster.get_object(self._resource(one), key.namespace, key.name, timeout=_SECONDS)
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
            page = self.cluster.list_objects(resource, namespace, limit=_PAGE_SIZE, continue_token=token, timeout=_SECONDS)
            items += page.items
            token = page.continue_token
            if not token:
                break
        return items, not token

    def _resource(self, one: Expected) -> Resource:
        known = RESOURCES.get(one.key.kind) if one.is_builtin else None
        return known or self.cluster.find_resource(str(one.object.get("apiVersion")), one.key.kind)

    def _keep(self, one: Expected, item: Object | None) -> None:
        """Keep an object under the manifest's identity, which has a namespace also where the kind has none."""
        if item is not None:
            metadata = {**metadata_of(item), "namespace": one.key.namespace, "name": one.key.name}
            known = {**item, "apiVersion": one.object.get("apiVersion"), "kind": one.key.kind, "metadata": metadata}
            self.own_objects[one.key] = known

    # snapshots

    def by_numbers(self, subject: Subject) -> Snapshot:
        """Return a release's own objects; their controllers' numbers have to do."""
        keys = [one.key for one in subject.expected]
        objects = {key: self.own_objects[key] for key in keys if key in self.own_objects}
        unreadable = {key.kind: why for key in keys if (why := self.unreadable.get((key.kind, key.namespace)))}
        return Snapshot(self.at, objects, unreadable=unreadable, left_out=dict.fromkeys(_OF_PODS, 1))

    def has_pods(self, subject: Subject) -> bool:
        """Return whether what belongs to a release has been read."""
        return any(("Event", one.key.namespace) in {*self.listed, *self.unreadable} for one in subject.expected)

    def whole(self, subject: Subject) -> Snapshot:
        """Return a release's own objects with all that belongs to them."""
        namespaces = {one.key.namespace for one in subject.expected}
        store = Store(subject.expected)
        for (_, namespace), items in self.listed.items():
            for item in items if namespace in namespaces else ():
                store.apply("ADDED", item)
        for (kind, namespace), why in self.unreadable.items():
            if namespace in namespaces:
                store.set_unreadable(kind, why, namespace)
        for one in subject.expected:
            if one.key in self.own_objects:
                store.apply("ADDED", self.own_objects[one.key])
        return store.snapshot(self.at)


def _why(error: KubernautError, one: Expected, verb: str) -> str:
    if isinstance(error, ClusterDenied):
        known = RESOURCES.get(one.key.kind) if one.is_builtin else None
        return f"no right to {verb} {known.plural if known else f'{one.key.kind} objects'}"
    if isinstance(error, NotFound):
        return f"the cluster does not serve {one.key.kind} of {one.object.get('apiVersion')}"
    return error.message


def _at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Make calls, several at a time: a new connection takes longer than a few requests on an open one."""
    left = deque(calls)
    failures: list[Exception] = []

    def work() -> None:
        while left and not failures:
            with suppress(IndexError):  # another thread took the last one
                call = left.popleft()
                try:
                    call()
                except Exception as defect:  # noqa: BLE001 - raised below
                    failures.append(defect)

    count = min(_MOST_THREADS, -(-len(calls) // _PER_THREAD))
    threads = [threading.Thread(target=work, daemon=True, name=f"kubernaut-health-{number}") for number in range(1, count)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
