"""The invariants of a release's history after every fault, checked on the Secrets themselves.

A ``Snapshot`` is the current state, decoded without kubernaut's code, so that a defect there does not hide here. ``Watched``
remembers earlier states. ``Watched.broken`` is pure: it returns a line for each broken invariant, which begins with its name.

I1  at most one record is ``deployed``, by label and by content
I2  revisions only grow, and a revision stays the same release
I3  an operation that succeeded has its record, with its label and its chart's digest
I4  nothing is pending or uninstalling once a recovery ran, and no lock and no copy set aside is left
I5  no operation made two records
I6  no record is lost but those that ``history_max`` prunes
I7  the two statuses of a record are the same
I8  no operation is without an outcome once a recovery ran
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernaut.errors import NotFound
from support.api_calls import call_api

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_RECORD = "sh.helm.release.v1."
_ASIDE = "kubernaut.aside."
_ENDS = {"status", "description", "deleted", "notes"}
_UNFINISHED = ("pending-install", "pending-upgrade", "pending-rollback", "uninstalling")
_RAN = ("deployed", "superseded", "uninstalling", "uninstalled")


@dataclass(frozen=True)
class Seen:
    """A record: ``identity`` is a digest of its unchanging parts, and empty where it cannot be decoded."""

    revision: int
    uid: str
    label: str
    status: str
    identity: str
    operation: str = ""
    own: bool = False


@dataclass(frozen=True)
class Attempted:
    """An operation; ``made`` are its releases as uid, revision and chart digest."""

    id: str
    verb: str
    outcome: str
    digest: str = ""
    made: tuple[tuple[str, int, str], ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The state of a release, oldest record first."""

    records: tuple[Seen, ...]
    operations: tuple[Attempted, ...] = ()
    aside: tuple[int, ...] = ()
    lease: Mapping[str, Any] | None = None

    @property
    def current(self) -> Seen:
        """The record with the highest revision."""
        return self.records[-1]

    def __str__(self) -> str:
        records = ", ".join(f"v{one.revision} {one.status}" for one in self.records)
        operations = ", ".join(f"{one.verb} {one.outcome or 'without an outcome'}" for one in self.operations)
        return f"records: {records}; operations: {operations}; aside: {self.aside}; lock: {self.lease is not None}"


def look(cluster: Cluster, namespace: str, name: str) -> Snapshot:
    """Read the state of a release."""
    secrets = cluster.list_secrets(namespace, {"name": name, "owner": ("helm", "kubernaut")})
    try:
        lease = call_api(cluster, "GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/kubernaut.{name}")
    except NotFound:
        lease = None
    return snapshot(secrets, lease)


def snapshot(secrets: Iterable[Mapping[str, Any]], lease: Mapping[str, Any] | None = None) -> Snapshot:
    """Return the state that Secrets describe, as the API returns them."""
    by_name = {str(secret["metadata"]["name"]): secret for secret in secrets}
    records = [_record(secret) for name, secret in by_name.items() if name.startswith(_RECORD)]
    aside = [int(name.rpartition(".v")[2]) for name in by_name if name.startswith(_ASIDE)]
    operations = [_operation(secret) for secret in by_name.values() if "operation" in (secret.get("data") or {})]
    return Snapshot(
        tuple(sorted(records, key=lambda one: one.revision)),
        tuple(sorted(operations, key=lambda one: one.id)),
        tuple(sorted(aside)),
        lease,
    )


@dataclass
class Watched:
    """The states seen so far.

    Attributes:
        identities: The identity of each record by revision.
        highest: The highest revision that was ever seen.
    """

    identities: dict[int, str] = field(default_factory=dict)
    highest: int = 0

    def remember(self, now: Snapshot) -> None:
        """Remember a state as the last one seen."""
        self.identities = {one.revision: one.identity or self.identities.get(one.revision, "") for one in now.records}
        self.highest = max([self.highest, *self.identities])

    def forget(self, revision: int) -> None:
        """Do not miss a record that the test itself took away."""
        self.identities.pop(revision, None)

    def broken(self, now: Snapshot, *, recovered: bool = False, history_max: int = 50) -> list[str]:
        """Return the broken invariants.

        Args:
            now: The state.
            recovered: Whether an operation has ended since the fault, and so put everything in order.
            history_max: How many records Helm keeps.
        """
        found = [
            *_deployed(now),
            *self._revisions(now),
            *_succeeded(now),
            *_twice(now),
            *self._lost(now, history_max),
            *_differ(now),
        ]
        return found + (list(_unfinished(now)) if recovered else [])

    def _revisions(self, now: Snapshot) -> Iterator[str]:
        for one in now.records:
            known = self.identities.get(one.revision)
            if known is None and one.revision <= self.highest:
                yield f"I2: v{one.revision} is new, and v{self.highest} was there before"
            elif known and one.identity and one.identity != known:
                yield f"I2: v{one.revision} is another release than it was"
        revisions = [one.revision for one in now.records]
        if len(set(revisions)) != len(revisions):
            yield f"I2: a revision is there twice: {revisions}"

    def _lost(self, now: Snapshot, history_max: int) -> Iterator[str]:
        there = {one.revision for one in now.records} | set(now.aside)
        lost = sorted(set(self.identities) - there)
        pruned = len(there) >= history_max and all(revision < min(there) for revision in lost)
        if lost and not pruned:
            yield f"I6: lost are {', '.join(f'v{revision}' for revision in lost)}; there are {sorted(there)}"


def _deployed(now: Snapshot) -> Iterator[str]:
    for what, revisions in (
        ("label", [one.revision for one in now.records if one.label == "deployed"]),
        ("content", [one.revision for one in now.records if one.status == "deployed"]),
    ):
        if len(revisions) > 1:
            yield f"I1: by {what} these are deployed: {revisions}"


def _succeeded(now: Snapshot) -> Iterator[str]:
    by_uid = {one.uid: one for one in now.records}
    by_revision = {one.revision: one for one in now.records}
    oldest = min(by_revision, default=0)
    for operation in now.operations:
        if operation.outcome != "succeeded" or operation.verb == "delete":
            continue
        if not operation.made:
            yield f"I3: {operation.verb} {operation.id} succeeded and made nothing"
        for uid, revision, digest in operation.made:
            record = by_uid.get(uid) or by_revision.get(revision)  # a recreated record has another uid
            if record is None and revision < oldest:
                continue  # pruned
            yield from _made(operation, record, revision, digest)


def _made(operation: Attempted, record: Seen | None, revision: int, digest: str) -> Iterator[str]:
    who = f"I3: {operation.verb} {operation.id} succeeded, and"
    if record is None:
        yield f"{who} v{revision} is not there"
        return
    if record.status not in _RAN:
        yield f"{who} v{revision} is {record.status}"
    if operation.verb == "deploy" and not (record.own and record.operation == operation.id):
        yield f"{who} v{revision} has another's label"
    if not digest or digest != operation.digest:
        yield f"{who} v{revision} has the chart {digest or 'of no digest'} instead of {operation.digest}"


def _twice(now: Snapshot) -> Iterator[str]:
    owners: dict[str, int] = {}
    for one in now.records:
        if one.own and one.operation:
            if one.operation in owners:
                yield f"I5: {one.operation} made v{owners[one.operation]} and v{one.revision}"
            owners[one.operation] = one.revision


def _differ(now: Snapshot) -> Iterator[str]:
    for one in now.records:
        if one.identity and one.label != one.status:
            yield f"I7: v{one.revision} is {one.label} by label and {one.status} by content"


def _unfinished(now: Snapshot) -> Iterator[str]:
    for one in now.records:
        if one.status in _UNFINISHED or one.label in _UNFINISHED:
            yield f"I4: v{one.revision} is {one.status}"
    if now.lease is not None:
        yield f"I4: the lock is held by {now.lease.get('spec', {}).get('holderIdentity')}"
    if now.aside:
        yield f"I4: copies are left of {list(now.aside)}"
    for operation in now.operations:
        if not operation.outcome:
            yield f"I8: {operation.verb} {operation.id} has no outcome"


def _record(secret: Mapping[str, Any]) -> Seen:
    metadata = secret["metadata"]
    labels = metadata.get("labels") or {}
    revision = int(str(metadata["name"]).rpartition(".v")[2])
    content = _content(base64.b64decode(str((secret.get("data") or {}).get("release", ""))))
    info = content.get("info") or {}
    return Seen(
        revision=revision,
        uid=str(metadata["uid"]),
        label=str(labels.get("status", "")),
        status=str(info.get("status", labels.get("status", ""))),
        identity=_identity(content) if content else "",
        operation=str(labels.get("kubernaut/operation", "")),
        own=labels.get("kubernaut/revision") == str(revision),
    )


def _identity(content: Mapping[str, Any]) -> str:
    """Return the digest of the parts of a record that no verb changes: all but its status and its hooks' results."""
    info = {key: value for key, value in (content.get("info") or {}).items() if key not in _ENDS}
    chart = (content.get("chart") or {}).get("metadata")
    kept = [content.get("name"), content.get("version"), chart, content.get("config"), content.get("manifest"), info]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _operation(secret: Mapping[str, Any]) -> Attempted:
    content = _content(secret["data"]["operation"])
    made: Sequence[Mapping[str, Any]] = content.get("made") or ()
    return Attempted(
        id=str(content.get("id", secret["metadata"]["name"])),
        verb=str(content.get("verb", "")),
        outcome=str((content.get("outcome") or {}).get("reason", "")),
        digest=str((content.get("chart") or {}).get("digest", "")),
        made=tuple((str(one["uid"]), int(one["revision"]), str((one.get("chart") or {}).get("digest", ""))) for one in made),
    )


def _content(encoded: str | bytes) -> Mapping[str, Any]:
    """Decode base64, gzip and JSON; empty if that fails."""
    try:
        content = json.loads(gzip.decompress(base64.b64decode(encoded)))
    except (OSError, EOFError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
