"""What is in the cluster, known without asking: every release's facts in memory, kept current by list and watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernaut.history.operation import Operation
from kubernaut.history.release import Release, ReleaseHistory, ReleaseId

if TYPE_CHECKING:
    from kubernaut.clients.cluster import Cluster


@dataclass(frozen=True)
class Query:
    """What a list asks for.

    Attributes:
        all: Every revision there is, not only the active releases.
        after: Namespace, name and revision of the last one that was shown.
        visible: Only these namespaces; ``None`` for all.
    """

    namespace: str | None = None
    name: str | None = None
    status: str | None = None
    version: str | None = None
    all: bool = False
    limit: int = 100
    after: tuple[str, str, int] | None = None
    visible: frozenset[str] | None = None


@dataclass(frozen=True)
class Page:
    """A part of a list: namespace and name in order, the newest revision first.

    Attributes:
        items: Each one a release's JSON.
        count: How many match, on this page or not.
        next: What ``after`` of the next page is; ``None`` on the last.
    """

    items: tuple[bytes, ...]
    count: int
    next: tuple[str, str, int] | None


class Index:
    """Every release's facts, in memory."""

    def __init__(self, cluster: Cluster | Callable[[], Cluster], *, namespaces: Sequence[str] = ()) -> None: ...

    def start(self) -> None:
        """List and watch from now on, in threads of its own; returns at once."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the threads."""
        raise NotImplementedError

    def load(self) -> None:
        """List once, in the calling thread, without a watch."""
        raise NotImplementedError

    def check(self) -> None:
        """Return if it is current. Raises: IndexStale, with the reason."""
        raise NotImplementedError

    def age(self) -> float:
        """Return how many seconds ago it was last known to be current."""
        raise NotImplementedError

    def page(self, query: Query) -> Page:
        """Return a part of the list of releases."""
        raise NotImplementedError

    def release(self, wanted: ReleaseId) -> Release:
        """Return one release, whole. Raises: ReleaseNotFound."""
        raise NotImplementedError

    def history(self, namespace: str, name: str) -> ReleaseHistory:
        """Return all releases of a name, newest first, and the attempts that made none. Raises: ReleaseNotFound."""
        raise NotImplementedError

    def active(self, name: str | None = None) -> tuple[Release, ...]:
        """Return the active releases of a name, or all."""
        raise NotImplementedError

    def operation(self, id: str) -> Operation:
        """Return an operation. Raises: OperationNotFound."""
        raise NotImplementedError

    def unfinished(self) -> frozenset[tuple[str, str]]:
        """Return the namespaces and names with operations that have no end."""
        raise NotImplementedError

    def refresh(self, namespace: str, name: str) -> None:
        """Read a name now: what is asked afterwards is no older."""
        raise NotImplementedError
