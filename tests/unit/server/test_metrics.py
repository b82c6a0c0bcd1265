"""The metrics: their values, and that the number of series is bounded."""

from __future__ import annotations

import prometheus_client
from prometheus_client.parser import text_string_to_metric_families

from kubernaut.server.metrics import GaugeName, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_requests_are_counted_by_route_method_and_status() -> None:
    metrics = Metrics()
    metrics.count_request("/api/releases/{id}", "GET", 200, 0.002)
    metrics.count_request("/api/releases/{id}", "GET", 200, 0.2)
    metrics.count_request("/api/releases/{id}", "GET", 404, 0.002)
    found = samples(metrics)
    route = ("route", "/api/releases/{id}")
    assert found["kubernaut_requests_total", (("method", "GET"), route, ("status", "200"))] == 2
    assert found["kubernaut_requests_total", (("method", "GET"), route, ("status", "404"))] == 1
    assert found["kubernaut_request_seconds_count", (("method", "GET"), route)] == 3
    assert found["kubernaut_request_seconds_bucket", (("le", "0.0025"), ("method", "GET"), route)] == 2


def test_invented_methods_add_no_series() -> None:
    metrics = Metrics()
    metrics.count_request("", "GET", 404, 0.1)
    metrics.count_request("", "BREW", 405, 0.1)
    before = len(samples(metrics))
    for number in range(100):
        metrics.count_request("", f"BREW{number}", 405, 0.1)
    assert len(samples(metrics)) == before
    assert samples(metrics)["kubernaut_requests_total", (("method", "other"), ("route", "other"), ("status", "405"))] == 101


def test_operations_are_counted_by_verb_and_outcome() -> None:
    metrics = Metrics()
    metrics.count_operation("deploy", "succeeded", 12.0)
    metrics.count_operation("deploy", "deploy_rolled_back", 61.0)
    found = samples(metrics)
    assert found["kubernaut_operations_total", (("outcome", "succeeded"), ("verb", "deploy"))] == 1
    assert found["kubernaut_operations_total", (("outcome", "deploy_rolled_back"), ("verb", "deploy"))] == 1
    assert found["kubernaut_operation_seconds_sum", (("verb", "deploy"),)] == 73.0
    assert found["kubernaut_operation_seconds_bucket", (("le", "60.0"), ("verb", "deploy"))] == 1


def test_gauges_are_read_when_rendered() -> None:
    metrics = Metrics()
    values = {GaugeName.INDEX_AGE: 0.5, GaugeName.OPERATIONS_RUNNING: 2.0, GaugeName.EVENT_STREAMS: 3.0}
    for what in GaugeName:
        metrics.set_gauge(what, lambda what=what: values[what])  # type: ignore[misc]
    assert {what: samples(metrics)[what.value, ()] for what in GaugeName} == values
    values[GaugeName.INDEX_AGE] = 7.0
    assert samples(metrics)["kubernaut_index_age_seconds", ()] == 7.0


def test_an_unset_gauge_is_nan() -> None:
    assert b"kubernaut_index_age_seconds NaN" in Metrics().render()


def test_process_metrics_are_included() -> None:
    found = samples(Metrics())
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    assert ("process_cpu_seconds_total", ()) in found


def test_two_registries_in_one_process_are_independent() -> None:
    one, other = Metrics(), Metrics()
    one.count_request("/healthz", "GET", 200, 0.001)
    assert b"/healthz" not in other.render()
    assert b"kubernaut" not in prometheus_client.generate_latest()
