"""Records and operations for tests of pure functions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubernaut.history.explanation import Evidence
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.operations import SUCCEEDED, Operation, OperationChart, Outcome, ReleaseReference
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL, Record, decode, encode
from kubernaut.history.repair import aside_secret
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.testing.cluster import FakeCluster

NAMESPACE, NAME = "demo", "hello"
DIGEST = "sha256:" + "a" * 64
STARTED = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def record_secret(
    revision: int,
    status: str,
    *,
    name: str = NAME,
    namespace: str = NAMESPACE,
    label: str | None = None,
    labels: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    version: str = "1.0.0",
    manifest: str = "",
    payload: str | None = None,
    immutable: bool = False,
    annotations: Mapping[str, str] | None = None,
    **info: str,
) -> dict[str, Any]:
    """Return a record's Secret, as the API has it."""
    content = {
        "name": name,
        "namespace": namespace,
        "version": revision,
        "info": {
            "status": status,
            "description": f"revision {revision}",
            "last_deployed": "2026-11-22T12:00:00.123456789+01:00",
            **info,
        },
        "chart": {
            "metadata": {"name": name, "version": version, "appVersion": version, "annotations": dict(annotations or {})},
            "values": dict(defaults or {}),
        },
        "config": dict(config or {}),
        "manifest": manifest,
    }
    system = {"name": name, "owner": "helm", "status": label or status, "version": str(revision)}
    return {
        "metadata": {
            "name": f"sh.helm.release.v1.{name}.v{revision}",
            "namespace": namespace,
            "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{namespace}.{name}.{revision}")),
            "resourceVersion": "1",
            "creationTimestamp": "2026-11-22T11:00:00Z",
            "labels": {**(labels or {}), **system},
        },
        "type": "helm.sh/release.v1",
        "data": {"release": encode(content) if payload is None else payload},
        **({"immutable": True} if immutable else {}),
    }


def record(revision: int, status: str, **fields: Any) -> Record:
    """Return a record."""
    decoded = decode(record_secret(revision, status, **fields))
    assert decoded is not None
    return decoded


def own(revision: int, status: str, operation: str = "op", **fields: Any) -> Record:
    """Return a record with the labels of kubernaut's operation."""
    return record(revision, status, labels={OPERATION_LABEL: operation, REVISION_LABEL: str(revision)}, **fields)


def operation(
    id: str = "op", *, verb: Any = "deploy", digest: str = DIGEST, reason: str | None = SUCCEEDED, **fields: Any
) -> Operation:
    """Return an operation."""
    return Operation(
        id=id,
        verb=verb,
        namespace=NAMESPACE,
        name=NAME,
        actor="ada",
        chart=OperationChart(version="1.0.0", ref=f"oci://r/hello@{digest}", digest=digest),
        started_at=STARTED,
        outcome=Outcome(reason=reason, message="") if reason else None,
        **fields,
    )


def made(of: Record, digest: str = DIGEST) -> ReleaseReference:
    """Return an operation's reference to a record."""
    return ReleaseReference(
        id=of.id, uid=of.uid, revision=of.revision, secret=of.secret, chart=OperationChart(version="1.0.0", digest=digest)
    )


def history(
    *records: Record,
    operations: tuple[Operation, ...] = (),
    aside: tuple[Record, ...] = (),
    read_at: datetime | None = None,
) -> ReleaseHistory:
    """Return records, newest first, and operations."""
    return ReleaseHistory(tuple(sorted(records, key=lambda record: -record.revision)), operations, aside, read_at)


def set_aside(revision: int, status: str, **fields: Any) -> Record:
    """Return a record as it is read from a copy that was set aside."""
    decoded = decode(aside_secret(record_secret(revision, status, **fields)))
    assert decoded is not None
    return decoded


EVIDENCE = (
    Evidence(kind="status", about="Deployment web", text="0 of 1 replicas are ready"),
    Evidence(kind="event", about="Pod web-7f9-x2", text="Back-off pulling image registry.example.com/web:9", count=12, at=STARTED),
    Evidence(kind="log", about="pod web-7f9-x2, container app", text="starting\n  cannot connect to db:5432"),
    Evidence(kind="unreadable", about="events", text="no right to list events"),
)
SENTENCE = "The image registry.example.com/web:9 does not exist."


def failed_operation(id: str = "op", *made_records: Record, **fields: Any) -> Operation:
    """Return a finished deploy that failed because of an image that does not exist, with evidence."""
    outcome = Outcome(reason="deploy_failed", message=SENTENCE, cause="image_not_found", evidence=EVIDENCE)
    references = tuple(map(made, made_records))
    return operation(id, made=references, finished_at=STARTED, **fields).model_copy(update={"outcome": outcome})


def write_rolled_back(cluster: FakeCluster, **fields: Any) -> None:
    """Write a name whose second revision failed and was rolled back, and that operation."""
    labels = {OPERATION_LABEL: "op", REVISION_LABEL: "2"}
    for secret in (
        record_secret(1, "superseded", **fields),
        record_secret(2, "failed", labels=labels, **fields),
        record_secret(3, "deployed", **fields),
    ):
        cluster.create_secret(NAMESPACE, secret)
    stored = HistoryStore(cluster).get(NAMESPACE, NAME).records  # type: ignore[arg-type]
    cluster.create_secret(NAMESPACE, operation_secret(failed_operation("op", *stored[1::-1])))
