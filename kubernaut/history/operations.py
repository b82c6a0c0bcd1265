"""Operations and the codec of their Secrets. Pure.

An operation is one attempt to change a release. Its Secret, ``kubernaut.ID``, lies beside Helm's records and holds what they lack:
actor, reason, CI build, chart digest, events and outcome, but never values or other secrets. :mod:`kubernaut.deploy` writes it.

A server writes an operation when it accepts it. With an Idempotency-Key the Secret is named by the key's hash, so that only one of
several servers can create it. ``unread`` says why an operation could not be read completely.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from kubernaut.ci import CiBuild, make_build
from kubernaut.errors import DeployFailed, KubernautError, error_classes, from_problem
from kubernaut.errors.domain import NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT
from kubernaut.events import Journal, LogLine, Notice, OperationEvent, RecordedEvent, StepStarted, WorkloadProgress
from kubernaut.history.explanation import Evidence
from kubernaut.history.records import Record, storable, truncate
from kubernaut.models import Model, Plan
from kubernaut.redact import redact

# Reasons of outcomes; that of a failure is the code of an error.
SUCCEEDED = "succeeded"
UNCHANGED = "unchanged"  # of an accepted operation that had nothing to do
INTERRUPTED = "interrupted"
UNREAD = "unread"  # of an operation that cannot be read completely; never written

Verb = Literal["deploy", "rollback", "restore", "delete"]
State = Literal["accepted", "running", "succeeded", "unchanged", "failed", "unread"]

_HOOK_FAILED = "hook_failed"
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID = re.compile(rf"[{_ALPHABET}]{{26}}")
_LONGEST_LINE = 4000
_MAX_DURATION = 2 * 3600.0  # of an operation without a timeout
_MARGIN = 600.0
LEGACY_BUILD = "buildUrl"
"""The only field of a build that older versions read; they reject unknown fields, so the rest is stored separately."""


class Outcome(Model):
    """The outcome of an operation.

    Attributes:
        reason: ``succeeded``, ``unchanged`` or an error's code.
        message: One line.
        details: Further lines; ``left_out`` says how many of them are missing.
        cause: The code of what kept the release from being ready, such as ``image_not_found``, if that is known.
        evidence: The observations that explain it.
    """

    reason: str
    message: str
    details: tuple[str, ...] = ()
    left_out: int = 0
    cause: str | None = None
    evidence: tuple[Evidence, ...] = ()


class OperationChart(Model):
    """The chart of a release."""

    version: str | None = None
    ref: str | None = None
    digest: str | None = None


class ReleaseReference(Model):
    """A release that an operation made or, for a delete, ended."""

    id: str
    uid: str
    revision: int
    secret: str
    chart: OperationChart | None = None


class OperationBase(Model):
    """The fields that an operation has in the cluster and in the REST API.

    Attributes:
        verb: One of :data:`Verb`; an unknown word if a newer version wrote it.
        actor: ``None`` only where it cannot be read.
        build: The CI build that requested it.
        timeout: In seconds.
        waits_until: On an accepted operation that has not begun: until when it must be renewed or begin, by the API server's clock.
        made: The releases that it created or ended, in order.
    """

    id: str
    verb: str
    namespace: str
    name: str
    actor: str | None = None
    build: CiBuild | None = None
    note: str | None = None
    environment: str | None = None
    commit: str | None = None
    chart: OperationChart | None = None
    plan: Plan = Plan()
    timeout: float | None = None
    started_at: datetime
    waits_until: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    made: tuple[ReleaseReference, ...] = ()


class Operation(OperationBase):
    """An attempt to change a release.

    Attributes:
        after: The current revision when it began; 0 for none.
        fingerprint: Identifies the accepted request among those with the same key.
        key: The hash of its Idempotency-Key, see :func:`key_hash`.
        events: In order; ``events_left_out`` events are missing after the first :data:`Journal.FIRST`.
        unread: Why it cannot be read, or not completely; never written.
        resource_version: That of its Secret; never written.
    """

    after: int | None = None
    fingerprint: str | None = None
    key: str | None = None
    events: tuple[OperationEvent, ...] = ()
    events_left_out: int = 0
    unread: str | None = Field(default=None, exclude=True)
    resource_version: str = Field(default="", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _read_legacy_build(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get(LEGACY_BUILD), str):
            return content
        build = content.get("build") or make_build(url=content[LEGACY_BUILD])
        return {**{key: value for key, value in content.items() if key != LEGACY_BUILD}, "build": build}

    @property
    def secret(self) -> str:
        """The name of its Secret."""
        return key_secret_name(self.key) if self.key else f"kubernaut.{self.id}"

    @property
    def state(self) -> State:
        """The progress and, once it is finished, the result."""
        if self.unread is not None:
            return "unread"
        if self.finished_at is None:
            return "running" if self.waits_until is None else "accepted"
        reason = self.outcome.reason if self.outcome else ""
        return "succeeded" if reason == SUCCEEDED else "unchanged" if reason == UNCHANGED else "failed"

    @property
    def failure(self) -> KubernautError:
        """The error that it ended with; DeployFailed where the outcome's reason is not a known error code."""
        why = self.unread or "no outcome was recorded"
        outcome = self.outcome or Outcome(reason=UNREAD, message=f"The outcome of the {self.verb} is unknown: {why}.")
        code = outcome.reason if outcome.reason in {error.code for error in error_classes()} else DeployFailed.code
        named = {"operation": self.id, **({"release": self.made[0].id} if self.made else {})}
        evidence = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in outcome.evidence]
        known = {"cause": outcome.cause, "evidence": evidence} if outcome.cause else {}
        failure = from_problem({"code": code, "detail": outcome.message, "details": list(outcome.details), **named, **known})
        if outcome.cause == _HOOK_FAILED:
            failure.add_hints(NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT)
        return failure

    @property
    def never_began(self) -> bool:
        """Whether it was accepted, and its process was gone or stopped before it began: it has changed nothing."""
        ended = self.finished_at is not None and self.outcome is not None and self.outcome.reason == INTERRUPTED
        return ended and self.unread is None and self.after is None and not self.made and not self.plan.changes

    def may_begin(self, at: datetime | None) -> bool:
        """Return whether it is accepted and may still begin at the API server's time ``at``; ``None`` if that is unknown."""
        return self.finished_at is None and self.waits_until is not None and (at is None or at < self.waits_until)


def longest_duration(operation: Operation) -> float:
    """Return the seconds that an operation may take: its timeout, the same for a rollback, its wait for the lock, and a margin."""
    lock = (operation.waits_until - operation.started_at).total_seconds() if operation.waits_until else 0.0
    return 2 * operation.timeout + lock + _MARGIN if operation.timeout else _MAX_DURATION


def now() -> datetime:
    """Return the current time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def new_operation_id(at: float | None = None) -> str:
    """Return a new operation ID: 26 characters that sort by time (a ULID in lower case)."""
    number = (int((time.time() if at is None else at) * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def is_operation_id(text: str) -> bool:
    """Return whether a text is a valid operation ID."""
    return _ID.fullmatch(text) is not None


def key_hash(actor: str, key: str) -> str:
    """Return the hash of an actor's Idempotency-Key; the same key of another actor has another hash."""
    return hashlib.sha256(f"{actor}\0{key}".encode()).hexdigest()


def key_secret_name(key: str) -> str:
    """Return the name of the Secret of an operation that was accepted with an Idempotency-Key, by the key's hash."""
    return f"kubernaut.key-{key}"


def numbered_events(operation: Operation) -> tuple[tuple[int, OperationEvent], ...]:
    """Return the events with their numbers, from 1; events that were left out are counted."""
    skipped = operation.events_left_out
    return tuple((index + (skipped if index > Journal.FIRST else 0), event) for index, event in enumerate(operation.events, 1))


def operation_events(recorded: Iterable[RecordedEvent], secrets: Iterable[str] = ()) -> tuple[OperationEvent, ...]:
    """Return recorded events as an operation stores them: as text, redacted, long lines cut."""
    known = tuple(secrets)

    def stored(one: RecordedEvent) -> OperationEvent:
        text = truncate(storable(redact(_text(one), known)), _LONGEST_LINE)
        return OperationEvent(at=one.at, step=one.event.step, kind=one.event.kind, text=text)

    return tuple(map(stored, recorded))


def _text(recorded: RecordedEvent) -> str:
    event = recorded.event
    if isinstance(event, StepStarted):
        return event.subject
    if isinstance(event, LogLine | Notice):
        return event.text
    if isinstance(event, WorkloadProgress):
        return f"{'ready' if event.ready else 'progressing'} {event.workload}: {event.text}"
    return f"{event.outcome.value} {event.detail}".rstrip()


def with_recreated_record(operation: Operation, uid: str, record: Record) -> Operation:
    """Return an operation whose reference to the record with a UID points to the recreated record."""
    made = tuple(one.model_copy(update={"uid": record.uid}) if one.uid == uid else one for one in operation.made)
    return operation.model_copy(update={"made": made})
