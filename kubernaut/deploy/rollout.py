"""The rollout of the release that an operation makes: watched beside Helm, waited for, and explained when it fails.

:mod:`kubernaut.rollout` judges and explains; here are the record, the deadline and the application's probe. What explains a failure
is imported then: a deploy that succeeds starts faster without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.cluster_facts import changed_fields
from kubernaut.deploy.hook_cleanup import remove_running_hooks
from kubernaut.deploy.probe import probe
from kubernaut.deploy.values.hints import is_too_large, string_arguments, too_large
from kubernaut.deploy.values.large_numbers import changed_numbers
from kubernaut.errors import DeadlineExceeded, DeployKept, Interrupted, KubernautError, LockLost
from kubernaut.history.explanation import Evidence, Explanation, clean
from kubernaut.history.masking import known_secrets
from kubernaut.history.records import Record, decode, parse_time, secret_name
from kubernaut.history.repair import explained_patch
from kubernaut.rollout.expected import ROLLOUT_EVENTS, expected_before, expected_of, hooks_of, rendered_objects, why_unread
from kubernaut.rollout.follow import RolloutFollower, Target, given_up
from kubernaut.rollout.helm_failures import NOT_IN_TIME, helm_finding, helm_text
from kubernaut.rollout.logs import UNREADABLE
from kubernaut.rollout.objects import Expected
from kubernaut.rollout.problems import Cause
from kubernaut.rollout.rules import rules_from
from kubernaut.rollout.verdict import Verdict
from kubernaut.rollout.watch import RolloutWatch
from kubernaut.settings import Settings

if TYPE_CHECKING:
    from kubernaut.deploy.execution import Execution
    from kubernaut.deploy.requests import DeployRequest

_LONGEST_DESCRIPTION = 200
_LONGEST_MESSAGE = 1_000
_LAST_LOOK_SECONDS = 2.0


class Rollout:
    """The rollout of one revision.

    Args:
        execution: The operation that makes it.
        revision: The revision that Helm makes.
        request: The deploy, if it is one: its values may be the cause of a failure.
    """

    def __init__(self, execution: Execution, revision: int, request: DeployRequest | None = None) -> None:
        operation, current = execution.operation, execution.history.current
        self._execution = execution
        self._request = request
        self._secret = secret_name(operation.name, revision)
        self._watch = RolloutWatch(execution.cluster, operation.namespace)
        self._expected: Sequence[Expected] = ()
        self._record: Record | None = None
        self._is_unread = False
        self._is_well = False
        self._is_explained = False
        self._probe_failure: KubernautError | None = None
        self._began: datetime | None = None
        before = expected_before(current) if current is not None else None
        self._secrets = execution.context.secrets
        self.follower = RolloutFollower(
            self._watch, execution.step, before=before or (), find=self._find, notify=execution.notice_once
        )

    def check(self) -> None:
        """Check the lock and the rollout, in Helm's thread. Raises: LockLost, Interrupted, HelmFailed."""
        self._execution.lock.check()
        self.follower.check()

    def failure(self, record: Record) -> KubernautError | None:
        """Return why a release that Helm ended with is not deployed and ready; ``None`` if it is.

        Raises:
            LockLost: The lock was lost meanwhile.
            Interrupted: The work is to be stopped.
            ClusterUnreachable, ClusterDenied: The result is unknown, because the API server does not answer or refuses the
                credentials at the deadline.
        """
        execution, self._record = self._execution, record
        self._name_changed_numbers(record)
        if not execution.is_deployed(record):
            failure = execution.failure_of(record)
            self.follower.look_once_more(_LAST_LOOK_SECONDS)
            return failure
        log, notify, check = execution.step.log, execution.step.notice, execution.lock.check
        verdict = self.follower.finish(max(self._seconds_left(), _LAST_LOOK_SECONDS), check)
        if verdict is not None and not verdict.is_ready:
            if not verdict.is_failed and self._watch.snapshot().disconnected:
                execution.read_back(lambda history: history.find(record.revision))  # the result is unknown if it cannot be read
            return not_ready(verdict)
        seconds = self._seconds_left()
        failed = probe(record, cluster=execution.cluster, seconds=seconds, log=log, notify=notify, check=check)
        self._probe_failure = failed
        self._is_well = failed is None
        return failed

    def explained(self, record: Record, failure: KubernautError, what: str) -> DeployKept:
        """Return the error for a release that failed, with its cause and the evidence; its record is described by the cause.

        Args:
            record: The release's record.
            failure: The failure that Helm, the rollout or the probe reported.
            what: The name of the failed operation, such as ``hello 1.4.2 to demo``.
        """
        self._know_secrets_of(record)
        explanation = self._explain(failure, what)
        self._describe(record, explanation)
        self._execution.hook_failed = is_about_a_hook(explanation)
        return kept(explanation, record)

    def is_hook(self, failure: KubernautError) -> bool:
        """Return whether a failure is that of a hook."""
        return is_about_a_hook(self._explain(failure, ""))

    def remove_running_hooks(self) -> None:
        """Delete what a Helm that failed or was stopped has left running of its hooks; the evidence is read before."""
        execution = self._execution
        if self._is_well or execution.no_hooks or isinstance(execution.helm_failure, LockLost):
            return
        with suppress(Interrupted):
            execution.lock.check()
        record = self._record
        with suppress(KubernautError):  # it is asked for again at each other step
            record = record or self._created()
        if record is not None:
            secrets = None if self._is_explained else known_secrets(record)
            remove_running_hooks(execution, hooks_of(record), parse_time(record.created), secrets=secrets)

    def cleaned(self, failure: KubernautError | None) -> str:
        """Return a failure, and what was waited for, without the release's secrets and without control characters."""
        if self._record is not None:
            self._know_secrets_of(self._record)
        verdict = self.follower.verdict
        waits = verdict.problem if verdict is not None and isinstance(failure, DeadlineExceeded) else None
        text = f"{failure} {waits.message[:1].upper()}{waits.message[1:]}." if waits is not None else str(failure)
        return clean(text, self._secrets, longest=_LONGEST_MESSAGE)

    def _know_secrets_of(self, record: Record) -> None:
        self._secrets = (*self._execution.context.secrets, *known_secrets(record))

    def refused(self, failure: KubernautError, what: str) -> KubernautError:
        """Return a failure of a Helm that made no record, with the cause and the hint for what its message names.

        Args:
            failure: The failure.
            what: The name of the failed operation, as in :meth:`explained`.
        """
        found, request = helm_finding(failure), self._request
        if request is not None and is_too_large(helm_text(failure)):
            message, hint = too_large(
                what, request.merged_values(self._execution.history), request.chart_bytes or len(request.package or b"")
            )
            return type(failure)(message, hint=hint, http_hint=hint, details=failure.details or [failure.message])
        if found.cause is Cause.HELM_FAILED or not found.decides:
            return failure
        from kubernaut.rollout.hints import hint_for

        explanation, operation = self._explain(failure, what), self._execution.operation
        hints = hint_for(explanation, operation.namespace, operation.name)
        members = {**failure.members, **_members(explanation)}
        known: dict[str, Any] = {"hint": hints.hint, "http_hint": hints.http_hint, "members": members}
        return type(failure)(explanation.sentence, details=failure.details or [failure.message], **known)

    def _explain(self, failure: KubernautError, what: str) -> Explanation:
        self._is_explained = True
        known: dict[str, Any] = {"expected": self._expected, "since": self._began, "secrets": self._secrets}
        explanation = self.follower.explain(what, failure, is_probe=failure is self._probe_failure, **known)
        facts = {**explanation.facts, **self._string_values(explanation), **self._changed_by_others(explanation)}
        return explanation.model_copy(update={"facts": facts})

    def _string_values(self, explanation: Explanation) -> dict[str, str]:
        """Return the arguments of ``--set-string`` that correct a value that must be a text, as a fact."""
        facts, request = explanation.facts, self._request
        if request is None or facts.get("expected") != "string":
            return {}
        values = request.merged_values(self._execution.history)
        pairs = string_arguments(values, facts.get("field", ""), facts.get("given", ""))
        return {"setString": pairs} if pairs else {}

    def _changed_by_others(self, explanation: Explanation) -> dict[str, str]:
        """Return the fields of an invalid object that others changed, as a fact: merged with the manifest's they may not fit."""
        facts, current = explanation.facts, self._execution.history.current
        if current is None or explanation.cause != Cause.OBJECT_INVALID or not facts.get("name"):
            return {}
        fields = changed_fields(current, facts.get("kind", ""), facts["name"], self._execution.cluster)
        return {"changed": ", ".join(fields)} if fields else {}

    def _describe(self, record: Record, explanation: Explanation) -> None:
        """Mark the record failed, with the cause, for plain `helm history`; it matters less than the failure itself."""
        with suppress(KubernautError):
            cluster = self._execution.cluster
            current = cluster.get_secret(record.namespace, record.secret)
            newest = decode(current) if current is not None else None
            if newest is not None and newest.uid == record.uid and not newest.immutable:
                cluster.patch_secret(record.namespace, record.secret, explained_patch(newest, _short(explanation.sentence)))

    def _find(self) -> Target | None:
        """Return the target of the rollout, once Helm has created the record of the revision."""
        record = None if self._is_unread else self._record or self._created()
        if record is None:
            return None
        self._began = parse_time(record.created)
        target = target_of(record, self._execution.context.settings, self._execution.notice_once)
        if target is None:
            self._is_unread = True
            self._execution.notice_once(f"The rollout is not judged, because {why_unread(record)}. The result is Helm's.")
            return None
        self._name_changed_numbers(record)
        if self._execution.no_hooks:
            target = replace(target, expected=[one for one in target.expected if not one.hook])
        self._expected = target.expected
        return target

    def _name_changed_numbers(self, record: Record) -> None:
        """Show a notice, once, for each integer of ``--set`` that the release contains in another form."""
        if self._request is not None and self._request.values.sets:
            values = self._request.merged_values(self._execution.history)
            for notice in changed_numbers(self._request.values, values, rendered_objects(record)):
                self._execution.notice_once(notice)

    def _created(self) -> Record | None:
        secret = self._execution.cluster.get_secret(self._execution.operation.namespace, self._secret)
        return decode(secret) if secret is not None else None

    def _seconds_left(self) -> float:
        return max(0.0, self._execution.deadline - self._execution.context.clock())


@contextmanager
def following(execution: Execution, revision: int, request: DeployRequest | None = None) -> Iterator[Rollout]:
    """Watch the rollout of the revision that Helm is about to make; if it fails, no hook of it goes on running.

    Args:
        execution: The operation.
        revision: The revision.
        request: The deploy, if it is one.
    """
    rollout = Rollout(execution, revision, request)
    with rollout.follower:
        try:
            yield rollout
        finally:
            with suppress(LockLost):  # what another operation works on is left alone
                rollout.remove_running_hooks()


def target_of(record: Record, settings: Settings, notify: Callable[[str], None]) -> Target | None:
    """Return the parts of a record's rollout; ``None`` if its objects cannot be read whole.

    Args:
        record: The record.
        settings: The settings in effect.
        notify: Receives a line about each annotation of its chart that is ignored.
    """
    expected = expected_of(record)
    if expected is None:
        return None
    expected = tuple(one for one in expected if not one.hook or not ROLLOUT_EVENTS.isdisjoint(one.hook))
    rules, notices = rules_from(settings, record.annotations)
    for notice in notices:
        notify(notice)
    return Target(expected, rules, parse_time(record.created))


def kept(explanation: Explanation, record: Record) -> DeployKept:
    """Return the error for a release that is not ready, from its explanation."""
    from kubernaut.rollout.hints import hint_for

    hints = hint_for(explanation, record.namespace, record.name)
    unread = why_unread(record)
    unexamined = [f"The pods were not examined, because {unread}"] if unread else []
    return DeployKept(
        explanation.sentence,
        details=[*evidence_lines(explanation.evidence), *unexamined],
        hint=hints.hint,
        http_hint=hints.http_hint,
        members=_members(explanation),
    )


def is_about_a_hook(explanation: Explanation) -> bool:
    """Return whether a hook is what failed."""
    return explanation.cause == Cause.HOOK_FAILED or bool(explanation.facts.get("hook"))


def _members(explanation: Explanation) -> dict[str, Any]:
    evidence = [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in explanation.evidence]
    return {"cause": explanation.cause, "evidence": evidence}


def evidence_lines(evidence: Sequence[Evidence]) -> Iterator[str]:
    """Yield evidence as lines for a person; the lines of a log are indented."""
    for one in evidence:
        count = f" ({one.count} times)" if one.count > 1 else ""
        if one.kind == "log":
            yield f"The last lines of {one.about}:"
            yield from (f"  {line}" for line in one.text.splitlines())
        elif one.kind == "unreadable" and one.text.startswith(UNREADABLE):
            yield f"Not known: the log of {one.about}: {one.text.removeprefix(UNREADABLE)}"
        elif one.kind == "unreadable":
            yield f"Not known: {one.text}"
        else:
            yield f"{one.about}: {one.text}{count}"


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= _LONGEST_DESCRIPTION else f"{sentence[: _LONGEST_DESCRIPTION - 1]}…"


def not_ready(verdict: Verdict) -> KubernautError:
    """Return the failure of a release that is not ready: the problem that was given up, or the deadline."""
    if verdict.is_failed:
        return given_up(verdict)
    return DeadlineExceeded(NOT_IN_TIME)
