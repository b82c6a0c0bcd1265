"""The workers: limits, results, events, and stopping."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
from support.messages import facts

from kubernaut.errors import DeployKept, Interrupted, KubernautError, ServerBusy, ServerStopping
from kubernaut.events import Journal, Listener, LogLine, StepStarted
from kubernaut.history.operations import Operation, new_operation_id, now
from kubernaut.interface import Deployed
from kubernaut.models import Plan
from kubernaut.server.operations.workers import RunningOperation, Workers

SOON = 10.0
DONE = Deployed(Plan(), False, None)


class Job:
    """Work that waits until it may end."""

    def __init__(self, result: Deployed | BaseException = DONE) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        self._result = result

    def __call__(self, listener: Listener, stopped: Callable[[], bool]) -> Deployed:
        self.thread = threading.current_thread()
        self.begun.set()
        while not self.may_end.wait(0.01):
            if stopped():
                raise Interrupted("stopped")
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


def operation(name: str = "hello") -> Operation:
    return Operation(id=new_operation_id(), verb="deploy", namespace="demo", name=name, started_at=now())


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.stop(0)
    assert made.running() == 0


def test_an_operation_runs_and_its_result_is_kept(workers: Workers) -> None:
    asked = operation()
    running = workers.start(asked, ended())
    assert running.wait_done(SOON)
    assert running.done
    assert running.result is DONE
    assert workers.find(asked.id) is running
    assert workers.find("another") is None


def ended(result: Deployed | BaseException = DONE) -> Job:
    job = Job(result)
    job.may_end.set()
    return job


def test_operations_beyond_the_limit_are_refused(workers: Workers) -> None:
    jobs = [Job(), Job()]
    running = [workers.start(operation(), job) for job in jobs]
    assert workers.running() == 2
    with pytest.raises(ServerBusy, match=facts("2")):
        workers.reserve()
    jobs[0].may_end.set()
    assert running[0].wait_done(SOON)
    wait_until(lambda: workers.running() == 1)
    assert workers.start(operation(), ended()).wait_done(SOON)
    jobs[1].may_end.set()


def wait_until(condition: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1000):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("it never came")


def test_an_unused_slot_is_released(workers: Workers) -> None:
    for _ in range(5):
        with workers.reserve(), workers.reserve(), pytest.raises(ServerBusy):
            workers.reserve()
    with workers.reserve() as first, workers.reserve() as second:
        assert first.start(operation(), ended()).wait_done(SOON)
        assert second.start(operation(), ended()).wait_done(SOON)
    wait_until(lambda: workers.running() == 0)
    with workers.reserve(), workers.reserve():
        pass


def test_a_slot_is_released_when_no_thread_can_start(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        for _ in range(3):
            with pytest.raises(ServerBusy, match="can't start new thread"):
                workers.start(operation(), ended())
    assert workers.running() == 0
    assert workers.start(operation(), ended()).wait_done(SOON)


def test_each_operation_runs_in_its_own_thread(workers: Workers) -> None:
    jobs = [ended(), ended()]
    for job in jobs:
        assert workers.start(operation(), job).wait_done(SOON)
    assert len({job.thread for job in jobs} | {threading.current_thread()}) == 3


def test_busy_releases_are_known(workers: Workers) -> None:
    job = Job()
    running = workers.start(operation("hello"), job)
    assert workers.busy("demo", "hello")
    assert not workers.busy("demo", "other")
    assert not workers.busy("other", "hello")
    job.may_end.set()
    assert running.wait_done(SOON)
    assert not workers.busy("demo", "hello")


def test_an_error_becomes_the_result(workers: Workers) -> None:
    failure = DeployKept("web-1 crashes", details=["CrashLoopBackOff"])
    running = workers.start(operation(), ended(failure))
    assert running.wait_done(SOON)
    assert running.result is failure


@pytest.mark.parametrize("defect", [ValueError("password=canary-1234"), SystemExit(3)])
def test_a_defect_becomes_an_error_and_is_logged_without_secrets(
    workers: Workers, caplog: pytest.LogCaptureFixture, defect: BaseException
) -> None:
    asked = operation()
    with caplog.at_level(logging.ERROR):
        running = workers.start(asked, ended(defect))
        assert running.wait_done(SOON)
    assert isinstance(running.result, KubernautError)
    assert running.result.code == "internal"
    assert "canary" not in running.result.message
    assert asked.id in caplog.text
    assert type(defect).__name__ in caplog.text
    assert "canary" not in caplog.text
    assert workers.start(operation(), ended()).wait_done(SOON), "its worker is free again"


def test_a_kept_error_does_not_keep_the_operations_objects(workers: Workers) -> None:
    class Values(dict[str, str]):
        """Can be referred to weakly."""

    kept: list[weakref.ref[Values]] = []

    def work(listener: Listener, stopped: Callable[[], bool]) -> Deployed:
        values = Values(password="canary")
        kept.append(weakref.ref(values))
        try:
            raise KeyError(values)
        except KeyError as error:
            raise DeployKept("it failed") from error

    running = workers.start(operation(), work)
    assert running.wait_done(SOON)
    wait_until(lambda: workers.running() == 0)
    gc.collect()
    assert kept[0]() is None


def test_on_finished_is_called_before_the_operation_counts_as_done(workers: Workers) -> None:
    calls: list[tuple[bool, object, float]] = []
    counting = Workers(1, on_finished=lambda running: calls.append((running.done, running.result, running.seconds)))
    assert counting.start(operation(), ended()).wait_done(SOON)
    [(done, result, seconds)] = calls
    assert (done, result) == (False, DONE)
    assert 0 <= seconds < SOON


def test_a_defect_in_on_finished_does_not_block_the_operation(caplog: pytest.LogCaptureFixture) -> None:
    def broken(running: RunningOperation) -> None:
        raise ValueError("token=canary-1234")

    counting = Workers(1, on_finished=broken)
    with caplog.at_level(logging.ERROR):
        running = counting.start(operation(), ended())
        assert running.wait_done(SOON)
        wait_until(lambda: counting.running() == 0)
    assert running.result is DONE
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_the_last_100_finished_operations_are_kept() -> None:
    many = Workers(1)
    asked = [operation() for _ in range(110)]
    for one in asked:
        wait_until(lambda: many.running() == 0)
        wait_until(lambda one=one: started(many, one))  # type: ignore[misc]
    wait_until(lambda: many.running() == 0)
    remembered = [one for one in asked if many.find(one.id)]
    assert remembered == asked[-100:]


def started(workers: Workers, asked: Operation) -> bool:
    try:
        return workers.start(asked, ended()).wait_done(SOON)
    except ServerBusy:
        return False


# its events


def say(running: RunningOperation, *texts: str) -> None:
    for text in texts:
        running.record(LogLine("deploy", text))


def test_events_are_numbered_from_one() -> None:
    running = RunningOperation(operation())
    running.record(StepStarted("deploy", "hello to demo"))
    say(running, "a", "b")
    assert [(seq, event.kind, event.text) for seq, event in running.events()] == [
        (1, "stepStarted", "hello to demo"),
        (2, "logLine", "a"),
        (3, "logLine", "b"),
    ]
    assert [seq for seq, _ in running.events(2)] == [3]
    assert running.events(3) == ()


def test_the_first_and_the_last_events_are_kept() -> None:
    running, count = RunningOperation(operation()), 2000
    for number in range(1, count + 1):
        say(running, f"line {number}")
    events = running.events()
    assert [seq for seq, _ in events] == [*range(1, Journal.FIRST + 1), *range(count - Journal.LAST + 1, count + 1)]
    assert all(event.text == f"line {seq}" for seq, event in events)


def test_secrets_are_masked_in_events() -> None:
    running = RunningOperation(operation(), secrets=["canary-7f3a"])
    say(running, "it is canary-7f3a", "password: canary2")
    assert "canary" not in str(running.events())


def test_waiting_threads_are_woken_by_events(workers: Workers) -> None:
    go, end = threading.Event(), threading.Event()

    def work(listener: Listener, stopped: Callable[[], bool]) -> Deployed:
        assert go.wait(SOON)
        listener(LogLine("deploy", "news"))
        assert end.wait(SOON)
        return DONE

    running = workers.start(operation(), work)
    assert running.wait_for_events(0, 0.0) == ((), False)
    assert running.wait_for_events(0, 0.01) == ((), False)
    go.set()
    events, finished = running.wait_for_events(0, SOON)
    assert ([event.text for _, event in events], finished) == (["news"], False)
    end.set()
    began = time.monotonic()
    assert running.wait_for_events(1, SOON) == ((), True)
    assert time.monotonic() - began < SOON / 2, "the end wakes it"


def test_concurrent_readers_get_every_event_once(workers: Workers) -> None:
    count = 400

    def work(listener: Listener, stopped: Callable[[], bool]) -> Deployed:
        for number in range(count):
            listener(LogLine("deploy", str(number)))
        return DONE

    received: list[list[str]] = [[] for _ in range(4)]
    may_begin = threading.Event()

    def begin(listener: Listener, stopped: Callable[[], bool]) -> Deployed:
        assert may_begin.wait(SOON)
        return work(listener, stopped)

    running = workers.start(operation(), begin)

    def read(mine: list[str]) -> None:
        after, finished = 0, False
        while not finished:
            events, finished = running.wait_for_events(after, SOON)
            mine += [event.text for _, event in events]
            after = events[-1][0] if events else after

    readers = [threading.Thread(target=read, args=(mine,)) for mine in received]
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        may_begin.set()
        for reader in readers:
            reader.join(SOON)
    finally:
        sys.setswitchinterval(switching)
    assert received == [[str(number) for number in range(count)]] * 4


# the end


def test_stop_waits_for_running_operations_and_refuses_new_ones() -> None:
    workers, job = Workers(2), Job()
    running = workers.start(operation(), job)
    stopping = threading.Thread(target=workers.stop, args=(SOON,))
    stopping.start()
    wait_until(lambda: workers.stopping)
    with pytest.raises(ServerStopping):
        workers.reserve()
    assert not running.done
    job.may_end.set()
    stopping.join(SOON)
    assert not stopping.is_alive()
    assert running.wait_done(SOON)
    assert running.result is DONE


def test_operations_are_stopped_after_the_grace() -> None:
    workers = Workers(2)
    running = [workers.start(operation(), Job()) for _ in range(2)]
    workers.stop(0.05)
    assert workers.running() == 0
    for one in running:
        assert one.wait_done(SOON)
        assert isinstance(one.result, Interrupted)


def test_a_slot_reserved_before_stop_is_used_and_then_stopped() -> None:
    workers = Workers(1)
    slot = workers.reserve()
    stopping = threading.Thread(target=workers.stop, args=(0.05,))
    stopping.start()
    wait_until(lambda: workers.stopping)
    running = slot.start(operation(), Job())
    stopping.join(SOON)
    assert not stopping.is_alive()
    assert running.wait_done(SOON)
    assert isinstance(running.result, Interrupted)
