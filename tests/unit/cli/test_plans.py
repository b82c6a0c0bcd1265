"""The plan that a dry run and a confirmation print, and the commands to run next."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import Result
from support.messages import facts
from unit.cli.stub import PLAN, StubKubernaut, published, release
from unit.cli.test_verbs import WRITING

from kubernaut import Action, Deployed, Plan
from kubernaut.cli.main import main
from kubernaut.cli.render import MAX_OBJECTS
from kubernaut.events import Listener
from kubernaut.history.releases import ReleaseList
from kubernaut.settings import Settings

Run = Callable[..., Result]
DELETE = ("delete", "hello-world", "-n", "demo")
COMMAND = re.compile(r"\bkubernaut ([a-z][^`\n]*)")


PLANNED = sorted(set(WRITING) - {"watch"})


def uninstall(count: int) -> Plan:
    """Return the plan of a delete that removes this many objects."""
    objects = tuple(f"ConfigMap/part-{number}" for number in range(count))
    return Plan(actions=(Action(kind="helm-uninstall", subject="demo.hello-world.v3", reason="deployed", objects=objects),))


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal for the confirmation."""
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr("kubernaut.cli.session.sys", SimpleNamespace(stdin=terminal, stderr=terminal))


@pytest.mark.parametrize("name", PLANNED)
def test_a_dry_run_prints_the_plan(run: Run, stub: StubKubernaut, name: str) -> None:
    outcome = stub.answers[name]
    stub.answers[name] = type(outcome)(PLAN, False, None)
    result = run(*WRITING[name], "--dry-run")
    assert stub.calls[0][2]["dry_run"] is True
    assert result.stdout == (
        "1. push-chart hello-world:1.4.2: the registry does not have it\n"
        "2. helm-upgrade demo/hello-world: the chart's digest differs\n"
    )
    assert json.loads(run(*WRITING[name], "--dry-run", "-o", "json").stdout) == PLAN.model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize("name", PLANNED)
def test_a_dry_run_with_changes_counts_them(run: Run, stub: StubKubernaut, name: str) -> None:
    stub.answers[name] = type(stub.answers[name])(PLAN, False, None)
    result = run(*WRITING[name], "--dry-run")
    assert re.search(facts("dry run", "2"), result.stderr)
    assert "unchanged" not in result.output
    assert "nothing to do" not in result.output


@pytest.mark.parametrize("name", PLANNED)
def test_a_dry_run_without_changes_prints_the_reason(run: Run, stub: StubKubernaut, name: str) -> None:
    stub.answers[name] = type(stub.answers[name])(Plan(reason="1.4.2 already runs"), False, None)
    result = run(*WRITING[name], "--dry-run")
    assert result.stdout == "nothing to do: 1.4.2 already runs\n"
    assert "dry run" not in result.stderr


@pytest.mark.parametrize("count", [1, MAX_OBJECTS, MAX_OBJECTS + 3])
def test_a_dry_run_of_delete_lists_the_removed_objects(run: Run, stub: StubKubernaut, count: int) -> None:
    stub.answers["delete"] = Deployed(uninstall(count), False, release())
    lines = run(*DELETE, "--dry-run").stdout.splitlines()
    assert lines[0].startswith("1. helm-uninstall demo.hello-world.v3")
    objects = [line.strip(" -") for line in lines[1:] if "/" in line]
    assert objects == [f"ConfigMap/part-{number}" for number in range(min(count, MAX_OBJECTS))]
    assert [line.strip() for line in lines[1:] if "/" not in line] == (["… and 3 more"] if count > MAX_OBJECTS else [])


@pytest.mark.usefixtures("on_terminal")
def test_the_confirmation_of_delete_lists_the_removed_objects(run: Run, stub: StubKubernaut) -> None:
    stub.answers["delete"] = Deployed(uninstall(2), False, release())
    result = run(*DELETE, input="n\n")
    question = result.stderr.index("[y/N]")
    assert 0 <= result.stderr.index("ConfigMap/part-0") < result.stderr.index("ConfigMap/part-1") < question
    assert result.stderr.index("`kubernaut restore hello-world -n demo`") < question
    assert (result.exit_code, len(stub.calls)) == (130, 1)


@pytest.mark.usefixtures("on_terminal")
def test_the_confirmation_names_what_no_restore_brings_back(run: Run, stub: StubKubernaut) -> None:
    action = uninstall(1).actions[0].model_copy(update={"objects": ("CustomResourceDefinition/backups.example.com", "ConfigMap/a")})
    stub.answers["delete"] = Deployed(Plan(actions=(action,)), False, release())
    last = run(*DELETE, input="n\n").stderr.split("[y/N]")[0].splitlines()[-1]
    assert re.search(facts("backups.example.com", "all namespaces"), last)


def test_delete_without_a_terminal_requires_yes(run: Run, stub: StubKubernaut) -> None:
    result = run(*DELETE)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert stub.calls == []


@pytest.mark.usefixtures("on_terminal")
def test_delete_deletes_the_release_that_was_shown(run: Run, stub: StubKubernaut, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Settings] = []
    original = stub.open

    def recording(settings: Settings, listener: Listener) -> StubKubernaut:
        opened.append(settings)
        return original(settings, listener)

    monkeypatch.setattr("kubernaut.cli.session.open_kubernaut", recording)
    line = (*DELETE, "--context", "staging", "--kubeconfig", "/k", "--timeout", "9s")
    assert run(*line, input="y\n").exit_code == 0
    assert [(settings.context, settings.kubeconfig, settings.timeout) for settings in opened] == [("staging", "/k", 9.0)] * 2
    assert [(args, kwargs["dry_run"]) for _, args, kwargs in stub.calls] == [
        (("hello-world",), True),
        (("demo.hello-world.v3",), False),
    ]


# the commands to run next


def commands(text: str) -> list[list[str]]:
    """Return the command lines in a text, without ``kubernaut``."""
    return [shlex.split(line) for line in COMMAND.findall(text)]


def check_complete(words: list[str]) -> None:
    """Check that a command line can be parsed, and names a release with its namespace."""
    command = main.get_command(click.Context(main), words[0])
    assert command is not None
    parsed: dict[str, Any] = command.make_context(words[0], words[1:]).params
    if "release" in parsed:
        assert parsed["namespace"] or parsed["release"].count(".") >= 2, words


@pytest.mark.parametrize("name", PLANNED)
def test_the_next_commands_are_complete(run: Run, name: str) -> None:
    found = commands(run(*WRITING[name]).stderr)
    assert found
    for words in found:
        check_complete(words)


@pytest.mark.parametrize(("name", "answer"), [("list", ReleaseList(items=(), count=0)), ("versions", published())])
def test_the_next_commands_of_an_empty_list_are_complete(run: Run, stub: StubKubernaut, name: str, answer: Any) -> None:
    stub.answers[name] = answer
    found = commands(run(name, *(("hello-world",) if name == "versions" else ())).stderr)
    assert found
    for words in found:
        check_complete(words)


def test_the_next_commands_after_a_ship(run: Run) -> None:
    result = run(*WRITING["ship"])
    assert re.search(facts("hello-world", "1.4.2", "31fba06", "demo", "demo.hello-world.v3"), result.stdout)
    assert commands(result.stderr) == [[verb, "hello-world", "-n", "demo"] for verb in ("history", "logs", "rollback")]


def test_the_next_commands_after_a_delete(run: Run) -> None:
    result = run(*WRITING["delete"])
    assert "demo.hello-world.v3" in result.stdout
    assert commands(result.stderr) == [[verb, "hello-world", "-n", "demo"] for verb in ("restore", "history")]


def test_the_next_commands_after_a_build_name_its_folder(run: Run) -> None:
    result = run("build", "my app", "--registry", "r.example.com/team")
    assert commands(result.stderr) == [["publish", "my app", "--registry", "r.example.com/team"]]


def test_the_next_commands_use_the_same_cluster(run: Run) -> None:
    found = commands(run(*WRITING["rollback"], "--context", "staging", "--kubeconfig", "/k").stderr)
    assert found
    assert all(words[-4:] == ["--context", "staging", "--kubeconfig", "/k"] for words in found)
