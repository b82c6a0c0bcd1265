"""The expected history of a release after each verb: the rules once more, without kubernaut's code.

The model knows nothing of Secrets, Leases or plans. It keeps the list of revisions with their statuses, who holds the lock, and
how many operations have no end, and each verb walks through the states that it may be stopped in: a verb that ends is in the last
of them, one that is killed in any. The result of a verb is ``DONE``, ``NOTHING``, or the name of the error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.states import DEAD, ELSEWHERE, FREE, OURS, Entry, Seen, State, after_signal, by_plain_helm

DONE, NOTHING = "done", "nothing to do"
LOCKED, NOT_FOUND, NO_NAMESPACE, CONFLICT, NOT_CURRENT = (
    "ReleaseLocked",
    "ReleaseNotFound",
    "NamespaceNotFound",
    "Conflict",
    "ReleaseNotCurrent",
)
BROKEN = " broken"
KEPT, ROLLED_BACK = "DeployKept", "DeployRolledBack"


class Model:
    """A release, as it must be.

    Args:
        newer: Whether Helm's uninstall marks an older deployed record superseded: since 3.19.5.

    Attributes:
        state: As it is now.
        walked: The states of the last verb, from before it to its end.
    """

    def __init__(self, *, newer: bool = False, namespace: bool = True) -> None:
        self.newer = newer
        self.state = State(namespace=namespace)
        self.walked = [self.state]
        self._begun = self._silent = False
        self._recovered: list[int] = []
        self._base: int | None = None

    @property
    def current(self) -> Entry | None:
        return self.state.entries[-1] if self.state.entries else None

    @property
    def deployed(self) -> list[Entry]:
        return [one for one in self.state.entries if one.status == "deployed"]

    def entry(self, revision: int) -> Entry | None:
        return next((one for one in self.state.entries if one.revision == revision), None)

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
            toward = self.entry(now.toward) if now.pending or now.status == "failed" else None
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
            self._rewrite(now.revision, status="failed", fenced=True, deleted=deleted)
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
        for one in replaces:
            old = self.entry(one)
            if old and not old.fenced:
                self._put(one, status="superseded")
        record = self.entry(revision)
        if record and record.pending:
            self._put(revision, status="deployed")
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

    def killed(self, seen: Seen, *, lock: str = DEAD) -> None:
        """The last verb was killed: the state is one of its states, or Helm got the signal and wrote ``failed``.

        Raises:
            AssertionError: The state is none of them.
        """
        possible = [state for state in self.walked if state.seen == seen]
        possible = possible or [state for state in map(after_signal, self.walked) if state.seen == seen]
        assert possible, "\n".join([f"{seen}", "is none of", *(str(state.seen) for state in self.walked)])
        changed = None if self.walked[0].changed else self.walked[0].changed
        self.state = replace(possible[-1], lock=lock if seen.locked else FREE, changed=changed)

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

    # parts of the verbs

    def _turn(self, main: str, *, no_hooks: bool = False, keep: int = 0) -> str:
        """Take the lock and repair unfinished work, unless another holder works; return why not."""
        now = self.current
        if self.state.lock == ELSEWHERE or (now and now.unfinished and now.plain and not now.old):
            return LOCKED
        self._go(lock=OURS)
        self._tidy()
        if now and now.pending:
            self._begin()
            self._put(now.revision, status="failed", fenced=True)
            self._recovered.append(now.revision)
        now = self.current
        if now and now.fenced and (main in ("install", "uninstall") or now.status == "uninstalling"):  # Helm rewrites it
            self._begin()
            self._recreate(now.revision)
        now = self.current
        if now and now.status == "uninstalling" and main != "uninstall":
            self._begin()
            self._recovered.append(now.revision)
            if not self._uninstall(no_hooks=no_hooks):
                self._go(open=self.state.open - 1)
                self._fence()
                self._go(lock=FREE)
                return KEPT
        for stray in self.deployed if main == "install" else ():
            self._begin()
            self._put(stray.revision, status="superseded")
        self._base = self._pass_base(keep) if main == "upgrade" else None
        self._settle()
        self._begin()
        return ""

    def _tidy(self) -> None:
        """Finish the recreation of a record that broke off."""
        for revision in [one.revision for one in reversed(self.state.entries) if one.aside]:
            self._begin()
            self._recreate(revision)

    def _recreate(self, revision: int) -> None:
        record = self.entry(revision)
        assert record is not None
        if record.fenced and record.aside != "alone":
            self._put(revision, aside="")
            self._put(revision, aside="copy")
            self._put(revision, aside="alone")
        self._put(revision, aside="copy", fenced=False)
        self._put(revision, aside="")
        self._recovered.append(revision)

    def _rewrite(self, revision: int, **changes: Any) -> None:
        """Change a record; a fenced one is recreated."""
        record = self.entry(revision)
        if record is not None and record.fenced:
            self._put(revision, aside="copy")
            self._put(revision, aside="alone")
            self._put(revision, aside="copy", **changes)
            self._put(revision, aside="")
        else:
            self._put(revision, **changes)

    def _fence(self) -> None:
        """Whose Helm the recovered ones were may still live."""
        for revision in self._recovered:
            if self.entry(revision):
                self._put(revision, fenced=True)

    def _settle(self) -> None:
        while self.state.open > self._begun:
            self._go(open=self.state.open - 1)
        self.state = replace(self.state, entries=tuple(one.settled() for one in self.state.entries))

    def _begin(self) -> None:
        if not self._begun and not self._silent:
            self._begun = True
            self._go(open=self.state.open + 1)

    def _stay_failed(self, failed: list[int]) -> None:
        """Helm calls a revision superseded that failed and that it replaced; kubernaut puts that right."""
        for one in [one for one in self.state.entries if one.revision in failed and not one.fenced]:
            if one.status == "superseded":
                self._put(one.revision, status="failed")

    def _pass_base(self, keep: int) -> int | None:
        """Mark the deployed revision superseded where a later one was applied over it and failed; return it."""
        base = self.state.passed_base(keep)
        if base is not None:
            self._begin()
            self._put(base, status="superseded")
        return base

    def _end(self, answer: str, *, late: bool = False) -> str:
        ended = [replace(one, toward=one.toward * (one.ended or answer == KEPT)) for one in self.state.entries]
        for one in [one for one in ended if not one.ended][: {DONE: 0, ROLLED_BACK: 1}.get(answer)]:
            ended[ended.index(one)] = replace(one, failed=True, late=late)
        self._go(open=self.state.open - 1, entries=tuple(replace(one, ended=True) for one in ended))
        self._fence()
        self._go(lock=FREE)
        return answer

    # plain Helm

    def _install(self, what: str, *, fails: bool = False) -> bool:
        if self.current:
            self._put(self.current.revision, status="superseded", deleted=True)
        return self._finish(self._add("pending-install", what), fails=fails)

    def _upgrade(self, what: str, *, keep: int, fails: bool = False) -> bool:
        last = self.current
        assert last is not None
        replaced = next(reversed(self.deployed), last)
        self._prune(keep)
        return self._finish(self._add("pending-upgrade", what), [] if replaced.fenced else [replaced], fails=fails)

    def _back_to(self, target: Entry, *, keep: int, fails: bool = False, toward: int = 0) -> bool:
        replaced, current = self.deployed, self.current
        target = self.entry(target.revision) or target
        self._prune(keep)
        added = self._add("pending-rollback", target.what, known=target.known, back=True, toward=toward)
        if target.what.endswith(BROKEN) and current and not current.fenced:  # Helm's way when an object cannot be applied
            self._put(current.revision, status="superseded")
        return self._finish(added, replaced, fails=fails or target.what.endswith(BROKEN))

    def _uninstall(self, *, no_hooks: bool = False) -> bool:
        assert self.current is not None
        revision = self.current.revision
        self._put(revision, status="uninstalling", plain=False, old=False)
        if self.current.stuck and not no_hooks:
            return False
        if self.newer:
            for below in self.deployed:
                self._put(below.revision, status="superseded")
        self._put(revision, status="uninstalled")
        self._go(changed=False)
        return True

    @property
    def _next(self) -> int:
        return self.current.revision + 1 if self.current else 1

    def _add(self, status: str, what: str, **more: Any) -> int:
        revision = self._next
        self._go(entries=(*self.state.entries, Entry(revision, status, what, **more)))
        return revision

    def _finish(self, revision: int, replaced: list[Entry] | None = None, *, fails: bool) -> bool:
        for old in replaced or () if not fails else ():
            self._put(old.revision, status="superseded")
        self._put(revision, status="failed" if fails else "deployed")
        if not fails:
            self._go(changed=False)
        return not fails

    def _prune(self, keep: int) -> None:
        """Before a revision is added the oldest go, but never the last that is deployed."""
        last = next(reversed(self.deployed), None)
        surplus = len(self.state.entries) - (keep - 1) if keep else 0
        for old in [one for one in self.state.entries if one != last][: max(surplus, 0)]:
            self._go(entries=tuple(one for one in self.state.entries if one != old))

    # the walk

    def _start(self) -> None:
        self.walked, self._begun, self._silent = [self.state], False, False
        self._recovered = []

    def _put(self, revision: int, **changes: Any) -> None:
        self._go(entries=tuple(replace(one, **changes) if one.revision == revision else one for one in self.state.entries))

    def _go(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.walked.append(self.state)
