"""Waiting in line for a release's lock: who holds it, whether he is still there, and when it is to be had.

A holder whose Lease was renewed just now lives; one whose Lease looks old, or odd, is watched: he lives if it changes, and is gone
if it stays the same for as long as it holds. Intervals of the observer's own clock count: no two machines agree on the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernaut.adapters.process import is_process_gone
from kubernaut.deploy.lease import Holder, Lock, LockState, holder_of, is_held_by, locked, seconds_of, seems_fresh, version_of
from kubernaut.errors import ClusterUnreachable, ReleaseLocked

if TYPE_CHECKING:
    from kubernaut.deploy.held import HeldLock, Timing


class Line:
    """One attempt's wait for the lock.

    Args:
        held: The lock, as it will be held.
        timeout: How many seconds to wait for a holder that lives.
        force: Wait for nobody.
    """

    def __init__(self, held: HeldLock, timeout: float, *, force: bool) -> None:
        self._held = held
        self._timing = held.timing
        self._timeout = timeout
        self._until = held.timing.clock() + timeout
        self._force = force
        self._watch = Watch(held.timing)
        self._said: tuple[str, bool] | None = None
        self._there = False
        self._from = Lock()

    def take(self) -> Lock:
        """Take the lock; return what was found. Raises: what ``hold`` does."""
        while True:
            try:
                taken = self._step()
            except ClusterUnreachable:
                if self._said is None or self._timing.clock() >= self._until:
                    raise
                self._timing.sleep(self._timing.poll_seconds)
            else:
                if taken is not None:
                    return taken

    def _step(self) -> Lock | None:
        """Take the lock, if it is to be had; else look at it once and wait a little."""
        self._held.check()
        if not self._there and self._held.create():
            return Lock()
        found = self._held.read()
        self._there = found is not None
        if found is None:
            return None
        lock = self._judged(found)
        if lock.state is LockState.LIVE and not self._force:
            self._wait(found, lock)
            return None
        self._from = lock
        if not self._held.take_over(found):
            self._from = Lock()
            return None
        self._say_from(lock)
        return lock

    def _judged(self, found: Mapping[str, Any]) -> Lock:
        """Return what is known of the Lease that was read; whoever may still be there is ``live``."""
        self._watch.see(found)
        holder = holder_of(found)
        if is_held_by(found, self._held.holder):
            return self._from  # we have taken it, and the answer was lost
        if holder is None:
            return Lock()
        expired = is_dead(holder) or self._watch.unchanged >= seconds_of(found)
        return Lock(LockState.EXPIRED if expired else LockState.LIVE, holder)

    def _wait(self, found: Mapping[str, Any], lock: Lock) -> None:
        assert lock.holder is not None  # noqa: S101 - a lock that is live has one
        left = self._until - self._timing.clock()
        if self._watch.lives and left <= 0:
            raise self._locked(lock.holder)
        self._say_for(lock.holder, seconds_of(found))
        self._timing.sleep(min(self._timing.poll_seconds, left) if self._watch.lives else self._timing.poll_seconds)

    def _locked(self, holder: Holder) -> ReleaseLocked:
        held, lasting = self._held, holder.duration(self._timing.wall())
        return locked(held.namespace, held.name, holder, lasting=lasting, waited=self._timeout)

    def _say_for(self, holder: Holder, seconds: int) -> None:
        if self._said == (holder.identity, self._watch.lives):
            return
        self._said = (holder.identity, self._watch.lives)
        title = self._held.title
        if self._watch.lives:
            self._held.say(f"The release {title} is locked by {holder.words}: waiting at most {self._timeout:.0f} s.")
        else:
            self._held.say(f"The lock of {title} belongs to {holder.words}, who seems to be gone: watching it for {seconds} s.")

    def _say_from(self, lock: Lock) -> None:
        if lock.holder is not None:
            why = ", by force" if lock.state is LockState.LIVE else ", who is gone"
            self._held.say(f"The lock of {self._held.title} was taken over from {lock.holder.words}{why}.")


class Watch:
    """What one observer has seen of a Lease, by its own clock.

    Attributes:
        lives: Whether its holder is there: it looked so at first, or the Lease has changed under our eyes.
        unchanged: For how many seconds it has been seen to be the same.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._version: tuple[str, str] | None = None
        self._seen = 0.0
        self.lives = False
        self.unchanged = 0.0

    def see(self, lease: Mapping[str, Any]) -> None:
        """See it once more."""
        now, version = self._timing.clock(), version_of(lease)
        if version == self._version:
            # A gap in which nobody asked, or the API server did not answer the holder either, does not count against him.
            self.unchanged += min(now - self._seen, self._timing.renew_seconds)
        else:
            self.lives = self._version is not None or seems_fresh(lease, self._timing.wall())
            self.unchanged = 0.0
        self._version, self._seen = version, now


def is_dead(holder: Holder) -> bool:
    """Say whether a holder's process is surely gone: one of this machine, that is not there any more."""
    return bool(holder.process) and is_process_gone(holder.process)
