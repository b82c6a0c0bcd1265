"""Deploys outlive requests: threads of their own carry the operations out, and whoever wants to know how far one is asks here.

There are so many workers and no queue: what cannot begin now is refused, and whoever asks comes again. All of an operation is done
in one thread, since the kernel ties Helm to the thread that starts it (``PR_SET_PDEATHSIG``). What an operation says is kept here
while it runs, and of the last ones that ended; beyond that the cluster knows.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from kubernaut.errors import KubernautError, ServerBusy, ServerStopping
from kubernaut.events import Event, Journal, Listener, RecordedEvent, Stopped
from kubernaut.history.operations import Operation, OperationEvent, operation_events
from kubernaut.interface import Deployed
from kubernaut.redact import redact
from kubernaut.server.operations.waiting import WaiterLimit

Work = Callable[[Listener, Stopped], Deployed]
Numbered = tuple[int, OperationEvent]

_log = logging.getLogger(__name__)

_REMEMBERED = 100
_TIDY_SECONDS = 30.0
"""How long a stopped operation may take to stop Helm and to write down that it was stopped."""


class Running:
    """An operation that this server carries out: what it says, and at last what came of it. For many threads at once.

    Args:
        operation: As it was accepted.
        secrets: Values that nobody may see.
    """

    def __init__(self, operation: Operation, secrets: Iterable[str] = ()) -> None:
        self.operation = operation
        self.began = time.monotonic()
        self.seconds = 0.0
        self.result: Deployed | KubernautError | None = None
        self._secrets = tuple(secrets)
        self._first: list[Numbered] = []
        self._last: deque[Numbered] = deque(maxlen=Journal.LAST)
        self._count = 0
        self._done = False
        self._stopped = threading.Event()
        self._news = threading.Condition()

    @property
    def done(self) -> bool:
        """Whether it has ended; then there is a result."""
        with self._news:
            return self._done

    def hear(self, event: Event) -> None:
        """Keep what the work says, of much the beginning and the end; the listener that the work is given."""
        (said,) = operation_events([RecordedEvent(datetime.now(UTC), event)], self._secrets)
        with self._news:
            self._count += 1
            kept = self._first if len(self._first) < Journal.FIRST else self._last
            kept.append((self._count, said))
            self._news.notify_all()

    def events(self, after: int = 0) -> tuple[Numbered, ...]:
        """Return what was said after an event's number, in order; numbers of what was not kept are missing."""
        with self._news:
            return self._after(after)

    def wait_for(self, after: int, seconds: float) -> tuple[tuple[Numbered, ...], bool]:
        """Wait until something is said after an event's number, or the operation has ended, or the time is over.

        Returns:
            What was said, and whether the operation has ended: then nothing comes after it.
        """
        with self._news:
            self._news.wait_for(lambda: self._count > after or self._done, max(seconds, 0.0))
            return self._after(after), self._done

    def wait_done(self, seconds: float) -> bool:
        """Wait until the operation has ended, or the time is over; say whether it has."""
        with self._news:
            return self._news.wait_for(lambda: self._done, max(seconds, 0.0))

    def stop(self) -> None:
        """Ask the work to end early, and tidily."""
        self._stopped.set()

    def stopped(self) -> bool:
        """Say whether the work is asked to end early; what it is given to ask."""
        return self._stopped.is_set()

    def end(self, result: Deployed | KubernautError) -> None:
        """Note what came of it. It does not count as done yet."""
        if isinstance(result, KubernautError):  # a failure that is kept would keep all that the work had in hand
            result.__traceback__ = result.__context__ = result.__cause__ = None
        self.result, self.seconds = result, time.monotonic() - self.began

    def tell(self) -> None:
        """Let it count as done, and wake whoever waits."""
        with self._news:
            self._done = True
            self._news.notify_all()

    def _after(self, after: int) -> tuple[Numbered, ...]:
        return tuple(one for one in (*self._first, *self._last) if one[0] > after)


class WorkerSlot:
    """A worker that is kept free for somebody, until it is given work or given back."""

    def __init__(self, workers: Workers) -> None:
        self._workers: Workers | None = workers

    def __enter__(self) -> WorkerSlot:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers._give_back()
            self._workers = None

    def start(self, operation: Operation, work: Work) -> Running:
        """Let the worker carry an operation out; once only. Raises: ServerBusy, where there is no thread for it."""
        workers, self._workers = self._workers, None
        assert workers is not None, "the worker is not kept any more"  # noqa: S101 - a defect of the caller
        return workers._begin(operation, work)


class Workers:
    """A bounded number of operations at once, each in a thread of its own.

    Args:
        most: How many.
        finished: Is told of each that has ended, before it counts as done: for metrics and the audit.
        secrets: Values that nobody may see in what an operation says.
        waiting: How many requests may wait at once for what the operations say.

    Attributes:
        waiting: The seats for those.
    """

    def __init__(
        self,
        most: int = 8,
        *,
        finished: Callable[[Running], None] | None = None,
        secrets: Iterable[str] = (),
        waiting: int = 8,
    ) -> None:
        self._most = most
        self._finished = finished
        self._secrets = tuple(secrets)
        self.waiting = WaiterLimit(waiting)
        self._taken = 0
        self._stopping = False
        self._over = False
        self._running: dict[str, Running] = {}
        self._ended: OrderedDict[str, Running] = OrderedDict()
        self._change = threading.Condition()

    @property
    def stopping(self) -> bool:
        """Whether the server is about to end."""
        return self._stopping

    def slot(self) -> WorkerSlot:
        """Keep a worker free, so that nothing is accepted that nobody can carry out.

        Raises:
            ServerBusy: All are at work.
            ServerStopping: The server is about to end.
        """
        with self._change:
            if self._stopping:
                raise ServerStopping("The server is about to end, and begins nothing new.")
            if self._taken >= self._most:
                raise ServerBusy(f"The server carries out {self._most} operations at once, and as many are running.")
            self._taken += 1
        return WorkerSlot(self)

    def start(self, operation: Operation, work: Work) -> Running:
        """Carry an operation out. Raises: ServerBusy, ServerStopping."""
        with self.slot() as slot:
            return slot.start(operation, work)

    def find(self, id: str) -> Running | None:
        """Return an operation that runs here, or was among the last ones that did."""
        with self._change:
            return self._running.get(id) or self._ended.get(id)

    def running(self) -> int:
        """Return how many operations run."""
        with self._change:
            return len(self._running)

    def busy(self, namespace: str, name: str) -> bool:
        """Say whether an operation on a release runs here."""
        with self._change:
            running = [running.operation for running in self._running.values()]
        return any((operation.namespace, operation.name) == (namespace, name) for operation in running)

    def stop(self, grace: float) -> None:
        """Begin nothing new, and let those that run end within the grace; then stop them, and wait until they have tidied up.

        Args:
            grace: Seconds.
        """
        with self._change:
            self._stopping = True
            if self._change.wait_for(lambda: not self._taken, max(grace, 0.0)):
                return
            self._over = True
            for running in self._running.values():
                running.stop()
            if not self._change.wait_for(lambda: not self._taken, _TIDY_SECONDS):
                _log.error("%d operations did not stop in time; the next server resolves them.", self._taken)

    def _begin(self, operation: Operation, work: Work) -> Running:
        running = Running(operation, self._secrets)
        # A daemon: a part that never answers must not keep the process from ending; Helm ends with it, by the kernel.
        thread = threading.Thread(target=self._carry_out, args=(running, work), name=f"operation-{operation.id}", daemon=True)
        with self._change:
            self._running[operation.id] = running
            if self._over:  # its worker was promised before
                running.stop()
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no more of them
            with self._change:
                del self._running[operation.id]
            self._give_back()
            raise ServerBusy(f"The server cannot carry out the operation {operation.id}: {error}.") from error
        return running

    def _carry_out(self, running: Running, work: Work) -> None:
        try:
            running.end(_result(running, work))
            if self._finished is not None:
                self._finished(running)
        except Exception:  # noqa: BLE001 - whoever waits for the operation must be told of its end all the same
            _log_defect(f"What came of the operation {running.operation.id} could not be told")
        finally:
            with self._change:
                self._running.pop(running.operation.id, None)
                self._ended[running.operation.id] = running
                while len(self._ended) > _REMEMBERED:
                    self._ended.popitem(last=False)
                running.tell()
                self._give_back()  # whoever sees that it has ended may begin the next

    def _give_back(self) -> None:
        with self._change:
            self._taken -= 1
            self._change.notify_all()


def _result(running: Running, work: Work) -> Deployed | KubernautError:
    try:
        return work(running.hear, running.stopped)
    except KubernautError as failure:
        return failure
    except BaseException as defect:  # noqa: BLE001 - it is told to whoever waits, and logged
        operation = running.operation
        _log_defect(f"The {operation.verb} of {operation.namespace}.{operation.name} ({operation.id}) broke off")
        return KubernautError(f"The {operation.verb} broke off by a defect ({type(defect).__name__}); the server's log tells more.")


def _log_defect(what: str) -> None:
    _log.error("%s: %s", what, redact(traceback.format_exc()))
