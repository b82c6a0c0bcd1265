"""Reads the health of releases, of one or of thousands, in few requests at a time.

The objects of the manifests come first: by name for few of them, else as one list of each kind in a namespace or in the whole
cluster. For a release that is well the numbers that controllers report about their pods are enough. Only for the others the pods,
and the objects that belong to them, are read. A resource that cannot be read is not an error: it is the reason of the health
``unknown``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from cachetools import LRUCache

from kubernaut.errors import KubernautError
from kubernaut.history.explanation import clean
from kubernaut.history.masking import known_secrets
from kubernaut.history.records import Record, decode, secret_name
from kubernaut.history.releases import HealthStatus, Release, ReleaseHealth, ReleaseId, ReleaseList
from kubernaut.history.store import HistoryStore
from kubernaut.rollout.drift import Changed, compare, is_replicas, restored, without_scaled
from kubernaut.rollout.field_managers import Path
from kubernaut.rollout.health import Subject, health_of, subject_of, with_drift
from kubernaut.rollout.objects import Expected, ObjectKey
from kubernaut.rollout.reading import Reading, at_once, late
from kubernaut.rollout.rules import rules_from
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.workloads import is_judged

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster
    from kubernaut.settings import Settings

_MOST_SUBJECTS = 2_000
_MOST_COMPARED = 20
_MOST_EXAMINED = 50
_MOST_APPLIED = 20
_UNWELL = (HealthStatus.DEGRADED, HealthStatus.PROGRESSING)


class HealthReader:
    """Reads the health of releases; for several threads.

    Args:
        store: The release history.
        cluster: Opens the cluster.
        settings: The settings, with the rules of rollouts.
        seconds: How long to wait for the cluster; what has not been read then is unknown.
    """

    def __init__(self, store: HistoryStore, cluster: Callable[[], Cluster], settings: Settings, *, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._store = store
        self._open = cluster
        self._settings = settings
        self._subjects: LRUCache[str, Subject] = LRUCache(_MOST_SUBJECTS)
        self._compared: LRUCache[str, Subject] = LRUCache(_MOST_COMPARED)
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
        """Return the health of a record, with what others changed.

        Args:
            record: The record.
            quick: Look at its pods only if it is not well by what their controllers report.
        """
        return self._read({record.uid: self._subject(record, compare=True)}, {record.uid: record}, quick=quick)[record.uid]

    def add(self, releases: Iterable[tuple[Release, Record | None]]) -> tuple[Release, ...]:
        """Return releases with their health, in the same order; that of a single one with what others changed.

        Args:
            releases: Each release, and its record if that is at hand; else it is read.
        """
        subjects: dict[str, Subject] = {}
        records: dict[str, Record] = {}
        unread: list[Release] = []
        found: list[Release] = []
        waiting = iter(releases)
        first = list(islice(waiting, 2))
        for release, record in chain(first, waiting):  # one at a time, because a manifest that was just read is at hand
            found.append(release)
            if release.has_objects and record is not None:
                subjects[release.uid], records[release.uid] = self._subject(record, compare=len(first) == 1), record
            elif release.has_objects:
                unread.append(release)
        subjects |= self._subjects_of(unread, compare=len(first) == 1)
        health = self._read(subjects, records, quick=len(subjects) > 1)
        return tuple(one.model_copy(update={"health": health[one.uid]}) if one.uid in health else one for one in found)

    def _subject(self, record: Record, *, compare: bool = False) -> Subject:
        return subject_of(record, lambda annotations: rules_from(self._settings, annotations)[0], compare=compare)

    def _subjects_of(self, releases: Sequence[Release], *, compare: bool) -> dict[str, Subject]:
        """Return the subjects of releases whose records are not at hand; a record's objects never change."""
        kept = self._compared if compare else self._subjects
        with self._lock:
            found = {one.uid: kept[one.uid] for one in releases if one.uid in kept}

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
            found[release.uid] = replace(self._subject(record, compare=compare), secrets=known_secrets(record))
            with self._lock:
                kept[release.uid] = found[release.uid]

        at_once([partial(read, release) for release in releases if release.uid not in found], self._seconds)
        return {
            one.uid: Subject(unread=f"the record of {one.id} cannot be read: {late(self._seconds)}") for one in releases
        } | found

    def _read(self, subjects: Mapping[str, Subject], records: Mapping[str, Record], *, quick: bool) -> Mapping[str, ReleaseHealth]:
        """Return the health of subjects, by the UIDs of their records; in reasons the secrets of those records are masked."""
        found = self._examine(subjects, quick=quick)

        def secrets(uid: str) -> tuple[str, ...]:
            return known_secrets(records[uid]) if uid in records else subjects[uid].secrets

        return {
            uid: health.model_copy(update={"reason": clean(health.reason, secrets(uid))}) if health.reason else health
            for uid, health in found.items()
        }

    def _examine(self, subjects: Mapping[str, Subject], *, quick: bool) -> Mapping[str, ReleaseHealth]:
        if not any(subject.expected or subject.compared for subject in subjects.values()):
            return {uid: health_of(subject, Snapshot(datetime.now(UTC))) for uid, subject in subjects.items()}
        reading = Reading(self._open(), self._seconds)
        expected = [one for subject in subjects.values() for one in subject.expected]
        others = [one for subject in subjects.values() for one in subject.compared if not is_judged(one.key)]
        reading.run([*reading.own(expected), *reading.named(others), *([] if quick else reading.belonging(expected))])
        examined = list(subjects)
        found: dict[str, ReleaseHealth] = {}
        if quick:
            found = {uid: health_of(subject, reading.by_numbers(subject.expected)) for uid, subject in subjects.items()}
            examined = [uid for uid, health in found.items() if health.status in _UNWELL][:_MOST_EXAMINED]
            reading.run(reading.belonging([one for uid in examined for one in subjects[uid].expected]))
        for uid in examined:
            if not quick or reading.has_pods(subjects[uid].expected):
                found[uid] = health_of(subjects[uid], reading.whole(subjects[uid].expected))
        return {uid: with_drift(health, _changes(subjects[uid], reading)) for uid, health in found.items()}


def _changes(subject: Subject, reading: Reading) -> tuple[Changed, ...]:
    """Return what others changed; the replicas only if it is known that no HorizontalPodAutoscaler sets them."""
    expected = [one for one in subject.compared if reading.is_read(one)]
    compared = compare(expected, reading.own_objects)
    found = (*compared.changed, *_removed(expected, compared.missing, reading))
    found = tuple(change for change in found if change.field or not is_judged(change.object))  # a missing workload is unhealthy
    found = without_scaled(found, subject.scalers)
    scaled = [change.object.namespace for change in found if is_replicas(change)]
    if not scaled:
        return found
    scalers = reading.scalers(scaled)
    return without_scaled(found, scalers) if scalers is not None else tuple(one for one in found if not is_replicas(one))


def _removed(expected: Sequence[Expected], missing: Mapping[ObjectKey, tuple[Path, ...]], reading: Reading) -> Iterator[Changed]:
    """Yield the fields that others removed, where only the API server can say so: it is asked what applying would restore."""
    asked = [one for one in expected if one.key in missing][:_MOST_APPLIED]
    applied = reading.applied(asked)
    for one in asked:
        yield from restored(one, missing[one.key], applied.get(one.key, {}))
