"""Writes one operation: before Helm runs, while it is executed, and at its end.

A deploy writes its operation's Secret twice, and a third time when a failure is rolled back. The first write is refused where the
namespace is missing or not writable, before Helm has done anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.accepting import RENEWED_FOR
from kubernaut.deploy.operations import outcome_of, update_operation
from kubernaut.errors import Conflict, Interrupted, KubernautError, NotFound
from kubernaut.events import Journal
from kubernaut.history.operation_codec import decode_operation, operation_secret
from kubernaut.history.operations import Operation, Outcome, now, operation_events

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

EVENTS_SECONDS = 3.0
"""The pause between two writes of an accepted operation's events."""
RENEW_SECONDS = 1.0
"""The pause between two renewals of an accepted operation that waits for its lock."""

_MAX_WRITE_WAIT = 2.0
_TRIES = 3


class OperationWriter:
    """Writes one operation.

    An accepted operation is begun only if nothing else has begun or ended it. A thread renews it until then, so that others see
    that its process lives; while it is executed, a thread writes its events every few seconds for other servers to show. Nothing
    waits for these writes, their failures have no effect, and they never overwrite a newer version of the Secret.

    Args:
        cluster: Opens the cluster.
        journal: The events of the operation.
        accepted: The operation if it was accepted before; otherwise :meth:`begin` creates it.
        every: Seconds between two writes of the events.
        renew: Seconds between two renewals.
        secrets: Values that are masked.
    """

    def __init__(
        self,
        cluster: Callable[[], Cluster],
        journal: Journal,
        accepted: Operation | None = None,
        *,
        every: float = EVENTS_SECONDS,
        renew: float = RENEW_SECONDS,
        secrets: Sequence[str] = (),
    ) -> None:
        self.secrets = tuple(secrets)
        self.journal = journal
        self.accepted = accepted
        self._open = cluster
        self._every = every
        self._renew_pause = renew
        self._begins = threading.Event()
        self._written: Operation | None = None
        self._version = ""
        self._writing = threading.Lock()
        self._closed = threading.Event()

    def begin(self, operation: Operation) -> None:
        """Write the operation before anything is done.

        Raises:
            NamespaceNotFound: The namespace does not exist.
            Conflict: The accepted operation has been begun or given an outcome elsewhere.
            ClusterDenied: The user may not write it.
            ClusterUnreachable: The API server does not answer.
        """
        if self.accepted is None:
            self._open().create_secret(operation.namespace, operation_secret(operation))
            self._written = operation
            return
        self._version = self._begin_accepted(operation)
        self._written = operation
        threading.Thread(target=self._keep_current, name=f"operation {operation.id}", daemon=True).start()

    def with_events(self, operation: Operation) -> Operation:
        """Return the operation with the events so far."""
        return operation.model_copy(
            update={"events": operation_events(self.journal.events, self.secrets), "events_left_out": self.journal.left_out}
        )

    def write(self, operation: Operation) -> None:
        """Write the operation as it is now, unless it could not be begun."""
        if self._written is None:
            return
        if operation.finished_at is not None:
            self.close()
        acquired = self._writing.acquire(timeout=_MAX_WRITE_WAIT)  # a hanging write has an older version and is refused later
        try:
            self._version = update_operation(self._open(), operation)
            self._written = operation
        finally:
            if acquired:
                self._writing.release()

    @contextmanager
    def recording_end(self, operation: Operation) -> Iterator[None]:
        """Renew an accepted operation until it begins, write its outcome if it ends before that, and its last events."""
        threading.Thread(target=self._keep_accepted, name=f"accepted {operation.id}", daemon=True).start()
        try:
            yield
        except KubernautError as failure:
            self.end_unbegun(outcome_of(failure, self.secrets))
            raise
        except BaseException as stopped:
            why = str(stopped) or type(stopped).__name__
            self.end_unbegun(outcome_of(Interrupted(f"The {operation.verb} was stopped before it began: {why}.")))
            raise
        finally:
            self._begins.set()
            self.write_last_events()

    def end_unbegun(self, outcome: Outcome, **known: Any) -> None:
        """Write the outcome, and what else is known, of an accepted operation that was never begun; a newer version of it stays."""
        self.close()
        if self.accepted is None or self._written is not None:
            return
        ended = {"outcome": outcome, "finished_at": now(), "waits_until": None, **known}
        operation = self.with_events(self.accepted.model_copy(update=ended))
        with suppress(KubernautError):  # then it is overdue at some time, and is settled
            self._write_accepted(operation)

    def write_last_events(self) -> None:
        """Write the events after the outcome of an accepted operation: how its last step ended."""
        if self.accepted is None or self._written is None or self._written.finished_at is None:
            return
        operation = self.with_events(self._written)
        if operation.events != self._written.events:
            with suppress(KubernautError):  # the outcome is written already
                self._version = update_operation(self._open(), operation, version=self._version)

    def close(self) -> None:
        """Stop writing events."""
        self._closed.set()

    def _begin_accepted(self, operation: Operation) -> str:
        try:
            return self._write_accepted(operation)
        except NotFound as gone:
            raise Conflict(f"The operation {operation.id} was deleted before it began; nothing was changed.") from gone
        except Conflict as conflict:
            raise Conflict(f"The operation {operation.id} {self._what_became_of(operation)}; nothing was changed.") from conflict

    def _write_accepted(self, operation: Operation) -> str:
        """Write an operation that has not begun; of its changes since only renewals are expected. Raises: Conflict, NotFound."""
        self._begins.set()
        acquired = self._writing.acquire(timeout=_MAX_WRITE_WAIT)  # a hanging renewal has an older version and is refused later
        try:
            for tries_left in reversed(range(_TRIES)):
                version = self.accepted.resource_version if self.accepted is not None else ""
                try:
                    return update_operation(self._open(), operation, version=version)
                except Conflict:
                    if not tries_left or not self._read_again():
                        raise
            raise AssertionError("the last try returns or raises")
        finally:
            if acquired:
                self._writing.release()

    def _read_again(self) -> bool:
        """Read the accepted operation; return whether it has still not begun."""
        found = self._find(self.accepted) if self.accepted is not None else None
        if found is None or found.state != "accepted" or self.accepted is None or found.id != self.accepted.id:
            return False
        self.accepted = found
        return True

    def _find(self, operation: Operation) -> Operation | None:
        secret = self._open().get_secret(operation.namespace, operation.secret)
        return decode_operation(secret) if secret else None

    def _what_became_of(self, operation: Operation) -> str:
        found = self._find(operation)
        if found is None:
            return "was deleted before it began"
        if found.finished_at is None:
            return "is executed by another process"
        return f"has already ended ({found.outcome.reason if found.outcome else found.state})"

    def _keep_accepted(self) -> None:
        """Renew the accepted operation until it begins or ends, here or elsewhere."""
        while not self._begins.wait(self._renew_pause):
            with suppress(KubernautError), self._writing:  # tried again after the next pause
                if self._begins.is_set():
                    return
                try:
                    self._renew()
                except (Conflict, NotFound):  # or the answer to a renewal was lost
                    if not self._read_again():
                        return

    def _renew(self) -> None:
        if self.accepted is None:
            return
        cluster = self._open()
        operation = self.accepted.model_copy(update={"waits_until": (cluster.server_time or now()) + RENEWED_FOR})
        version = update_operation(cluster, operation, version=self.accepted.resource_version)
        self.accepted = operation.model_copy(update={"resource_version": version})

    def _keep_current(self) -> None:
        written = 0
        while not self._closed.wait(self._every):
            count = len(self.journal.events) + self.journal.left_out
            if count == written:
                continue
            try:
                self._write_events()
            except (Conflict, NotFound):
                return
            except KubernautError:  # tried again after the next pause
                continue
            written = count

    def _write_events(self) -> None:
        with self._writing:
            if self._closed.is_set() or self._written is None:
                return
            self._version = update_operation(self._open(), self.with_events(self._written), version=self._version)
