"""Why an operation failed: one cause, one sentence, and the evidence, from what the cluster shows and what Helm reports. Pure.

A verdict *failed* decides. Otherwise Helm's message does, where it names a refusal of the API server. Otherwise a deadline has
passed: then the explanation is the most important thing that was still waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from kubernaut.errors import Interrupted, KubernautError
from kubernaut.history.explanation import Evidence, Explanation, clean_lines, sealed
from kubernaut.rollout.containers import containers
from kubernaut.rollout.evidence import event_evidence, log_evidence, status_evidence, unreadable_evidence
from kubernaut.rollout.findings import Observed, hook_event, hook_title, problem_finding, problem_of_pod, revision_of
from kubernaut.rollout.helm_failures import added_words, helm_finding
from kubernaut.rollout.logs import UNREADABLE, LogSource
from kubernaut.rollout.objects import Expected
from kubernaut.rollout.pod_findings import last_words
from kubernaut.rollout.problems import Cause, Problem
from kubernaut.rollout.refusals import Finding
from kubernaut.rollout.states import WorkloadState
from kubernaut.rollout.store import Snapshot
from kubernaut.rollout.verdict import Verdict
from kubernaut.rollout.workloads import workload_states

# Causes that other problems lead to, and that therefore explain least.
_CONSEQUENCES = frozenset(
    {Cause.SERVICE_WITHOUT_ENDPOINTS, Cause.CONDITION_FALSE, Cause.LOAD_BALANCER_PENDING, Cause.READINESS_PROBE_FAILED}
)


def explain(
    what: str,
    failure: KubernautError,
    snapshot: Snapshot,
    *,
    verdict: Verdict | None = None,
    expected: Iterable[Expected] = (),
    logs: Mapping[LogSource, Sequence[str]] | None = None,
    since: datetime | None = None,
    is_probe: bool = False,
    secrets: Iterable[str] = (),
) -> Explanation:
    """Return why an operation failed, ready to be stored and shown.

    Args:
        what: The name of the failed operation: ``hello 1.4.2 to demo``.
        failure: The failure that Helm, or the application's probe, reported.
        snapshot: The objects as the cluster showed them.
        verdict: The last verdict, if the release was judged.
        expected: The objects of the release, with its hooks.
        logs: The logs of :func:`~kubernaut.rollout.logs.logs_to_read` that could be read.
        since: When the operation began, by the cluster's clock.
        is_probe: Whether the failure is that of the application's probe.
        secrets: Values that must not be shown.
    """
    objects = tuple(expected)
    states = verdict.states if verdict is not None else workload_states(objects, snapshot)
    known = tuple(secrets)
    cleaned = {source: clean_lines(lines, known) for source, lines in (logs or {}).items()}
    unread = {source: lines[0] for source, lines in cleaned.items() if len(lines) == 1 and lines[0].startswith(UNREADABLE)}
    read = {source: lines for source, lines in cleaned.items() if source not in unread}
    observed = Observed(snapshot, tuple(states), objects, read, unread)
    problem, found, verb = _decide(failure, verdict, observed, is_probe=is_probe)
    sentence = f"{what} {verb}: {found.why}." if found.why else f"{what} {verb}."
    facts = dict(found.facts)
    if verdict is not None and verdict.is_failed and verdict.rule:
        facts["rule"] = verdict.rule
    if problem is not None:
        facts |= _facts_of(problem, observed)
    evidence = _evidence(failure, verdict, observed, problem, found, since=since)
    return sealed(Explanation(cause=found.cause.value, sentence=sentence, facts=facts, evidence=tuple(evidence)), known)


def _decide(
    failure: KubernautError, verdict: Verdict | None, observed: Observed, *, is_probe: bool
) -> tuple[Problem | None, Finding, str]:
    """Return the problem that the cluster shows, if it is the reason, what it means, and the verb of the sentence."""
    if verdict is not None and verdict.is_failed and verdict.problem is not None:
        given_up = _underlying(verdict.problem, observed)
        return given_up, problem_finding(given_up, observed), "failed"
    if is_probe:
        return None, Finding(Cause.APPLICATION_PROBE_FAILED, _lower_first(failure.message.rstrip("."))), "failed"
    found = _of_hook(helm_finding(failure), observed)
    if "hook" in found.facts:
        return _decide_hook(found, observed)
    if found.decides:
        return None, found, "failed"
    verb = _not_ready_verb(found)
    hook = next((state for state in observed.states if state.hook and state.exists and not state.is_ready), None)
    if hook is not None:
        problem = next(iter(hook.problems), None)
        return problem, _hook_problem(problem, hook, observed), verb
    problem = _most_important(verdict, observed.states)
    if problem is not None:
        return problem, problem_finding(problem, observed), verb
    waiting = min(_waiting_states(observed.states), key=lambda state: state.key.kind == "Service", default=None)
    if waiting is None:
        is_deadline = found.cause is Cause.DEADLINE_EXCEEDED and not found.facts.get("name")
        return None, replace(found, why="") if is_deadline else found, verb if is_deadline else "failed"
    return None, _still_waits(found, waiting), verb


def _of_hook(found: Finding, observed: Observed) -> Finding:
    """Return a finding about the Job or Pod of a hook as one about the hook: Helm says so only in installs and upgrades."""
    named = found.facts.get("kind"), found.facts.get("name")
    hook = next((one for one in observed.expected if one.hook and (one.key.kind, one.key.name) == named), None)
    if hook is None or found.cause not in (Cause.JOB_FAILED, Cause.POD_FAILED):
        return found
    event = hook_event(hook.hook)
    why = f"{event} hook {hook.key.name} failed"
    return replace(found, cause=Cause.HOOK_FAILED, why=why, facts={**found.facts, "hook": event}, decides=True)


def _decide_hook(found: Finding, observed: Observed) -> tuple[Problem | None, Finding, str]:
    """Return the problem of the hook that Helm reports, or of the only one that it can be."""
    event, name = found.facts["hook"], found.facts.get("name", "")
    named = [state for state in observed.states if event in state.hook and name in ("", state.key.name)]
    live = [state for state in named if state.exists and not state.is_ready]
    state = next(iter(live or (named if len(named) == 1 else [])), None)
    if found.cause is not Cause.HOOK_FAILED or state is None:
        if found.cause is Cause.HOOK_FAILED:
            return None, found, "failed"
        title = f"{event} hook {state.key.name}" if state is not None else f"{event} hook"
        facts = {**found.facts, "hookName": state.key.name if state is not None else ""}
        return None, replace(found, why=f"{title} cannot be created: {found.why}", facts=facts), "failed"
    problem = next(iter(state.problems), None)
    if problem is not None:
        return problem, _hook_problem(problem, state, observed), "failed"
    title = hook_title(state.key, (event,), observed)
    facts = {**found.facts, "kind": state.key.kind, "namespace": state.key.namespace, "name": state.key.name}
    if found.facts.get("timedOut"):
        return None, replace(found, why=f"{title} did not finish in time{_doing_of_hook(state, observed)}", facts=facts), "failed"
    why = found.why.partition(f"hook {name} failed")[2].strip(" ()") if name else ""
    return None, replace(found, why=f"{title} failed{f': {why}' if why else ''}", facts=facts), "failed"


def _hook_problem(problem: Problem | None, state: WorkloadState, observed: Observed) -> Finding:
    """Return the problem of a hook, or that it did not end."""
    if problem is not None:
        return problem_finding(problem, observed)
    event = hook_event(state.hook)
    facts = {
        "hook": event,
        "kind": state.key.kind,
        "namespace": state.key.namespace,
        "name": state.key.name,
        "timedOut": "true",
    }
    title = hook_title(state.key, state.hook, observed)
    return Finding(Cause.HOOK_FAILED, f"{title} did not finish{_doing_of_hook(state, observed)}", facts)


def _doing_of_hook(state: WorkloadState, observed: Observed) -> str:
    """Return the state of a hook that does not end, and the last line of its log."""
    if not state.exists:
        return ""
    pods = {pod.key.name for pod in state.pods}
    words = next(filter(None, (last_words(lines) for source, lines in observed.logs.items() if source.pod in pods)), "")
    return f' ({_doing(state)}): "{words}"' if words else f" ({_doing(state)})"


def _most_important(verdict: Verdict | None, states: Sequence[WorkloadState]) -> Problem | None:
    """Return the problem that explains most: the verdict's, unless it follows from another one.

    That a Service has no endpoints explains nothing while a workload is not ready, even one whose pods may not be read.
    """
    first = [verdict.problem] if verdict is not None and verdict.problem is not None else []
    found = [*first, *(problem for state in states if not state.is_ready and not state.hook for problem in state.problems)]
    if any(state.key.kind != "Service" for state in _waiting_states(states)):
        found = [problem for problem in found if problem.cause is not Cause.SERVICE_WITHOUT_ENDPOINTS]
    return min(found, key=lambda problem: problem.cause in _CONSEQUENCES, default=None)


def _waiting_states(states: Sequence[WorkloadState]) -> list[WorkloadState]:
    return [state for state in states if state.exists and not state.is_ready and not state.hook]


def _underlying(problem: Problem, observed: Observed) -> Problem:
    """Return why a Deployment exceeded its progress deadline, if it is known; any other problem as it is."""
    if problem.cause is not Cause.DEADLINE_EXCEEDED:
        return problem
    state = observed.state_with(problem)
    return next((one for one in state.problems if one.cause is not problem.cause), problem) if state is not None else problem


def _still_waits(found: Finding, state: WorkloadState) -> Finding:
    facts = {**found.facts, "kind": state.key.kind, "namespace": state.key.namespace, "name": state.key.name}
    return Finding(Cause.DEADLINE_EXCEEDED, f"{state.key} still waits ({_doing(state)})", facts, decides=False)


def _doing(state: WorkloadState) -> str:
    """Return the state of an object: ``1 of 3 ready, pod web-7f9-x2: pulling image``."""
    pod = next((pod for pod in state.pods if not pod.ready and pod.key != state.key), None)
    return state.summary + (f", pod {pod.key.name}: {pod.activity}" if pod is not None else "")


def _not_ready_verb(found: Finding) -> str:
    if found.cause is not Cause.DEADLINE_EXCEEDED:
        return "failed"
    seconds = found.facts.get("seconds")
    return f"was not ready after {seconds} s" if seconds else "was not ready in time"


def _facts_of(problem: Problem, observed: Observed) -> dict[str, str]:
    """Return where a problem is, for commands."""
    facts = {"namespace": problem.object.namespace}
    of_pod = problem_of_pod(problem, observed)
    if of_pod is not None:
        pod = observed.snapshot.objects[of_pod.object]
        init = any(one.init for one in containers(pod) if one.name == of_pod.container)
        revision = revision_of(pod, observed.snapshot)
        facts |= {"pod": of_pod.object.name, "container": of_pod.container, "init": "true" if init else ""}
        facts["revision"] = revision.split(" ")[1] if revision else ""
    return {name: value for name, value in facts.items() if value}


def _evidence(
    failure: KubernautError,
    verdict: Verdict | None,
    observed: Observed,
    problem: Problem | None,
    found: Finding,
    *,
    since: datetime | None,
) -> Iterator[Evidence]:
    if problem is None and found.decides:  # a refusal is not about what the pods do
        named = found.facts.get("kind"), found.facts.get("name")
        states = tuple(one for one in observed.states if one.hook or (one.key.kind, one.key.name) == named)
        observed = replace(observed, states=states)
    given_up = verdict is not None and verdict.is_failed  # then Helm was stopped, and has nothing to add
    yield from status_evidence(observed, problem, verdict.rule if verdict is not None and given_up else "")
    yield from log_evidence(observed)
    yield from event_evidence(observed, problem, since)
    text = "" if given_up else added_words(failure, found.why)
    if text and not isinstance(failure, Interrupted):
        yield Evidence(kind="helm", about="Helm" if found.cause is not Cause.APPLICATION_PROBE_FAILED else "the probe", text=text)
    yield from unreadable_evidence(observed)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
