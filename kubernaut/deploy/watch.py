"""Watch the operation that another process executes on a release. Nothing is written, and the lock is not acquired.

The operation's steps are read from its Secret, its rollout from the cluster's objects. Where none runs, the current release is
judged (:mod:`kubernaut.deploy.judge`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from kubernaut.deploy.execute import Result
from kubernaut.deploy.execution import DeployContext, completing_hints
from kubernaut.deploy.judge import judge_current
from kubernaut.deploy.lock.lease import Holder
from kubernaut.deploy.lock.liveness import LockObserver
from kubernaut.deploy.planning.unfinished import find_unfinished
from kubernaut.deploy.requests import RecoveryRequest
from kubernaut.deploy.rollout import target_of
from kubernaut.errors import ClusterUnreachable, Interrupted, OperationNotFound, ReleaseNotCurrent
from kubernaut.events import Notice, OperationEvent, Step, StepStarted, WorkloadProgress
from kubernaut.history.operation_codec import decode_operation
from kubernaut.history.operations import Operation, is_operation_id, now, numbered_events
from kubernaut.history.records import Record, decode, secret_name
from kubernaut.history.releases import ReleaseId
from kubernaut.history.repair import infer_outcome
from kubernaut.history.replay import EventDecoder
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import check_namespace
from kubernaut.rollout.expected import expected_before, why_unread
from kubernaut.rollout.follow import RolloutFollower, Target
from kubernaut.rollout.watch import RolloutWatch

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

T = TypeVar("T")

POLL_SECONDS = 1.0
"""The pause between two looks at an operation."""
_SILENCE = 60.0
"""Seconds for which the cluster may not answer."""
_WITHOUT_ROLLOUT = frozenset({"delete"})


def watch(
    release: str, namespace: str | None = None, *, context: DeployContext, timeout: float, poll: float = POLL_SECONDS
) -> Result:
    """Watch the operation that runs on a release until it has ended; without one, the current release until it is ready.

    Args:
        release: The release; a revision must be the current one. Or the ID of an operation, which may have ended.
        namespace: The release's namespace, unless it is named by its ID.
        context: What it works with; its Helm is not used.
        timeout: Seconds that the current release may take to become ready.
        poll: Seconds between two looks.

    Raises:
        OperationNotFound: The operation does not exist.
        ReleaseNotFound: The release does not exist, or is deleted.
        ReleaseNotCurrent: The revision is not the current one.
        DeployKept: The current release failed, or is not ready in time.
        Interrupted: The operation's process has ended without an outcome, or the watch is to be stopped.
        KubernautError: The failure of the operation.
    """
    if is_operation_id(release):
        operation = context.store.operation(release, namespace and check_namespace(namespace))
        with completing_hints(operation.namespace, operation.name):
            return _OperationWatch(operation, context, _observer(operation, context), timeout, poll).run()
    wanted = ReleaseId.resolve(release, namespace)
    with completing_hints(wanted.namespace, wanted.name):
        return _watch_release(wanted, context, timeout, poll)


def _watch_release(wanted: ReleaseId, context: DeployContext, timeout: float, poll: float) -> Result:
    observer, waiting = _observer(wanted, context), ""
    while True:
        history = context.store.get(wanted.namespace, wanted.name)
        _check_current(wanted, history)
        is_held = observer.is_held()
        operation = _at_work(history, observer.holder)
        if operation is not None:
            return _OperationWatch(operation, context, observer, timeout, poll).run()
        busy = f"{observer.holder}" if is_held else _plain_helm(history, context)
        if not busy:
            return judge_current(history.record(wanted), history, context, timeout)
        if busy != waiting:
            _notifier(context)(f"{wanted.namespace}.{wanted.name} is in use by {busy}. Waiting for it.")
            waiting = busy
        _pause(context, poll)


def _observer(where: ReleaseId | Operation, context: DeployContext) -> LockObserver:
    return LockObserver(context.cluster(), where.namespace, where.name, notify=_notifier(context))


def _notifier(context: DeployContext) -> Callable[[str], None]:
    return lambda text: context.progress.notice("watch", text)


def _pause(context: DeployContext, seconds: float) -> None:
    if context.stopped():
        raise Interrupted("The watch was stopped.")
    time.sleep(seconds)


def _check_current(wanted: ReleaseId, history: ReleaseHistory) -> None:
    current = history.current
    if wanted.revision is not None and current is not None and history.record(wanted).revision != current.revision:
        raise ReleaseNotCurrent(
            f"{wanted} is not the current release; {current.id} is.",
            hint=f"`kubernaut watch {current.id}` watches it; `kubernaut explain {wanted}` explains {wanted}.",
            http_hint=f"Name the current release, {current.id}.",
            members={"current": current.id},
        )


def _at_work(history: ReleaseHistory, holder: Holder | None) -> Operation | None:
    """Return the operation without an outcome that holds the lock, else the newest operation if it has no outcome."""
    running = [one for one in history.operations if one.finished_at is None and one.unread is None]
    held = next((one for one in running if holder is not None and one.id == holder.operation), None)
    return held or next((one for one in running[:1] if one is history.operations[0]), None)


def _plain_helm(history: ReleaseHistory, context: DeployContext) -> str:
    """Return the plain Helm that works on the current record, for a person; empty for none."""
    if history.current is None:
        return ""
    request = RecoveryRequest(history.current.namespace, history.current.name, stale_after=context.settings.stale_after)
    unfinished = find_unfinished(history, request)
    return f"{unfinished.by} since {unfinished.since}" if unfinished is not None and not unfinished.stale else ""


@dataclass
class _OperationWatch:
    """The watch of one operation.

    Attributes:
        operation: The operation as it was read last.
    """

    operation: Operation
    context: DeployContext
    observer: LockObserver
    timeout: float
    poll: float
    _decoder: EventDecoder = field(default_factory=EventDecoder)
    _replayed: int = 0
    _opened: set[str] = field(default_factory=set)
    _silent_since: float | None = None
    _rollout: _RolloutWatch | None = None

    def run(self) -> Result:
        """Return the result of the operation once it has ended. Raises: see :func:`watch`."""
        self._announce()
        with ExitStack() as watches:
            while not self._has_ended():
                self._show(watches)
        operation = self.operation
        if operation.state not in ("succeeded", "unchanged"):
            self._finish_steps("")
            if operation.finished_at is None and operation.unread is None:
                return self._abandoned()
            raise operation.failure
        history = self._history()
        made = operation.made[-1].revision if operation.made else None
        record = history.find(made) if made is not None else history.current
        self._finish_steps(f"{record.id} is {record.status}" if record is not None else "")
        return Result(operation.plan, operation.state == "succeeded", history.describe(record))

    def _has_ended(self) -> bool:
        """Read the operation and report its new events; return whether it has ended, or its process has."""
        if self.context.stopped():
            raise Interrupted("The watch was stopped.")
        self._read()
        if self.operation.finished_at is None and self._ask(lambda: self.observer.may_run(self.operation)) is False:
            self._read()  # an outcome is written before the lock is released
            return self._silent_since is None
        return self.operation.finished_at is not None

    def _ask(self, request: Callable[[], T]) -> T | None:
        """Return the answer to a request; ``None`` if there is none. Raises: ClusterUnreachable, after a minute without one."""
        try:
            answer = request()
        except ClusterUnreachable as silent:
            if self._silent_since is None:
                self._silent_since = self.context.clock()
                self._notify(f"{silent.message} The watch goes on when it does.")
            elif self.context.clock() - self._silent_since >= _SILENCE:
                raise
            return None
        self._silent_since = None
        return answer

    def _read(self) -> None:
        """Read the operation, and report its new events."""
        self.operation = self._ask(self._fetch) or self.operation
        for number, event in numbered_events(self.operation):
            if number > self._replayed:
                self._replayed = number
                self._report(event)

    def _fetch(self) -> Operation:
        secret = self._cluster.get_secret(self.operation.namespace, self.operation.secret)
        found = decode_operation(secret) if secret else None
        if found is None:
            raise OperationNotFound(f"The operation {self.operation.id} was deleted while it was watched.")
        return found

    def _report(self, event: OperationEvent) -> None:
        """Report an event once; what the workloads do is reported from the cluster."""
        if event.kind == WorkloadProgress.kind:
            return
        if event.kind == StepStarted.kind:
            if event.step in self._opened:
                return
            self._opened.add(event.step)
        self.context.progress.listener(self._decoder.decode(event))

    def _finish_steps(self, detail: str) -> None:
        """Report the end of the open steps: an operation is written before its last step ends."""
        for end in self._decoder.finish(self.operation):
            self.context.progress.listener(replace(end, detail=end.detail or detail))

    # what it does now

    def _announce(self) -> None:
        operation = self.operation
        by, since = operation.actor or "an unknown actor", f"{operation.started_at:%H:%M:%S} UTC"
        self._start(operation.verb, _subject(operation))
        self._notify(f"Operation {operation.id} by {by} since {since}.")

    def _start(self, step: str, subject: str) -> None:
        self._report(OperationEvent(at=self.operation.started_at, step=step, kind=StepStarted.kind, text=subject))

    def _show(self, watches: ExitStack) -> None:
        """Report for a moment what the rollout does; of a deploy that has failed, that of the rollback."""
        operation = self.operation
        if operation.waits_until is not None or operation.verb in _WITHOUT_ROLLOUT or self._silent_since is not None:
            _pause(self.context, self.poll)
            return
        rollout = self._rollout
        if rollout is None:
            history = self._ask(self._history)
            if history is None:
                return
            first = (history.current.revision if history.current else 0) if operation.after is None else operation.after
            self._rollout = rollout = self._open(watches, first + 1, operation.verb, history.find(first))
        elif rollout.record is not None and self._exists(rollout.revision + 1):
            watches.close()
            self._start("rollback", f"{operation.namespace}.{operation.name}")
            self._rollout = rollout = self._open(watches, rollout.revision + 1, "rollback", rollout.record)
        rollout.follower.show(self.poll)

    def _open(self, watches: ExitStack, revision: int, step: str, before: Record | None) -> _RolloutWatch:
        rollout = _RolloutWatch(self.context, self.operation, revision, step, before)
        watches.enter_context(rollout.follower)
        return rollout

    def _exists(self, revision: int) -> bool:
        name = secret_name(self.operation.name, revision)
        return self._ask(lambda: self._cluster.get_secret(self.operation.namespace, name)) is not None

    # an operation whose process is gone

    def _abandoned(self) -> Result:
        """Judge the release of a deploy that was done before its process ended. Raises: Interrupted, what :func:`watch` raises."""
        operation, history = self.operation, self._history()
        others: Sequence[Operation] = [one for one in history.operations if one.id != operation.id]
        inferred = infer_outcome(operation, history.records, others)
        ended = inferred.apply(operation, now()) if inferred is not None else operation
        what = f"The process of the {operation.verb} by {operation.actor or 'an unknown actor'} has ended without an outcome"
        if ended.state == "succeeded" and history.current is not None:
            self._notify(f"{what}: {ended.failure.message}")
            return judge_current(history.current, history, self.context, self.timeout)
        release, failure = f"{operation.namespace}.{operation.name}", ended.failure
        raise Interrupted(
            f"{what}: {failure.message}",
            details=failure.details,
            members=failure.members,
            hint=f"Run the {operation.verb} again: it finishes what was left. `kubernaut unlock {operation.name} -n "
            f"{operation.namespace}` finishes it without another {operation.verb}.",
            http_hint=f"Send the {operation.verb} again: it finishes what was left. `GET /api/releases/{release}.current/history` "
            "shows it.",
        )

    # helpers

    @property
    def _cluster(self) -> Cluster:
        return self.context.cluster()

    def _history(self) -> ReleaseHistory:
        return self.context.store.get(self.operation.namespace, self.operation.name)

    def _notify(self, text: str) -> None:
        self.context.progress.listener(Notice(self.operation.verb, text))


class _RolloutWatch:
    """The rollout of one revision, as the cluster shows it.

    Attributes:
        follower: Reports it.
        record: The record of the revision, once it exists.
    """

    def __init__(self, context: DeployContext, operation: Operation, revision: int, step: str, before: Record | None) -> None:
        cluster = context.cluster()
        self.revision = revision
        self.record: Record | None = None
        self._context = context
        self._cluster = cluster
        self._namespace = operation.namespace
        self._secret = secret_name(operation.name, revision)
        self._step = Step(step, context.progress.listener)
        objects = expected_before(before) if before is not None else None
        watch = RolloutWatch(cluster, operation.namespace)
        self.follower = RolloutFollower(watch, self._step, before=objects or (), find=self._find)

    def _find(self) -> Target | None:
        if self.record is not None:  # its objects cannot be read
            return None
        secret = self._cluster.get_secret(self._namespace, self._secret)
        self.record = decode(secret) if secret is not None else None
        if self.record is None:
            return None
        target = target_of(self.record, self._context.settings, self._step.notice)
        if target is None:
            self._step.notice(f"The rollout is not shown, because {why_unread(self.record)}.")
        return target


def _subject(operation: Operation) -> str:
    """Return the subject of an operation's step, as the operation itself reports it."""
    if operation.verb == "deploy" and operation.chart is not None and operation.chart.version:
        return f"{operation.name} {operation.chart.version} to {operation.namespace}"
    return f"{operation.namespace}.{operation.name}"
