"""Why a release failed: what its pods, events and logs show, and whether the application answers its probe.

Everything is read at the moment of failure, before a rollback removes the pods. :func:`explain` is pure.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernaut.errors import ClusterDenied, DeadlineExceeded, DeployKept, KubernautError
from kubernaut.history.manifest import Manifest, manifest_of, service_ports
from kubernaut.history.records import Record, as_mapping, parse_time
from kubernaut.history.store import list_pods
from kubernaut.redact import redact

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

PROBE = "kubernaut/probe"
"""The chart's annotation with the application's probe, as JSON: ``{"path": "/", "port": 80}``."""
LOG_LINES = 20
"""How many of a container's last lines an explanation quotes."""

_MIN_PROBE_SECONDS = 2.0
_PROBE_PAUSE = 0.2
_MAX_REQUEST_SECONDS = 10.0
_MAX_LOGS = 3
_MAX_MESSAGE = 400

_PULL_REASONS = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}
)
_CRASH_REASONS = frozenset({"CrashLoopBackOff", "RunContainerError"})
_STARTING_REASONS = frozenset({"ContainerCreating", "PodInitializing"})
_WORKLOADS = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "PersistentVolumeClaim"})
# What a container runtime wraps around its message about an image.
_RUNTIME = re.compile(
    r"Failed to pull image \S+: |rpc error: code = \w+ desc = "
    r"|failed to pull and unpack image \S+: |failed to resolve reference \S+: "
)


def diagnose(record: Record, failure: KubernautError, *, cluster: Cluster, what: str, source: str = "Helm") -> DeployKept:
    """Return the error for a release that failed, with the evidence of its pods, events and logs.

    Args:
        record: The release's record.
        failure: The failure that Helm or the probe reported.
        cluster: The release's cluster; evidence that it refuses is left out.
        what: What failed, such as ``hello 1.4.2 to demo``.
        source: Who reported the failure.
    """
    explanation = Explanation()
    with suppress(KubernautError):
        explanation = _explain_from_cluster(record, cluster)
    first = explanation.problems[0] if explanation.problems else ""
    why = f"{first}." if first else failure.message
    details = [*(line for line in explanation.details if line != first), f"{source}: {failure.message}", *failure.details]
    problem = manifest_of(record).problem
    if problem:
        details.append(f"The pods were not examined, because the manifest cannot be read: {problem}")
    return DeployKept(redact(f"{what} failed: {why}"), details=[redact(line) for line in dict.fromkeys(details)])


def _explain_from_cluster(record: Record, cluster: Cluster) -> Explanation:
    pods = list_pods(record, cluster)
    # Since the record was created, by the cluster's clock: this machine's clock may differ by minutes.
    events = [event for event in cluster.list_events(record.namespace) if _is_since(event, record.created)]
    events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    logs: dict[LogSource, Sequence[str]] = {}
    for log in logs_to_read(pods):
        with suppress(KubernautError):
            lines = cluster.pod_log(
                record.namespace, log.pod, container=log.container, tail=LOG_LINES, follow=False, previous=log.previous
            )
            logs[log] = list(lines)
    names = [str(as_mapping(document.get("metadata")).get("name")) for document in manifest_of(record).objects]
    return explain(pods, events, logs, workloads=names)


def _is_since(event: Mapping[str, Any], since: str) -> bool:
    text = event.get("lastTimestamp") or event.get("eventTime") or (event.get("metadata") or {}).get("creationTimestamp")
    at, began = parse_time(str(text or "")), parse_time(since)
    return at is None or began is None or at >= began


# the probe


def probe(
    record: Record,
    *,
    cluster: Cluster,
    seconds: float,
    log: Callable[[str], None],
    notify: Callable[[str], None],
    check: Callable[[], None],
) -> KubernautError | None:
    """Send the application's probe until it is answered; return the failure, if any.

    Args:
        record: The release; its chart's annotations have the probe, if any, and its manifest the Service.
        cluster: The release's cluster; its API server forwards the request to the Service.
        seconds: How long to try.
        log: Receives a line about the request.
        notify: Receives a notice if the probe is not sent because the manifest, and so its Service, cannot be read.
        check: Called before each request; an error that it raises ends the probe.
    """
    target = _probe_of(record)
    if target is None:
        return None
    path, port = target
    manifest = manifest_of(record)
    if manifest.problem:
        notify(f"The probe is not sent, because the manifest of {record.id} cannot be read: {manifest.problem}.")
        return None
    service = _service_with(record, manifest, port)
    if service is None:
        return DeployKept(f"{record.id} has no Service with the port {port} for the application's probe.")
    log(f"GET {path} from the Service {service}, port {port}")
    # imported here: only an application with a probe needs it
    from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

    seconds = max(seconds, _MIN_PROBE_SECONDS)
    retrying = Retrying(
        stop=stop_after_delay(seconds), wait=wait_fixed(_PROBE_PAUSE), retry=retry_if_result(lambda problem: problem is not None)
    )
    try:
        retrying(_request, cluster, record.namespace, service, port, path, min(seconds, _MAX_REQUEST_SECONDS), check)
    except ClusterDenied as denied:  # a repeated request would be refused as well
        return denied
    except RetryError as error:
        return DeadlineExceeded(f"The application does not answer GET {path}: {error.last_attempt.result()}.")
    return None


def _request(
    cluster: Cluster, namespace: str, service: str, port: int | str, path: str, timeout: float, check: Callable[[], None]
) -> str | None:
    """Send the probe once; return the problem, if any."""
    check()
    try:
        status, body = cluster.get_through_service(namespace, service, port, path, timeout=timeout)
    except ClusterDenied:
        raise
    except KubernautError as error:
        return str(error).rstrip(".")
    return None if 200 <= status < 400 else f"it answers {status}: {' '.join(body.split())[:200]}"


def _probe_of(record: Record) -> tuple[str, int | str] | None:
    try:
        found = json.loads(record.annotations.get(PROBE) or "null")
    except ValueError:
        return None
    if not isinstance(found, Mapping):
        return None
    port = found.get("port", 80)
    return str(found.get("path") or "/"), port if isinstance(port, int) else str(port)


def _service_with(record: Record, manifest: Manifest, port: int | str) -> str | None:
    """Return the release's Service with a port; of several, the one with the release's name."""
    names = [found.service for found in service_ports(manifest) if port in (found.port, found.name)]
    return record.name if record.name in names else names[0] if names else None


# the explanation


@dataclass(frozen=True)
class LogSource:
    """A container whose last lines help; ``previous`` for those before its last restart."""

    pod: str
    container: str
    previous: bool


@dataclass(frozen=True)
class Explanation:
    """Why pods are not ready: ``problems``, the most important first, and ``details``, which add the containers' last lines."""

    problems: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


def logs_to_read(pods: Sequence[Mapping[str, Any]]) -> tuple[LogSource, ...]:
    """Return the containers whose logs help to explain a failure; at most one of each name."""
    found: dict[str, LogSource] = {}
    for pod in _living(pods):
        for status in _container_statuses(pod):
            waiting, ended, running = (_state(status, state) for state in ("waiting", "terminated", "running"))
            restarted = int(status.get("restartCount") or 0) > 0
            name = str(status.get("name"))
            if waiting.get("reason") in _CRASH_REASONS and restarted:
                found.setdefault(name, LogSource(_name(pod), name, previous=True))
            elif (ended and ended.get("exitCode") != 0) or (running and not status.get("ready")):
                found.setdefault(name, LogSource(_name(pod), name, previous=bool(restarted and running)))
    return tuple(found.values())[:_MAX_LOGS]


def explain(
    pods: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]] = (),
    logs: Mapping[LogSource, Sequence[str]] | None = None,
    *,
    workloads: Sequence[str] = (),
) -> Explanation:
    """Return why pods are not ready.

    Args:
        pods: The release's pods.
        events: The namespace's events since the deploy began, oldest first.
        logs: The last lines of the containers that :func:`logs_to_read` returned.
        workloads: The names of the release's workloads; their events count, and those of their ReplicaSets, Jobs and claims.
    """
    pod_events: dict[str, list[Mapping[str, Any]]] = {}
    other_events: list[Mapping[str, Any]] = []
    for event in events:
        about = event.get("involvedObject") or {}
        if about.get("kind") == "Pod":
            pod_events.setdefault(str(about.get("name")), []).append(event)
        elif about.get("kind") in _WORKLOADS and _belongs_to(str(about.get("name")), workloads):
            other_events.append(event)
    found = Counter(problem for pod in _living(pods) for problem in _problems(pod, pod_events.get(_name(pod), [])))
    found.update(_event_problem(event) for event in other_events if event.get("type") == "Warning")
    problems = [redact(text) + (f" ({count} times)" if count > 1 else "") for text, count in found.items()]
    details = list(problems)
    for log, lines in (logs or {}).items():
        if lines:
            details.append(f"The last lines of {log.container} in {log.pod}:")
            details += [f"  {redact(line)}" for line in lines[-LOG_LINES:]]
    return Explanation(tuple(problems), tuple(details))


def _problems(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    status = pod.get("status") or {}
    found = [problem for container in _container_statuses(pod) if (problem := _container_problem(container, events))]
    if status.get("phase") == "Failed" and status.get("reason"):
        found.append(f"a pod was ended: {status['reason']}: {_short(status.get('message'))}")
    found += [
        f"a pod cannot be scheduled: {_short(condition.get('message'))}"
        for condition in status.get("conditions") or []
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
    ]
    if not found and not _is_ready(status):
        found = [_event_problem(event) for event in events if event.get("type") == "Warning"][-2:]
    yield from dict.fromkeys(found)


def _container_problem(status: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str | None:
    name, waiting = status.get("name"), _state(status, "waiting")
    reason = waiting.get("reason")
    if reason in _PULL_REASONS:
        return f"the image {status.get('image')} of the container {name} cannot be pulled: {_pull_message(waiting, events)}"
    if reason in _CRASH_REASONS:
        last = (status.get("lastState") or {}).get("terminated") or {}
        message = "" if last or not waiting.get("message") else f": {_short(waiting['message'])}"
        return f"the container {name} keeps crashing{_exit(last)}{message}"
    if reason and reason not in _STARTING_REASONS:
        return f"the container {name} cannot start: {reason}: {_short(waiting.get('message'))}"
    ended = _state(status, "terminated")
    if ended and ended.get("exitCode") != 0:
        return f"the container {name} ended{_exit(ended)}"
    if _state(status, "running") and not status.get("ready"):
        unhealthy = next((event for event in reversed(events) if event.get("reason") == "Unhealthy"), None)
        why = f": {_short(unhealthy.get('message'))}" if unhealthy else ""
        return f"the container {name} is running but not ready{why}"
    return None


def _exit(ended: Mapping[str, Any]) -> str:
    if not ended:
        return ""
    reason = ended.get("reason")
    if reason == "OOMKilled":
        return ": it used more memory than its limit (OOMKilled)"
    return f" with exit status {ended.get('exitCode')}" + (f" ({reason})" if reason and reason != "Error" else "")


def _pull_message(waiting: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    failed = (event for event in reversed(events) if event.get("reason") == "Failed" and "pull" in str(event.get("message")))
    return _short(next(failed, waiting).get("message"))


def _event_problem(event: Mapping[str, Any]) -> str:
    about = event.get("involvedObject") or {}
    return f"{str(about.get('kind')).lower()} {event.get('reason')}: {_short(event.get('message'))}"


def _is_ready(status: Mapping[str, Any]) -> bool:
    return status.get("phase") == "Succeeded" or any(
        condition.get("type") == "Ready" and condition.get("status") == "True" for condition in status.get("conditions") or []
    )


def _living(pods: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (pod for pod in pods if not (pod.get("metadata") or {}).get("deletionTimestamp"))


def _container_statuses(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _state(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (status.get("state") or {}).get(name) or {}


def _name(pod: Mapping[str, Any]) -> str:
    return str((pod.get("metadata") or {}).get("name"))


def _belongs_to(name: str, workloads: Sequence[str]) -> bool:
    return any(name == workload or name.startswith(f"{workload}-") for workload in workloads)


def _short(message: Any) -> str:
    text = " ".join(str(message or "no message").split())
    text = _RUNTIME.sub("", text).rstrip(".")
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 1] + "…"
