"""What the server counts, as Prometheus reads it; the only file that imports ``prometheus_client``.

The registry is the server's own, so two servers in one process do not meet. Labels have few values: routes as templates, no paths.
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


class Measured(StrEnum):
    """What is measured when somebody looks: the gauges' names."""

    INDEX_AGE = "kubernaut_index_age_seconds"
    OPERATIONS_RUNNING = "kubernaut_operations_running"
    EVENT_STREAMS = "kubernaut_event_streams"


_GAUGES = {
    Measured.INDEX_AGE: "Seconds since the index was last known to be current.",
    Measured.OPERATIONS_RUNNING: "Operations that this server carries out at present.",
    Measured.EVENT_STREAMS: "Requests that wait for what operations say: event streams, long polls, writes that wait.",
}


class Metrics:
    """Counts, and tells what was counted; for many threads at once."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("kubernaut_requests", "Requests.", ("route", "method", "status"), registry=registry)
        self._request_seconds = Histogram(
            "kubernaut_request_seconds",
            "How long requests took.",
            ("route", "method"),
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self._operations = Counter("kubernaut_operations", "Operations that ended here.", ("verb", "outcome"), registry=registry)
        self._operation_seconds = Histogram(
            "kubernaut_operation_seconds", "How long operations took.", ("verb",), buckets=_OPERATION_SECONDS, registry=registry
        )
        self._audit_lost = Counter("kubernaut_audit_lines_lost", "Audit lines that could not be written.", registry=registry)
        self._gauges = {what: Gauge(what.value, help, registry=registry) for what, help in _GAUGES.items()}
        for gauge in self._gauges.values():
            gauge.set(math.nan)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; ``route`` is the template, such as ``/api/releases/{id}``, or empty where there is none."""
        route, method = route or _OTHER, method if method in _METHODS else _OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route, method).observe(seconds)

    def operation(self, verb: str, outcome: str, seconds: float) -> None:
        """Count an operation that ended; ``outcome`` is ``succeeded``, ``unchanged`` or an error's code."""
        self._operations.labels(verb, outcome).inc()
        self._operation_seconds.labels(verb).observe(seconds)

    def audit_lost(self) -> None:
        """Count an audit line that could not be written."""
        self._audit_lost.inc()

    def measure(self, what: Measured, read: Callable[[], float]) -> None:
        """Have a gauge read, from now on, whenever somebody looks."""
        self._gauges[what].set_function(read)

    def page(self) -> bytes:
        """Return all of it, in Prometheus' text format (:data:`CONTENT_TYPE`)."""
        return generate_latest(self._registry)
