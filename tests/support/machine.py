"""The state machine: verbs, kills and plain Helm in any order, each held to the model and to the invariants.

It runs on a :class:`System`: the cluster and Helm in memory, or the real ones. The model predicts the result of each step.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.invariants import Snapshot, Watched
from support.model import Model
from support.model_steps import DONE, KEPT, NOTHING, ROLLED_BACK
from support.states import DEAD, ELSEWHERE, HOOKED, Entry, Seen

VARIANTS = ("1.0.0 a", "1.0.0 b", "2.0.0 a", f"{HOOKED} a")
KILLED = "killed"
LOCKS = st.sampled_from([DEAD, DEAD, DEAD, ELSEWHERE])
_TURNS = (DONE, KEPT, ROLLED_BACK)


class System(Protocol):
    """Where the machine runs."""

    def begin(self, *, namespace: bool, keep: int) -> None:
        """Prepare a namespace, or the lack of one, and how many records Helm keeps."""

    def verb(self, verb: str, *, kill: Any = None, dry_run: bool = False, lock: str = DEAD, **how: Any) -> str:
        """Run a verb, or kill it on the way; return its result as the model names it, or ``KILLED``."""

    def plain(self, verb: str, what: str, revision: int, *, ends: bool) -> None:
        """Run plain Helm, or leave it at work."""

    def outlived(self) -> tuple[int, list[int]] | None:
        """Return the revision that a running orphan makes, and the revisions that it replaces."""

    def end_outlived(self) -> None:
        """Let it come to its end."""

    def other_helm(self) -> bool:
        """Use the other Helm from now on; return whether that is the newer one."""

    def others_change(self) -> bool:
        """Change an object of the release as others do; return whether it exists."""

    def grow_old(self) -> None:
        """Let more time pass than ``stale_after``."""

    def seen(self) -> Seen:
        """Return the state as the model sees it."""

    def snapshot(self) -> Snapshot:
        """Look at it as the invariants do."""

    def everything(self) -> object:
        """Return all that is there, to be compared."""

    def runs(self) -> str | None:
        """Return the running version and values, ``None`` for nothing, ``""`` if unknown."""

    def close(self) -> None:
        """End everything."""


def settings_of(*, examples: int, steps: int, shrink: bool = True) -> settings:
    """Return how much is tried: always the same; or by chance, SOAK times as much, and a failure can be had again."""
    soak = int(os.environ.get("SOAK", "0"))
    return settings(
        max_examples=examples * (soak or 1),
        stateful_step_count=steps * 2 if soak else steps,
        derandomize=not soak,
        database=None,
        print_blob=bool(soak),
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def last_in_storage(entries: tuple[Entry, ...]) -> Entry | None:
    """Return the revision that ``helm upgrade --install`` takes for the last: the API lists v9 after v10."""
    return max(entries, key=lambda one: f"v{one.revision}", default=None)


class Machine(RuleBasedStateMachine):
    """The rules.

    Attributes:
        newer: Whether Helm is newer than 3.19.5.
        in_memory: Whether time can be moved, and every step of a verb can be made to fail.
        counts: With how many revisions a run begins.
        broken: The suffix of a release that never becomes ready, even when rolled back to.
        kills: Where a verb is killed.
    """

    system: Callable[[], System]
    newer: ClassVar[bool] = False
    counts: ClassVar[tuple[int, ...]] = (0, 1, 2, 7, 8, 9)
    in_memory: ClassVar[bool] = True
    broken: ClassVar[str] = ""
    kills: ClassVar[st.SearchStrategy[Any]] = st.nothing()

    @initialize(data=st.data(), keep=st.sampled_from([50, 50, 4, 3]), namespace=st.booleans())
    def begin(self, data: st.DataObject, keep: int, namespace: bool) -> None:
        self.start(data.draw(st.sampled_from(self.counts), label="revisions"), keep=keep, namespace=namespace)

    def start(self, count: int, *, keep: int = 50, namespace: bool = True) -> None:
        """Begin with so many revisions."""
        self.on = type(self).system()
        self.keep, self.watched, self.turned = keep, Watched(), False
        self.adrift: set[int] = set()
        self.is_sure = True
        self.model = Model(newer=self.newer, namespace=namespace or count > 0)
        self.on.begin(namespace=self.model.state.namespace, keep=keep)
        for number in range(count):
            self.plain_verb("upgrade" if number else "install", VARIANTS[number % 3])

    # kubernaut's verbs

    @rule(what=st.sampled_from(VARIANTS), create=st.booleans(), no_hooks=st.booleans())
    def deploy(self, what: str, create: bool, no_hooks: bool) -> None:
        self.do("deploy", what=what, create=create, no_hooks=no_hooks)

    @rule(what=st.sampled_from(VARIANTS), fails=st.sampled_from(["rolled back", "kept", "late", "for good"]))
    def deploy_that_fails(self, what: str, fails: str) -> None:
        if not self.in_memory:
            fails = {"for good": "rolled back", "late": "kept"}.get(fails, fails)
        self.do("deploy", what=what + self.broken, fails=fails)

    @rule(revision=st.none() | st.integers(1, 14), no_hooks=st.booleans())
    def rollback(self, revision: int | None, no_hooks: bool) -> None:
        self.do("rollback", revision=revision, no_hooks=no_hooks)

    @precondition(lambda self: self.in_memory)
    @rule(verb=st.sampled_from(["rollback", "restore"]))
    def way_back_that_fails(self, verb: str) -> None:
        self.do(verb, fails=True)

    @precondition(lambda self: self.in_memory and self.is_sure and self.may_upgrade() and self.model.state.lock != ELSEWHERE)
    @rule(what=st.sampled_from(VARIANTS), other=st.sampled_from(VARIANTS))
    def deploy_that_is_overtaken(self, what: str, other: str) -> None:
        """Plain Helm upgrades after kubernaut has looked, and before it has the lock."""
        how: dict[str, Any] = {"what": what}
        if self.predicted(copy.deepcopy(self.model), "deploy", NOTHING, how) == NOTHING:
            return
        answer = self.on.verb("deploy", meanwhile=lambda: self.on.plain("upgrade", other, 0, ends=True), **how)
        self.model.plain("upgrade", other)
        assert answer == self.predicted(self.model, "deploy", answer, how)
        self.turned = True

    @rule(no_hooks=st.booleans())
    def delete(self, no_hooks: bool) -> None:
        self.do("delete", no_hooks=no_hooks)

    @precondition(lambda self: self.model.current)
    @rule()
    def delete_an_older_revision(self) -> None:
        current = self.model.current
        assert current is not None
        self.do("delete", revision=current.revision + 1)

    @rule(no_hooks=st.booleans())
    def restore(self, no_hooks: bool) -> None:
        self.do("restore", no_hooks=no_hooks)

    @rule()
    def unlock(self) -> None:
        self.do("unlock")

    @rule(verb=st.sampled_from(["deploy", "rollback", "delete", "restore", "unlock"]), what=st.sampled_from(VARIANTS))
    def dry_run(self, verb: str, what: str) -> None:
        how: dict[str, Any] = {"what": what} if verb == "deploy" else {}
        if self.is_open(verb, how):
            return
        before = self.on.everything()
        answer = self.on.verb(verb, dry_run=True, **how)
        assert self.on.everything() == before, "a dry run changed something"
        would = self.predicted(copy.deepcopy(self.model), verb, answer, how)
        assert answer == (DONE if would in _TURNS else would), f"{verb}: {answer}, expected {would}"

    @rule(what=st.sampled_from(VARIANTS), fails=st.sampled_from(["", "", "rolled back"]), data=st.data(), lock=LOCKS)
    def kill_a_deploy(self, what: str, fails: str, data: st.DataObject, lock: str) -> None:
        self.kill("deploy", data, lock, what=what + self.broken * bool(fails), fails=fails)

    @rule(verb=st.sampled_from(["rollback", "delete", "restore", "unlock"]), data=st.data(), lock=LOCKS)
    def kill_another(self, verb: str, data: st.DataObject, lock: str) -> None:
        self.kill(verb, data, lock)

    # plain Helm

    @precondition(lambda self: self.may_upgrade())
    @rule(what=st.sampled_from(VARIANTS), ends=st.booleans())
    def plain_upgrade(self, what: str, ends: bool) -> None:
        self.plain_verb("upgrade", what, ends=ends)

    @precondition(lambda self: self.is_quiet() and self.sound())
    @rule(data=st.data(), ends=st.booleans())
    def plain_rollback(self, data: st.DataObject, ends: bool) -> None:
        revision = data.draw(st.sampled_from(self.sound()), label="to")
        self.plain_verb("rollback", revision=revision, ends=ends)

    @precondition(lambda self: self.may_uninstall())
    @rule(ends=st.booleans())
    def plain_uninstall(self, ends: bool) -> None:
        self.plain_verb("uninstall", ends=ends)

    @precondition(lambda self: self.may_install())
    @rule(what=st.sampled_from(VARIANTS), ends=st.booleans())
    def plain_install(self, what: str, ends: bool) -> None:
        self.plain_verb("install", what, ends=ends)

    @precondition(lambda self: self.may_outlive())
    @rule()
    def orphan_ends(self) -> None:
        left = self.on.outlived()
        assert left is not None
        self.on.end_outlived()
        self.model.outlived(*left)

    @rule()
    def other_helm(self) -> None:
        """Helm 3 and Helm 4 work on the same release in turns."""
        self.model.newer = self.on.other_helm()

    @rule()
    def others_change(self) -> None:
        if self.on.others_change():
            self.model.others_change()

    @precondition(lambda self: self.in_memory and self.model.current and self.model.current.unfinished)
    @rule()
    def grow_old(self) -> None:
        self.on.grow_old()
        self.model.grow_old()

    # the invariant after each rule

    @invariant()
    def matches_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        seen, state = self.on.seen(), self.model.state
        assert seen == state.seen, f"\nthere is {seen}\nexpected {state.seen}"
        now = self.on.snapshot()
        for pruned in set(self.watched.identities) - {one.revision for one in state.entries}:
            self.watched.forget(pruned)  # the model has pruned it too
        broken = [line for line in self.watched.broken(now, recovered=self.turned, history_max=self.keep) if not self.excused(line)]
        assert not broken, "\n".join([*broken, str(now)])
        if not now.aside:  # else a record may be there as its copy only
            self.watched.remember(now)
        self.turned = False
        current, runs = self.model.current, self.on.runs()
        if runs != "" and current is not None and current.status in ("deployed", "uninstalled"):
            assert runs == (current.what if current.status == "deployed" else None)

    def teardown(self) -> None:
        if hasattr(self, "on"):
            self.on.close()

    # how

    def do(self, verb: str, *, kill: Any = None, lock: str = DEAD, **how: Any) -> None:
        if self.is_open(verb, how):
            return
        answer = self.on.verb(verb, kill=kill, lock=lock, **how)
        expected = self.predicted(self.model, verb, answer, how)
        if answer == KILLED:
            before = self.model.walked[0].entries[-1:]
            self.is_sure = self.model.killed(self.on.seen(), lock=lock)
            if verb == "rollback" and before and self.model.current and before[0].revision == self.model.current.revision:
                self.adrift.add(before[0].revision + 1)
            return
        assert answer == expected, f"{verb}: {answer}, expected {expected}, of {self.model.walked[0].seen}"
        self.is_sure = self.is_sure or answer != NOTHING
        self.turned = answer in _TURNS

    def is_open(self, verb: str, how: dict[str, Any]) -> bool:
        """Return whether the result is undefined: also of a rollback after one that was killed before it made a record.

        So is that of a deploy or rollback after a kill that does not show whether the operation before it was written to its end.

        A release that was late is adopted if its objects happen to be as requested; ``test_adoption.py`` has that.
        """
        current = self.model.current
        if verb in ("deploy", "rollback") and not self.is_sure:
            return True
        if verb == "deploy" and current is not None and current.late and current.what == how.get("what"):
            return True
        if current is not None and current.status == "uninstalling" and current.fenced and current.failed is not False:
            return True  # it ends without Helm if none of its objects was applied
        if (verb != "deploy" or how.get("fails")) and self.model.is_open(verb, how.get("revision")):
            return True
        bare = verb == "rollback" and how.get("revision") is None
        return bare and current is not None and current.revision in self.adrift

    def kill(self, verb: str, data: st.DataObject, lock: str, **how: Any) -> None:
        kill = data.draw(self.kills, label="at")
        self.do(verb, kill=kill, lock=lock if self.in_memory else DEAD, **how)

    def predicted(self, model: Model, verb: str, answer: str, how: dict[str, Any]) -> str:
        more: dict[str, Any] = {"keep": self.keep} if verb in ("deploy", "rollback", "restore") else {}
        if verb == "deploy":
            more["same"] = answer == NOTHING
        expected: str = getattr(model, verb)(**how, **more)
        return expected

    def plain_verb(self, verb: str, what: str = "", revision: int = 0, *, ends: bool = True) -> None:
        ends = ends or self.model.state.open > 0  # otherwise the record could also be the killed operation's
        self.on.plain(verb, what, revision, ends=ends)
        self.model.plain(verb, what, revision, ends=ends)

    def is_quiet(self) -> bool:
        """Return whether plain Helm can work on the records: nothing pending, and nothing that only kubernaut understands."""
        return self.model.state.namespace and not any(one.unfinished or one.aside for one in self.model.state.entries)

    def sound(self) -> list[int]:
        """Return the revisions that become ready when rolled back to."""
        return [one.revision for one in self.model.state.entries if not (self.broken and one.what.endswith(self.broken))]

    def may_upgrade(self) -> bool:
        current, stored = self.model.current, last_in_storage(self.model.state.entries)
        if current is None or stored is None or not self.is_quiet():
            return False
        return current.status != "uninstalled" and stored.status != "uninstalled"

    def may_uninstall(self) -> bool:
        current = self.model.current
        return current is not None and self.is_quiet() and current.status != "uninstalled" and not current.fenced

    def may_install(self) -> bool:
        current = self.model.current
        if self.model.deployed:  # below the deleted one: then this Helm leaves two by itself
            return False
        return self.is_quiet() and (current is None or (current.status == "uninstalled" and not current.fenced))

    def may_outlive(self) -> bool:
        """Return whether an orphan may end: over the current revision or a fenced one, not beside another plain Helm's."""
        left = self.on.outlived()
        record = self.model.entry(left[0]) if left else None
        return left is not None and (record is None or record.fenced or record is self.model.current)

    def excused(self, line: str) -> bool:
        """Return whether the model permits a broken invariant: an unknown digest, a delete whose hook failed, a copy set aside."""
        failed = any(f" v{one.revision} is failed" in line for one in self.model.state.entries if one.status == "failed")
        stuck = any(f" v{one.revision} is uninstalling" in line for one in self.model.state.entries if one.stuck)
        aside = any(line.endswith(f" v{one.revision} is not there") for one in self.model.state.entries if one.aside)
        if line.startswith("I4"):
            return stuck
        if line.startswith("I8"):  # the delete that was killed is still to be finished
            return any(one.status == "uninstalling" and one.stuck for one in self.model.state.entries)
        return line.startswith("I3") and (line.endswith("of no digest instead of ") or failed or aside)
