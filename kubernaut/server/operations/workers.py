"""Runs operations in worker threads, beside the requests that started them.

The number of workers is bounded and there is no queue: an operation that cannot start now is refused. An operation runs in one
thread, since the kernel ties Helm to the thread that starts it (``PR_SET_PDEATHSIG``). The events of running and recently finished
operations are kept in memory; those of older ones are in the cluster.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime

from kubernaut.errors import KubernautError, ServerBusy, ServerStopping
from kubernaut.events import Event, Journal, Listener, OperationEvent, RecordedEvent, StopCheck
from kubernaut.history.operations import Operation, operation_events
from kubernaut.interface import Deployed
from kubernaut.redact import redact

OperationFunction = Callable[[Listener, StopCheck], Deployed]
"""Executes an operation; reports events to the listener, and ends early when ``stopped()`` returns true."""
SequencedEvent = tuple[int, OperationEvent]
"""An event and its number, counted from 1."""

_log = logging.getLogger(__name__)

_KEPT_FINISHED = 100
_CLEANUP_SECONDS = 30.0
"""How long a stopped operation may take to stop Helm and to record that it was stopped."""


class RunningWork:
    """Work in a thread of this server: its events, with secrets masked, and in the end its result. Thread-safe.

    Attributes:
        seconds: The duration; 0 until there is a result.
        result: The result or the error; ``None`` while the work goes on.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.started = time.monotonic()
        self.seconds = 0.0
        self.result: Deployed | KubernautError | None = None
        self._secrets = tuple(secrets)
        self._first: list[SequencedEvent] = []
        self._last: deque[SequencedEvent] = deque(maxlen=Journal.LAST)
        self._count = 0
        self._done = False
        self._stopped = threading.Event()
        self._changed = threading.Condition()

    @property
    def done(self) -> bool:
        """Whether it has finished; then there is a result."""
        with self._changed:
            return self._done

    def record(self, event: Event) -> None:
        """Keep an event; of many, the first and the last ones. The listener of the work."""
        (recorded,) = operation_events([RecordedEvent(datetime.now(UTC), event)], self._secrets)
        with self._changed:
            self._count += 1
            kept = self._first if len(self._first) < Journal.FIRST else self._last
            kept.append((self._count, recorded))
            self._changed.notify_all()

    def events(self, after: int = 0) -> tuple[SequencedEvent, ...]:
        """Return the kept events with a higher number than ``after``, in order."""
        with self._changed:
            return self._after(after)

    def wait_for_events(self, after: int, seconds: float) -> tuple[tuple[SequencedEvent, ...], bool]:
        """Wait for an event with a higher number than ``after``, the end of the work or the timeout.

        Returns:
            The events, and whether the work has finished: then no further events follow.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._count > after or self._done, max(seconds, 0.0))
            return self._after(after), self._done

    def wait_done(self, seconds: float) -> bool:
        """Wait until the work has finished, at most so many seconds; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._done, max(seconds, 0.0))

    def stop(self) -> None:
        """Ask the work to end early and to clean up."""
        self._stopped.set()

    def stopped(self) -> bool:
        """Return whether the work is asked to end early."""
        return self._stopped.is_set()

    def set_result(self, result: Deployed | KubernautError) -> None:
        """Set the result; the work does not count as done yet."""
        if isinstance(result, KubernautError):  # a kept traceback would keep every object of the work alive
            result.__traceback__ = result.__context__ = result.__cause__ = None
        self.result, self.seconds = result, time.monotonic() - self.started

    def set_done(self) -> None:
        """Mark the work as done, and wake all waiting threads."""
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _after(self, after: int) -> tuple[SequencedEvent, ...]:
        return tuple(event for event in (*self._first, *self._last) if event[0] > after)


class RunningOperation(RunningWork):
    """An accepted operation that this server executes.

    Attributes:
        begun: Whether it is known to have begun; until then it waits for its lock.
    """

    def __init__(self, operation: Operation, secrets: Iterable[str] = ()) -> None:
        super().__init__(secrets)
        self.operation = operation
        self.begun = False


class WaiterLimit:
    """Bounds the requests that wait for operations at once (event streams, long polls, writes): each occupies a server thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._lock = threading.Lock()

    def acquire(self) -> ExitStack:
        """Take a place; closing the result, once or more often, frees it. Raises: ServerBusy."""
        with self._lock:
            if self._count >= self._limit:
                raise ServerBusy(f"{self._limit} requests are waiting for operations, the limit of this server.")
            self._count += 1
        place = ExitStack()
        place.callback(self._release)
        return place

    def count(self) -> int:
        """Return the number of waiting requests."""
        return self._count

    def _release(self) -> None:
        with self._lock:
            self._count -= 1


class WorkerSlot:
    """A reserved worker, until an operation is started on it or it is given back."""

    def __init__(self, workers: Workers) -> None:
        self._workers: Workers | None = workers

    def __enter__(self) -> WorkerSlot:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers._release()
            self._workers = None

    def start(self, operation: Operation, function: OperationFunction) -> RunningOperation:
        """Start an operation; once per slot. Raises: ServerBusy, when no thread can be started."""
        workers, self._workers = self._workers, None
        assert workers is not None, "the slot is already used"  # noqa: S101 - a defect of the caller
        return workers._start(operation, function)


class Workers:
    """A bounded number of operations at once, each in its own thread.

    Args:
        limit: The number of operations.
        on_finished: Called with each finished operation before it counts as done.
        secrets: Secret values to mask in events.
        max_waiters: The number of requests that may wait for operations at once.

    Attributes:
        waiters: The limit on those requests.
    """

    def __init__(
        self,
        limit: int = 8,
        *,
        on_finished: Callable[[RunningOperation], None] | None = None,
        secrets: Iterable[str] = (),
        max_waiters: int = 8,
    ) -> None:
        self._limit = limit
        self._on_finished = on_finished
        self._secrets = tuple(secrets)
        self.waiters = WaiterLimit(max_waiters)
        self._reserved = 0
        self._stopping = False
        self._grace_over = False
        self._running: dict[str, RunningOperation] = {}
        self._finished: OrderedDict[str, RunningOperation] = OrderedDict()
        self._changed = threading.Condition()

    @property
    def stopping(self) -> bool:
        """Whether the server is shutting down."""
        return self._stopping

    def reserve(self) -> WorkerSlot:
        """Reserve a worker, so that no operation is accepted that cannot be executed.

        Raises:
            ServerBusy: All workers are in use.
            ServerStopping: The server is shutting down.
        """
        with self._changed:
            if self._stopping:
                raise ServerStopping("The server is shutting down and starts no new operations.")
            if self._reserved >= self._limit:
                raise ServerBusy(f"{self._limit} operations are running, the limit of this server.")
            self._reserved += 1
        return WorkerSlot(self)

    def start(self, operation: Operation, function: OperationFunction) -> RunningOperation:
        """Start an operation. Raises: ServerBusy, ServerStopping."""
        with self.reserve() as slot:
            return slot.start(operation, function)

    def find(self, id: str) -> RunningOperation | None:
        """Return an operation that runs here or finished recently; ``None`` otherwise."""
        with self._changed:
            return self._running.get(id) or self._finished.get(id)

    def running(self) -> int:
        """Return the number of running operations."""
        with self._changed:
            return len(self._running)

    def busy(self, namespace: str, name: str) -> bool:
        """Return whether an operation on a release runs here."""
        with self._changed:
            operations = [running.operation for running in self._running.values()]
        return any((operation.namespace, operation.name) == (namespace, name) for operation in operations)

    def stop(self, grace: float) -> None:
        """Refuse new operations, wait ``grace`` seconds for running ones, stop the rest, and wait until they have cleaned up."""
        with self._changed:
            self._stopping = True
            if self._changed.wait_for(lambda: not self._reserved, max(grace, 0.0)):
                return
            self._grace_over = True
            for running in self._running.values():
                running.stop()
            if not self._changed.wait_for(lambda: not self._reserved, _CLEANUP_SECONDS):
                _log.error("%d operations did not stop in time; the next server recovers them.", self._reserved)

    def _start(self, operation: Operation, function: OperationFunction) -> RunningOperation:
        running = RunningOperation(operation, self._secrets)
        # A daemon thread: an unresponsive call must not keep the process alive; Helm ends with the process.
        thread = threading.Thread(target=self._execute, args=(running, function), name=f"operation-{operation.id}", daemon=True)
        with self._changed:
            self._running[operation.id] = running
            if self._grace_over:  # the slot was reserved before
                running.stop()
        try:
            thread.start()
        except RuntimeError as error:  # the process cannot start another thread
            with self._changed:
                del self._running[operation.id]
            self._release()
            raise ServerBusy(f"The server cannot start operation {operation.id}: {error}.") from error
        return running

    def _execute(self, running: RunningOperation, function: OperationFunction) -> None:
        try:
            running.set_result(_result(running, function))
            if self._on_finished is not None:
                self._on_finished(running)
        except Exception:  # noqa: BLE001 - the operation must count as done even when its recording fails
            _log_defect(f"The result of operation {running.operation.id} could not be recorded")
        finally:
            with self._changed:
                self._running.pop(running.operation.id, None)
                self._finished[running.operation.id] = running
                while len(self._finished) > _KEPT_FINISHED:
                    self._finished.popitem(last=False)
                running.set_done()
                self._release()  # inside the lock: a client that sees the end may start the next operation at once

    def _release(self) -> None:
        with self._changed:
            self._reserved -= 1
            self._changed.notify_all()


def _result(running: RunningOperation, function: OperationFunction) -> Deployed | KubernautError:
    try:
        return function(running.record, running.stopped)
    except KubernautError as error:
        return error
    except BaseException as defect:  # noqa: BLE001 - becomes the operation's error, and is logged
        operation = running.operation
        _log_defect(
            f"The {operation.verb} of {operation.namespace}.{operation.name} (operation {operation.id}) failed unexpectedly"
        )
        return KubernautError(
            f"The {operation.verb} failed unexpectedly ({type(defect).__name__}); the server's log has the details."
        )


def _log_defect(what: str) -> None:
    _log.error("%s: %s", what, redact(traceback.format_exc()))
