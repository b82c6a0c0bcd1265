"""The progress and the result of an operation, whether it runs on this server or on another one.

Another server records the events every few seconds in the cluster; the index watches those records. Waiting therefore reads memory
and sends no requests to the API server. A result becomes the same response at once, on another server, and on a replay.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kubernaut.errors import DeployFailed, KubernautError
from kubernaut.events import Events, NumberedEvent
from kubernaut.history.operation_codec import decode_operation
from kubernaut.history.operations import Operation, OperationBase, State, numbered_events
from kubernaut.history.releases import ReleaseId
from kubernaut.redact import environment_secrets
from kubernaut.server.operations.workers import RunningOperation, SequencedEvent
from kubernaut.server.problems import MEDIA_TYPE, problem_headers, problem_json
from kubernaut.server.routing import Request, Response

if TYPE_CHECKING:
    from kubernaut.history.releases import Release
    from kubernaut.server.routing import ServerContext

POLL_SECONDS = 0.25
_UNFINISHED = frozenset({"accepted", "running"})


class OperationStatus(OperationBase):
    """An operation, without its events; ``state`` is the progress, and ``outcome`` has the result of a finished operation."""

    state: State


class OperationFollower:
    """Follows an operation.

    Args:
        context: The server's parts.
        known: The operation as far as it is known.
        poll_seconds: Seconds between two reads of another server's records.

    Attributes:
        running: The operation in this server's workers; ``None`` when it runs elsewhere or finished long ago.
    """

    def __init__(self, context: ServerContext, known: Operation, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._context = context
        self._poll_seconds = poll_seconds
        self.running: RunningOperation | None = context.workers.find(known.id)
        self._known = self.running.operation if self.running and self._is_early(known) else known

    @property
    def operation(self) -> Operation:
        """The operation as recorded in the cluster."""
        if self._known.state in _UNFINISHED:
            with suppress(KubernautError):  # deleted, or the cluster does not answer: the known state stays
                found = self._context.index.operation(self._known.id)
                self._known = self._known if self._is_early(found) else found
        return self._known

    @property
    def abandoned(self) -> bool:
        """Whether waiting is pointless: this server is shutting down, and the operation runs on another one."""
        return self.running is None and self._context.workers.stopping

    @property
    def status(self) -> OperationStatus:
        """The operation for the API; for an operation of this server, never behind the cluster's record."""
        operation = self.operation
        fields = {name: getattr(operation, name) for name in OperationBase.model_fields}
        return OperationStatus(**fields, state=self._state(operation))

    def wait_done(self, seconds: float) -> bool:
        """Wait until the operation has finished, at most so many seconds; return whether it has."""
        if self.running is not None:
            return self.running.wait_done(seconds)
        return self._wait(lambda: self.operation.state not in _UNFINISHED, seconds)

    def events(self, after: int, seconds: float = 0.0) -> Events:
        """Return the events after a number; without any, wait for one, for the end or for the timeout."""
        found, finished = self._wait_for_events(after, seconds)
        items = tuple(NumberedEvent(seq=seq, **dict(event)) for seq, event in found)
        return Events(items=items, next=items[-1].seq if items else after, finished=finished)

    def _is_early(self, found: Operation) -> bool:
        """Return whether the cluster's record is finished before the worker is: until then lists and audit log may lag."""
        return self.running is not None and not self.running.done and found.state not in _UNFINISHED

    def _state(self, operation: Operation) -> State:
        if self.running is None or operation.state not in _UNFINISHED:
            return operation.state
        result = self.running.result if self.running.done else None
        if result is None:
            return "running" if self._has_begun(operation, self.running) else "accepted"
        return "failed" if isinstance(result, KubernautError) else "succeeded" if result.changed else "unchanged"

    def _has_begun(self, operation: Operation, running: RunningOperation) -> bool:
        """Return whether an operation of this server has begun; the index may not have seen it, so the cluster is asked."""
        if not running.begun:
            running.begun = operation.state != "accepted"
        if not running.begun:
            with suppress(KubernautError):
                cluster = self._context.kubernaut.context.clients.cluster
                secret = cluster.get_secret(operation.namespace, operation.secret)
                found = decode_operation(secret) if secret else None
                running.begun = found is not None and found.state != "accepted"
        return running.begun

    def _wait_for_events(self, after: int, seconds: float) -> tuple[tuple[SequencedEvent, ...], bool]:
        if self.running is not None:
            return self.running.wait_for_events(after, seconds)
        self._wait(lambda: bool(self._recorded(after)) or self.operation.state not in _UNFINISHED, seconds)
        finished = self.operation.state not in _UNFINISHED  # read first, so that the events below are complete
        return self._recorded(after), finished

    def _recorded(self, after: int) -> tuple[SequencedEvent, ...]:
        return tuple(event for event in numbered_events(self.operation) if event[0] > after)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not condition():
            left = until - time.monotonic()
            if left <= 0 or self.abandoned:
                return False
            time.sleep(min(self._poll_seconds, left))
        return True


def result_response(follower: OperationFollower, request: Request, context: ServerContext, headers: dict[str, str]) -> Response:
    """Return the response to the write of a finished operation: 201 or, for a no-op, 200 with the release; or the error's problem.

    Raises:
        ReleaseNotFound: The release is not kept any more.
    """
    operation = follower.operation
    release, changed, error = _result(follower, context)
    made = next((made.id for made in operation.made), getattr(error, "release", None))
    release_id = release.id if release else made
    ids = {"operation": operation.id, **({"release": release_id} if release_id else {})}
    if release is not None:
        own = {**headers, "Content-Location": f"/api/releases/{release.id}", "ETag": f'"{release.etag}"'}
        return Response(201 if changed else 200, release, own, audit_fields=ids)
    error = _with_ids(error or KubernautError(f"The {operation.verb} succeeded without a release."), ids)
    secrets = environment_secrets(context.kubernaut.settings.environment)
    body = problem_json(error, instance=request.path, request_id=request.id, secrets=secrets)
    return Response(error.http_status, body, {**headers, **problem_headers(error)}, MEDIA_TYPE, ids)


def _result(follower: OperationFollower, context: ServerContext) -> tuple[Release | None, bool, KubernautError | None]:
    """Return the release, whether it changed, and the error: the worker's if it ran here, otherwise the recorded ones."""
    operation = follower.operation
    result = follower.running.result if follower.running else None
    if isinstance(result, KubernautError):
        return None, False, result
    if result is not None:
        return result.release, result.changed, None
    if operation.state in ("succeeded", "unchanged"):
        return _release(operation, context), operation.state == "succeeded", None
    return None, False, operation.failure


def _with_ids(error: KubernautError, ids: dict[str, str]) -> KubernautError:
    """Return a copy of an error, which several requests may share, with the IDs of the operation and the release."""
    named = copy.copy(error)
    named.members = {**error.members, **ids}
    if isinstance(named, DeployFailed):
        named.operation, named.release = ids.get("operation"), ids.get("release")
    return named


def _release(operation: Operation, context: ServerContext) -> Release:
    """Return the release that an operation created; for a no-op, the one that was current."""
    if operation.made:
        return context.index.release(ReleaseId.parse(operation.made[-1].id))
    return context.index.release(ReleaseId(operation.namespace, operation.name, operation.after))
