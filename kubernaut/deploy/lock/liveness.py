"""Whether the process of another operation lives: observed at the release's lock, which is not acquired."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kubernaut.deploy.lock.lease import Holder, LeaseObserver, LockTiming, decode_lease, is_dead, lease_name
from kubernaut.errors import ClusterDenied
from kubernaut.history.operations import Operation, longest_duration

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_TIMING = LockTiming()


class LockObserver:
    """Observes the lock of a release.

    Args:
        cluster: The release's cluster.
        namespace: The release's namespace.
        name: The release's name.
        notify: Receives a line about a holder that seems to be gone, and about a lock that may not be read.
        timing: The durations and clocks.

    Attributes:
        holder: The holder at the last look, live or gone; ``None`` for a free lock, and for one that may not be read.
        denied: Whether the lock may not be read.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, *, notify: Callable[[str], None], timing: LockTiming = _TIMING
    ) -> None:
        self.holder: Holder | None = None
        self.denied = False
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._notify = notify
        self._timing = timing
        self._observer = LeaseObserver(timing)
        self._suspected = ""

    def is_held(self) -> bool:
        """Look once; return whether the lock has a holder that is not certainly gone. Raises: ClusterUnreachable."""
        try:
            found = self._cluster.get_lease(self._namespace, lease_name(self._name))
        except ClusterDenied as denied:
            if not self.denied:
                self._notify(f"Whether an operation still runs is not certain: {denied.message}")
            self.holder, self.denied = None, True
            return False
        lease = decode_lease(found or {})
        self._observer.observe(lease)
        self.holder, self.denied = lease.holder, False
        if lease.holder is None or is_dead(lease.holder) or self._observer.unchanged >= lease.seconds:
            return False
        if not self._observer.alive and self._suspected != lease.holder.identity:
            self._suspected = lease.holder.identity
            self._notify(f"The lock belongs to {lease.holder}, which seems to be gone. Observing it for {lease.seconds} s.")
        return True

    def may_run(self, operation: Operation) -> bool:
        """Look once; return whether an operation without an outcome may still run. Raises: ClusterUnreachable.

        While another operation holds the lock, it may be about to record the outcome of one that is dead.
        """
        held, at = self.is_held(), self._cluster.server_time
        if operation.waits_until is not None:
            return operation.may_begin(at)
        if self.denied:
            return at is None or (at - operation.started_at).total_seconds() < longest_duration(operation)
        return held
