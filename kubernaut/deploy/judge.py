"""Judge the current release as it is now: watched until it is ready or has failed. Nothing is written."""

from __future__ import annotations

from kubernaut.deploy.execute import Result
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.planning.revisions import title
from kubernaut.deploy.probe import probe
from kubernaut.deploy.rollout import kept, not_ready, target_of
from kubernaut.errors import BadInput, Interrupted, KubernautError, ReleaseNotFound
from kubernaut.events import Step
from kubernaut.history.masking import known_secrets
from kubernaut.history.records import GONE, Record, Status
from kubernaut.history.store import ReleaseHistory
from kubernaut.models import Plan
from kubernaut.rollout.expected import why_unread
from kubernaut.rollout.follow import RolloutFollower, Target
from kubernaut.rollout.watch import RolloutWatch


def judge_current(record: Record, history: ReleaseHistory, context: DeployContext, timeout: float) -> Result:
    """Watch the current release until it is ready, by the rules of a deploy.

    Args:
        record: Its record.
        history: The history of its name.
        context: What it works with; its Helm is not used.
        timeout: Seconds that it may take.

    Raises:
        ReleaseNotFound: The release is deleted.
        BadInput: The release's objects cannot be read.
        DeployKept: It failed, or is not ready in time.
        Interrupted: The watch is to be stopped.
    """
    if record.status in GONE:
        raise ReleaseNotFound(
            f"{record.id} is {record.status}: it has no objects to watch.",
            hint=f"`kubernaut restore {record.name} -n {record.namespace}` brings it back.",
            http_hint=f"`POST /api/releases/{record.id}/rollback` brings it back.",
        )
    with context.progress.step("watch", f"{record.name} {title(record)} in {record.namespace}") as step:
        if record.status != Status.DEPLOYED:
            step.notice(f"No operation runs, and {record.id} is {record.status}.")
        target = target_of(record, context.settings, step.notice)
        if target is None:
            raise BadInput(f"The objects of {record.id} are unknown, because {why_unread(record)}.")
        _wait_ready(record, target, context, step, timeout)
        step.done(f"{record.id} is ready")
    return Result(Plan(reason=f"{title(record)} is ready"), False, history.describe(record))


def _wait_ready(record: Record, target: Target, context: DeployContext, step: Step, timeout: float) -> None:
    """Return when the release is ready. Raises: DeployKept, Interrupted."""
    deadline = context.clock() + timeout

    def check() -> None:
        if context.stopped():
            raise Interrupted("The watch was stopped.")

    cluster = context.cluster()
    with RolloutFollower(RolloutWatch(cluster, record.namespace), step, before=(), find=lambda: target) as follower:
        verdict = follower.finish(timeout, check)
        failure: KubernautError | None = None if verdict is None or verdict.is_ready else not_ready(verdict)
        is_probe = failure is None
        if failure is None:
            seconds = max(0.0, deadline - context.clock())
            failure = probe(record, cluster=cluster, seconds=seconds, log=step.log, notify=step.notice, check=check)
        if failure is None:
            return
        explanation = follower.explain(
            f"{record.name} {title(record)} in {record.namespace}",
            failure,
            expected=target.expected,
            since=target.began_at,
            secrets=(*context.secrets, *known_secrets(record)),
            is_probe=is_probe,
        )
    error = kept(explanation, record)
    error.release = record.id
    raise error
