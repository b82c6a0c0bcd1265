"""A record of Helm's, mended: marked failed or superseded, fenced, set aside and recreated. Pure: Secrets and patches, unsent.

A status lives in two places, the Secret's label and its content, and both are changed by one patch that names the version that was
read. ``immutable`` on the Secret is the fence: a Helm that still lives somewhere cannot overwrite it. Since nothing takes that flag
off again, a record that Helm must rewrite is deleted and created anew, and a copy set aside bridges the moment between.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from kubernaut.history.record import (
    ASIDE_LABEL,
    ASIDE_TYPE,
    KUBERNAUT_OWNER,
    SECRET_TYPE,
    Record,
    Status,
    decode,
    encode,
    modified,
    original_metadata,
)

LARGEST_SECRET = 1 << 20
"""How many bytes the API server takes as a Secret's data, its own base64 taken off."""

_SHORT_DESCRIPTION = 80


def aside_secret(record_secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return the copy of a record's Secret, as it is created.

    The record's own uid is in it, so that operations that noted that uid are still known as its own. A label is too short for the
    name of a record's Secret (63 characters), so the label says only the revision.

    Raises:
        ValueError: It is no record.
    """
    record = decode(record_secret)
    if record is None or record.aside:
        raise ValueError("only a record can be set aside")
    metadata = record_secret["metadata"]
    original = {
        "name": record.secret,
        "uid": record.uid,
        "creationTimestamp": record.created,
        "managedFields": [{"time": modified(metadata)}],
        "labels": metadata.get("labels") or {},
        "annotations": metadata.get("annotations") or {},
    }
    return {
        "metadata": {
            "name": record.aside_secret,
            "namespace": record.namespace,
            "labels": {"owner": KUBERNAUT_OWNER, "name": record.name, ASIDE_LABEL: f"v{record.revision}"},
            "annotations": {ASIDE_LABEL: json.dumps(original, sort_keys=True)},
        },
        "type": ASIDE_TYPE,
        "data": dict(record_secret.get("data") or {}),
    }


def recreated_secret(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's Secret as it is created anew, from itself or from the copy set aside.

    Raises:
        ValueError: It is neither.
    """
    record = decode(source)
    if record is None:
        raise ValueError("only a record can be recreated")
    original = original_metadata(source) if record.aside else source["metadata"]
    annotations = dict(original.get("annotations") or {})
    return {
        "metadata": {
            "name": record.secret,
            "namespace": record.namespace,
            "labels": {**(original.get("labels") or {}), "status": record.labelled_status or record.status},
            **({"annotations": annotations} if annotations else {}),
        },
        "type": SECRET_TYPE,
        "data": dict(source.get("data") or {}),
    }


def failed_patch(record: Record, description: str) -> dict[str, Any]:
    """Return the merge patch that marks a record failed, and fences it: nobody can overwrite it any more.

    Args:
        record: The record as it was read; the patch is refused when it has changed since.
        description: What Helm's history shall say of it; shortened where the record has no room for it. That it was a rollback, and
            to where, stays before it: nothing else tells.
    """
    if record.status == Status.PENDING_ROLLBACK and record.description:
        description = f"{record.description}: {description}"
    return {**_patch(record, Status.FAILED, description), "immutable": True}


def superseded_patch(record: Record) -> dict[str, Any]:
    """Return the merge patch that marks a record superseded; it is refused when the record has changed since."""
    return _patch(record, Status.SUPERSEDED, record.description)


def _patch(record: Record, status: Status, description: str) -> dict[str, Any]:
    labels = {"status": status.value, "modifiedAt": str(int(time.time()))}
    patch: dict[str, Any] = {"metadata": {"resourceVersion": record.resource_version, "labels": labels}}
    if record.damaged:  # what cannot be read is not made worse
        return patch
    encoded = ""
    for info in _infos(record, status, description):
        encoded = encode({**record.content, "info": info})
        if len(base64.b64decode(encoded)) <= LARGEST_SECRET:
            break
    return {**patch, "data": {"release": encoded}}


def _infos(record: Record, status: Status, description: str) -> Iterator[dict[str, Any]]:
    """Yield what the record's ``info`` becomes, ever smaller."""
    info = {**record.info, "status": status.value, "description": description}
    yield info
    short = description if len(description) <= _SHORT_DESCRIPTION else description[: _SHORT_DESCRIPTION - 1] + "…"
    yield {**info, "description": short}
    info.pop("notes", None)
    yield {**info, "description": short}
    yield {**info, "description": ""}
