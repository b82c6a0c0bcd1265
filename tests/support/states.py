"""The state of the model: revisions, lock and operations, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace

HOOKED = "3.0.0"
"""The version whose pre-delete hook fails."""
FREE, OURS, DEAD, ELSEWHERE = "free", "ours", "dead", "elsewhere"


@dataclass(frozen=True)
class Entry:
    """A revision.

    Attributes:
        what: The version and the values.
        plain: Whether plain Helm made it, or was the last that worked on it.
        foreign: Whether plain Helm made it.
        known: Whether kubernaut knows the chart's digest; ``None`` where the rules leave that open.
        ended: Whether the operation that made it was written to its end.
        failed: Whether that operation failed, so that it never served; ``None`` where the rules leave that open.
        late: Whether it failed because it was not ready in time, so that an upgrade is compared with it.
        deleted: Whether it was deleted, and an install replaced it.
        back: Whether going back made it.
        fenced: Whether it can no longer be written to.
        aside: Whether there is a ``copy`` of it set aside, or that ``alone``.
        toward: Where the rollback was going that made it and was killed or failed.
        broken_off: Whether the operation that made it was interrupted, and that was written.
        old: Whether plain Helm left it unfinished longer ago than ``stale_after``.
    """

    revision: int
    status: str
    what: str
    plain: bool = False
    foreign: bool = False
    known: bool | None = True
    ended: bool = False
    failed: bool | None = False
    late: bool = False
    deleted: bool = False
    back: bool = False
    fenced: bool = False
    aside: str = ""
    toward: int = 0
    broken_off: bool = False
    old: bool = False

    @property
    def pending(self) -> bool:
        return self.status.startswith("pending-")

    @property
    def unfinished(self) -> bool:
        return self.pending or self.status == "uninstalling"

    @property
    def stuck(self) -> bool:
        """Whether its pre-delete hook fails."""
        return self.what.startswith(HOOKED)

    @property
    def served(self) -> bool | None:
        """Whether it ran as it was meant to; ``None`` where the rules leave that open."""
        ran = self.status in ("deployed", "superseded", "uninstalled", "uninstalling")
        return None if ran and self.failed is None else ran and not self.failed

    @property
    def interrupted(self) -> bool:
        """Whether a deploy of kubernaut made it and was interrupted."""
        return self.broken_off or not (self.ended or self.foreign or self.back)

    def settled(self) -> Entry:
        """Return it after the outcome of the operation that made it was inferred, if that was missing."""
        if self.ended:
            return self
        ran = self.status == "deployed" or (self.status == "superseded" and not self.deleted)
        failed = self.failed if ran or self.failed is None else None if self.back else not self.foreign
        return replace(self, ended=True, failed=failed, known=None if self.back else self.known, broken_off=self.interrupted)


@dataclass(frozen=True)
class Seen:
    """The visible part of a state; ``records`` are revision, status, version and values, and whether it is fenced."""

    records: tuple[tuple[int, str, str, bool], ...] = ()
    aside: tuple[int, ...] = ()
    locked: bool = False
    open: int = 0
    namespace: bool = True


@dataclass(frozen=True)
class State:
    """The revisions, oldest first, the holder of the lock, and the number of operations without an end.

    ``changed`` is whether others have changed the objects since Helm applied them; ``None`` where the rules leave that open.
    """

    entries: tuple[Entry, ...] = ()
    lock: str = FREE
    open: int = 0
    namespace: bool = True
    changed: bool | None = False

    @property
    def failed(self) -> list[int]:
        """The revisions that failed, also those that are marked deployed so that Helm compares with them."""
        return [one.revision for one in self.entries if one.status == "failed" or (one.status == "deployed" and one.late)]

    def passed_base(self, keep: int) -> int | None:
        """Return the deployed revision that an upgrade is not compared with: a later one was applied over it, and was late."""
        deployed = [one.revision for one in self.entries if one.status == "deployed"]
        if not deployed or self.entries[-1].status != "failed" or not self.entries[-1].late:
            return None
        newer = sum(one.revision > deployed[-1] for one in self.entries)
        return None if keep and newer >= keep - 1 else deployed[-1]  # it would be pruned

    def interrupted_base(self) -> int | None:
        """Return the revision that was late and that an upgrade is compared with, although interrupted ones follow it."""
        if any(one.status == "deployed" for one in self.entries):
            return None
        for one in reversed(self.entries):
            if one.status != "failed" or (not one.late and not one.interrupted):
                return None
            if one.late:
                return one.revision if one is not self.entries[-1] else None
        return None

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
    """Mark a revision as made or changed by plain Helm; ``known`` is ``None`` where that changes nothing."""

    def mark(one: Entry) -> Entry:
        if known is None:
            return replace(one, plain=True)
        return replace(one, plain=True, foreign=True, known=known)

    return replace(state, entries=tuple(mark(one) if one.revision == revision else one for one in state.entries))


def after_signal(state: State) -> State:
    """Return the state after a signal to Helm: an install or upgrade writes ``failed``, other commands catch none."""
    last = state.entries[-1:]
    failed = tuple(replace(one, status="failed") if one.status in ("pending-install", "pending-upgrade") else one for one in last)
    return replace(state, entries=(*state.entries[:-1], *failed))
