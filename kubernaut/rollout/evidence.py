"""The evidence of an explanation: states, folded events, logs, and what could not be read. Pure.

Only objects of the newest revision count: a workload's pods as its state has them, their ReplicaSet, their claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from kubernaut.history.explanation import Evidence
from kubernaut.history.records import as_mapping
from kubernaut.rollout.containers import Container, containers, exit_text
from kubernaut.rollout.findings import Observed, hook_event, problem_of_pod, revision_of, title_of
from kubernaut.rollout.logs import LogSource
from kubernaut.rollout.objects import (
    Object,
    ObjectKey,
    annotations_of,
    key_of,
    mappings,
    metadata_of,
    owner_uids,
    spec_of,
    time_in,
    uid_of,
)
from kubernaut.rollout.pod_findings import short_image, unwrapped
from kubernaut.rollout.problems import Problem
from kubernaut.rollout.states import WorkloadState
from kubernaut.rollout.store import event_count, event_time

MOST_EVENTS = 20

_MOST_STATES = 8
_REVISION = "deployment.kubernetes.io/revision"
# Events of type Normal that explain a failure.
_TELLING = frozenset({"FailedBinding", "ExternalProvisioning", "WaitForFirstConsumer", "Killing", "NotTriggerScaleUp"})
_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_HASH = re.compile(r"-[a-z0-9]{6,10}-[a-z0-9]{5}\b|\b[0-9a-f]{12,}\b")
_CHILD = re.compile(r"#-[a-z0-9]{5}\b")  # a pod of the object that the event is about
_COMBINED = "(combined from similar events): "  # Kubernetes' own folding, whose message is that of the newest event
_COUNTER = re.compile(r"(?<!code: )(?<!status )(?<!\d)\d+")
_POD_ID = re.compile(r" in pod [\w.-]+_[\w.-]+\([0-9a-f-]+\)")
_FIELD = re.compile(r"\{(?P<container>[^{}]+)\}$")


def status_evidence(observed: Observed, problem: Problem | None, rule: str = "") -> Iterator[Evidence]:
    """Yield the failing containers and the objects that are not ready.

    Args:
        observed: The observations of the release.
        problem: Why the release failed, if the cluster shows it.
        rule: By which rule it was given up.
    """
    of_pod = problem_of_pod(problem, observed) if problem is not None else None
    if of_pod is not None:
        pod = observed.snapshot.objects[of_pod.object]
        for one in sorted(containers(pod), key=lambda one: one.name != of_pod.container):
            text = _container_text(one)
            if text:
                revision = revision_of(pod, observed.snapshot)
                yield Evidence(kind="status", about=_about(one), text=f"{text}, {revision}" if revision else text)
    failed = observed.state_with(problem) if problem is not None else None
    waiting = [state for state in observed.states if state.exists and not state.is_ready]
    if rule and problem is not None and failed not in waiting:
        yield Evidence(kind="status", about=title_of(failed, problem.object, observed.snapshot), text=f"given up {rule}")
    for state in waiting[:_MOST_STATES]:
        pod_state = next((one for one in state.pods if not one.ready and one.key != state.key), None)
        doing = f", pod {pod_state.key.name}: {pod_state.activity}" if pod_state is not None else ""
        about = f"{hook_event(state.hook)} hook {state.key.name}" if state.hook else str(state.key)
        since = pod_state.since if pod_state is not None else None
        given_up = f"; given up {rule}" if rule and state is failed else ""
        yield Evidence(kind="status", about=about, text=f"{state.summary}{doing}{given_up}", since=since)
    if len(waiting) > _MOST_STATES:
        yield Evidence(kind="status", about="other objects", text=f"{len(waiting) - _MOST_STATES} more are not ready")


def log_evidence(observed: Observed) -> Iterator[Evidence]:
    """Yield the last lines of the logs that were read."""
    for source, lines in observed.logs.items():
        if any(line.strip() for line in lines):
            yield Evidence(kind="log", about=_log_title(source, observed), text="\n".join(lines))


def event_evidence(observed: Observed, problem: Problem | None, since: datetime | None = None) -> list[Evidence]:
    """Return the events about what is not ready, alike ones folded into one with a count, in the order of time.

    Args:
        observed: The observations of the release.
        problem: Why the release failed, if the cluster shows it; the events about its object are kept first.
        since: When the operation began; events that ended before are left out.
    """
    folded: dict[tuple[str, ...], list[Object]] = {}
    for event in _events(observed, problem):
        at = event_time(event)
        telling = event.get("type") != "Normal" or str(event.get("reason")) in _TELLING
        if telling and (since is None or at is None or at >= since):
            folded.setdefault(_alike(event), []).append(event)
    own = problem.object.name if problem is not None else ""
    groups = sorted(folded.values(), key=lambda events: (_is_about(events, own), _newest(events)), reverse=True)
    return [_fold(events, observed) for events in sorted(groups[:MOST_EVENTS], key=_newest)]


def unreadable_evidence(observed: Observed) -> Iterator[Evidence]:
    """Yield what could not be read, and what was not looked at."""
    for kind, why in sorted(observed.snapshot.unreadable.items()):
        yield Evidence(kind="unreadable", about=kind, text=why)
    for source, why in observed.unread.items():
        yield Evidence(kind="unreadable", about=_log_title(source, observed), text=why)
    for kind, count in sorted(observed.snapshot.left_out.items()):
        yield Evidence(kind="unreadable", about=kind, text=f"{count} more {kind} objects were not looked at", count=count)


# containers


def _container_text(one: Container) -> str:
    """Return the state of a container that is not in order; empty for one that is."""
    waiting, running, ended = (one.state(name) for name in ("waiting", "running", "terminated"))
    last = ended or one.last
    if one.init and not one.is_sidecar and ended.get("exitCode") == 0:
        return ""
    if running and one.status.get("ready") and not one.restarts:
        return ""
    words = []
    if waiting:
        words.append(str(waiting.get("reason") or "waiting"))
    elif running:
        words.append("running, ready" if one.status.get("ready") else "running, not ready")
    if last:
        at = f" at {last['finishedAt']}" if last.get("finishedAt") else ""
        oom = " (OOMKilled)" if last.get("reason") == "OOMKilled" else ""
        words.append(f"{'last run ' if not ended else ''}ended{exit_text(last)}{oom if oom not in exit_text(last) else ''}{at}")
    if one.restarts:
        words.append(f"{one.restarts} restart{'' if one.restarts == 1 else 's'}")
    if not words:
        return ""
    image = str(one.spec.get("image") or "")
    return ", ".join([*words, f"image {short_image(image)}"] if image else words)


def _about(one: Container) -> str:
    return f"pod {one.pod.name}, {one.title}"


def _log_title(source: LogSource, observed: Observed) -> str:
    pod = observed.snapshot.objects.get(ObjectKey("Pod", source.namespace, source.pod), {})
    one = next((one for one in containers(pod) if one.name == source.container), None)
    title = one.title if one is not None else f"container {source.container}"
    return f"pod {source.pod}, {title}" + (", previous run" if source.previous else "")


# events


def _events(observed: Observed, problem: Problem | None) -> Iterator[Object]:
    """Yield the events about the objects that are not ready, their pods of the newest revision, ReplicaSets and claims."""
    snapshot = observed.snapshot
    failed = observed.state_with(problem) if problem is not None else None
    keys = {problem.object: None} if problem is not None else {}
    for state in observed.states:
        if not state.is_ready or state == failed:
            keys.update(dict.fromkeys(_related(state, observed, problem)))
    for key in keys:
        yield from snapshot.events_about(snapshot.objects[key]) if key in snapshot.objects else ()
    yield from _events_of_deleted_hooks(observed)


def _related(state: WorkloadState, observed: Observed, problem: Problem | None) -> Iterator[ObjectKey]:
    yield state.key
    for pod in state.pods:
        if not pod.ready or (problem is not None and pod.key == problem.object):
            yield pod.key
            for claim in _claims(observed.snapshot.objects.get(pod.key, {})):
                yield ObjectKey("PersistentVolumeClaim", pod.key.namespace, claim)
    yield from map(key_of, _newest_replica_sets(state, observed))


def _newest_replica_sets(state: WorkloadState, observed: Observed) -> Iterator[Object]:
    live = observed.snapshot.objects.get(state.key)
    if live is None or state.key.kind != "Deployment":
        return
    revision = annotations_of(live).get(_REVISION)
    for one in observed.snapshot.of_kind("ReplicaSet"):
        if uid_of(live) in owner_uids(one) and annotations_of(one).get(_REVISION) == revision:
            yield one


def _claims(pod: Object) -> Iterator[str]:
    for volume in mappings(spec_of(pod).get("volumes")):
        name = as_mapping(volume.get("persistentVolumeClaim")).get("claimName")
        if name:
            yield str(name)


def _events_of_deleted_hooks(observed: Observed) -> Iterator[Object]:
    """Yield the events about hooks that Helm has deleted again, and their pods."""
    known = {uid_of(item) for item in observed.snapshot.objects.values()}
    names = [one.key.name for one in observed.expected if one.hook and one.key not in observed.snapshot.objects]
    for uid, events in observed.snapshot.events.items():
        if uid in known or not events:
            continue
        about = str(as_mapping(events[0].get("involvedObject")).get("name") or "")
        if any(about == name or about.startswith(f"{name}-") for name in names):
            yield from events


def _alike(event: Object) -> tuple[str, ...]:
    """Return the common part of events that are counted as one: all but pods' names, hashes and counters."""
    about = as_mapping(event.get("involvedObject"))
    message = str(event.get("message") or "").removeprefix(_COMBINED).replace(str(about.get("name") or "\0"), "#")
    for pattern in (_UID, _HASH, _CHILD, _COUNTER):
        message = pattern.sub("#", message)
    return str(about.get("kind")), str(event.get("reason")), str(about.get("fieldPath") or ""), " ".join(message.split())


def _fold(events: Sequence[Object], observed: Observed) -> Evidence:
    newest = max(events, key=lambda event: _time(event_time(event)))
    about = as_mapping(newest.get("involvedObject"))
    names = {str(as_mapping(event.get("involvedObject")).get("name")) for event in events}
    kind, name = str(about.get("kind") or "object"), str(about.get("name") or "")
    container = _FIELD.search(str(about.get("fieldPath") or ""))
    title = f"{'pod' if kind == 'Pod' else kind} {name}"
    if len(names) > 1:
        key = ObjectKey(kind, str(about.get("namespace") or ""), name)
        state = next((state for state in observed.states if key in {pod.key for pod in state.pods}), None)
        title = f"{len(names)} pods of {state.key}" if state is not None else f"{len(names)} {kind} objects"
    times = [time for event in events for time in (_first_time(event), event_time(event)) if time is not None]
    message = _POD_ID.sub("", unwrapped(str(newest.get("message") or "").removeprefix(_COMBINED)))
    return Evidence(
        kind="event",
        about=title + (f", container {container['container']}" if container else ""),
        text=f"{message} ({newest.get('reason')})",  # "…PullSecret: text" would be masked as a secret
        count=sum(max(1, event_count(event)) for event in events),
        since=min(times, default=None),
        at=max(times, default=None),
    )


def _first_time(event: Object) -> datetime | None:
    return time_in(event, "firstTimestamp") or time_in(event, "eventTime") or time_in(metadata_of(event), "creationTimestamp")


def _newest(events: Sequence[Object]) -> float:
    return max(_time(event_time(event)) for event in events)


def _time(at: datetime | None) -> float:
    return at.timestamp() if at is not None else 0.0


def _is_about(events: Sequence[Object], name: str) -> bool:
    return any(as_mapping(event.get("involvedObject")).get("name") == name for event in events)
