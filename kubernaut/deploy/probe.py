"""The probe of an application: a request through its Service, which it must answer before its release counts as deployed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kubernaut.errors import ClusterDenied, DeadlineExceeded, DeployKept, KubernautError
from kubernaut.history.manifest import Manifest, manifest_of, service_ports
from kubernaut.history.records import Record

if TYPE_CHECKING:
    from kubernaut.adapters.kube import Cluster

PROBE = "kubernaut/probe"
"""The chart's annotation with the application's probe, as JSON: ``{"path": "/", "port": 80}``."""

_MIN_PROBE_SECONDS = 2.0
_PROBE_PAUSE = 0.2
_MAX_REQUEST_SECONDS = 10.0


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
