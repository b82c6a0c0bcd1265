"""An operation's Secret in the hands of whoever carries the operation out: begun once, kept current meanwhile, ended once.

One that was accepted is taken up by its version: whoever gave it up meanwhile was first. While it is carried out, a thread of its
own writes every few seconds what was said so far, so that other servers show it. That is a courtesy: it waits for nobody, its
failures are nobody's, and it never writes over what came after the version that it knows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kubernaut.deploy import operation as operations
from kubernaut.errors import Conflict, KubernautError, NotFound
from kubernaut.events import Journal
from kubernaut.history.operations import Operation, Outcome, decode_operation, now, operation_events

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

EVERY_SECONDS = 3.0
"""How often what was said is written down while the work goes on."""
_LONGEST_WAIT = 2.0


class OperationWriter:
    """What is written down of one operation.

    Args:
        cluster: Opens the cluster.
        journal: What was said so far.
        accepted: The operation, where it was accepted before: else it is first written when it begins.
        every: Seconds between two looks at the journal.
    """

    def __init__(
        self,
        cluster: Callable[[], Cluster],
        journal: Journal,
        accepted: Operation | None = None,
        *,
        every: float = EVERY_SECONDS,
    ) -> None:
        self.journal = journal
        self.accepted = accepted
        self._open = cluster
        self._every = every
        self._kept: Operation | None = None
        self._version = ""
        self._writing = threading.Lock()
        self._ended = threading.Event()

    def begin(self, operation: Operation) -> None:
        """Write an operation down before anything is done.

        Raises:
            NamespaceNotFound: There is no such namespace.
            Conflict: It was accepted, and somebody has given it up or begun it.
            ClusterDenied: It may not be written.
            ClusterUnreachable: The cluster does not answer.
        """
        if self.accepted is None:
            operations.begin(self._open(), operation)
            self._kept = operation
            return
        self._version = self._take_up(operation, self.accepted)
        self._kept = operation
        threading.Thread(target=self._keep_current, name=f"operation {operation.id}", daemon=True).start()

    def with_said(self, operation: Operation) -> Operation:
        """Return the operation with what was said so far."""
        return operation.model_copy(
            update={"events": operation_events(self.journal.heard), "events_left_out": self.journal.left_out}
        )

    def write(self, operation: Operation) -> None:
        """Write the operation down as it is now; nothing, where it could not be begun."""
        if self._kept is None:
            return
        if operation.finished_at is not None:
            self.close()
        waited = self._writing.acquire(timeout=_LONGEST_WAIT)  # a write that hangs knows an older version, and is refused then
        try:
            self._version = operations.update(self._open(), operation)
            self._kept = operation
        finally:
            if waited:
                self._writing.release()

    def end_unbegun(self, outcome: Outcome, **known: Any) -> None:
        """Write down how an accepted operation ended that was never begun; what somebody has written of it meanwhile stays.

        Args:
            outcome: How it ended.
            known: What else is known of it.
        """
        self.close()
        if self.accepted is None or self._kept is not None:
            return
        ended = {"outcome": outcome, "finished_at": now(), "waits_until": None, **known}
        operation = self.with_said(self.accepted.model_copy(update=ended))
        with suppress(KubernautError):  # then it is overdue some time, and is settled
            operations.update(self._open(), operation, version=self.accepted.resource_version)

    def last_words(self) -> None:
        """Write down what was said after the end of an accepted operation was written: how its last step ended."""
        if self.accepted is None or self._kept is None or self._kept.finished_at is None:
            return
        operation = self.with_said(self._kept)
        if operation.events != self._kept.events:
            with suppress(KubernautError):  # its end is written, and says the same
                self._version = operations.update(self._open(), operation, version=self._version)

    def close(self) -> None:
        """Write no more of what is said."""
        self._ended.set()

    def _take_up(self, operation: Operation, accepted: Operation) -> str:
        try:
            return operations.update(self._open(), operation, version=accepted.resource_version)
        except NotFound as gone:
            raise Conflict(f"The operation {operation.id} was deleted before it began; nothing was changed.") from gone
        except Conflict as conflict:
            raise Conflict(f"The operation {operation.id} {self._fate(operation)}; nothing was changed by this one.") from conflict

    def _fate(self, operation: Operation) -> str:
        """Say what somebody else made of it."""
        secret = self._open().get_secret(operation.namespace, operation.secret)
        found = decode_operation(secret) if secret else None
        if found is None:
            return "was deleted before it began"
        if found.finished_at is None:
            return "was begun by somebody else"
        return f"has ended already ({found.outcome.reason if found.outcome else found.state})"

    def _keep_current(self) -> None:
        said = 0
        while not self._ended.wait(self._every):
            count = len(self.journal.heard) + self.journal.left_out
            if count == said:
                continue
            try:
                self._write_said()
            except (Conflict, NotFound):
                return
            except KubernautError:  # the next look tries again
                continue
            said = count

    def _write_said(self) -> None:
        with self._writing:
            if self._ended.is_set() or self._kept is None:
                return
            self._version = operations.update(self._open(), self.with_said(self._kept), version=self._version)
