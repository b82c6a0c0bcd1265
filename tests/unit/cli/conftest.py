"""The command line in this process, with a stub instead of :class:`kubernaut.Kubernaut`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from unit.cli.stub import StubKubernaut

from kubernaut.cli.main import main

Run = Callable[..., Result]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubKubernaut:
    """The stub that the command line calls."""
    stub = StubKubernaut()
    monkeypatch.setattr("kubernaut.cli.session.open_kubernaut", stub.open)
    return stub


@pytest.fixture
def run(stub: StubKubernaut) -> Run:
    """Run a command line; the result has stdout and stderr apart."""

    def run(*arguments: str, **kwargs: Any) -> Result:
        return CliRunner().invoke(main, arguments, **kwargs)

    return run


@pytest.fixture
def problem() -> Callable[[Result], dict[str, Any]]:
    """Read the problem that `-o json` wrote to stdout, and check its fields."""

    def read(result: Result) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(result.stdout)
        assert set(content) - {"details"} == {"type", "title", "status", "detail", "code", "hint"}
        return content

    return read


@pytest.fixture
def at_width(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make stdout a terminal of some columns."""

    def set_width(columns: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        for module in ("render", "render_release"):
            monkeypatch.setattr(f"kubernaut.cli.{module}.is_terminal", lambda _: True)

    return set_width
