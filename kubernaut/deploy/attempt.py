"""One attempt: the operation written down, Helm started, the record read back, the end written down; on Ctrl-C too."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kubernaut.deploy import operation as operations
from kubernaut.errors import ClusterDenied, ClusterUnreachable, Conflict, DeployFailed, HelmFailed, Interrupted, KubernautError
from kubernaut.events import Step
from kubernaut.history.operation import SUCCEEDED, Operation, OperationChart, Outcome, now
from kubernaut.history.record import PENDING, Record, Status
from kubernaut.history.store import History, Past
from kubernaut.redact import redact

if TYPE_CHECKING:
    from kubernaut.clients.cluster import Cluster
    from kubernaut.clients.helm import Helm

Run = Callable[["Helm", Callable[[str], None]], None]
Find = Callable[[Past], Record | None]


@dataclass
class Attempt:
    """An attempt to write a release.

    Attributes:
        past: What was known before it.
        now: What is known after it, with this operation as it stands.
        operation: What is written down of it.
        step: Is told what Helm says.
        until: The clock's reading at which the time is over.
        failure: Why the last Helm failed, if it did.
    """

    helm: Callable[[], Helm]
    cluster: Callable[[], Cluster]
    history: History
    past: Past
    operation: Operation
    step: Step
    until: float = field(default_factory=time.monotonic)
    failure: KubernautError | None = None
    now: Past = field(default_factory=lambda: Past((), ()))

    @property
    def next_revision(self) -> int:
        """The revision that Helm is going to make."""
        return (self.past.current.revision if self.past.current else 0) + 1

    def begin(self) -> None:
        """Write the operation down. Raises: NamespaceNotFound, ClusterDenied, ClusterUnreachable."""
        operations.begin(self.cluster(), self.operation)

    def run(self, start: Run) -> None:
        """Run Helm, and keep its failure for later: what is true, the record says.

        Raises:
            BaseException: Ctrl-C or a signal; Helm has ended, and what it left is in order.
        """
        self.failure = None
        try:
            start(self.helm(), self.step.log)
        except KubernautError as failure:
            self.failure = failure
        except BaseException as stopped:
            self._tidy(stopped)
            raise

    def read_back(self, find: Find) -> Record | None:
        """Return the record that Helm made, as it is now; one that its Helm left pending is marked failed.

        Raises:
            ClusterUnreachable: Nobody knows what came of it.
        """
        try:
            self.now = self._read()
            record = find(self.now)
            if record is None or record.status not in PENDING or not self._is_ours(record):
                return record
            self.step.log(f"Helm has ended and left {record.id} {record.status}; it is marked failed.")
            said = f"Helm ended and left it {record.status}: {self.failure or 'it said nothing'}"
            with suppress(Conflict, ClusterDenied):  # somebody was faster, or we may not: it is told as it is
                operations.mark_failed(self.cluster(), record, said)
            self.now = self._read()
            return find(self.now)
        except ClusterUnreachable as unreachable:
            said = f" Helm said: {self.failure}" if self.failure else ""
            at = f"{self.operation.name} -n {self.operation.namespace}"
            raise ClusterUnreachable(
                f"What came of the {self.operation.verb} is not known: {unreachable}{said}",
                hint=f"When the cluster answers again, `kubernaut history {at}` shows it.",
            ) from unreachable

    def first_new(self, past: Past) -> Record | None:
        """Find the first record that was not there before."""
        return next((record for record in reversed(past.records) if record.revision >= self.next_revision), None)

    def worked(self, record: Record) -> bool:
        """Say whether a record that was read back runs; one that somebody has replaced since did."""
        return record.status == Status.DEPLOYED or (record.status == Status.SUPERSEDED and self.failure is None)

    def _unsettled(self, past: Past) -> Record | None:
        """Find the record that was not there before and is pending."""
        return next((record for record in past.records if record.status in PENDING and self._is_ours(record)), None)

    def failure_of(self, record: Record) -> KubernautError:
        """Return why Helm failed; where it did not, what its record says instead."""
        return self.failure or HelmFailed(
            f"Helm ended as if all were well, and its record says {record.status}: {record.description}"
        )

    def note(self, record: Record, chart: OperationChart | None) -> None:
        """Note a record that the operation made or ended."""
        if any(made.uid == record.uid for made in self.operation.made):
            return
        made = operations.made(record, chart=chart) if chart else operations.made(record)
        self.operation = self.operation.model_copy(update={"made": (*self.operation.made, made)})

    def succeed(self) -> None:
        """Write down that all went well; what cannot be written is told, and makes nothing of it undone."""
        try:
            self._finish(Outcome(reason=SUCCEEDED, message=""))
        except KubernautError as failure:
            self.step.log(f"The operation could not be written down: {failure}")

    def end(self, failure: KubernautError) -> KubernautError:
        """Write down how it failed, and return that failure, with the operation and the release named."""
        if isinstance(failure, DeployFailed):
            failure.operation = self.operation.id
            failure.release = self.operation.made[0].id if self.operation.made else None
        with suppress(KubernautError):  # the failure itself is what must be told
            self._finish(_outcome(failure))
        return failure

    def nothing_came_of_it(self) -> KubernautError:
        """Return why Helm made no record."""
        failure = self.failure or HelmFailed(f"Helm ended as if all were well, and there is no record of {self.operation.name}.")
        return self.end(failure)

    def _finish(self, outcome: Outcome) -> None:
        self.operation = self.operation.model_copy(update={"outcome": outcome, "finished_at": now()})
        others = tuple(other for other in self.now.operations if other.id != self.operation.id)
        self.now = replace(self.now, operations=(self.operation, *others))
        operations.finish(self.cluster(), self.operation)
        operations.forget_expired(self.cluster(), self.past.operations)

    def _read(self) -> Past:
        return self.history.past(self.operation.namespace, self.operation.name)

    def _is_ours(self, record: Record) -> bool:
        """Say whether a pending record is this attempt's, whose Helm has ended: then nobody works on it any more."""
        return record.revision >= self.next_revision and not any(record.revision == old.revision for old in self.past.records)

    def _tidy(self, stopped: BaseException) -> None:
        """Write down that the attempt was stopped, and mark what it left pending as failed."""
        failure = Interrupted(f"The {self.operation.verb} was stopped: {stopped or type(stopped).__name__}.")
        self.failure = failure
        with suppress(KubernautError):
            record = self.read_back(self._unsettled) or self.first_new(self.now)
            if record is not None:
                self.note(record, self.operation.chart)
        with suppress(KubernautError):
            self._finish(_outcome(failure))


def _outcome(failure: KubernautError) -> Outcome:
    return Outcome(reason=failure.code, message=redact(failure.message), details=tuple(redact(line) for line in failure.details))
