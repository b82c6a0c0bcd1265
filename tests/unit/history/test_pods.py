"""What the pods of a release say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.past import record

from kubernaut.history.pods import logs_of
from kubernaut.testing.cluster import FakeCluster

WORKLOAD = """kind: Deployment
spec: {selector: {matchLabels: {app: web}}, template: {spec: {containers: [{name: web}]}}}
"""


def test_a_defect_in_one_of_several_streams_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows would wait for ever for a stream that ended without a word."""
    cluster = FakeCluster("demo")
    cluster.pods["demo"] = [
        {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}} for name in ("a", "b")
    ]

    def broken(namespace: str, pod: str, **_: Any) -> Iterator[str]:
        yield "hello"
        raise ValueError("no such thing")

    monkeypatch.setattr(cluster, "pod_log", broken)
    lines = logs_of(record(1, "deployed", manifest=WORKLOAD), cluster, follow=True, tail=None, previous=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no such thing"):
        list(lines)
