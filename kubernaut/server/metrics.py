"""The server's Prometheus metrics; the only module that imports ``prometheus_client``.

Each server has its own registry, so that two servers in one process stay apart. Routes are labelled by template, never by path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_OTHER = "other"
_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_OPERATION_SECONDS = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


class GaugeName(StrEnum):
    """The gauges, which are read when the metrics are rendered."""

    INDEX_AGE = "kubernaut_index_age_seconds"
    OPERATIONS_RUNNING = "kubernaut_operations_running"
    EVENT_STREAMS = "kubernaut_event_streams"


_GAUGES = {
    GaugeName.INDEX_AGE: "Seconds since the index was last known to be current.",
    GaugeName.OPERATIONS_RUNNING: "Operations that this server is executing.",
    GaugeName.EVENT_STREAMS: "Requests that wait for operations: event streams, long polls, waiting writes.",
}


class Metrics:
    """Counters, histograms and gauges. Thread-safe."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("kubernaut_requests", "Requests.", ("route", "method", "status"), registry=registry)
        self._request_seconds = Histogram(
            "kubernaut_request_seconds",
            "Duration of requests.",
            ("route", "method"),
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._operations = Counter(
            "kubernaut_operations", "Operations that finished on this server.", ("verb", "outcome"), registry=registry
        )
        self._operation_seconds = Histogram(
            "kubernaut_operation_seconds", "Duration of operations.", ("verb",), buckets=_OPERATION_SECONDS, registry=registry
        )
        self._audit_lost = Counter("kubernaut_audit_lines_lost", "Audit lines that could not be written.", registry=registry)
        self._gauges = {name: Gauge(name.value, help, registry=registry) for name, help in _GAUGES.items()}
        for gauge in self._gauges.values():
            gauge.set(math.nan)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; ``route`` is the template, such as ``/api/releases/{id}``, or empty without a match."""
        route, method = route or _OTHER, method if method in _METHODS else _OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route, method).observe(seconds)

    def count_operation(self, verb: str, outcome: str, seconds: float) -> None:
        """Count a finished operation; ``outcome`` is ``succeeded``, ``unchanged`` or an error code."""
        self._operations.labels(verb, outcome).inc()
        self._operation_seconds.labels(verb).observe(seconds)

    def count_lost_audit_line(self) -> None:
        """Count an audit line that could not be written."""
        self._audit_lost.inc()

    def set_gauge(self, name: GaugeName, read: Callable[[], float]) -> None:
        """Set the function that a gauge reads its value from."""
        self._gauges[name].set_function(read)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format (:data:`CONTENT_TYPE`)."""
        return generate_latest(self._registry)
