"""An uninstall beside Helm: its hooks are watched, and what fails is explained: a hook, or a delete that the cluster refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.cleanup import refused_deletes
from kubernaut.deploy.endings import name_endings
from kubernaut.deploy.hook_cleanup import remove_running_hooks
from kubernaut.deploy.rollout import is_about_a_hook, kept
from kubernaut.errors import DeployKept, HelmFailed, KubernautError, LockLost
from kubernaut.errors.domain import NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT
from kubernaut.history.masking import known_secrets
from kubernaut.rollout.expected import DELETE_EVENTS, hooks_of
from kubernaut.rollout.follow import RolloutFollower, Target
from kubernaut.rollout.rules import rules_from
from kubernaut.rollout.watch import RolloutWatch

if TYPE_CHECKING:
    from kubernaut.deploy.execution import Execution
    from kubernaut.history.records import Record

_LAST_LOOK_SECONDS = 2.0
_LOOK_SECONDS = 5.0
"""After how many seconds what Helm still waits for is named."""


class Uninstall:
    """The uninstall of one release, while Helm runs it.

    Args:
        execution: The operation.
        record: The release's record.
    """

    def __init__(self, execution: Execution, record: Record) -> None:
        self._execution = execution
        self._record = record
        self._watch = RolloutWatch(execution.cluster, record.namespace)
        self.hooks = () if execution.no_hooks else hooks_of(record, DELETE_EVENTS)
        self.began = execution.cluster.server_time
        self._is_explained = False
        self._next_look = execution.context.clock() + _LOOK_SECONDS
        self.follower = RolloutFollower(
            self._watch, execution.step, before=self.hooks, find=self._find, notify=execution.notice_once
        )

    def check(self) -> None:
        """Check the lock and hooks, and name what Helm waits for, in Helm's thread. Raises: LockLost, Interrupted, HelmFailed."""
        self._execution.lock.check()
        if self._execution.context.clock() >= self._next_look:
            self._next_look = self._execution.context.clock() + _LOOK_SECONDS
            name_endings(self._execution, self._record)
        if self.hooks:
            self.follower.check()

    def failure(self, record: Record) -> DeployKept:
        """Return the error for a release that Helm did not uninstall: with the cause, for a hook or a delete that failed.

        Args:
            record: The release's record, as Helm left it.
        """
        reported = self._execution.helm_failure or HelmFailed("Helm reported no error.")
        failed = self._hook_failure(record, reported)
        if failed is not None:
            failed.hint, failed.http_hint = NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT
            return failed
        return self._refused(record, reported) or DeployKept(
            f"{record.id} is not deleted: its status is {record.status}. {reported}", details=reported.details
        )

    def failure_after_the_end(self, record: Record) -> DeployKept | None:
        """Return the error for a hook that failed after Helm had uninstalled the release; ``None`` if none did.

        Args:
            record: The release's record; it is uninstalled.
        """
        reported = self._execution.helm_failure
        failed = self._hook_failure(record, reported) if reported is not None else None
        if failed is not None:
            done = "The release is deleted, and the hook does not run again: do by hand what it did not do."
            failed.hint, failed.http_hint = f"{done} `kubernaut explain NAME -n NAMESPACE` shows its last lines.", done
        return failed

    def remove_running_hooks(self) -> None:
        """Delete what still runs of the hooks; the last lines are shown unless they were explained."""
        secrets = None if self._is_explained else known_secrets(self._record)
        remove_running_hooks(self._execution, self.hooks, self.began, secrets=secrets)

    def _what(self, record: Record) -> str:
        return f"{'Another attempt to finish the' if self._finishes else 'The'} delete of {record.id}"

    @property
    def _secrets(self) -> tuple[str, ...]:
        return (*self._execution.context.secrets, *known_secrets(self._record))

    @property
    def _finishes(self) -> bool:
        return self._execution.operation.verb != "delete"

    def _hook_failure(self, record: Record, reported: KubernautError) -> DeployKept | None:
        """Return the error for a hook that failed, with the cause and the evidence; ``None`` if it was not a hook."""
        if not self.hooks:
            return None
        what = self._what(record)
        self._watch.is_synced(_LAST_LOOK_SECONDS)
        self.follower.look_once_more(_LAST_LOOK_SECONDS)
        self._is_explained = True
        known: dict[str, Any] = {"since": self.began, "secrets": self._secrets}
        explanation = self.follower.explain(what, reported, expected=self.hooks, **known)
        if not is_about_a_hook(explanation):
            return None
        then = f" The {self._execution.operation.verb} begins when that delete is finished." if self._finishes else ""
        sentence = explanation.sentence.replace(f"{what} was not ready", f"{what} was not finished", 1) + then
        return kept(explanation.model_copy(update={"sentence": sentence}), record)

    def _refused(self, record: Record, reported: KubernautError) -> DeployKept | None:
        """Return the error for objects that the cluster refuses to delete; ``None`` if it refuses none."""
        refused = refused_deletes(self._execution.cluster, record)
        if not refused:
            return None
        from kubernaut.rollout.diagnose import explain

        failure = HelmFailed(refused[0].message, details=[*(one.message for one in refused), *reported.details])
        explanation = explain(self._what(record), failure, self._watch.snapshot(), since=self.began, secrets=self._secrets)
        return kept(explanation.model_copy(update={"facts": {**explanation.facts, "deletes": "true"}}), record)

    def _find(self) -> Target | None:
        """Return the hooks, once their state before Helm is known."""
        if not self._watch.is_synced():
            return None
        rules, _ = rules_from(self._execution.context.settings, self._record.annotations)
        return Target(self.hooks, rules)


@contextmanager
def uninstalling(execution: Execution, record: Record) -> Iterator[Uninstall]:
    """Watch the hooks of a release while the block uninstalls it; what still runs when that or its Helm failed is removed."""
    uninstall = Uninstall(execution, record)
    with ExitStack() as stack:
        if uninstall.hooks:
            stack.enter_context(uninstall.follower)
        try:
            yield uninstall
        except LockLost:
            raise
        except BaseException:
            uninstall.remove_running_hooks()
            raise
        if execution.helm_failure is not None:
            uninstall.remove_running_hooks()
