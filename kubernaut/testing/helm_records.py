"""Helm's records in a :class:`FakeCluster`, written and pruned as Helm does it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubernaut.history.records import HELM_OWNER, SECRET_TYPE, Record, Status, decode, encode, secret_name
from kubernaut.testing.cluster import FakeCluster


def create_record(cluster: FakeCluster, content: dict[str, Any], labels: Mapping[str, str], pending: Status) -> Record:
    """Create the record of the content's revision, with its pending status."""
    name, revision = content["name"], str(content["version"])
    content = {**content, "info": {**content["info"], "status": pending.value, "description": "Preparing"}}
    stamp = str(int(datetime.now(UTC).timestamp()))
    system = {"name": name, "owner": HELM_OWNER, "status": pending.value, "version": revision, "createdAt": stamp}
    metadata = {"name": secret_name(name, content["version"]), "labels": {**labels, **system}}
    secret = {"metadata": metadata, "type": SECRET_TYPE, "data": {"release": encode(content)}}
    record = decode(cluster.create_secret(content["namespace"], secret))
    assert record is not None  # noqa: S101 - it was just written
    return record


def change_record(cluster: FakeCluster, record: Record, status: Status, description: str, *, deleted: str | None = None) -> Record:
    """Write a record with another status; ``deleted`` is the time of an uninstall. Raises: BadInput: It is immutable."""
    info = {**record.info, "status": status.value, "description": description}
    if deleted:
        info["deleted"] = deleted
    labels = {"status": status.value, "modifiedAt": str(int(datetime.now(UTC).timestamp()))}
    data = {"release": encode({**record.content, "info": info})}
    # Helm updates without a resource version: the last write wins, and unknown fields such as `immutable` would be unset.
    patch = {"metadata": {"labels": labels}, "data": data, "immutable": None}
    changed = decode(cluster.patch_secret(record.namespace, record.secret, patch))
    assert changed is not None  # noqa: S101 - it was just written
    return changed


def prune(cluster: FakeCluster, records: list[Record], history_max: int) -> None:
    """Delete the oldest records to make room for one more within ``history_max``; the last deployed one stays."""
    deployed = next((record for record in reversed(records) if record.status == Status.DEPLOYED), None)
    surplus = len(records) - (history_max - 1) if history_max > 0 else 0
    for record in records:
        if surplus <= 0:
            return
        if record is not deployed:
            cluster.delete_secret(record.namespace, record.secret)
            surplus -= 1


def records_of(cluster: FakeCluster, namespace: str, name: str) -> list[Record]:
    """Return the records of a release that can be read, oldest first."""
    secrets = cluster.list_secrets(namespace, {"owner": HELM_OWNER, "name": name})
    found = [record for secret in secrets if (record := decode(secret)) and not record.damaged]
    return sorted(found, key=lambda record: record.revision)
