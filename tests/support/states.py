"""What the model of a release knows: its revisions, its lock, its operations, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

FREE, OURS, DEAD, ELSEWHERE = "free", "ours", "dead", "elsewhere"


@dataclass(frozen=True)
class Entry:
    """A revision.

    Attributes:
        what: What it is: the version and the values.
        plain: Whether plain Helm made it, or was the last that worked on it.
        known: Whether kubernaut knows what it is by the chart's digest; ``None`` where the rules leave that open.
        ended: Whether the operation that made it was written to its end.
        back: Whether going back made it.
        fenced: Whether it can no longer be written to.
        aside: Whether there is a ``copy`` of it set aside, or that ``alone``.
        toward: Where the rollback was going that made it and was killed.
        old: Whether plain Helm left it unfinished longer ago than ``stale_after``.
    """

    revision: int
    status: str
    what: str
    plain: bool = False
    known: bool | None = True
    ended: bool = False
    back: bool = False
    fenced: bool = False
    aside: str = ""
    toward: int = 0
    old: bool = False

    @property
    def pending(self) -> bool:
        return self.status.startswith("pending-")

    @property
    def unfinished(self) -> bool:
        return self.pending or self.status == "uninstalling"


@dataclass(frozen=True)
class Seen:
    """What can be seen of a state from outside; ``records`` are revision, status, what it is, and whether it is fenced."""

    records: tuple[tuple[int, str, str, bool], ...] = ()
    aside: tuple[int, ...] = ()
    locked: bool = False
    open: int = 0
    namespace: bool = True


@dataclass(frozen=True)
class State:
    """What is there: the revisions, oldest first, who holds the lock, and how many operations have no end."""

    entries: tuple[Entry, ...] = ()
    lock: str = FREE
    open: int = 0
    namespace: bool = True

    @property
    def seen(self) -> Seen:
        return Seen(
            tuple((one.revision, one.status, one.what, one.fenced) for one in self.entries if one.aside != "alone"),
            tuple(one.revision for one in self.entries if one.aside),
            self.lock != FREE,
            self.open,
            self.namespace,
        )


def by_plain_helm(state: State, revision: int, known: bool | None) -> State:
    """Say of a revision that plain Helm made it, or works on it; ``known`` is ``None`` where that changes nothing."""

    def told_of(one: Entry) -> Entry:
        return replace(one, plain=True, known=one.known if known is None else known)

    return replace(state, entries=tuple(told_of(one) if one.revision == revision else one for one in state.entries))


def told(state: State) -> State:
    """Say what an install or upgrade leaves whose Helm was told to stop; the others catch no signal."""
    last = state.entries[-1:]
    failed = tuple(replace(one, status="failed") if one.status in ("pending-install", "pending-upgrade") else one for one in last)
    return replace(state, entries=(*state.entries[:-1], *failed))
