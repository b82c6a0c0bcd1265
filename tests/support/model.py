"""The expected history of a release after each verb: the rules once more, without kubernaut's code.

The model knows nothing of Secrets, Leases or plans. It keeps the list of revisions with their statuses, who holds the lock, and
how many operations have no end, and each verb walks through the states that it may be stopped in: a verb that ends is in the last
of them, one that is killed in any. The result of a verb is ``DONE``, ``NOTHING``, or the name of the error.
"""

from __future__ import annotations

from dataclasses import replace

from support.model_steps import (
    BROKEN,
    CONFLICT,
    DONE,
    KEPT,
    NO_NAMESPACE,
    NOT_CURRENT,
    NOT_FOUND,
    NOTHING,
    ROLLED_BACK,
    ModelSteps,
)
from support.states import DEAD, FREE, OURS, Entry, Seen, after_signal, by_plain_helm


class Model(ModelSteps):
    """A release, as it must be.

    Args:
        newer: Whether Helm's uninstall marks an older deployed record superseded: since 3.19.5.

    Attributes:
        state: As it is now.
        walked: The states of the last verb, from before it to its end.
    """

    # kubernaut's verbs

    def deploy(
        self, what: str, *, fails: str = "", keep: int = 50, create: bool = False, same: bool = False, no_hooks: bool = False
    ) -> str:
        """``fails`` is empty, or the end of a failing release; ``same`` decides where the rules leave it open."""
        self._start()
        now = self.current
        if not self.state.namespace and not create:
            return NO_NAMESPACE
        self._go(namespace=True)
        if now and self._runs(now, what, same=same):
            return NOTHING
        gone = now is not None and now.status in ("uninstalled", "uninstalling")
        if refused := self._turn("install" if gone else "upgrade", no_hooks=no_hooks, keep=keep):
            return refused
        before = self._newest_served(self._since_delete())
        failed, base = self.state.failed, self._base
        if now is None or gone:
            worked = self._install(what, fails=bool(fails))
        else:
            worked = self._upgrade(what, keep=keep, fails=bool(fails))
        self._stay_failed(failed)
        if not worked and base is not None and self.entry(base):
            self._put(base, status="deployed")
        if not worked and before is not None and self.entry(before.revision) is None:  # the upgrade has pruned it
            return self._end(KEPT, late=fails == "late")
        if not worked and before is not None and fails not in ("kept", "late"):
            failed = self.state.failed
            worked = self._back_to(before, keep=keep, fails=fails == "for good")
            self._stay_failed(failed)
            return self._end(ROLLED_BACK if worked else KEPT)
        return self._end(DONE if worked else KEPT, late=fails == "late")

    def rollback(self, revision: int | None = None, *, keep: int = 50, fails: bool = False, no_hooks: bool = False) -> str:
        """One without a revision goes on to where one was going that was killed or failed."""
        self._start()
        now = self.current
        if now is None:
            return NOT_FOUND
        if revision is None:
            open = now.pending or now.status == "failed" or (now.status == "deployed" and not now.ended)
            toward = self.entry(now.toward) if open else None
            target = toward or self._newest_served(self.state.entries[:-1])
        else:
            target = self.entry(revision)
        if target is None:
            return NOT_FOUND
        if target.pending:
            return CONFLICT
        if now.status == "deployed" and now.what == target.what:
            return NOTHING
        if refused := self._turn("rollback", no_hooks=no_hooks):
            return refused
        failed = self.state.failed
        worked = self._back_to(target, keep=keep, fails=fails, toward=target.revision)
        self._stay_failed(failed)
        return self._end(DONE if worked else KEPT)

    def restore(self, *, keep: int = 50, fails: bool = False, no_hooks: bool = False) -> str:
        self._start()
        if self.current is None:
            return NOT_FOUND
        entries = self._until_delete()
        if not entries:
            return NOTHING
        target = self._newest_served(entries) or entries[-1]
        if refused := self._turn("rollback", no_hooks=no_hooks):
            return refused
        failed = self.state.failed
        worked = self._back_to(target, keep=keep, fails=fails)
        self._stay_failed(failed)
        return self._end(DONE if worked else KEPT)

    def delete(self, revision: int | None = None, *, no_hooks: bool = False) -> str:
        self._start()
        now = self.current
        if now is None:
            return NOT_FOUND
        if revision not in (None, now.revision):
            return NOT_CURRENT
        if now.status == "uninstalled":
            return NOTHING
        if refused := self._turn("uninstall", no_hooks=no_hooks):
            return refused
        return self._end(DONE if self._uninstall(no_hooks=no_hooks) else KEPT)

    def unlock(self) -> str:
        """It is for a holder that is known to be dead, so it does not prompt."""
        self._start()
        if not self.state.namespace:
            return NOTHING
        free, before = self.state.lock == FREE, self.state.entries
        self._silent = True
        self._go(lock=OURS)
        self._tidy()
        if (now := self.current) and now.unfinished:
            deleted = now.deleted or now.status == "uninstalling"
            self._rewrite(now.revision, status="failed", failed=self._failed(now), fenced=True, deleted=deleted)
            self._recovered.append(now.revision)
        nothing = free and not self.state.open and self.state.entries == before
        self._settle()
        self._fence()
        self._go(lock=FREE)
        return NOTHING if nothing else DONE

    # plain Helm, where it has something to do

    def plain(self, verb: str, what: str = "", revision: int = 0, *, ends: bool = True) -> None:
        """``helm upgrade``, ``rollback``, ``uninstall --no-hooks`` or ``install --replace``; or killed before its end."""
        self._start()
        number = self._next
        if verb == "upgrade" and self.current:
            self._upgrade(what, keep=0)
        elif verb == "rollback":
            target = self.entry(revision)
            assert target is not None
            self._back_to(target, keep=0)
        elif verb == "uninstall":
            number -= 1
            self._uninstall(no_hooks=True)
        else:
            self._install(what)
        known = None if verb == "uninstall" else False
        self.walked = [by_plain_helm(state, number, known) for state in self.walked]
        unfinished = (state for state in self.walked if any(one.revision == number and one.unfinished for one in state.entries))
        self.state = self.walked[-1] if ends else next(unfinished)

    def outlived(self, revision: int, replaces: list[int]) -> None:
        """A Helm that outlived its kubernaut ends; repaired records stay as they are."""
        self._start()
        record = self.entry(revision)
        fails = record is not None and record.what.endswith(BROKEN)
        for one in replaces if not fails else ():
            old = self.entry(one)
            if old and not old.fenced:
                self._put(one, status="superseded")
        if record and not record.fenced:  # Helm writes its end without a look at the record
            self._put(revision, status="failed" if fails else "deployed")
        if self.state.changed:
            self._go(changed=None)

    def others_change(self) -> None:
        """Others change the objects."""
        self._start()
        self._go(changed=True)

    def grow_old(self) -> None:
        """Let more time pass than ``stale_after``."""
        self._start()
        if self.current and self.current.unfinished:
            self._put(self.current.revision, old=True)

    def killed(self, seen: Seen, *, lock: str = DEAD) -> bool:
        """The last verb was killed: the state is one of its states, or Helm got the signal and wrote ``failed``.

        Returns:
            Whether it is known if the operation of the current revision was written to its end.

        Raises:
            AssertionError: The state is none of them.
        """
        possible = [state for state in self.walked if state.seen == seen]
        possible = possible or [state for state in map(after_signal, self.walked) if state.seen == seen]
        assert possible, "\n".join([f"{seen}", "is none of", *(str(state.seen) for state in self.walked)])
        changed = None if self.walked[0].changed else self.walked[0].changed
        # Whether the cause of a failure was written before the kill shows in no record.
        entries = tuple(
            replace(one, failed=None) if one.status == "failed" and not (one.ended or one.back or one.foreign) else one
            for one in possible[-1].entries
        )
        self.state = replace(possible[-1], entries=entries, lock=lock if seen.locked else FREE, changed=changed)
        return len({state.entries[-1].ended for state in possible if state.entries}) < 2

    def _runs(self, now: Entry, what: str, *, same: bool) -> bool:
        """Return whether a release runs something as it was deployed; ``same`` decides where the rules leave it open."""
        untouched = None if self.state.changed is None else not self.state.changed
        return (
            now.status == "deployed"
            and now.ended
            and now.what == what
            and all(same if sure is None else sure for sure in (now.known, untouched))
        )

    # where a verb goes back to

    def is_open(self, verb: str, revision: int | None = None) -> bool:
        """Return whether the rules leave open where a verb goes back to."""
        entries = {
            "deploy": self._since_delete(),
            "rollback": self.state.entries[:-1] if revision is None else (),
            "restore": self._until_delete(),
        }.get(verb, ())
        return next((one.served is None for one in reversed(entries) if one.served is not False), False)

    def _newest_served(self, entries: tuple[Entry, ...]) -> Entry | None:
        return next((one for one in reversed(entries) if one.served), None)

    def _since_delete(self) -> tuple[Entry, ...]:
        gone = [one.deleted or one.status in ("uninstalled", "uninstalling") for one in self.state.entries]
        return self.state.entries[len(gone) - gone[::-1].index(True) :] if True in gone else self.state.entries

    def _until_delete(self) -> tuple[Entry, ...]:
        """Return the revisions up to the one that was deleted last; none if something has run since."""
        entries = self.state.entries
        while entries and (entries[-1].pending or entries[-1].status == "failed"):
            entries = entries[:-1]
        return entries if entries and entries[-1].status in ("uninstalled", "uninstalling") else ()
