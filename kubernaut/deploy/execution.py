"""One attempt: the operation written down, Helm started, the record read back, the end written down; on Ctrl-C too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kubernaut.deploy import operation as operations
from kubernaut.deploy.operations import OperationWriter
from kubernaut.deploy.reconcile import fence, mark_failed
from kubernaut.deploy.revisions import chart_of
from kubernaut.errors import (
    BadInput,
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    DeployFailed,
    HelmFailed,
    Interrupted,
    KubernautError,
    LockLost,
    NotFound,
    ReleaseLocked,
)
from kubernaut.events import Progress, Step, Stopped, never
from kubernaut.history.operations import SUCCEEDED, Operation, OperationChart, Outcome, now
from kubernaut.history.records import OPERATION_LABEL, PENDING, Record, Status
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.models import Plan
from kubernaut.redact import redact
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.adapters.helm import Helm
    from kubernaut.adapters.kube import Cluster
    from kubernaut.deploy.held import HeldLock

Run = Callable[["Helm"], None]
Find = Callable[[ReleaseHistory], Record | None]


@dataclass(frozen=True)
class Tools:
    """What the verbs need; the cluster and Helm are opened only when there is work for them.

    Attributes:
        history: The releases in the cluster.
        clock: Seconds, for deadlines.
        stopped: Is asked all the time whether the work shall be stopped.
    """

    helm: Callable[[], Helm]
    cluster: Callable[[], Cluster]
    history: HistoryStore
    settings: Settings
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    stopped: Stopped = never


class NotReady(Exception):
    """Ends the step of a deploy whose release failed: what follows is another step."""

    def __init__(self, attempt: Attempt, record: Record, failed: DeployFailed) -> None:
        super().__init__(failed.message)
        self.attempt = attempt
        self.record = record
        self.failed = failed


@dataclass
class Attempt:
    """An attempt to write a release, by whoever holds its lock.

    Attributes:
        held: The release's lock.
        ledger: Where the operation is written down, with what was said.
        past: What was known before Helm ran.
        now: What is known after it, with this operation as it stands.
        operation: What is written down of it.
        step: Is told what Helm says.
        until: The clock's reading at which the time is over.
        failure: Why the last Helm failed, if it did.
        back_to: The chart of the release that Helm goes back to, once it does.
        recovered: The records that were found unfinished or fenced, and put in order: whose Helm they were may still live.
        patience: Seconds to wait for a plain Helm that is at work.
    """

    tools: Tools
    held: HeldLock
    ledger: OperationWriter
    operation: Operation
    step: Step
    until: float
    past: ReleaseHistory = field(default_factory=lambda: ReleaseHistory((), ()))
    now: ReleaseHistory = field(default_factory=lambda: ReleaseHistory((), ()))
    failure: KubernautError | None = None
    back_to: OperationChart | None = None
    recovered: set[str] = field(default_factory=set)
    patience: float = 0.0
    _begun: bool = False
    _unknown: bool = False

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.tools.cluster()

    @property
    def next_revision(self) -> int:
        """The revision that Helm is going to make."""
        return (self.past.current.revision if self.past.current else 0) + 1

    def read(self) -> ReleaseHistory:
        """Read what is known of the release before Helm runs."""
        self.past = self._read()
        return self.past

    def begin(self, plan: Plan) -> None:
        """Write the operation down, once, before anything is done; one that may not be written is told, and the work goes on.

        Raises:
            NamespaceNotFound: There is no such namespace.
            Conflict: It was accepted, and somebody has given it up since.
            ClusterUnreachable: The cluster does not answer.
        """
        if self._begun:
            return
        known = {"plan": plan, "after": self.next_revision - 1, "chart": self._chart(plan)}
        self.operation = self.operation.model_copy(update=known)
        self._begun = True
        try:
            self.ledger.begin(self.operation)
        except (ClusterDenied, BadInput, Conflict) as failure:
            if self.ledger.accepted is not None:
                raise
            self.step.say(f"The operation cannot be written down, so the history will not tell who did this: {failure}")

    def run(self, start: Run) -> None:
        """Run Helm, and keep its failure for later: what is true, the record says."""
        self.failure = None
        try:
            self.held.check()
            start(self.tools.helm())
        except KubernautError as failure:
            self.failure = failure

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Write down how it ended, if it ends in here by an exception: a failure, Ctrl-C or a signal; then that goes on.

        However it ends, what was put in order is fenced against those who left it.
        """
        try:
            yield
        except NotReady:
            raise
        except KubernautError as failure:
            self._end(failure)
            self._fence()
            raise
        except BaseException as stopped:
            self._tidy(stopped)
            self._fence()
            raise
        self._fence()

    def read_back(self, find: Find) -> Record | None:
        """Return the record that Helm made, as it is now; one that its Helm left pending is marked failed.

        Raises:
            ClusterUnreachable: Nobody knows what came of it.
            ClusterDenied: Likewise: credentials that expired meanwhile, for example.
        """
        try:
            self.now = self._read()
            record = find(self.now)
            if record is None or record.status not in PENDING or not self.is_ours(record):
                return record
            self.step.say(f"Helm has ended and left {record.id} {record.status}; it is marked failed.")
            said = f"Helm ended and left it {record.status}: {self.failure or 'it said nothing'}"
            with suppress(Conflict, ClusterDenied, NotFound):  # somebody was faster, or we may not: it is told as it is
                mark_failed(self.cluster, record, said)
            self.now = self._read()
            return find(self.now)
        except (ClusterUnreachable, ClusterDenied) as unknown:
            self._unknown = True
            said = f" Helm said: {self.failure}" if self.failure else ""
            at = f"{self.operation.name} -n {self.operation.namespace}"
            raise type(unknown)(
                f"What came of the {self.operation.verb} is not known: {unknown}{said}",
                hint=f"When the cluster answers again, `kubernaut history {at}` shows it.",
            ) from unknown

    def first_new(self, past: ReleaseHistory) -> Record | None:
        """Find the first record that the attempt made."""
        return next((record for record in reversed(past.records) if self.is_ours(record)), None)

    def labelled(self, past: ReleaseHistory) -> Record | None:
        """Find the oldest record with the operation's label: plain Helm may have copied it onward already."""
        return next((record for record in reversed(past.records) if record.labels.get(OPERATION_LABEL) == self.operation.id), None)

    def worked(self, record: Record) -> bool:
        """Say whether a record that was read back runs; one that somebody has replaced since did."""
        return record.status == Status.DEPLOYED or (record.status == Status.SUPERSEDED and self.failure is None)

    def failure_of(self, record: Record) -> KubernautError:
        """Return why Helm failed; where it did not, what its record says instead.

        Raises:
            LockLost: That is why: the release is somebody else's now.
            Interrupted: That is why: the work was to be stopped.
        """
        self.check_whose_end()
        return self.failure or HelmFailed(
            f"Helm ended as if all were well, and its record says {record.status}: {record.description}"
        )

    @property
    def stop(self) -> Interrupted | None:
        """What Helm ended with because the work was to be stopped; ``None`` when that is not why."""
        return self.failure if isinstance(self.failure, Interrupted) and self.held.stopped() else None

    def check_whose_end(self) -> None:
        """Go on if it was not us who ended Helm. Raises: LockLost, Interrupted."""
        ours = self.failure if isinstance(self.failure, LockLost) else self.stop
        if ours is not None:
            raise ours

    def note(self, record: Record, chart: OperationChart | None) -> None:
        """Note a record that the operation made or ended."""
        if any(made.uid == record.uid for made in self.operation.made):
            return
        made = operations.made(record, chart=chart) if chart else operations.made(record)
        self.operation = self.operation.model_copy(update={"made": (*self.operation.made, made)})

    def explained(self, failed: DeployFailed) -> None:
        """Write down why it failed, before anything is rolled back: we may not live to write the end."""
        with suppress(KubernautError):  # the end is written too
            self._write(outcome_of(failed))

    def succeed(self) -> None:
        """Write down that all went well; what cannot be written is told, and makes nothing of it undone."""
        if not self._begun:
            return
        try:
            self._finish(Outcome(reason=SUCCEEDED, message=""))
        except KubernautError as failure:
            self.step.say(f"The operation could not be written down: {failure}")

    def nothing_came_of_it(self) -> KubernautError:
        """Return why Helm made no record."""
        return self.failure or HelmFailed(f"Helm ended as if all were well, and there is no record of {self.operation.name}.")

    def is_ours(self, record: Record) -> bool:
        """Say whether a record is this attempt's, whose Helm has ended: then nobody works on it any more.

        What a deploy makes has its operation's label. What a rollback makes has labels copied from where it goes back to, and
        nothing else tells it from somebody else's, except that Helm says when somebody was faster.
        """
        if record.revision < self.next_revision:
            return False
        if record.operation_id is not None:
            return record.operation_id == self.operation.id
        if record.status in PENDING and record.status != Status.PENDING_ROLLBACK:
            return False
        return self.back_to is not None and not isinstance(self.failure, ReleaseLocked)

    def _chart(self, plan: Plan) -> OperationChart | None:
        """Return the chart that the operation is about; a rollback's or a delete's is that of the record which it works on."""
        main = plan.actions[-1]
        about = self.operation.chart is None and main.kind in ("helm-rollback", "helm-uninstall")
        return chart_of(self.past.by_id(main.subject), self.past) if about else self.operation.chart

    def _end(self, failure: KubernautError) -> None:
        """Name the release and the operation in a failure, and write down that it failed so.

        Where nobody knows what came of it, nothing is written: whoever comes next reads it off the record.
        """
        if not self._begun or self._unknown or self.operation.finished_at is not None:
            return
        if isinstance(failure, DeployFailed):
            failure.operation = self.operation.id
            failure.release = self.operation.made[0].id if self.operation.made else None
        with suppress(KubernautError):  # the failure itself is what must be told
            self._finish(outcome_of(failure))

    def _fence(self) -> None:
        if not self.recovered:
            return
        try:
            fence(self.cluster, self._read(), self.recovered, say=self.step.say)
        except KubernautError as failure:
            self.step.say(f"What was put in order could not be fenced: {failure}")

    def _finish(self, outcome: Outcome) -> None:
        self.operation = self.operation.model_copy(update={"finished_at": now()})
        self._write(outcome)
        with suppress(KubernautError):  # the next one tries again
            operations.forget_expired(self.cluster, self.past)

    def _write(self, outcome: Outcome) -> None:
        self.operation = self.ledger.with_said(self.operation.model_copy(update={"outcome": outcome}))
        others = tuple(other for other in self.now.operations if other.id != self.operation.id)
        self.now = replace(self.now, operations=(self.operation, *others))
        self.ledger.write(self.operation)

    def _read(self) -> ReleaseHistory:
        return self.tools.history.get(self.operation.namespace, self.operation.name)

    def _tidy(self, stopped: BaseException) -> None:
        """Write down that the attempt was stopped, and mark what it left pending as failed."""
        if not self._begun or self.operation.finished_at is not None:
            return
        failure = Interrupted(f"The {self.operation.verb} was stopped: {str(stopped) or type(stopped).__name__}.")
        self.failure = failure
        with suppress(KubernautError):
            self.read_back(self._unsettled)
        for record in reversed(self.now.records):
            if self.is_ours(record):
                labelled = record.labels.get(OPERATION_LABEL) == self.operation.id
                self.note(record, self.operation.chart if labelled else self.back_to)
        outcome, before = outcome_of(failure), self.operation.outcome
        if before is not None:  # it had failed already, and was being rolled back
            outcome = before.model_copy(update={"reason": outcome.reason, "message": f"{before.message} {outcome.message}"})
        with suppress(KubernautError):
            self._finish(outcome)

    def _unsettled(self, past: ReleaseHistory) -> Record | None:
        """Find the record that the attempt made and left pending."""
        return next((record for record in past.records if record.status in PENDING and self.is_ours(record)), None)


def outcome_of(failure: KubernautError) -> Outcome:
    """Return a failure as the outcome of an operation."""
    return Outcome(reason=failure.code, message=redact(failure.message), details=tuple(redact(line) for line in failure.details))
