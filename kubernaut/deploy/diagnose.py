"""At the moment of failure: what the pods say, and whether the application answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kubernaut.deploy.explain import LOG_LINES, Explanation, LogWanted, explain, logs_wanted
from kubernaut.errors import ClusterDenied, DeadlineExceeded, DeployFailed, DeployKept, KubernautError
from kubernaut.history.detail import list_pods
from kubernaut.history.records import Record
from kubernaut.history.releases import manifest_objects, service_ports
from kubernaut.redact import redact

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

PROBE = "kubernaut/probe"
"""The chart's annotation that holds the application's probe, as JSON: ``{"path": "/", "port": 80}``."""

_SHORTEST_PROBE = 2.0
_PROBE_PAUSE = 0.2


def diagnose(record: Record, failure: KubernautError, *, cluster: Cluster, what: str, by: str = "Helm") -> DeployFailed:
    """Return why a release failed, with what its pods, events and logs say.

    Args:
        record: The release's record.
        failure: What Helm said, or the probe.
        cluster: Is asked for pods, events and logs; where it refuses, Helm's words must do.
        what: What failed, for a person.
        by: Who said it.
    """
    explanation = Explanation()
    with suppress(KubernautError):
        explanation = _ask(record, cluster)
    first = explanation.problems[0] if explanation.problems else ""
    why = f"{first}." if first else failure.message
    details = [*(line for line in explanation.details if line != first), f"{by}: {failure.message}", *failure.details]
    return DeployKept(redact(f"{what} failed: {why}"), details=[redact(line) for line in dict.fromkeys(details)])


def probe(
    record: Record,
    *,
    cluster: Cluster,
    until: float,
    clock: Callable[[], float],
    log: Callable[[str], None],
    check: Callable[[], None],
) -> KubernautError | None:
    """Ask the application whether it answers, until it does or the time is over; return why not.

    Args:
        record: The release; its chart's annotations say whether there is a probe, and its manifest which Service to ask.
        cluster: The request goes through its API server to the Service.
        until: The clock's reading at which the time is over.
        clock: Seconds.
        log: Is told what is asked.
        check: Is called before each time; what it raises ends the asking.
    """
    wanted = _probe(record)
    if wanted is None:
        return None
    path, port = wanted
    service = _service(record, port)
    if service is None:
        return DeployKept(f"{record.id} has no Service with the port {port}, which the application's probe asks.")
    log(f"GET {path} of the Service {service}, port {port}")
    # imported here: only an application with a probe pays for it
    from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

    seconds = max(until - clock(), _SHORTEST_PROBE)
    try:
        attempts = Retrying(
            stop=stop_after_delay(seconds), wait=wait_fixed(_PROBE_PAUSE), retry=retry_if_result(lambda answer: answer is not None)
        )
        attempts(_try, cluster, record.namespace, service, port, path, min(seconds, 10.0), check)
    except ClusterDenied as denied:  # asking again would not help
        return denied
    except RetryError as error:
        return DeadlineExceeded(f"The application does not answer GET {path}: {error.last_attempt.result()}.")
    return None


def _try(
    cluster: Cluster, namespace: str, service: str, port: int | str, path: str, timeout: float, check: Callable[[], None]
) -> str | None:
    check()
    try:
        status, body = cluster.get_through_service(namespace, service, port, path, timeout=timeout)
    except ClusterDenied:
        raise
    except KubernautError as error:
        return str(error).rstrip(".")
    return None if 200 <= status < 400 else f"it answers {status}: {' '.join(body.split())[:200]}"


def _probe(record: Record) -> tuple[str, int | str] | None:
    try:
        wanted = json.loads(record.annotations.get(PROBE) or "null")
    except ValueError:
        return None
    if not isinstance(wanted, Mapping):
        return None
    port = wanted.get("port", 80)
    return str(wanted.get("path") or "/"), port if isinstance(port, int) else str(port)


def _service(record: Record, port: int | str) -> str | None:
    """Return the release's Service with a port; of several, the one that is called like the release."""
    names = [found.service for found in service_ports(record.manifest) if port in (found.port, found.name)]
    return record.name if record.name in names else names[0] if names else None


def _ask(record: Record, cluster: Cluster) -> Explanation:
    pods = list_pods(record, cluster)
    # since the record was made, by the cluster's clock: this machine's may be minutes off
    events = [event for event in cluster.list_events(record.namespace) if _is_since(event, record.created)]
    events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    logs: dict[LogWanted, Sequence[str]] = {}
    for wanted in logs_wanted(pods):
        with suppress(KubernautError):
            logs[wanted] = list(
                cluster.pod_log(
                    record.namespace, wanted.pod, container=wanted.container, tail=LOG_LINES, follow=False, previous=wanted.previous
                )
            )
    names = [str((document.get("metadata") or {}).get("name")) for document in manifest_objects(record.manifest)]
    return explain(pods, events, logs, workloads=names)


def _is_since(event: Mapping[str, Any], since: str) -> bool:
    text = event.get("lastTimestamp") or event.get("eventTime") or (event.get("metadata") or {}).get("creationTimestamp")
    try:
        return text is None or datetime.fromisoformat(str(text)) >= datetime.fromisoformat(since)
    except (ValueError, TypeError):
        return True
