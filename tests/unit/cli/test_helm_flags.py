"""Helm's flags on the command line: the same, accepted, or refused with the reason and the alternative."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from unit.cli.stub import StubKubernaut

from kubernaut.cli.helm_flags import FLAGS, HELM_COMMANDS, HelmFlag
from kubernaut.cli.main import main
from kubernaut.errors import Usage

Run = Callable[..., Result]
LINES = {
    "deploy": ("deploy", "hello-world", "-n", "demo"),
    "ship": ("ship", "app", "-n", "demo"),
    "rollback": ("rollback", "hello-world", "-n", "demo"),
    "restore": ("restore", "hello-world", "-n", "demo"),
    "delete": ("delete", "hello-world", "-n", "demo", "--yes"),
}


def own_options(command: str) -> set[str]:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    parameters = found.get_params(click.Context(found, help_option_names=["-h", "--help"]))
    return {name for one in parameters if isinstance(one, click.Option) and not one.hidden for name in one.opts}


def commands_of(flag: HelmFlag) -> list[str]:
    """The commands that do the work of one of the flag's commands of Helm."""
    return list(dict.fromkeys(name for helm in flag.commands for name in HELM_COMMANDS[helm]))


def cases(*fates: str) -> list[Any]:
    """Every flag with these fates, each on every of its commands that has no other option of that name."""
    return [
        pytest.param(flag, command, id=f"{command} {flag.name}")
        for flag in FLAGS
        if flag.fate in fates
        for command in commands_of(flag)
        if flag.name.partition("=")[0] not in own_options(command) or "=" in flag.name
    ]


@pytest.mark.parametrize(("flag", "command"), cases("refused"))
def test_refused_flag_has_a_reason_and_an_alternative(run: Run, stub: StubKubernaut, flag: HelmFlag, command: str) -> None:
    for name in flag.names:
        value = ["hunter2"] if flag.takes_value else []
        result = run(*LINES[command], name, *value, "-o", "json")
        problem = json.loads(result.stdout)
        assert (result.exit_code, problem["code"]) == (2, Usage.code)
        assert f"`{flag.name}` is not" in problem["detail"]
        assert flag.why in problem["detail"]
        assert problem["hint"]
        assert "NAMESPACE" not in problem["hint"]
        assert "hunter2" not in result.output
    assert stub.calls == []


@pytest.mark.parametrize(("flag", "command"), cases("accepted"))
def test_accepted_flag_changes_nothing_beyond_what_it_stands_for(
    run: Run, stub: StubKubernaut, flag: HelmFlag, command: str
) -> None:
    plain = run(*LINES[command], *filter(None, [flag.stands_for]))
    for name in flag.names:
        result = run(*LINES[command], name)
        assert (result.exit_code, result.output) == (0, plain.output)
    assert all(call == stub.calls[0] for call in stub.calls)


@pytest.mark.parametrize("flag", [pytest.param(flag, id=flag.name) for flag in FLAGS if flag.fate == "same"])
def test_same_flag_is_an_option_of_each_command(flag: HelmFlag) -> None:
    for command in commands_of(flag):
        assert set(flag.names) <= own_options(command), command


def test_hints_are_complete_without_a_namespace(run: Run, kubeconfig: Path) -> None:
    result = run("deploy", "hello-world", "--version", "1.4.2", "--kubeconfig", str(kubeconfig))
    assert "NAMESPACE" not in result.stderr
    assert "kubernaut versions hello-world" in result.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--wait=watcher",), {}),
        (("--wait=true", "--install=true", "--atomic=false"), {}),
        (("--namespace=t", "--timeout=1", "--set=a=1"), {"namespace": "t", "set": ("a=1",)}),
        (("--no-wait",), {"wait": False}),
        (("--wait",), {"wait": True}),
        (("--dry-run=server",), {"dry_run": True}),
        (("--dry-run=none",), {"dry_run": False}),
        (("--description", "why"), {"note": "why"}),
        (("--reset-then-reuse-values",), {"reuse_values": True}),
        (("--cleanup-on-fail",), {"on_failure": "rollback"}),
        (("--cleanup-on-fail", "--on-failure", "rollback"), {"on_failure": "rollback"}),
        (("--cleanup-on-fail=false",), {"on_failure": None}),
        (("--skip-crds",), {"skip_crds": True}),
        (("--force-conflicts",), {"on_conflict": "take"}),
        (("--force-conflicts=true",), {"on_conflict": "take"}),
        (("--on-conflict", "fail", "--force-conflicts=false"), {"on_conflict": "fail"}),
        (("--force",), {"always": True}),
        (("--set-string", "a=1", "--set-json", '{"b": 1}', "--set-json", "c=[1]"), {"set_string": ("a=1",)}),
        (("--set-file", "a=f", "--set-literal", "a={"), {"set_file": ("a=f",), "set_literal": ("a={",)}),
        (("-f", "a.yaml,b.yaml", "-f", "c.yaml"), {"values": (Path("a.yaml"), Path("b.yaml"), Path("c.yaml"))}),
    ],
)
def test_helms_way_to_write_it(run: Run, stub: StubKubernaut, given: tuple[str, ...], expected: dict[str, Any]) -> None:
    result = run(*LINES["deploy"], *given)
    assert result.exit_code == 0, result.output
    options = stub.calls[0][2]
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    "given",
    [
        ("--wait=hookOnly",),
        ("--wait=false",),
        ("--dry-run=client",),
        ("--reset-values", "--reuse-values"),
        ("--cleanup-on-fail", "--on-failure", "keep"),
        ("--cleanup-on-fail", "--on-failure=keep"),
        ("-f", "-", "-f", "-"),
        ("--set-json", "a"),
        ("--set-string", "=1"),
    ],
)
def test_what_contradicts_is_refused(run: Run, stub: StubKubernaut, given: tuple[str, ...]) -> None:
    result = run(*LINES["deploy"], *given)
    assert (result.exit_code, stub.calls) == (2, [])


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (("rollback", "hello-world", "3", "-n", "demo"), "`kubernaut rollback hello-world -n demo --revision 3`"),
        (("delete", "hello-world", "other", "-n", "demo", "--yes"), "`kubernaut delete other -n demo`"),
        (("deploy", "hello-world", "./chart", "-n", "demo"), "`kubernaut deploy hello-world"),
    ],
)
def test_helms_arguments_have_a_hint(run: Run, stub: StubKubernaut, line: tuple[str, ...], hint: str) -> None:
    result = run(*line)
    assert (result.exit_code, stub.calls) == (2, [])
    assert hint in result.stderr


def test_words_after_two_dashes_are_no_flags(run: Run, stub: StubKubernaut) -> None:
    assert run("deploy", "-n", "demo", "--", "hello-world").exit_code == 0
    assert stub.calls[0][1] == ("hello-world",)


def test_values_are_read_from_standard_input(run: Run, stub: StubKubernaut) -> None:
    result = run(*LINES["deploy"], "-f", "a.yaml", "-f", "-", input="b: 0644\n")
    assert result.exit_code == 0, result.output
    assert stub.calls[0][2]["values"] == (Path("a.yaml"), {"b": 420})
    assert run(*LINES["deploy"], "-f", "-", input="- b\n").exit_code == 3


@pytest.mark.parametrize("command", ["deploy", "ship", "rollback"])
def test_dry_run_compares(run: Run, stub: StubKubernaut, command: str) -> None:
    run(*LINES[command], "--dry-run")
    run(*LINES[command])
    assert [call[2].get("diff", False) for call in stub.calls] == [True, False]


# the namespace


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig whose current context has a namespace, and a context without one."""
    contexts = [{"name": name, "context": {"cluster": "c", **more}} for name, more in (("one", {"namespace": "team"}), ("two", {}))]
    clusters = [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps({"current-context": "one", "contexts": contexts, "clusters": clusters}))
    return path


@pytest.mark.parametrize("line", [("deploy", "hello-world"), ("ship", "app"), ("rollback", "hello-world"), ("show", "hello-world")])
def test_namespace_is_that_of_the_context(run: Run, stub: StubKubernaut, kubeconfig: Path, line: tuple[str, ...]) -> None:
    for more, namespace in (((), "team"), (("--context", "two"), "default"), (("-n", "demo"), "demo")):
        result = run(*line, "--kubeconfig", str(kubeconfig), *more)
        assert result.exit_code == 0, result.output
        assert stub.calls[-1][2]["namespace"] == namespace


def test_release_id_has_its_namespace(run: Run, stub: StubKubernaut, tmp_path: Path) -> None:
    for release in ("demo.hello-world.v3", "demo.hello-world"):
        assert run("rollback", release, "--kubeconfig", str(tmp_path / "missing")).exit_code == 0
        assert stub.calls[-1][2]["namespace"] is None


def test_list_shows_all_namespaces(run: Run, stub: StubKubernaut, kubeconfig: Path) -> None:
    run("list", "--kubeconfig", str(kubeconfig))
    assert stub.calls[0][2]["namespace"] is None


def test_missing_kubeconfig_is_named(run: Run, tmp_path: Path) -> None:
    result = run("deploy", "hello-world", "--kubeconfig", str(tmp_path / "missing"))
    assert result.exit_code == 8
    assert str(tmp_path / "missing") in result.stderr


def test_server_needs_the_namespace(run: Run) -> None:
    result = run("deploy", "hello-world", "--server", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "--namespace" in result.stderr
