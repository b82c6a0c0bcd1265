"""The lock of a release in the hands of one attempt: how it is taken, renewed by a thread of its own, noticed to be lost, released.

Whether it may be taken is not decided here: see ``line``. Every write names the version that was read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.lease import (
    LEASE_SECONDS,
    Holder,
    Lock,
    holder_of,
    in_place_of,
    is_held_by,
    lease,
    lease_name,
    transitions_of,
    version_of,
)
from kubernaut.errors import ClusterUnreachable, Conflict, Interrupted, KubernautError, LockLost, NotFound
from kubernaut.events import Stopped, never

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

Say = Callable[[str], None]

_LONGEST_JOIN = 2.0
_DELETIONS = 5


def _wall() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Timing:
    """How long a lock holds, how often it is renewed and asked for, and by which clocks."""

    lease_seconds: float = LEASE_SECONDS
    renew_seconds: float = 5.0
    poll_seconds: float = 1.0
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], datetime] = _wall
    sleep: Callable[[float], None] = time.sleep


class HeldLock:
    """The lock of a release, in the hands of one attempt.

    Attributes:
        found: What was found: nobody, or the holder that it was taken from.
        stopped: Is asked whether the work shall be stopped.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        holder: Holder,
        say: Say,
        timing: Timing,
        stopped: Stopped = never,
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        self.holder = holder
        self.say = say
        self.timing = timing
        self.stopped = stopped
        self.found = Lock()
        self._lease: Mapping[str, Any] | None = None
        self._unsure = False
        self._lost: str | None = None
        self._trouble: str | None = None
        self._trouble_said = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_end, name=f"lock {namespace}.{name}", daemon=True)

    def check(self) -> None:
        """Go on if the lock is still ours, as far as anybody knows, and nobody wants an end; asks no cluster.

        Raises:
            LockLost: It is somebody else's.
            Interrupted: The work shall be stopped.
        """
        if self.stopped():
            raise Interrupted(f"The work on {self.title} was told to stop.")
        if self._lost is not None:
            raise LockLost(self._lost)
        trouble = self._trouble
        if trouble is not None and not self._trouble_said:
            self._trouble_said = True
            self.say(f"The lock of {self.title} cannot be renewed; trying again until the work is done: {trouble}")

    @property
    def title(self) -> str:
        """The release's name, in words."""
        return f"{self.namespace}.{self.name}"

    # taking it

    def create(self) -> bool:
        """Take a lock that nobody has ever held; false if there is a Lease. Raises: what :func:`hold` does."""
        now = self.timing.wall()
        try:
            self._write(lambda: self.cluster.create_lease(self.namespace, self._new_lease(now, transitions=0)))
        except Conflict as conflict:
            if "already exists" in conflict.message:
                return False
            raise
        return True

    def take_over(self, old: Mapping[str, Any]) -> bool:
        """Take a lock from the holder that was read; false if its Lease has changed since."""
        now = self.timing.wall()
        new = in_place_of(old, self._new_lease(now, transitions=transitions_of(old) + 1))
        try:
            self._write(lambda: self.cluster.replace_lease(self.namespace, new))
        except (Conflict, NotFound):
            return False
        return True

    def read(self) -> dict[str, Any] | None:
        """Return the Lease as it is."""
        return self.cluster.get_lease(self.namespace, lease_name(self.name))

    def _write(self, write: Callable[[], Mapping[str, Any]]) -> None:
        self._unsure = True
        try:
            self._lease = write()
        except ClusterUnreachable:  # it may have been carried out, and the answer lost
            raise
        except KubernautError:
            self._unsure = False
            raise
        self._unsure = False

    def _new_lease(self, acquired: datetime, *, transitions: int) -> dict[str, Any]:
        self.holder = replace(self.holder, since=acquired)
        return self._own_lease(acquired, transitions)

    def _own_lease(self, renewed: datetime, transitions: int) -> dict[str, Any]:
        return lease(
            self.namespace,
            self.name,
            self.holder,
            seconds=self.timing.lease_seconds,
            acquired=self.holder.since or renewed,
            renewed=renewed,
            transitions=transitions,
        )

    # keeping it

    def keep(self) -> None:
        """Renew it from now on."""
        self._thread.start()

    def _renew_until_end(self) -> None:
        while self._lost is None and not self._end.wait(self.timing.renew_seconds):
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001 - nobody stands above a thread: it goes on, and check() says it
                self._trouble = str(error) or type(error).__name__
            else:
                self._trouble, self._trouble_said = None, False

    def _renew(self) -> None:
        """Renew it once; a Conflict may be an earlier renewal of ours whose answer was lost."""
        old = self._lease
        assert old is not None  # noqa: S101 - only a lock that was taken is kept
        new = in_place_of(old, self._own_lease(self.timing.wall(), transitions_of(old)))
        try:
            self._lease = self.cluster.replace_lease(self.namespace, new)
        except (Conflict, NotFound):
            self._look_again()

    def _look_again(self) -> None:
        found = self.read()
        if found is not None and is_held_by(found, self.holder):
            self._lease = found
            return
        by = holder_of(found) if found else None
        why = f"{by.words} has taken it" if by else f"its Lease {lease_name(self.name)} was deleted or emptied"
        self._lost = f"The lock of {self.title} is lost: {why}."

    # releasing it

    def release(self) -> None:
        """Release it, if it is ours; never fails, since it expires by itself."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_JOIN)
        if self._lost is not None:
            return
        try:
            if self._unsure:  # broken off while it was being taken
                self._lease = self.read()
            self._delete()
        except KubernautError as error:
            seconds = f"{self.timing.lease_seconds:.0f} s"
            self.say(f"The lock of {self.title} could not be released; it expires by itself in {seconds}: {error}")

    def _delete(self) -> None:
        """Delete the Lease that is ours; a renewal that was under way may have changed it meanwhile."""
        for left in reversed(range(_DELETIONS)):
            if self._lease is None or not is_held_by(self._lease, self.holder):
                return
            version = version_of(self._lease)[1]
            try:
                self.cluster.delete_lease(self.namespace, lease_name(self.name), resource_version=version)
            except Conflict:
                if not left:
                    raise
                self._lease = self.read()
            else:
                return
