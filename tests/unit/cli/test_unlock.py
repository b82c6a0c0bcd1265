"""``unlock`` and ``--lock-timeout`` on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from click.testing import Result
from support.messages import facts
from unit.cli.stub import StubKubernaut, release
from unit.cli.test_processes import Terminal

from kubernaut import Deployed, Plan
from kubernaut.errors import ReleaseLocked
from kubernaut.models import Action

Run = Callable[..., Result]
UNLOCK = ("unlock", "hello-world", "-n", "demo")
HELD = "held by ada@workshop, process 4711, since 07:08"
PLAN = Plan(
    actions=(
        Action(kind="take-lock", subject="demo/hello-world", reason=HELD),
        Action(kind="mark-failed", subject="demo.hello-world.v3", reason="it is pending-upgrade"),
    ),
    reason="no sign of life for 20 minutes",
)
NOTHING = Deployed(Plan(reason="it is not locked"), False, release())


@pytest.fixture
def locked(stub: StubKubernaut) -> StubKubernaut:
    """A locked release."""

    def answer(stub: StubKubernaut) -> Deployed:
        dry = stub.calls[-1][2]["dry_run"]
        return Deployed(PLAN, not dry, release(status="pending-upgrade" if dry else "failed"))

    stub.answers["unlock"] = answer
    return stub


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal for the confirmation."""
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr("kubernaut.cli.session.sys", SimpleNamespace(stdin=terminal, stderr=terminal))


def test_unlock_prints_its_result(run: Run, locked: StubKubernaut) -> None:
    result = run(*UNLOCK, "--yes", "--note", "the agent is gone")
    assert result.exit_code == 0
    assert re.search(r"hello-world\b.*\bdemo\b.*\n(.*\n)*.*demo\.hello-world\.v3: failed", result.stdout)
    assert locked.calls == [
        ("unlock", ("hello-world",), {"namespace": "demo", "note": "the agent is gone", "dry_run": False}),
    ]


def test_nothing_to_unlock_is_not_a_failure(run: Run, stub: StubKubernaut) -> None:
    stub.answers["unlock"] = NOTHING
    result = run(*UNLOCK, "--yes")
    assert result.exit_code == 0
    assert re.search(facts("hello-world", "demo", "not locked"), result.stdout)


def test_unlock_without_a_terminal_needs_yes(run: Run, locked: StubKubernaut) -> None:
    result = run(*UNLOCK)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert locked.calls == []


@pytest.mark.usefixtures("on_terminal")
def test_unlock_shows_the_holder_before_it_asks(run: Run, locked: StubKubernaut) -> None:
    result = run(*UNLOCK, input="n\n")
    assert result.exit_code == 130
    question = result.stderr.index("[y/N]")
    for words in (HELD, "mark-failed demo.hello-world.v3: it is pending-upgrade", PLAN.reason):
        assert 0 <= result.stderr.index(str(words)) < question
    assert [kwargs["dry_run"] for _, _, kwargs in locked.calls] == [True]


@pytest.mark.usefixtures("on_terminal")
def test_unlock_changes_the_release_that_was_shown(run: Run, locked: StubKubernaut) -> None:
    result = run(*UNLOCK, input="y\n")
    assert result.exit_code == 0
    assert [(args, kwargs["dry_run"]) for _, args, kwargs in locked.calls] == [
        (("hello-world",), True),
        (("demo.hello-world.v3",), False),
    ]


@pytest.mark.usefixtures("on_terminal")
def test_unlock_does_not_ask_without_changes(run: Run, stub: StubKubernaut) -> None:
    stub.answers["unlock"] = NOTHING
    result = run(*UNLOCK)
    assert result.exit_code == 0
    assert "[y/N]" not in result.output
    assert [kwargs["dry_run"] for _, _, kwargs in stub.calls] == [True]


def test_unlock_without_a_release_prints_the_plan(run: Run, stub: StubKubernaut) -> None:
    stub.answers["unlock"] = Deployed(PLAN, True, None)
    result = run(*UNLOCK, "--yes")
    assert result.stdout.startswith(f"1. take-lock demo/hello-world: {HELD}\n")
    assert json.loads(run(*UNLOCK, "--yes", "-o", "json").stdout)["actions"][0]["kind"] == "take-lock"


def test_unlock_on_a_terminal() -> None:
    terminal = Terminal(UNLOCK)
    terminal.until("[y/N]")
    terminal.type("y\n")
    assert terminal.end() == 0
    assert re.search(facts("hello-world", "demo"), terminal.text.rpartition("[y/N]")[2])


@pytest.mark.parametrize(
    "line",
    [
        ("deploy", "hello-world", "-n", "demo"),
        ("ship", "app", "-n", "demo"),
        ("rollback", "hello-world", "-n", "demo"),
        ("delete", "hello-world", "-n", "demo", "--yes"),
        ("restore", "hello-world", "-n", "demo"),
    ],
    ids=lambda line: line[0],
)
def test_lock_timeout_is_a_setting(run: Run, stub: StubKubernaut, line: tuple[str, ...]) -> None:
    result = run(*line, "--lock-timeout", "2m")
    assert result.exit_code == 0, result.output
    assert stub.settings is not None
    assert stub.settings.lock_timeout == 120.0
    assert "lock_timeout" not in stub.calls[0][2]
    assert run(*line, "--lock-timeout", "soon").exit_code == 3


def test_a_locked_release_has_status_5(run: Run, stub: StubKubernaut) -> None:
    stub.answers["deploy"] = ReleaseLocked("demo/hello-world is held by ada@workshop.")
    assert run("deploy", "hello-world", "-n", "demo").exit_code == 5
