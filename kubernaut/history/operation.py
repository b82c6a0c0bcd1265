"""An operation: one attempt to write, by whom, with what plan, and what came of it. Pure: the codec of the Secret that keeps it.

It lives beside Helm's records, as the Secret ``kubernaut.ID`` of the release's namespace, and knows what Helm has no place for:
who, why, from which build, the chart's digest. ``deploy/`` writes it; the history reads it. Values and other secrets are never
in it.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import os
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from kubernaut.history.record import OPERATION_LABEL
from kubernaut.model import Model, Plan

OPERATION_TYPE = "kubernaut/operation.v1"
OPERATION_OWNER = "kubernaut"
LARGEST = 256 << 10
"""How many bytes of an operation are kept, gzipped; more details than that are left out, and counted."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LARGEST_CONTENT = 16 << 20

SUCCEEDED = "succeeded"
"""The outcome's reason when all went well; else it is the code of an error."""

Verb = Literal["deploy", "rollback", "restore", "delete"]


class Outcome(Model):
    """What came of an operation: ``reason`` is ``succeeded`` or an error's code, ``message`` a line for a person."""

    reason: str
    message: str
    details: tuple[str, ...] = ()
    left_out: int = 0


class OperationChart(Model):
    """The chart of a release: its version and, by digest, which one it is."""

    version: str | None = None
    ref: str | None = None
    digest: str | None = None


class Made(Model):
    """A release that an operation made or, for a delete, ended."""

    id: str
    uid: str
    revision: int
    secret: str
    chart: OperationChart | None = None


class Operation(Model):
    """One attempt to write."""

    id: str
    verb: Verb
    namespace: str
    name: str
    actor: str
    build_url: str | None = None
    note: str | None = None
    environment: str | None = None
    commit: str | None = None
    chart: OperationChart | None = None
    plan: Plan = Plan()
    started_at: datetime
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    made: tuple[Made, ...] = ()

    @property
    def secret(self) -> str:
        """The name of the Secret that keeps it."""
        return f"kubernaut.{self.id}"


def new_id(now: float | None = None) -> str:
    """Return a new operation's id: 26 characters that sort by time (a ULID in lower case)."""
    number = (int((time.time() if now is None else now) * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def encode_operation(operation: Operation) -> str:
    """Return an operation as its Secret's ``data.operation`` holds it, no larger than :data:`LARGEST`."""
    packed = _pack(operation)
    while len(packed) > LARGEST and operation.outcome is not None and operation.outcome.details:
        outcome = operation.outcome
        kept = outcome.details[len(outcome.details) // 2 + 1 :]
        left_out = outcome.left_out + len(outcome.details) - len(kept)
        operation = operation.model_copy(update={"outcome": outcome.model_copy(update={"details": kept, "left_out": left_out})})
        packed = _pack(operation)
    return base64.b64encode(packed).decode("ascii")


def operation_secret(operation: Operation) -> dict[str, Any]:
    """Return the Secret that keeps an operation, as it is created."""
    labels = {"owner": OPERATION_OWNER, "name": operation.name, OPERATION_LABEL: operation.id, "kubernaut/verb": operation.verb}
    return {
        "metadata": {"name": operation.secret, "namespace": operation.namespace, "labels": labels},
        "type": OPERATION_TYPE,
        "data": {"operation": encode_operation(operation)},
    }


def decode_operation(secret: Mapping[str, Any]) -> Operation | None:
    """Return the operation that a Secret keeps; ``None`` for another Secret, and for one that cannot be read."""
    labels = (secret.get("metadata") or {}).get("labels") or {}
    encoded = (secret.get("data") or {}).get("operation")
    if labels.get("owner") != OPERATION_OWNER or not encoded:
        return None
    try:
        stream = zlib.decompressobj(wbits=31)
        content = stream.decompress(base64.b64decode(encoded, validate=True), _LARGEST_CONTENT)
        return Operation.model_validate_json(content)
    except (binascii.Error, zlib.error, ValidationError):
        return None


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _pack(operation: Operation) -> bytes:
    return gzip.compress(operation.model_dump_json(by_alias=True, exclude_none=True).encode(), mtime=0)
