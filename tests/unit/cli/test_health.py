"""ReleaseHealth: a column of `list`, a line of `show`, at any width."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from unit.cli.stub import StubKubernaut, foreign, release

from kubernaut.history.releases import HealthStatus, ReleaseHealth, ReleaseList

Run = Callable[..., Result]
REASON = "Deployment hello-world: 1 of 3 ready; pod hello-world-7f9-x2: container web keeps crashing with exit status 1"
DEGRADED = ReleaseHealth(status=HealthStatus.DEGRADED, reason=REASON)


@pytest.fixture
def ill(stub: StubKubernaut) -> StubKubernaut:
    """A cluster with a degraded release, and one whose health is not known."""
    stub.answers["list"] = ReleaseList(items=(release(health=DEGRADED), foreign()), count=2)
    stub.answers["show"] = release(health=DEGRADED)
    return stub


@pytest.mark.parametrize("columns", [None, 60, 80, 160])
def test_list_has_a_column_of_health_at_any_width(
    run: Run, ill: StubKubernaut, at_width: Callable[[int], None], columns: int | None
) -> None:
    if columns:
        at_width(columns)
    header, first, *_ = run("list").stdout.splitlines()
    for title, cell in (("NAME", "hello-world"), ("STATUS", "deployed"), ("HEALTH", "degraded"), ("VERSION", "1.4.2")):
        assert title in header
        assert cell in first
    assert columns is None or all(len(line) <= columns for line in (header, first))


def test_list_reads_health_unless_it_is_not_wanted(run: Run, ill: StubKubernaut) -> None:
    run("list")
    assert ill.calls[-1][2]["health"] is True
    lines = run("list", "--no-health").stdout.splitlines()
    assert ill.calls[-1][2]["health"] is False
    assert lines[0].split() == ["NAME", "NAMESPACE", "REV", "STATUS", "VERSION", "COMMIT", "BY", "UPDATED"]


def test_show_prints_health_and_its_reason(run: Run, ill: StubKubernaut) -> None:
    text = run("show", "demo.hello-world.v3").stdout
    assert f"degraded: {REASON}" in text
    ill.answers["show"] = release(health=ReleaseHealth(status=HealthStatus.HEALTHY))
    (line,) = [line for line in run("show", "demo.hello-world.v3").stdout.splitlines() if line.startswith("health")]
    assert line.split() == ["health", "healthy"]


def test_show_omits_health_where_there_is_none(run: Run) -> None:
    assert "health" not in run("show", "demo.hello-world.v3").stdout


@pytest.mark.parametrize("command", [("list",), ("show", "demo.hello-world.v3"), ("history", "demo.hello-world.v3")])
@pytest.mark.parametrize(("status", "health"), [("failed", "healthy"), ("failed", "degraded"), ("deployed", "healthy")])
def test_failed_release_that_is_ready_now_is_named(
    run: Run, stub: StubKubernaut, command: tuple[str, ...], status: str, health: str
) -> None:
    one = release(status=status, active=True, health=ReleaseHealth(status=HealthStatus(health)))
    stub.answers |= {name: ReleaseList(items=(one,), count=1) for name in ("list", "history")} | {"show": one}
    result = run(*command)
    assert ("ready now" in result.stdout + result.stderr) == ((status, health) == ("failed", "healthy"))


@pytest.mark.parametrize("command", [("list",), ("show", "demo.hello-world.v3")])
def test_json_has_health_with_its_reason(run: Run, ill: StubKubernaut, command: tuple[str, ...]) -> None:
    content = json.loads(run(*command, "-o", "json").stdout)
    first = content["items"][0] if "items" in content else content
    assert first["health"] == {"status": "degraded", "reason": REASON}
