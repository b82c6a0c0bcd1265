"""Explains how a release came out, from its record and the operation that made it. Pure."""

from __future__ import annotations

from datetime import datetime

from kubernaut.history.detail import describe_checked
from kubernaut.history.explanation import Evidence
from kubernaut.history.operations import SUCCEEDED, UNCHANGED, UNREAD, Operation, State
from kubernaut.history.records import PENDING, Status
from kubernaut.history.releases import ROLLED_BACK, Release, ReleaseId
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.models import Model


class ReleaseExplanation(Model):
    """Why a release failed, or that it did not.

    Attributes:
        id: The release's ID; ``None`` for an operation that failed before it made one.
        verb: The verb of the operation; ``None`` for a release of plain Helm.
        state: ``running``, ``succeeded``, ``failed``, or ``unread`` if its operation cannot be read.
        reason: The reason of the outcome; ``None`` while it runs, and for a release of plain Helm.
        cause: The code of what kept the release from being ready, such as ``image_not_found``, if that is known.
        sentence: The failure: of which operation, on which object, and why; for a release of plain Helm, Helm's description.
        evidence: The observations that explain it, the most telling first.
        operation: The ID of the operation; ``None`` for a release of plain Helm.
        at: When it ended; for a release of plain Helm, when it was made.
        last_failed: The ID of the newest earlier release that failed, if this one did not.
    """

    id: str | None
    namespace: str
    name: str
    verb: str | None = None
    state: State
    reason: str | None = None
    cause: str | None = None
    sentence: str = ""
    evidence: tuple[Evidence, ...] = ()
    operation: str | None = None
    at: datetime | None = None
    last_failed: str | None = None


def read_explanation(store: HistoryStore, wanted: ReleaseId) -> ReleaseExplanation:
    """Return the explanation of a release; see :func:`explain_release`. Raises: ReleaseNotFound, Conflict."""
    return explain_release(store.get(wanted.namespace, wanted.name), wanted)


def explain_release(history: ReleaseHistory, wanted: ReleaseId) -> ReleaseExplanation:
    """Return the explanation of a release.

    Without a revision, that of the last change: the operation that failed without making a release, if it is the newest; the
    release that failed, if the current one was made by its rollback; else the current one.

    Raises:
        ReleaseNotFound: It does not exist.
        Conflict: Its record is damaged.
    """
    if wanted.revision is not None:
        return _of_release(history, describe_checked(history, history.record(wanted)))
    attempt = next(iter(history.attempts), None)
    current = describe_checked(history, history.current) if history.current else None
    if attempt is not None and attempt.state == "failed" and (current is None or _is_newer(attempt, current)):
        return _of_operation(attempt, None)
    release = describe_checked(history, history.record(wanted))
    operation = next((one for one in history.operations if one.id == release.operation), None)
    if release.outcome is None or release.outcome.reason != ROLLED_BACK or operation is None:
        return _of_release(history, release)
    failed = operation.made[0]
    kept = next((record for record in history.records if record.uid == failed.uid), None)
    # Helm removes the oldest records; the operation still explains the failure.
    return _of_release(history, describe_checked(history, kept)) if kept else _of_operation(operation, failed.id)


def _is_newer(operation: Operation, release: Release) -> bool:
    changed = release.updated_at or release.created_at
    return changed is None or (operation.finished_at or operation.started_at) > changed


def _of_operation(operation: Operation, id: str | None) -> ReleaseExplanation:
    outcome = operation.outcome
    return ReleaseExplanation(
        id=id,
        namespace=operation.namespace,
        name=operation.name,
        verb=operation.verb,
        state=operation.state,
        reason=outcome.reason if outcome else None,
        cause=outcome.cause if outcome else None,
        sentence=outcome.message if outcome else "",
        evidence=outcome.evidence if outcome else (),
        operation=operation.id,
        at=operation.finished_at,
    )


def _of_release(history: ReleaseHistory, release: Release) -> ReleaseExplanation:
    outcome, state = release.outcome, _state(release)
    operation = next((one for one in history.operations if one.id == release.operation), None)
    sentence = outcome.message if outcome else ""
    return ReleaseExplanation(
        id=release.id,
        namespace=release.namespace,
        name=release.name,
        verb=operation.verb if operation else None,
        state=state,
        reason=outcome.reason if outcome else None,
        cause=outcome.cause if outcome else None,
        sentence=sentence or (release.description if state == "failed" else ""),
        evidence=outcome.evidence if outcome else (),
        operation=release.operation,
        at=(operation.finished_at if operation else None) or release.created_at,
        last_failed=None if state in ("failed", "unread") else _last_failed(history, release),
    )


def _state(release: Release) -> State:
    reason = release.outcome.reason if release.outcome else None
    if reason == UNREAD:
        return "unread"
    if reason is None:
        return "running" if release.status in PENDING else "failed" if release.status == Status.FAILED else "succeeded"
    if reason == ROLLED_BACK:
        return "failed" if release.status == Status.FAILED else "succeeded"
    return "succeeded" if reason in (SUCCEEDED, UNCHANGED) else "failed"


def _last_failed(history: ReleaseHistory, before: Release) -> str | None:
    failed = {one.made[0].uid for one in history.operations if one.made and one.state == "failed" and one.verb != "delete"}
    earlier = (record for record in history.records if record.revision < before.revision)
    return next((record.id for record in earlier if record.status == Status.FAILED or record.uid in failed), None)
