"""An operation is watched from another process, here from another thread; nothing is written."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.deploy_harness import LATE, WORKLOAD, DeployHarness, put_crashing
from support.kube_objects import deployment
from support.messages import facts
from support.waiting import until

from kubernaut.adapters.kube_resources import Resource
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.lock.lease import LockTiming, lease_manifest, new_holder
from kubernaut.deploy.requests import RollbackRequest, UninstallRequest
from kubernaut.deploy.watch import watch
from kubernaut.errors import (
    ClusterDenied,
    ClusterUnreachable,
    DeployKept,
    DeployRolledBack,
    Interrupted,
    KubernautError,
    OperationNotFound,
    ReleaseNotCurrent,
    ReleaseNotFound,
)
from kubernaut.events import Event, Notice, Progress, StepFinished, StepOutcome, StepStarted, WorkloadProgress
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.operations import now
from kubernaut.history.records import Status

SOON = 20.0
QUICK = 0.02
DEPLOYMENTS = Resource("Deployment", "apps/v1", "deployments")


@dataclass
class Refusing:
    """A cluster that refuses to answer one method."""

    _cluster: Any
    _method: str
    _error: KubernautError

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise self._error
        return getattr(self._cluster, name)


@dataclass
class Watcher:
    """A watch in the calling thread, and what it reports."""

    harness: DeployHarness
    events: list[Event] = field(default_factory=list)
    stopped: bool = False
    reactions: list[tuple[type[Event], str, Callable[[], object]]] = field(default_factory=list)
    cluster: Any = None

    @property
    def context(self) -> DeployContext:
        context = replace(self.harness.context, progress=Progress(self._listen), stopped=lambda: self.stopped)
        return replace(context, cluster=lambda: self.cluster) if self.cluster is not None else context

    def watch(self, release: str = "demo.hello.current", *, timeout: float = SOON) -> Result:
        return watch(release, context=self.context, timeout=timeout, poll=QUICK)

    def when(self, kind: type[Event], action: Callable[[], object], text: str = "") -> None:
        """Let something happen once, when the watch reports an event."""
        self.reactions.append((kind, text, action))

    def until_operation(self, verb: str) -> None:
        """Wait until an operation has begun."""
        until(lambda: any(one.verb == verb and one.finished_at is None for one in self.harness.history.operations), verb)

    def without(self, method: str, error: KubernautError) -> Watcher:
        """Let the watch fail to call a method of the cluster."""
        self.cluster = Refusing(self.harness.cluster, method, error)
        return self

    def _listen(self, event: Event) -> None:
        self.events.append(event)
        for reaction in list(self.reactions):
            kind, text, action = reaction
            if isinstance(event, kind) and text in str(event):
                self.reactions.remove(reaction)
                action()

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def harness(tmp_path: Path) -> DeployHarness:
    return DeployHarness(tmp_path)


@pytest.fixture
def watcher(harness: DeployHarness) -> Watcher:
    return Watcher(harness)


@contextmanager
def running(
    harness: DeployHarness, work: Callable[[], Any], *, end: Any = (Status.DEPLOYED,)
) -> Iterator[tuple[Future[Any], threading.Event]]:
    """Run an operation in a thread; its Helm waits, with its record pending, until the event is set."""
    begun, may_end = threading.Event(), threading.Event()

    def wait(check: Callable[[], None]) -> None:
        begun.set()
        while not may_end.wait(0.01):
            check()

    harness.helm.end_with(*end, during=wait)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            assert begun.wait(SOON)
            yield future, may_end
        finally:
            may_end.set()


def test_running_deploy_is_watched_until_it_has_succeeded(harness: DeployHarness, watcher: Watcher) -> None:
    with running(harness, lambda: harness.deploy("1.0.0", template=WORKLOAD)) as (deploy, may_end):
        watcher.when(WorkloadProgress, may_end.set)
        seen = watcher.watch()
        done = deploy.result(SOON)
    assert seen.changed
    assert (seen.release, seen.plan) == (done.release, harness.operation.plan)
    assert [event.subject for event in watcher.of(StepStarted)] == ["hello 1.0.0 to demo"]
    assert [(event.outcome, event.detail) for event in watcher.of(StepFinished)] == [
        (StepOutcome.DONE, "demo.hello.v1 is deployed")
    ]
    assert {event.workload for event in watcher.of(WorkloadProgress)} == {"Deployment web", "Service web"}
    assert any(re.search(facts(harness.operation.id, "ada"), event.text) for event in watcher.of(Notice))


def test_failed_deploy_and_its_rollback_are_watched(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0", template=WORKLOAD)
    with running(harness, lambda: harness.deploy("1.1.0", template=WORKLOAD), end=(Status.FAILED, LATE)) as (deploy, may_end):
        rolling_back, may_end_rollback = threading.Event(), threading.Event()

        def roll_back(check: Callable[[], None]) -> None:
            rolling_back.set()
            while not may_end_rollback.wait(0.01):
                check()

        harness.helm.end_with(Status.DEPLOYED, during=roll_back)
        put_crashing(harness.cluster)
        watcher.when(WorkloadProgress, may_end.set, text="crash")
        watcher.when(WorkloadProgress, may_end_rollback.set, text="rollback")
        with pytest.raises(DeployRolledBack, match=facts("web", "v1", "v3")) as seen:
            watcher.watch()
        with pytest.raises(DeployRolledBack) as own:
            deploy.result(SOON)
    assert rolling_back.is_set()
    problem, expected = seen.value.problem(), own.value.problem()
    same = ("detail", "details", "code", "status", "cause", "evidence", "operation", "release")
    assert {key: problem[key] for key in same} == {key: expected[key] for key in same}
    assert seen.value.exit_status == 6
    assert "hello -n demo" in seen.value.hint
    assert [(event.step, event.outcome) for event in watcher.of(StepFinished)] == [
        ("deploy", StepOutcome.FAILED),
        ("rollback", StepOutcome.DONE),
    ]
    assert [event.step for event in watcher.of(StepStarted)] == ["deploy", "rollback"]


@pytest.mark.parametrize("verb", ["rollback", "delete"])
def test_other_verbs_are_watched(harness: DeployHarness, watcher: Watcher, verb: str) -> None:
    harness.deploy("1.0.0", template=WORKLOAD)
    harness.deploy("1.1.0", template=WORKLOAD)
    request = RollbackRequest("demo", "hello") if verb == "rollback" else UninstallRequest("demo", "hello")
    held = threading.Event()
    original = getattr(harness.helm, "uninstall" if verb == "delete" else "rollback")

    def wait(*arguments: Any, **named: Any) -> None:
        assert held.wait(SOON)
        original(*arguments, **named)

    setattr(harness.helm, original.__name__, wait)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(execute, request, context=harness.context)
        watcher.until_operation(verb)
        watcher.when(Notice, held.set)
        seen = watcher.watch()
        assert future.result(SOON).release == seen.release
    assert [event.step for event in watcher.of(StepStarted)] == [verb]
    assert seen.release is not None
    assert (seen.release.deleted_at is not None) == (verb == "delete")


def test_accepted_operation_is_watched_from_its_beginning(harness: DeployHarness, watcher: Watcher) -> None:
    accepted, _ = harness.accept()
    with ThreadPoolExecutor(1) as pool:
        futures: list[Future[Result]] = []
        watcher.when(Notice, lambda: futures.append(pool.submit(harness.serve, accepted)), text=accepted.id)
        seen = watcher.watch()
        assert seen.release == futures[0].result(SOON).release
    assert [event.step for event in watcher.of(StepFinished)] == ["deploy"]


def test_ended_operation_is_reported_by_its_id(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0")
    succeeded = harness.operation.id
    harness.helm.end_with(Status.FAILED, LATE)
    with pytest.raises(DeployRolledBack) as own:
        harness.deploy("1.1.0")
    with pytest.raises(DeployRolledBack) as seen:
        watcher.watch(harness.operation.id)
    assert seen.value.message == own.value.message
    release = watcher.watch(succeeded).release
    assert release is not None
    assert release.id == "demo.hello.v1"
    with pytest.raises(OperationNotFound):
        watcher.watch("0" * 26)


# an operation whose process is gone


def test_operation_without_a_process_is_not_watched_for_ever(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0")
    left = harness.leave_a_deploy()
    harness.cluster.requests.clear()
    with pytest.raises(Interrupted, match=facts("ada", "v2", "pending-upgrade")) as caught:
        watcher.watch()
    assert caught.value.problem()["operation"] == left
    assert "kubernaut unlock hello -n demo" in caught.value.hint
    assert caught.value.exit_status == 130
    assert not harness.cluster.writes


def test_holder_elsewhere_is_observed_until_its_lease_has_expired(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0")
    left = harness.leave_a_deploy()
    holder = new_holder(left, "deploy", "eve", host="elsewhere", process="")
    times = {"seconds": 1.0, "acquired": LockTiming().wall(), "renewed": now() - timedelta(hours=1)}
    harness.cluster.create_lease("demo", lease_manifest("demo", "hello", holder, **times))
    with pytest.raises(Interrupted, match=facts("v2", "pending-upgrade")):
        watcher.watch()
    assert any("eve" in event.text for event in watcher.of(Notice))


def test_deploy_that_was_done_before_its_process_ended_is_judged(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0")
    operation = harness.operation
    harness.cluster.delete_secret("demo", operation.secret)
    unfinished = operation.model_copy(update={"finished_at": None, "outcome": None, "made": ()})
    harness.cluster.create_secret("demo", operation_secret(unfinished))
    seen = watcher.watch()
    assert seen.release is not None
    assert (seen.release.id, seen.changed) == ("demo.hello.v1", False)
    assert [event.step for event in watcher.of(StepStarted)] == ["deploy", "watch"]


def test_overdue_accepted_operation_has_changed_nothing(harness: DeployHarness, watcher: Watcher) -> None:
    accepted, _ = harness.accept(patience=-3600.0)
    with pytest.raises(Interrupted, match="nothing was changed"):
        watcher.watch()
    assert harness.find(accepted).state == "accepted"


def test_lock_without_an_operation_is_waited_for(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0", template=WORKLOAD)
    holder = new_holder("01m0000000000000000000zzzz", "unlock", "eve", host="elsewhere", process="")
    wall = LockTiming().wall()
    harness.cluster.create_lease("demo", lease_manifest("demo", "hello", holder, seconds=30, acquired=wall, renewed=wall))
    watcher.when(Notice, lambda: harness.cluster.delete_lease("demo", "kubernaut.hello"), text="eve")
    assert watcher.watch().release is not None
    assert len([event for event in watcher.of(Notice) if "eve" in event.text]) == 1


# no operation: the current release


def test_ready_release_is_reported_and_nothing_is_written(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0", template=WORKLOAD)
    harness.cluster.requests.clear()
    seen = watcher.watch("demo.hello.v1")
    assert seen.release is not None
    assert (seen.release.id, seen.changed) == ("demo.hello.v1", False)
    assert [event.outcome for event in watcher.of(StepFinished)] == [StepOutcome.DONE]
    assert not harness.cluster.writes


def test_release_that_crashes_now_is_explained(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0", template=WORKLOAD)
    put_crashing(harness.cluster, restarts=3)
    harness.cluster.requests.clear()
    with pytest.raises(DeployKept, match=facts("web", "v1")) as caught:
        watcher.watch()
    assert caught.value.members["cause"] == "container_crashed"
    assert caught.value.members["evidence"]
    assert (caught.value.exit_status, caught.value.release) == (7, "demo.hello.v1")
    assert not harness.cluster.writes


def test_release_that_is_not_ready_in_time_is_explained(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0", template=WORKLOAD)
    put_crashing(harness.cluster, restarts=1)
    with pytest.raises(DeployKept) as caught:
        watcher.watch(timeout=0.3)
    assert caught.value.exit_status == 7


def test_release_that_becomes_ready_is_waited_for(harness: DeployHarness, watcher: Watcher) -> None:
    harness.deploy("1.0.0", template=WORKLOAD)
    ready = harness.cluster.get_object(DEPLOYMENTS, "demo", "web")
    assert ready is not None
    harness.cluster.put(deployment("web", ready=0))
    watcher.when(WorkloadProgress, lambda: harness.cluster.put(ready), text="0 of 1")
    assert watcher.watch().release is not None


def test_other_releases_are_refused(harness: DeployHarness, watcher: Watcher) -> None:
    with pytest.raises(ReleaseNotFound):
        watcher.watch()
    harness.deploy("1.0.0")
    harness.deploy("1.1.0")
    with pytest.raises(ReleaseNotCurrent) as caught:
        watcher.watch("demo.hello.v1")
    assert "demo.hello.v2" in caught.value.hint
    execute(UninstallRequest("demo", "hello"), context=harness.context)
    with pytest.raises(ReleaseNotFound) as deleted:
        watcher.watch()
    assert "kubernaut restore hello -n demo" in deleted.value.hint


def test_plain_helm_is_waited_for(harness: DeployHarness, watcher: Watcher) -> None:
    how: dict[str, Any] = {"values": {}, "labels": {}, "description": "", "timeout": 9.0, "history_max": 50}
    chart = harness.request("1.0.0").chart_ref

    def upgrade() -> None:
        harness.helm.upgrade("hello", chart, namespace="demo", install=True, log=print, **how)

    with running(harness, upgrade) as (helm, may_end):
        watcher.when(Notice, may_end.set, text="plain Helm")
        seen = watcher.watch()
        helm.result(SOON)
    assert seen.release is not None
    assert (seen.release.status, seen.release.managed_by) == ("deployed", "helm")


# faults


def test_watch_goes_on_when_the_cluster_answers_again(harness: DeployHarness, watcher: Watcher) -> None:
    with running(harness, lambda: harness.deploy("1.0.0")) as (deploy, may_end):
        watcher.when(Notice, lambda: harness.cluster.fail("get secret", ClusterUnreachable("The cluster is away."), times=3))
        watcher.when(Notice, may_end.set, text="away")
        assert watcher.watch().changed
        deploy.result(SOON)


def test_lock_that_may_not_be_read_is_named_once(harness: DeployHarness, watcher: Watcher) -> None:
    denied = watcher.without("get_lease", ClusterDenied("no right to get leases"))
    with running(harness, lambda: harness.deploy("1.0.0", template=WORKLOAD)) as (deploy, may_end):
        watcher.when(WorkloadProgress, may_end.set)
        assert denied.watch().changed
        deploy.result(SOON)
    assert len([event for event in watcher.of(Notice) if "leases" in event.text]) == 1


def test_stopped_watch_leaves_the_operation_alone(harness: DeployHarness, watcher: Watcher) -> None:
    with running(harness, lambda: harness.deploy("1.0.0")) as (deploy, may_end):
        watcher.stopped = True
        with pytest.raises(Interrupted):
            watcher.watch()
        may_end.set()
        assert deploy.result(SOON).changed


def test_ctrl_c_ends_the_watch_and_its_threads(harness: DeployHarness, watcher: Watcher) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with running(harness, lambda: harness.deploy("1.0.0", template=WORKLOAD)) as (deploy, may_end):
        watcher.when(WorkloadProgress, interrupt)
        with pytest.raises(KeyboardInterrupt):
            watcher.watch()
        may_end.set()
        assert deploy.result(SOON).changed
