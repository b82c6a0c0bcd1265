"""The state of an operation while it is executed: its lock, its records, its Helm's failure, and how all that is written.

:mod:`kubernaut.deploy.execute` is the state machine that changes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kubernaut.deploy.cleanup import remove_leftovers
from kubernaut.deploy.operation_writer import OperationWriter
from kubernaut.deploy.operations import delete_expired, made, outcome_of, storable
from kubernaut.deploy.planning.leftovers import leftovers
from kubernaut.deploy.planning.revisions import chart_of
from kubernaut.deploy.reconcile import fence, mark_failed, restore_statuses
from kubernaut.deploy.requests import DeployRequest
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
from kubernaut.errors.domain import NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT
from kubernaut.events import Progress, Step, StopCheck, never_stop
from kubernaut.history.operations import SUCCEEDED, Operation, OperationChart, Outcome, now
from kubernaut.history.records import OPERATION_LABEL, PENDING, Record, Status
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.models import Plan
from kubernaut.redact import environment_secrets
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.adapters.helm import Helm
    from kubernaut.adapters.kube import Cluster
    from kubernaut.deploy.lock.acquire import HeldLock

Find = Callable[[ReleaseHistory], Record | None]


@dataclass(frozen=True)
class DeployContext:
    """What operations work with; the cluster and Helm are opened when they are first needed.

    Attributes:
        store: The releases in the cluster.
        clock: A monotonic clock in seconds, for deadlines.
        stopped: Returns true when the work is to be stopped.
    """

    helm: Callable[[], Helm]
    cluster: Callable[[], Cluster]
    store: HistoryStore
    settings: Settings
    progress: Progress
    clock: Callable[[], float] = time.monotonic
    stopped: StopCheck = never_stop

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of secret variables, which are masked everywhere."""
        return environment_secrets(self.settings.environment)


@contextmanager
def completing_hints(namespace: str, name: str) -> Iterator[None]:
    """Put the names of the release into the hints of an error that the block raises, so that their commands can be pasted."""
    try:
        yield
    except KubernautError as failure:
        failure.fill_hints(namespace, name, getattr(failure, "release", None) or f"{namespace}.{name}.current")
        raise


class NotReady(Exception):
    """A deploy's release failed. Ends the deploy's step; a rollback is a step of its own, under the same lock."""

    def __init__(self, request: DeployRequest, execution: Execution, record: Record, error: DeployFailed) -> None:
        super().__init__(error.message)
        self.request = request
        self.execution = execution
        self.record = record
        self.error = error


@dataclass
class Execution:
    """The execution of one operation under its release's lock.

    Attributes:
        context: What the operation works with.
        lock: The release's lock.
        writer: Writes the operation.
        operation: The operation as it is to be written.
        step: The step that reports the progress.
        deadline: The clock's reading at which the time is over.
        helm_wait: Seconds to wait for a plain Helm that is at work.
        history: The history before Helm runs.
        latest: The history after Helm has run, with this operation as it stands.
        helm_failure: The failure of the last Helm command, if it failed.
        rollback_chart: The chart of the release that Helm rolls back to, once it does.
        no_hooks: Whether Helm leaves the hooks out.
        hook_failed: Whether a hook is what failed.
        outcome_unknown: Whether the cluster did not answer when the records were read back.
        reconciled: The IDs of the records that were unfinished or fenced and were put in order; their Helm may still run.
        passed_base: The deployed record that was marked superseded, so that Helm compares with a later one.
    """

    context: DeployContext
    lock: HeldLock
    writer: OperationWriter
    operation: Operation
    step: Step
    deadline: float
    helm_wait: float = 0.0
    history: ReleaseHistory = field(default_factory=lambda: ReleaseHistory((), ()))
    latest: ReleaseHistory = field(default_factory=lambda: ReleaseHistory((), ()))
    helm_failure: KubernautError | None = None
    rollback_chart: OperationChart | None = None
    no_hooks: bool = False
    hook_failed: bool = False
    outcome_unknown: bool = False
    reconciled: set[str] = field(default_factory=set)
    passed_base: Record | None = None
    _noticed: set[str] = field(default_factory=set)
    _begun: bool = False

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.context.cluster()

    @property
    def next_revision(self) -> int:
        """The revision that Helm will make."""
        return (self.history.current.revision if self.history.current else 0) + 1

    @property
    def newest(self) -> Record | None:
        """The newest record that is known."""
        known = [one.current for one in (self.latest, self.history) if one.current is not None]
        return max(known, key=lambda record: record.revision, default=None)

    def reread(self) -> ReleaseHistory:
        """Return the history as it is now; what is known of it stays as it is."""
        return self._read()

    # before Helm runs

    def read(self) -> ReleaseHistory:
        """Read the history before Helm runs."""
        self.history = self._read()
        return self.history

    def begin(self, plan: Plan) -> None:
        """Write the operation once, before anything is done. A refused write is reported, and the work goes on.

        Raises:
            NamespaceNotFound: The namespace does not exist.
            Conflict: The operation was accepted, and has been begun or given an outcome elsewhere.
            ClusterUnreachable: The API server does not answer.
        """
        if self._begun:
            return
        known = {"plan": storable(plan), "after": self.next_revision - 1, "chart": self._chart(plan)}
        self.operation = self.operation.model_copy(update=known)
        self._begun = True
        try:
            self.writer.begin(self.operation)
        except (ClusterDenied, BadInput, Conflict) as failure:
            if self.writer.accepted is not None:
                raise
            self.step.notice(f"The operation cannot be written, so the history will not show its actor: {failure}")

    def _chart(self, plan: Plan) -> OperationChart | None:
        """Return the operation's chart; for a rollback or a delete that of the record that it works on."""
        main = plan.actions[-1]
        if self.operation.chart is None and main.kind in ("helm-rollback", "helm-uninstall", "mark-uninstalled"):
            return chart_of(self.history.by_id(main.subject), self.history)
        return self.operation.chart

    # after Helm has run

    def read_back(self, find: Find) -> Record | None:
        """Return the record that Helm made, as it is now; one that its Helm left pending is marked failed.

        Raises:
            ClusterUnreachable: The result is unknown, because the API server does not answer.
            ClusterDenied: The result is unknown, because the credentials are refused now.
        """
        try:
            self.latest = self._read()
            record = find(self.latest)
            if record is None or record.status not in PENDING or not self.owns(record):
                return record
            self.step.notice(f"Helm ended and left {record.id} {record.status}; it is marked failed.")
            why = f"Helm ended and left it {record.status}: {self.helm_failure or 'it reported no error'}"
            with suppress(Conflict, ClusterDenied, NotFound):  # changed meanwhile, or not permitted
                mark_failed(self.cluster, record, why, self.latest)
            self.latest = self._read()
            return find(self.latest)
        except (ClusterUnreachable, ClusterDenied) as unknown:
            self.outcome_unknown = True
            operation, helm = self.operation, f" Helm: {self.helm_failure}" if self.helm_failure else ""
            release = f"{operation.namespace}.{operation.name}"
            raise type(unknown)(
                f"The result of the {operation.verb} of {release} is unknown: {unknown}{helm}",
                hint=f"When the cluster answers again, `kubernaut history {operation.name} -n {operation.namespace}` shows it.",
                http_hint=f"When the cluster answers again, `GET /api/releases/{release}.current/history` shows it.",
            ) from unknown

    def find_own(self, history: ReleaseHistory, *, after: int = 0) -> Record | None:
        """Return the first record that this operation made after a revision."""
        return next((record for record in reversed(history.records) if record.revision > after and self.owns(record)), None)

    def notice_once(self, text: str) -> None:
        """Report a notice, unless the operation has reported the same before."""
        if text not in self._noticed:
            self._noticed.add(text)
            self.step.notice(text)

    def find_labelled(self, history: ReleaseHistory) -> Record | None:
        """Return the oldest record with the operation's label; plain Helm may have copied the label to newer ones already."""
        records = reversed(history.records)
        return next((record for record in records if record.labels.get(OPERATION_LABEL) == self.operation.id), None)

    def owns(self, record: Record) -> bool:
        """Return whether this operation made a record, which no Helm works on any more.

        A deploy's record has the operation's label. A rollback's has the labels of its target, so nothing distinguishes it from
        the record of another rollback, except that Helm reports when another one was faster.
        """
        if record.revision < self.next_revision:
            return False
        if record.operation_id is not None:
            return record.operation_id == self.operation.id
        if record.status in PENDING and record.status != Status.PENDING_ROLLBACK:
            return False
        return self.rollback_chart is not None and not isinstance(self.helm_failure, ReleaseLocked)

    def is_deployed(self, record: Record) -> bool:
        """Return whether Helm deployed a record that was read back; it may have been superseded since."""
        return record.status == Status.DEPLOYED or (record.status == Status.SUPERSEDED and self.helm_failure is None)

    def failure_of(self, record: Record | None) -> KubernautError:
        """Return why Helm made no record or did not deploy it: its own failure, else what the record shows instead.

        Raises:
            LockLost: Helm was stopped because the lock was lost.
            Interrupted: Helm was stopped because the work was to be stopped.
        """
        self.raise_if_stopped()
        found = (
            f"the record of {record.id} is {record.status}: {record.description}"
            if record
            else f"made no record of {self.operation.name}."
        )
        return self.helm_failure or HelmFailed(f"Helm reported no error, but {found}")

    @property
    def interruption(self) -> Interrupted | None:
        """The failure of a Helm that was stopped because the work was to be stopped."""
        return self.helm_failure if isinstance(self.helm_failure, Interrupted) and self.lock.stopped() else None

    def raise_if_stopped(self) -> None:
        """Raise the failure of a Helm that this process stopped. Raises: LockLost, Interrupted."""
        stopped = self.helm_failure if isinstance(self.helm_failure, LockLost) else self.interruption
        if stopped is not None:
            raise stopped

    def add_release(self, record: Record, chart: OperationChart | None) -> None:
        """Add a record that the operation made or ended."""
        if all(known.uid != record.uid for known in self.operation.made):
            self.operation = self.operation.model_copy(update={"made": (*self.operation.made, made(record, chart))})

    def restore_statuses(self, record: Record | None, before: ReleaseHistory | None = None) -> None:
        """Mark records failed again that Helm superseded although they failed, and the passed base deployed without a success."""
        base = None if record is not None and self.is_deployed(record) else self.passed_base
        try:
            if restore_statuses(self.cluster, before or self.history, self.latest, base):
                self.latest = self._read()
        except KubernautError as failure:  # the statuses of older revisions matter less than the result
            self.step.notice(f"The status of an older revision could not be restored: {failure}")

    def remove_leftovers(self, record: Record) -> None:
        """Delete what only earlier revisions have: see :func:`kubernaut.deploy.planning.leftovers.leftovers`."""
        self.lock.check()
        remove_leftovers(self.cluster, leftovers(self.latest, record), notify=self.step.notice)

    # how it ends

    def write_explanation(self, error: DeployFailed) -> None:
        """Write why the deploy failed before anything is rolled back, in case this process dies meanwhile."""
        with suppress(KubernautError):  # written again at the end
            self._write(outcome_of(error, self.writer.secrets))

    def finish_succeeded(self, message: str = "") -> None:
        """Write the outcome of a success; a failure to do so is reported, and undoes nothing."""
        if not self._begun:
            return
        try:
            self._finish(Outcome(reason=SUCCEEDED, message=message))
        except KubernautError as failure:
            self.step.notice(f"The operation could not be written: {failure}")

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Write the outcome if the block ends with an error, Ctrl-C or a signal; in any case fence what was reconciled."""
        try:
            yield
        except NotReady:  # not the end: the failed deploy is rolled back or kept
            raise
        except KubernautError as failure:
            if self.hook_failed and isinstance(failure, DeployFailed):
                failure.add_hints(NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT)
            self._finish_failed(failure)
            self._fence()
            raise
        except BaseException as stopped:
            self._finish_stopped(stopped)
            self._fence()
            raise
        self._fence()

    def _finish_failed(self, failure: KubernautError) -> None:
        """Name the release and the operation in a failure, and write it as the outcome.

        Nothing is written while the result is unknown: the next operation reads it from the record.
        """
        if not self._begun or self.outcome_unknown or self.operation.finished_at is not None:
            return
        if isinstance(failure, DeployFailed):
            failure.operation = self.operation.id
            failure.release = self.operation.made[0].id if self.operation.made else None
        with suppress(KubernautError):  # the failure itself has to be reported
            self._finish(outcome_of(failure, self.writer.secrets))

    def _finish_stopped(self, stopped: BaseException) -> None:
        """Write that the operation was stopped, and mark a record that it left pending as failed."""
        if not self._begun or self.operation.finished_at is not None:
            return
        failure = Interrupted(f"The {self.operation.verb} was stopped: {str(stopped) or type(stopped).__name__}.")
        self.helm_failure = failure
        with suppress(KubernautError):
            self.read_back(self._find_pending)
        for record in reversed(self.latest.records):
            if self.owns(record):
                labelled = record.labels.get(OPERATION_LABEL) == self.operation.id
                self.add_release(record, self.operation.chart if labelled else self.rollback_chart)
        outcome, before = outcome_of(failure, self.writer.secrets), self.operation.outcome
        if before is not None:  # it had failed already, and was being rolled back
            outcome = before.model_copy(update={"reason": outcome.reason, "message": f"{before.message} {outcome.message}"})
        with suppress(KubernautError):
            self._finish(outcome)

    def _find_pending(self, history: ReleaseHistory) -> Record | None:
        return next((record for record in history.records if record.status in PENDING and self.owns(record)), None)

    def _fence(self) -> None:
        if not self.reconciled:
            return
        try:
            fence(self.cluster, self._read(), self.reconciled, notify=self.step.notice)
        except KubernautError as failure:
            self.step.notice(f"The reconciled records could not be fenced: {failure}")

    def _finish(self, outcome: Outcome) -> None:
        self.operation = self.operation.model_copy(update={"finished_at": now()})
        self._write(outcome)
        with suppress(KubernautError):  # the next operation tries again
            delete_expired(self.cluster, self.history)

    def _write(self, outcome: Outcome) -> None:
        self.operation = self.writer.with_events(self.operation.model_copy(update={"outcome": outcome}))
        others = tuple(other for other in self.latest.operations if other.id != self.operation.id)
        self.latest = replace(self.latest, operations=(self.operation, *others))
        self.writer.write(self.operation)

    def _read(self) -> ReleaseHistory:
        return self.context.store.get(self.operation.namespace, self.operation.name)
