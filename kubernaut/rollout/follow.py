"""Follow a rollout: report what the cluster does, and give up by rule.

Helm runs in the calling thread and calls :meth:`RolloutFollower.check` several times a second; the error that it raises stops Helm.
Of a rollout that another process makes, :meth:`RolloutFollower.show` reports the progress.
The cluster is watched by the threads of :class:`~kubernaut.rollout.watch.RolloutWatch` from before Helm starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from kubernaut.adapters.process import Check
from kubernaut.errors import HelmFailed, KubernautError
from kubernaut.events import Step
from kubernaut.history.explanation import Explanation, clean
from kubernaut.rollout.logs import logs_to_read
from kubernaut.rollout.objects import Expected
from kubernaut.rollout.rules import Rules, is_timed
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.verdict import Judgement, Verdict, Watched, begin, judge
from kubernaut.rollout.watch import RolloutWatch
from kubernaut.rollout.workloads import Phase, WorkloadState, workload_states

_RECORD_SECONDS = 0.3
_LOOK_SECONDS = 0.2
_SYNC_SECONDS = 2.0

FindTarget = Callable[[], "Target | None"]
"""Returns what is rolled out, once the record of the new revision exists."""


@dataclass(frozen=True)
class Target:
    """The target of a rollout.

    Attributes:
        expected: The objects of the new revision.
        rules: The rules that its chart and the settings make.
        began_at: When its record was created, by the cluster's clock; ``None`` if that cannot be read.
    """

    expected: Sequence[Expected]
    rules: Rules
    began_at: datetime | None = None


def given_up(verdict: Verdict) -> HelmFailed:
    """Return the error that stops Helm for a rollout that failed: its problem, and the rule by which it was given up."""
    problem = verdict.problem
    return HelmFailed(f"{problem.message if problem else 'The rollout failed'}; given up {verdict.rule}.")


class RolloutFollower:
    """Follows one rollout, from before Helm starts to the last verdict.

    Args:
        watch: Watches the release's objects.
        step: Receives the progress.
        before: The objects of the release as it was, whose state is remembered before Helm changes it.
        find: Finds what is rolled out.
        notify: Receives what cannot be read, again and again; by default the step, once.
        clock: A monotonic clock in seconds.

    Attributes:
        verdict: The last verdict; ``None`` before the objects of the new revision are known.
    """

    def __init__(
        self,
        watch: RolloutWatch,
        step: Step,
        *,
        before: Sequence[Expected],
        find: FindTarget,
        notify: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.verdict: Verdict | None = None
        self._watch = watch
        self._step = step
        self._before = before
        self._find = find
        self._notify = notify or _once(step.notice)
        self._clock = clock
        self._expected: Sequence[Expected] | None = None
        self._watched = Watched()
        self._first: Snapshot | None = None
        self._next_find = 0.0
        self._shown: dict[str, tuple[str, bool]] = {}

    def __enter__(self) -> Self:
        self._watch.__enter__()
        self._watch.expect(self._before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._watch.__exit__(kind, error, trace)

    def check(self) -> None:
        """Look once, and report what changed. Raises: HelmFailed: The rollout failed by rule."""
        verdict = self._look(self._watch.snapshot(), helm_done=False)
        if verdict is not None and verdict.is_failed:
            raise given_up(verdict)

    def show(self, seconds: float) -> None:
        """Report what changes within so many seconds, without a judgement: of a rollout that another process judges."""
        until = self._clock() + seconds
        while True:
            self._find_expected(at_once=False)
            synced, snapshot = self._watch.is_synced(), self._watch.snapshot()
            if self._expected is not None and synced:  # what was not read yet is not missing
                self._name_unreadable(snapshot)
                self._report(workload_states(self._expected, snapshot))
            left = until - self._clock()
            if left <= 0:
                return
            self._watch.wait(min(_LOOK_SECONDS, left))

    def look_once_more(self, seconds: float) -> None:
        """Look at what a Helm that failed left, if the rollout was not given up already.

        What the watches show may be a moment old, so it is read anew if the cluster answers.

        Args:
            seconds: How long to wait for what was not read yet.
        """
        if self.verdict is not None and self.verdict.is_failed:
            return
        self._find_expected(at_once=True)
        synced, snapshot = self._watch.is_synced(seconds), self._watch.snapshot()
        if synced and not snapshot.disconnected:
            with suppress(KubernautError):
                snapshot = self._watch.refresh()
        self._look(snapshot, helm_done=False)

    def finish(self, seconds: float, check: Check) -> Verdict | None:
        """Wait until the release is ready or has failed, once Helm is done; return the last verdict.

        What a watch showed may be old, so a release is called ready, or late, only by objects that were read after Helm ended.

        Args:
            seconds: How long to wait.
            check: Called at least once a second; an error that it raises ends the wait.
        """
        until = self._clock() + seconds
        self._find_expected(at_once=True)
        self._watch.is_synced(min(seconds, _SYNC_SECONDS))  # what was not read yet is not missing
        while True:
            check()
            verdict = self._look(self._watch.snapshot(), helm_done=True)
            is_late = self._clock() >= until
            if verdict is not None and (verdict.is_ready or (is_late and not verdict.is_failed)):
                verdict = self._confirmed()
            if self._expected is None or verdict is None or verdict.is_ready or verdict.is_failed or is_late:
                return verdict
            self._watch.wait(min(_LOOK_SECONDS, max(0.0, until - self._clock())))

    def explain(
        self,
        what: str,
        failure: KubernautError,
        *,
        expected: Sequence[Expected],
        since: datetime | None,
        secrets: Sequence[str] = (),
        is_probe: bool = False,
    ) -> Explanation:
        """Return why what was followed failed, from what the cluster shows now and the logs, which are read for it.

        The arguments are those of :func:`kubernaut.rollout.diagnose.explain`.
        """
        from kubernaut.rollout.diagnose import explain  # a success starts faster without it

        snapshot = self._watch.snapshot()
        logs = self._watch.logs(logs_to_read(self.verdict, snapshot), secrets)
        known: dict[str, Any] = {"verdict": self.verdict, "expected": expected, "logs": logs, "since": since}
        return explain(what, failure, snapshot, is_probe=is_probe, secrets=secrets, **known)

    def _confirmed(self) -> Verdict | None:
        """Return the verdict by objects that are read now; the one by the watches is kept while the cluster does not answer."""
        try:
            fresh = self._watch.refresh(services=self.verdict is not None and not self.verdict.is_ready)
        except KubernautError:
            return replace(self.verdict, judgement=Judgement.PROGRESSING) if self.verdict is not None else None
        return self._look(fresh, helm_done=True)

    def _look(self, snapshot: Snapshot, *, helm_done: bool) -> Verdict | None:
        self._remember_before(snapshot)
        self._find_expected(at_once=helm_done)
        self._name_unreadable(snapshot)
        if self._expected is None:
            return None
        if self.verdict is not None and self.verdict.is_failed:
            return self.verdict  # final: while Helm is being stopped, the container that crashes may run again
        self.verdict = self._judge(snapshot, helm_done=helm_done)
        self._report(self.verdict.states)
        return self.verdict

    def _judge(self, snapshot: Snapshot, *, helm_done: bool) -> Verdict:
        """Judge; what ends the rollout because it lasts is read anew: a watch may be silent for longer than it may last."""
        verdict, self._watched = judge(self._watched, self._expected or (), snapshot, helm_done=helm_done)
        if verdict.is_failed and verdict.problem is not None and is_timed(verdict.problem.cause):
            try:
                fresh = self._watch.refresh(services=True)
            except KubernautError:
                return replace(verdict, judgement=Judgement.PROGRESSING, rule="")
            verdict, self._watched = judge(self._watched, self._expected or (), fresh, helm_done=helm_done)
        return verdict

    def _remember_before(self, snapshot: Snapshot) -> None:
        if self._first is None and self._expected is None and self._watch.is_synced():
            self._first = snapshot

    def _find_expected(self, *, at_once: bool) -> None:
        """Look for the record of the new revision, which Helm creates after it has started."""
        if self._expected is not None or (self._clock() < self._next_find and not at_once):
            return
        self._next_find = self._clock() + _RECORD_SECONDS
        with suppress(KubernautError):  # asked again, and Helm itself reports a cluster that does not answer
            target = self._find()
            if target is not None:
                self._expected = target.expected
                self._watched = self._begun(target)
                self._watch.expect(target.expected)

    def _begun(self, target: Target) -> Watched:
        """Return the memory with which the judgement begins: empty if the objects were not read before the record was found."""
        first, self._first = self._first, None
        return Watched(target.rules) if first is None else begin(target.rules, self._before, first, target.began_at)

    # progress

    def _name_unreadable(self, snapshot: Snapshot) -> None:
        for why in snapshot.unreadable.values():
            self._notify(f"{why[:1].upper()}{why[1:]}.")

    def _report(self, states: Iterable[WorkloadState]) -> None:
        for state in states:
            line, ready = progress_line(state), state.is_ready
            if self._shown.get(str(state.key)) != (line, ready) and (state.exists or not state.hook):
                self._shown[str(state.key)] = line, ready
                self._step.workload(str(state.key), clean(line), ready=ready)


def _once(notify: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that passes each text on once."""
    seen: set[str] = set()

    def report(text: str) -> None:
        if text not in seen:
            seen.add(text)
            notify(text)

    return report


def progress_line(state: WorkloadState) -> str:
    """Return the state of an object, for a person: ``2 of 3 ready · web-7f9 pulling image``."""
    waiting = next((pod for pod in state.pods if not pod.ready and pod.key != state.key), None)
    if state.phase is not Phase.PROGRESSING or waiting is None:
        return state.summary
    return f"{state.summary} · {waiting.key.name} {waiting.activity}"
