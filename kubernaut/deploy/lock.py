"""The lock of a release: taken before anything is written, kept alive while the work goes on, released at its end.

It keeps attempts of kubernaut apart, wherever they run. It is a Lease, judged by the observer's own monotonic clock: a holder that
has written nothing for 30 s is gone. It does not stop a Helm that lives on somewhere; that is what fencing a record is for.

Every write names the version that was read, so nothing is lost to a race. What nobody can know, because the API server does not
answer, is never taken for a lost lock, nor held against a holder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kubernaut.deploy.held import HeldLock, Say, Timing
from kubernaut.deploy.lease import Holder, Lock, LockState, holder_of, lease_name, seems_stale
from kubernaut.deploy.line import Line, is_dead
from kubernaut.errors import ClusterDenied, Conflict, ReleaseLocked
from kubernaut.events import Stopped, never

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

_TIMING = Timing()


def look(cluster: Cluster, namespace: str, name: str, *, timing: Timing = _TIMING) -> Lock:
    """Return what one look at a release's lock tells, without waiting and without taking it.

    It is a guess where it says ``expired`` by the wall clock; whoever wants the lock watches the holder before he believes it.
    """
    with _named(namespace, name, "looked at"):
        found = cluster.get_lease(namespace, lease_name(name))
    holder = holder_of(found) if found else None
    if found is None or holder is None:
        return Lock()
    expired = is_dead(holder) or seems_stale(found, timing.wall())
    return Lock(LockState.EXPIRED if expired else LockState.LIVE, holder)


@contextmanager
def hold(
    cluster: Cluster,
    namespace: str,
    name: str,
    holder: Holder,
    *,
    timeout: float,
    say: Say,
    timing: Timing = _TIMING,
    force: bool = False,
    stopped: Stopped = never,
) -> Iterator[HeldLock]:
    """Hold a release's lock while the block runs.

    Args:
        cluster: The release's cluster.
        namespace: The release's namespace.
        name: The release's name.
        holder: Who wants the lock.
        timeout: How many seconds to wait in line. A lock whose holder seems to be gone is watched until that is known, even if it
            takes longer.
        say: Is told for whom it waits, from whom it takes over, and what does not go well; only ever by the calling thread.
        timing: How long and how often.
        force: Take it whoever holds it.
        stopped: Is asked all the time whether to go on.

    Raises:
        ReleaseLocked: Somebody else holds it, and still does after ``timeout`` seconds.
        NamespaceNotFound: There is no such namespace.
        Conflict: The namespace is being deleted.
        ClusterDenied: This user may not take it.
        ClusterUnreachable: The API server does not answer.
        Interrupted: ``stopped`` says so.
    """
    held = HeldLock(cluster, namespace, name, holder, say, timing, stopped)
    try:
        with _named(namespace, name, "taken"):
            held.found = Line(held, timeout, force=force).take()
        held.keep()
        yield held
    finally:
        held.release()


@contextmanager
def _named(namespace: str, name: str, done: str) -> Iterator[None]:
    """Say of a refusal that it is the lock that cannot be had, and what is needed for it."""
    what = f"The lock of {namespace}.{name} (the Lease {lease_name(name)} in {namespace}) cannot be {done}"
    try:
        yield
    except ClusterDenied as denied:
        needed = f"It takes the verbs get, create, update and delete on leases.coordination.k8s.io in the namespace {namespace}."
        hint = needed if "leases" in denied.message else denied.hint
        raise ClusterDenied(f"{what}: {denied.message}", hint=hint, details=denied.details) from denied
    except ReleaseLocked:
        raise
    except Conflict as conflict:
        raise Conflict(f"{what}: {conflict.message}", hint=conflict.hint, details=conflict.details) from conflict
