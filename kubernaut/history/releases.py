"""Releases and their IDs, described from Helm's records, their manifests and kubernaut's operations. Pure.

Who made a release, why and from which chart is in its operation. An operation counts only if the record's label is its own: plain
``helm upgrade`` and ``helm rollback`` copy labels to later revisions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeVar

from pydantic import Field

from kubernaut.ci import CiBuild, build_from_annotations
from kubernaut.errors import NameInvalid, ReleaseNotFound
from kubernaut.history.explanation import Evidence
from kubernaut.history.manifest import manifest_images, manifest_of
from kubernaut.history.operations import UNREAD, Operation, ReleaseReference
from kubernaut.history.records import GONE, PENDING, Record, Status, parse_time
from kubernaut.models import Model, check_namespace, check_release_name

ROLLED_BACK = "rolled_back"
"""The reason in the outcome of a release that was made because the one before it failed."""

_REVISION = re.compile(r"v(0|[1-9][0-9]{0,8})")
_COMMIT = "org.opencontainers.image.revision"
_REPOSITORY = "org.opencontainers.image.source"


class ReleaseChart(Model):
    """The chart of a release; ``ref`` and ``digest`` only where kubernaut deployed it."""

    name: str | None = None
    version: str | None = None
    ref: str | None = None
    digest: str | None = None


class ReleaseImage(Model):
    """An image that a release runs; ``digest`` where the manifest pins one."""

    ref: str
    digest: str | None = None


class ReleaseSource(Model):
    """The source in the chart's annotations."""

    commit: str | None = None
    repository: str | None = None


class ReleaseOutcome(Model):
    """The outcome of the operation that made the release.

    Attributes:
        cause: The code of what kept the release from being ready, such as ``image_not_found``, if that is known.
        evidence: The observations that explain it, of a single release; not in the JSON without any, nor in that of lists.
    """

    reason: str
    message: str
    cause: str | None = None
    evidence: tuple[Evidence, ...] = Field(default=(), exclude_if=lambda evidence: not evidence)


class HealthStatus(StrEnum):
    """The health of a release, in the words of Argo CD."""

    HEALTHY = "healthy"
    PROGRESSING = "progressing"
    DEGRADED = "degraded"
    MISSING = "missing"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class Drift(Model):
    """A field that the release's manifest sets, and that others changed in the cluster.

    Attributes:
        object: The object, such as ``Deployment web``.
        field: The path of the field, such as ``spec.replicas``; empty if the object does not exist.
        manager: The field manager that wrote it last; empty if that is not known.
        since: When it did.
    """

    object: str
    field: str = ""
    manager: str = ""
    since: datetime | None = None


class ReleaseHealth(Model):
    """The state of a release's objects at the moment when it is read.

    Attributes:
        status: The status of the object that is worst.
        reason: Why, in one sentence that names the object; empty for a healthy release of which everything could be read and that
            others did not change.
        drift: What others changed, of a single deployed release; not in the JSON if nothing.
    """

    status: HealthStatus
    reason: str = ""
    drift: tuple[Drift, ...] = Field(default=(), exclude_if=lambda drift: not drift)


class Release(Model):
    """One revision in Helm's release history.

    Attributes:
        serving: The newest deployed revision of its name.
        build: The CI build that deployed it, else the one that published its version; empty for neither.
        unread: Why its manifest cannot be read, such as ``line 812: …``; its images are unknown then. Not in the JSON if it can.
        health: Its health now; ``None`` where that was not read, and for a release without objects: :attr:`has_objects`.
        resource_version: That of its record; not in the JSON.
    """

    id: str
    uid: str
    namespace: str
    name: str
    revision: int
    status: str
    active: bool
    serving: int | None
    managed_by: Literal["kubernaut", "helm"]
    chart: ReleaseChart
    app_version: str | None
    images: tuple[ReleaseImage, ...]
    source: ReleaseSource
    build: CiBuild
    created_by: str | None
    note: str | None
    created_at: datetime | None
    updated_at: datetime | None
    deleted_at: datetime | None
    description: str
    outcome: ReleaseOutcome | None
    operation: str | None
    unread: str | None = Field(default=None, exclude_if=lambda unread: unread is None)
    health: ReleaseHealth | None = None
    resource_version: str = Field(default="", exclude=True)

    @property
    def etag(self) -> str:
        """The UID and the resource version, without quotes."""
        return f"{self.uid}-{self.resource_version}"

    @property
    def is_ready_late(self) -> bool:
        """Whether it failed, and its objects are ready now."""
        return self.status == Status.FAILED and self.health is not None and self.health.status is HealthStatus.HEALTHY

    @property
    def has_objects(self) -> bool:
        """Whether the objects in the cluster are its own: it is active, and Helm has ended its work on it."""
        return self.active and self.status not in PENDING


RecordOrRelease = TypeVar("RecordOrRelease", Record, Release)


class ReleaseList(Model):
    """A list of releases; it iterates over, counts and indexes its ``items``.

    Attributes:
        count: How many releases match; more than ``len()`` on a page of a longer list.
        next: The cursor of the next page; ``None`` on the last one.
    """

    items: tuple[Release, ...]
    count: int
    next: str | None = None

    def __iter__(self) -> Iterator[Release]:  # type: ignore[override]  # pydantic's yields pairs of field and value
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Release:
        return self.items[index]


class ReleaseHistoryList(ReleaseList):
    """The releases of one name; ``attempts`` are the operations that made none, which are not in the JSON."""

    attempts: tuple[Operation, ...] = Field(default=(), exclude=True)


@dataclass(frozen=True)
class ReleaseId:
    """The ID of a release; without a revision, of the current one."""

    namespace: str
    name: str
    revision: int | None = None

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}." + ("current" if self.revision is None else f"v{self.revision}")

    @classmethod
    def parse(cls, text: str) -> ReleaseId:
        """Parse ``NAMESPACE.NAME.vN``, ``NAMESPACE.NAME.current`` or ``NAMESPACE.NAME``. Raises: NameInvalid."""
        namespace, dot, rest = text.partition(".")
        if not dot:
            raise NameInvalid(f"{text!r} is not a valid release ID.", hint="Use NAMESPACE.NAME.vN, or give the namespace with -n.")
        return cls(check_namespace(namespace), *_name_and_revision(rest, text))

    @classmethod
    def resolve(cls, text: str, namespace: str | None = None, revision: int | None = None) -> ReleaseId:
        """Return the ID for an argument: an ID, or with ``namespace`` a name, which may have dots. Raises: NameInvalid."""
        first, *others = text.split(".")
        is_id = len(others) > 1 and first == namespace and (others[-1] == "current" or _REVISION.fullmatch(others[-1]))
        found = cls.parse(text) if namespace is None or is_id else cls(check_namespace(namespace), check_release_name(text))
        if revision is None:
            return found
        if found.revision not in (None, revision):
            raise NameInvalid(f"{text!r} and --revision {revision} name different releases.")
        return cls(found.namespace, found.name, revision)


def _name_and_revision(rest: str, text: str) -> tuple[str, int | None]:
    name, dot, last = rest.rpartition(".")
    if last == "current" and dot:
        return check_release_name(name), None
    if re.fullmatch(r"v[0-9]+", last):
        if not dot or not _REVISION.fullmatch(last):
            raise NameInvalid(f"{text!r} is not a valid release ID.", hint="Use NAMESPACE.NAME.vN.")
        return check_release_name(name), int(last[1:])
    return check_release_name(rest), None


def position(revisions: Sequence[int], wanted: ReleaseId) -> int:
    """Return the index of a release among the revisions of its name, newest first. Raises: ReleaseNotFound."""
    if not revisions:
        raise ReleaseNotFound(f"The release {wanted.name} does not exist in the namespace {wanted.namespace}.")
    if wanted.revision is None:
        return 0
    if wanted.revision in revisions:
        return revisions.index(wanted.revision)
    raise ReleaseNotFound(
        f"The release {wanted} does not exist; {wanted.name} has the revisions {revisions[-1]} to {revisions[0]}.",
        hint=f"`kubernaut history {wanted.name} -n {wanted.namespace}` lists them.",
        http_hint=f"`GET /api/releases/{wanted.namespace}.{wanted.name}.current/history` lists them.",
    )


def find_operation(record: Record, operations: Iterable[Operation]) -> tuple[Operation, ReleaseReference | None] | None:
    """Return the operation that made a record, and its reference to it; ``None`` for a record that kubernaut did not make.

    Of several it is the one with the record's label: one that adopted the record takes it over from the one that made it.
    """
    found = None
    for operation in operations:
        if (operation.namespace, operation.name) != (record.namespace, record.name) or operation.verb == "delete":
            continue
        made = next((made for made in operation.made if made.uid == record.uid), None)
        if operation.id == record.operation_id:
            return operation, made
        if made is not None and found is None:
            found = operation, made
    return found


def serving_revision(records: Sequence[Record]) -> int | None:
    """Return the newest deployed revision of a name's records; ``None`` once the current revision is uninstalled."""
    if not records or max(records, key=lambda record: record.revision).status == Status.UNINSTALLED:
        return None
    return max((record.revision for record in records if record.status == Status.DEPLOYED), default=None)


def last_deleted(releases: Sequence[RecordOrRelease]) -> RecordOrRelease | None:
    """Return the release that was deleted last, if nothing has run since: unfinished and failed restores do not count.

    Args:
        releases: All records or releases of a name, newest first.
    """
    newest = next((one for one in releases if one.status not in (*PENDING, Status.FAILED)), None)
    return newest if newest is not None and newest.status in GONE else None


def describe(record: Record, records: Sequence[Record], operations: Iterable[Operation]) -> Release:
    """Return a record as a release, without the evidence of its outcome; see :func:`with_evidence`.

    Args:
        record: The record.
        records: All records of its name, or at least the current one and the deployed ones.
        operations: The operations of its name; others are ignored.
    """
    found = find_operation(record, operations)
    operation, made = found or (None, None)
    known = (made.chart if made else None) or (operation.chart if operation else None)
    current = max(records, key=lambda other: other.revision, default=record)
    annotations = record.annotations
    version = record.chart.get("version")
    app_version = record.chart.get("appVersion")
    manifest = manifest_of(record)
    created = parse_time(record.deployed_at) or parse_time(record.created)
    return Release(
        id=record.id,
        uid=record.uid,
        namespace=record.namespace,
        name=record.name,
        revision=record.revision,
        status=record.status,
        active=record.revision == current.revision and record.status not in GONE,
        serving=serving_revision(records),
        managed_by="kubernaut" if operation else "helm",
        chart=ReleaseChart(
            name=record.chart.get("name"),
            version=None if version is None else str(version),
            ref=known.ref if known else None,
            digest=known.digest if known else None,
        ),
        app_version=None if app_version is None else str(app_version),
        images=tuple(_image(ref) for ref in manifest_images(manifest)),
        source=ReleaseSource(commit=annotations.get(_COMMIT), repository=annotations.get(_REPOSITORY)),
        build=(operation and operation.build) or build_from_annotations(annotations) or CiBuild(),
        created_by=operation.actor if operation else None,
        note=operation.note if operation else None,
        created_at=created,
        updated_at=max(filter(None, (created, parse_time(record.modified))), default=None),  # modified is in whole seconds
        deleted_at=parse_time(record.deleted_at),
        description=record.description or (f"damaged: {record.damaged}" if record.damaged else ""),
        outcome=_outcome(record, operation),
        operation=operation.id if operation else None,
        unread=manifest.problem,
        resource_version=record.resource_version,
    )


def _outcome(record: Record, operation: Operation | None) -> ReleaseOutcome | None:
    if operation is not None and operation.unread:
        return ReleaseOutcome(reason=UNREAD, message=operation.unread)
    outcome = operation.outcome if operation else None
    if operation is None or outcome is None:
        return None
    if len(operation.made) > 1 and operation.made[0].uid != record.uid:
        return ReleaseOutcome(reason=ROLLED_BACK, message=f"Made because {operation.made[0].id} failed.")
    return ReleaseOutcome(reason=outcome.reason, message=outcome.message, cause=outcome.cause)


def with_evidence(release: Release, operations: Iterable[Operation]) -> Release:
    """Return a release with the evidence of its outcome, from the operation that made it; without a cause it has none."""
    outcome = release.outcome
    operation = next((one for one in operations if one.id == release.operation), None)
    if outcome is None or outcome.cause is None or operation is None or operation.outcome is None:
        return release
    return release.model_copy(update={"outcome": outcome.model_copy(update={"evidence": operation.outcome.evidence})})


def _image(ref: str) -> ReleaseImage:
    _, _, digest = ref.partition("@")
    return ReleaseImage(ref=ref, digest=digest or None)
