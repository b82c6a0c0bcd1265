"""The parts of the model's verbs: what kubernaut and Helm do one after the other, each a state that a verb may be stopped in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.states import ELSEWHERE, FREE, OURS, Entry, State

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


class ModelSteps:
    """The state of a release, and the steps that change it."""

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
            self._put(now.revision, status="failed", failed=self._failed(now), fenced=True)
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
        applied = self.state.interrupted_base() if main == "upgrade" else None
        if applied is not None:
            self._begin()
            self._rewrite(applied, status="deployed", fenced=False)
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

    def _failed(self, unfinished: Entry) -> bool | None:
        """Return whether an unfinished revision failed: a plain Helm that was killed may have applied nothing, or all of it."""
        return None if unfinished.foreign and unfinished.pending else unfinished.failed

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
            if one.status in ("superseded", "deployed"):
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
        self._put(revision, status="uninstalled")
        for below in self.deployed if self.newer else ():
            self._put(below.revision, status="superseded")
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
