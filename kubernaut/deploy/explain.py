"""Why a release's pods are not ready, in the words of the person who wrote the application. Pure: from pods, events and logs.

It is asked at the moment of failure, before anything is rolled back: afterwards the pods are gone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernaut.redact import redact

_PULL = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
)
_CRASH = frozenset({"CrashLoopBackOff", "RunContainerError"})
_NO_NEWS = frozenset({"ContainerCreating", "PodInitializing"})
_WORKLOADS = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "PersistentVolumeClaim"})
_LONGEST = 400
# What a container runtime wraps around what it has to say about an image.
_RUNTIME = re.compile(
    r"Failed to pull image \S+: |rpc error: code = \w+ desc = "
    r"|failed to pull and unpack image \S+: |failed to resolve reference \S+: "
)
LOG_LINES = 20


@dataclass(frozen=True)
class LogWanted:
    """A container whose last words help: of its run before this one, when it is between two."""

    pod: str
    container: str
    previous: bool


@dataclass(frozen=True)
class Explanation:
    """Why: the first problem is the one to look at; ``details`` are all of them, and the containers' last lines."""

    problems: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


def logs_wanted(pods: Sequence[Mapping[str, Any]]) -> tuple[LogWanted, ...]:
    """Return the containers whose logs should be read; at most one of each name."""
    wanted: dict[str, LogWanted] = {}
    for pod in _living(pods):
        for status in _statuses(pod):
            waiting, ended = _state(status, "waiting"), _state(status, "terminated")
            restarted = int(status.get("restartCount") or 0) > 0
            name = str(status.get("name"))
            if waiting.get("reason") in _CRASH and restarted:
                wanted.setdefault(name, LogWanted(_name(pod), name, previous=True))
            elif (ended and ended.get("exitCode") != 0) or (_state(status, "running") and not status.get("ready")):
                wanted.setdefault(name, LogWanted(_name(pod), name, previous=bool(restarted and _state(status, "running"))))
    return tuple(wanted.values())[:3]


def explain(
    pods: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]] = (),
    logs: Mapping[LogWanted, Sequence[str]] | None = None,
    *,
    workloads: Sequence[str] = (),
) -> Explanation:
    """Say why pods are not ready.

    Args:
        pods: The release's pods.
        events: The namespace's events since the deploy began.
        logs: The last lines of the containers that :func:`logs_wanted` named.
        workloads: The names of the release's workloads; their events and those of what they made count too.
    """
    by_pod: dict[str, list[Mapping[str, Any]]] = {}
    others: list[Mapping[str, Any]] = []
    for event in events:
        about = event.get("involvedObject") or {}
        if about.get("kind") == "Pod":
            by_pod.setdefault(str(about.get("name")), []).append(event)
        elif about.get("kind") in _WORKLOADS and _belongs(str(about.get("name")), workloads):
            others.append(event)
    found = Counter(problem for pod in _living(pods) for problem in _problems(pod, by_pod.get(_name(pod), [])))
    found.update(_event_problem(event) for event in others if event.get("type") == "Warning")
    problems = [redact(text) + (f" ({count} times)" if count > 1 else "") for text, count in found.items()]
    details = list(problems)
    for wanted, lines in (logs or {}).items():
        if lines:
            details += [
                f"The last lines of {wanted.container} in {wanted.pod}:",
                *(f"  {redact(line)}" for line in lines[-LOG_LINES:]),
            ]
    return Explanation(tuple(problems), tuple(details))


def _problems(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    status = pod.get("status") or {}
    found = [problem for container in _statuses(pod) if (problem := _container_problem(container, events))]
    if status.get("phase") == "Failed" and status.get("reason"):
        found.append(f"a pod was ended: {status['reason']}: {_short(status.get('message'))}")
    found += [
        f"no node takes a pod: {_short(condition.get('message'))}"
        for condition in status.get("conditions") or []
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
    ]
    if not found and not _is_ready(status):
        found = [_event_problem(event) for event in events if event.get("type") == "Warning"][-2:]
    yield from dict.fromkeys(found)


def _container_problem(status: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str | None:
    name, waiting = status.get("name"), _state(status, "waiting")
    reason = waiting.get("reason")
    if reason in _PULL:
        return f"the image {status.get('image')} of the container {name} cannot be pulled: {_pull_message(waiting, events)}"
    if reason in _CRASH:
        last = (status.get("lastState") or {}).get("terminated") or {}
        message = "" if last or not waiting.get("message") else f": {_short(waiting['message'])}"
        return f"the container {name} ends again and again{_exit(last)}{message}"
    if reason and reason not in _NO_NEWS:
        return f"the container {name} cannot start: {reason}: {_short(waiting.get('message'))}"
    ended = _state(status, "terminated")
    if ended and ended.get("exitCode") != 0:
        return f"the container {name} ended{_exit(ended)}"
    if _state(status, "running") and not status.get("ready"):
        probe = next((event for event in reversed(events) if event.get("reason") == "Unhealthy"), None)
        if probe:
            return f"the container {name} runs and is not ready: {_short(probe.get('message'))}"
        return f"the container {name} runs and is not ready"
    return None


def _exit(ended: Mapping[str, Any]) -> str:
    if not ended:
        return ""
    reason = ended.get("reason")
    if reason == "OOMKilled":
        return ": it used more memory than its limit (OOMKilled)"
    return f" with exit status {ended.get('exitCode')}" + (f" ({reason})" if reason and reason != "Error" else "")


def _pull_message(waiting: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    failed = next(
        (event for event in reversed(events) if event.get("reason") == "Failed" and "pull" in str(event.get("message"))), None
    )
    return _short((failed or waiting).get("message"))


def _event_problem(event: Mapping[str, Any]) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind')).lower()} {event.get('reason')}: {_short(event.get('message'))}"


def _is_ready(status: Mapping[str, Any]) -> bool:
    return status.get("phase") == "Succeeded" or any(
        condition.get("type") == "Ready" and condition.get("status") == "True" for condition in status.get("conditions") or []
    )


def _living(pods: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (pod for pod in pods if not (pod.get("metadata") or {}).get("deletionTimestamp"))


def _statuses(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _state(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (status.get("state") or {}).get(name) or {}


def _name(pod: Mapping[str, Any]) -> str:
    return str((pod.get("metadata") or {}).get("name"))


def _belongs(name: str, workloads: Sequence[str]) -> bool:
    return any(name == workload or name.startswith(f"{workload}-") for workload in workloads)


def _short(message: Any) -> str:
    text = " ".join(str(message or "no message").split())
    text = _RUNTIME.sub("", text).rstrip(".")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
