"""The lock of a release: acquired before anything is written, renewed while the work goes on, released at its end.

The lock is a Lease. It keeps the operations of kubernaut apart, on all machines. It does not stop a Helm process that
outlives its kubernaut: fencing a record does that (:mod:`kubernaut.deploy.reconcile`).

An observer measures with its own monotonic clock, because no two machines agree on the time: a holder that has not renewed its
Lease for 30 s is gone. Every write names the resource version that was read, so no race loses a write. An API server that does not
answer proves nothing: the lock counts neither as lost nor as expired.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.lock.lease import (
    Holder,
    Lease,
    LeaseObserver,
    Lock,
    LockState,
    LockTiming,
    decode_lease,
    is_dead,
    lease_manifest,
    lease_name,
    locked_error,
)
from kubernaut.errors import (
    ClusterDenied,
    ClusterUnreachable,
    Conflict,
    Interrupted,
    KubernautError,
    LockLost,
    NotFound,
    ReleaseLocked,
)
from kubernaut.events import StopCheck, never_stop

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

Notify = Callable[[str], None]

_JOIN_SECONDS = 2.0
_DELETE_ATTEMPTS = 5


_TIMING = LockTiming()


def read_lock(cluster: Cluster, namespace: str, name: str, *, timing: LockTiming = _TIMING) -> Lock:
    """Return the state of a release's lock from one read, without waiting and without acquiring it.

    ``expired`` is a guess by the wall clock; :func:`hold` observes the holder before it relies on that.
    """
    with _explaining(namespace, name, "read"):
        found = cluster.get_lease(namespace, lease_name(name))
    lease = decode_lease(found or {})
    return _lock(lease, expired=lease.seems_stale(timing.wall()))


def _lock(lease: Lease, *, expired: bool) -> Lock:
    if lease.holder is None:
        return Lock()
    return Lock(LockState.EXPIRED if expired or is_dead(lease.holder) else LockState.LIVE, lease.holder)


@contextmanager
def hold(
    cluster: Cluster,
    namespace: str,
    name: str,
    holder: Holder,
    *,
    timeout: float,
    notify: Notify,
    timing: LockTiming = _TIMING,
    force: bool = False,
    stopped: StopCheck = never_stop,
) -> Iterator[HeldLock]:
    """Hold a release's lock while the block runs.

    Args:
        cluster: The release's cluster.
        namespace: The release's namespace.
        name: The release's name.
        holder: The new holder.
        timeout: Seconds to wait for a live holder. A holder that seems to be gone is observed until that is certain, even if that
            takes longer.
        notify: Receives a line when the lock is waited for, taken over or cannot be renewed; called by the calling thread only.
        timing: The durations and clocks.
        force: Take the lock over from a live holder as well.
        stopped: Returns true when the work is to be stopped.

    Raises:
        ReleaseLocked: Another holder still has the lock after ``timeout`` seconds.
        NamespaceNotFound: The namespace does not exist.
        Conflict: The namespace is being deleted.
        ClusterDenied: The user may not read or write Leases.
        ClusterUnreachable: The API server does not answer.
        Interrupted: ``stopped`` returned true.
    """
    lock = HeldLock(cluster, namespace, name, holder, notify, timing, stopped)
    try:
        with _explaining(namespace, name, "acquired"):
            lock.found = _Acquisition(lock, timeout, force=force).run()
        lock.start_renewing()
        yield lock
    finally:
        lock.release()


@contextmanager
def _explaining(namespace: str, name: str, what: str) -> Iterator[None]:
    """Name the lock in a refusal, and the rights that it needs."""
    message = f"The lock of {namespace}.{name} (the Lease {lease_name(name)} in {namespace}) cannot be {what}"
    try:
        yield
    except ClusterDenied as denied:
        needed = f"Grant the verbs get, create, update and delete on leases.coordination.k8s.io in the namespace {namespace}."
        hint = needed if "leases" in denied.message else denied.hint
        raise ClusterDenied(f"{message}: {denied.message}", hint=hint, details=denied.details) from denied
    except ReleaseLocked:
        raise
    except Conflict as conflict:
        raise Conflict(f"{message}: {conflict.message}", hint=conflict.hint, details=conflict.details) from conflict


class _Acquisition:
    """Acquires a lock, and waits for it where another holder has it."""

    def __init__(self, lock: HeldLock, timeout: float, *, force: bool) -> None:
        self._lock = lock
        self._timing = lock.timing
        self._timeout = timeout
        self._deadline = lock.timing.clock() + timeout
        self._force = force
        self._observer = LeaseObserver(lock.timing)
        self._notified: tuple[str, bool] | None = None
        self._exists = False
        self._previous = Lock()

    def run(self) -> Lock:
        """Acquire the lock; return the lock as it was found. Raises: see :func:`hold`."""
        while True:
            try:
                found = self._try()
            except ClusterUnreachable:
                if self._notified is None or self._timing.clock() >= self._deadline:
                    raise
                self._timing.sleep(self._timing.poll_seconds)
            else:
                if found is not None:
                    return found

    def _try(self) -> Lock | None:
        """Acquire the lock if that is possible now; otherwise observe it once and wait for one poll."""
        self._lock.check()
        if not self._exists and self._lock.create():
            return Lock()
        lease = self._lock.read()
        self._exists = lease is not None
        if lease is None:
            return None
        found = self._judge(lease)
        if found.state is LockState.LIVE and not self._force:
            self._wait(lease, found)
            return None
        self._previous = found
        if not self._lock.take_over(lease):
            self._previous = Lock()
            return None
        self._notify_taken_over(found)
        return found

    def _judge(self, lease: Lease) -> Lock:
        """Return the state of a Lease that was read; ``live`` unless its holder is certainly gone."""
        self._observer.observe(lease)
        if lease.is_held_by(self._lock.holder):
            return self._previous  # our own write, whose answer was lost
        return _lock(lease, expired=self._observer.unchanged >= lease.seconds)

    def _wait(self, lease: Lease, found: Lock) -> None:
        assert found.holder is not None  # noqa: S101 - a live lock has a holder
        left = self._deadline - self._timing.clock()
        if self._observer.alive and left <= 0:
            lock, lasting = self._lock, found.holder.held_for(self._timing.wall())
            raise locked_error(lock.namespace, lock.name, found.holder, lasting=lasting, waited=self._timeout)
        self._notify_waiting(found.holder, lease.seconds)
        self._timing.sleep(min(self._timing.poll_seconds, left) if self._observer.alive else self._timing.poll_seconds)

    def _notify_waiting(self, holder: Holder, seconds: int) -> None:
        if self._notified == (holder.identity, self._observer.alive):
            return
        self._notified = (holder.identity, self._observer.alive)
        title = self._lock.title
        if self._observer.alive:
            self._lock.notify(f"The release {title} is locked by {holder}. Waiting for at most {self._timeout:.0f} s.")
        else:
            self._lock.notify(f"The lock of {title} belongs to {holder}, which seems to be gone. Observing it for {seconds} s.")

    def _notify_taken_over(self, found: Lock) -> None:
        if found.holder is not None:
            why = "by force" if found.state is LockState.LIVE else "because that holder is gone"
            self._lock.notify(f"The lock of {self._lock.title} was taken over from {found.holder}, {why}.")


@dataclass(eq=False)
class HeldLock:
    """The lock of a release, held by one operation and renewed by a thread.

    Attributes:
        found: The lock as it was found: free, or the holder that it was taken over from.
        stopped: Returns true when the work is to be stopped.
    """

    cluster: Cluster
    namespace: str
    name: str
    holder: Holder
    notify: Notify
    timing: LockTiming
    stopped: StopCheck
    found: Lock = field(default_factory=Lock)
    _lease: Lease | None = None
    _write_unconfirmed: bool = False
    _lost: str | None = None
    _renewal_error: str | None = None
    _renewal_error_notified: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._renew_until_ended, name=f"lock {self.title}", daemon=True)

    @property
    def title(self) -> str:
        """The release that is locked, as ``NAMESPACE.NAME``."""
        return f"{self.namespace}.{self.name}"

    def check(self) -> None:
        """Return if the work may go on; sends no request.

        Raises:
            LockLost: Another holder has the lock.
            Interrupted: The work is to be stopped.
        """
        if self.stopped():
            raise Interrupted(f"The work on {self.title} was stopped.")
        if self._lost is not None:
            raise LockLost(self._lost)
        error = self._renewal_error
        if error is not None and not self._renewal_error_notified:
            self._renewal_error_notified = True
            self.notify(f"The lock of {self.title} cannot be renewed, and is tried again until the work is done: {error}")

    # acquiring

    def create(self) -> bool:
        """Create the Lease; return false if it exists. Raises: see :func:`hold`."""
        self.holder = replace(self.holder, since=self.timing.wall())
        try:
            self._write(lambda: self.cluster.create_lease(self.namespace, self._own_lease()))
        except Conflict as conflict:
            if "already exists" in conflict.message:
                return False
            raise
        return True

    def take_over(self, old: Lease) -> bool:
        """Replace the Lease of the holder that was read; return false if it has changed since."""
        self.holder = replace(self.holder, since=self.timing.wall())
        new = self._own_lease(replaces=old, transitions=old.transitions + 1)
        try:
            self._write(lambda: self.cluster.replace_lease(self.namespace, new))
        except (Conflict, NotFound):
            return False
        return True

    def read(self) -> Lease | None:
        """Return the Lease as it is now."""
        found = self.cluster.get_lease(self.namespace, lease_name(self.name))
        return decode_lease(found) if found else None

    def _write(self, write: Callable[[], Mapping[str, Any]]) -> None:
        self._write_unconfirmed = True
        try:
            self._lease = decode_lease(write())
        except ClusterUnreachable:  # the write may have succeeded, and its answer was lost
            raise
        except KubernautError:
            self._write_unconfirmed = False
            raise
        self._write_unconfirmed = False

    def _own_lease(self, *, replaces: Lease | None = None, transitions: int = 0) -> dict[str, Any]:
        now = self.timing.wall()
        times: dict[str, Any] = {"seconds": self.timing.lease_seconds, "acquired": self.holder.since or now, "renewed": now}
        return lease_manifest(self.namespace, self.name, self.holder, **times, transitions=transitions, replaces=replaces)

    # renewing

    def start_renewing(self) -> None:
        """Start the thread that renews the Lease."""
        self._thread.start()

    def _renew_until_ended(self) -> None:
        while self._lost is None and not self._ended.wait(self.timing.renew_seconds):
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001 - a thread has no caller: it goes on, and check() reports the error
                self._renewal_error = str(error) or type(error).__name__
            else:
                self._renewal_error, self._renewal_error_notified = None, False

    def _renew(self) -> None:
        """Renew the Lease once; a conflict may come from our own earlier renewal, whose answer was lost."""
        old = self._lease
        assert old is not None  # noqa: S101 - only an acquired lock is renewed
        new = self._own_lease(replaces=old, transitions=old.transitions)
        try:
            self._lease = decode_lease(self.cluster.replace_lease(self.namespace, new))
        except (Conflict, NotFound):
            self._reread()

    def _reread(self) -> None:
        found = self.read()
        if found is not None and found.is_held_by(self.holder):
            self._lease = found
            return
        other = found.holder if found else None
        why = f"{other} has taken it" if other else f"its Lease {lease_name(self.name)} was deleted or emptied"
        self._lost = f"The lock of {self.title} is lost: {why}."

    # releasing

    def release(self) -> None:
        """Delete the Lease if it is ours. Never raises for a failed request, because the Lease expires by itself."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)
        if self._lost is not None:
            return
        try:
            if self._write_unconfirmed:  # interrupted while the lock was acquired
                self._lease = self.read()
            self._delete()
        except KubernautError as error:
            seconds = f"{self.timing.lease_seconds:.0f} s"
            self.notify(f"The lock of {self.title} could not be released; it expires by itself in {seconds}: {error}")

    def _delete(self) -> None:
        """Delete our Lease; a renewal that was under way may have changed it meanwhile."""
        for left in reversed(range(_DELETE_ATTEMPTS)):
            if self._lease is None or not self._lease.is_held_by(self.holder):
                return
            try:
                self.cluster.delete_lease(self.namespace, lease_name(self.name), resource_version=self._lease.version[1])
            except Conflict:
                if not left:
                    raise
                self._lease = self.read()
            else:
                return
