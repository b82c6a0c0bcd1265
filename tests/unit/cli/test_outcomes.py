"""Outcomes: `history` lists operations without a release, `show` the outcome of a release."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from unit.cli.stub import MOMENT, StubKubernaut, release

from kubernaut.history.operations import Operation, OperationChart, Outcome
from kubernaut.history.releases import ReleaseHistoryList, ReleaseOutcome

Run = Callable[..., Result]


def attempt(id: str, *, unread: str | None = None, **changes: Any) -> Operation:
    """Return an operation without a release."""
    facts: dict[str, Any] = {
        "verb": "deploy",
        "namespace": "demo",
        "name": "hello-world",
        "actor": "ada",
        "chart": OperationChart(version="1.4.2"),
        "started_at": MOMENT,
    }
    return Operation(**{"id": id, **facts, **changes}).model_copy(update={"unread": unread})


def test_history_lists_operations_without_a_release(run: Run, stub: StubKubernaut) -> None:
    attempts = (
        attempt("a", outcome=Outcome(reason="chart_refused", message="It is\nnot a chart.")),
        attempt("b", verb="rollback", chart=None),
        attempt("c", actor=None, unread="it was written by a newer kubernaut (operation.v2)"),
        attempt("d", outcome=Outcome(reason="interrupted", message="")),
    )
    stub.answers["history"] = ReleaseHistoryList(items=(release(),), count=1, attempts=attempts)
    result = run("history", "hello-world", "-n", "demo")
    assert result.stdout.split("\n\n", 1)[1].splitlines() == [
        "operations without a release:",
        "  2031-05-06T07:08:09Z deploy 1.4.2 by ada: chart_refused: It is not a chart.",
        "  2031-05-06T07:08:09Z rollback by ada: unfinished since 2031-05-06T07:08:09Z",
        "  2031-05-06T07:08:09Z deploy 1.4.2 by unknown: unread: it was written by a newer kubernaut (operation.v2)",
        "  2031-05-06T07:08:09Z deploy 1.4.2 by ada: interrupted",
    ]
    assert result.stderr == ""
    content = json.loads(run("history", "hello-world", "-n", "demo", "-o", "json").stdout)
    assert set(content) == {"items", "count", "next"}


def test_history_without_failed_operations_is_only_the_table(run: Run, stub: StubKubernaut) -> None:
    alone = run("history", "hello-world", "-n", "demo").stdout
    stub.answers["history"] = ReleaseHistoryList(**vars(stub.answers["history"]))
    assert run("history", "hello-world", "-n", "demo").stdout == alone
    assert "operations" not in alone


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "unfinished since 2031-05-06T07:08:09Z"),
        ({"created_at": None}, "unfinished"),
        ({"outcome": ReleaseOutcome(reason="unread", message="it is newer")}, "unread: it is newer"),
        ({"outcome": ReleaseOutcome(reason="succeeded", message="")}, "succeeded"),
        ({"operation": None}, None),
    ],
)
def test_show_prints_the_outcome(run: Run, stub: StubKubernaut, changes: dict[str, Any], line: str | None) -> None:
    stub.answers["show"] = release(**changes)
    rows = [row.split(None, 1) for row in run("show", "demo.hello-world.v3").stdout.splitlines()]
    assert [rest for key, rest in rows if key == "outcome"] == ([line] if line else [])
