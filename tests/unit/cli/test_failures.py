"""Failures: a message on stderr, a problem on stdout with `-o json`, and the exit status of the error class."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from support.messages import facts
from unit.cli.stub import StubKubernaut

from kubernaut.cli.command import EXIT_STATUSES
from kubernaut.cli.error_handler import Usage, wants_json
from kubernaut.errors import (
    BadInput,
    BuildFailed,
    Conflict,
    DeployKept,
    DeployRolledBack,
    KubernautError,
    NameInvalid,
    ReleaseLocked,
    ReleaseNotFound,
    SettingInvalid,
    VersionNotFound,
    error_classes,
)
from kubernaut.errors.domain import NO_HOOKS_HINT, NO_HOOKS_HTTP_HINT
from kubernaut.events import Progress

Run = Callable[..., Result]
Problem = Callable[[Result], dict[str, Any]]
SHIP = ("ship", "app", "-n", "demo")


@pytest.mark.parametrize("kind", list(error_classes()), ids=lambda kind: kind.__name__)
def test_each_error_has_its_exit_status_and_hint(
    run: Run, stub: StubKubernaut, problem: Problem, kind: type[KubernautError]
) -> None:
    error = kind("It did not work.", details=["line one", "line two"])
    stub.answers["ship"] = error
    result = run(*SHIP)
    assert result.exit_code == kind.exit_status
    assert result.stdout == ""
    error.fill_hints("demo")
    assert result.stderr == f"error: It did not work.\n  line one\n  line two\nhint: {error.hint}\n"
    result = run(*SHIP, "-o", "json")
    assert result.exit_code == kind.exit_status
    assert problem(result) == {**error.problem(), "hint": error.hint}


def test_walls_of_json_are_shown_with_verbose_only(run: Run, stub: StubKubernaut, problem: Problem) -> None:
    wall = '{"matchLabels": {"app": "' + "x" * 600 + '"}}'
    stub.answers["ship"] = Conflict("It did not work.", details=[f"spec.selector: Invalid value: {wall}: field is immutable"])
    assert "spec.selector: Invalid value: {…}: field is immutable" in run(*SHIP).stderr
    assert wall in run(*SHIP, "-v").stderr
    assert wall in problem(run(*SHIP, "-o", "json"))["details"][0]


@pytest.mark.parametrize("option", ["--on-conflict take", "--take-ownership"])
def test_hint_is_the_same_command_with_the_option_that_helps(run: Run, stub: StubKubernaut, option: str) -> None:
    stub.answers["ship"] = DeployRolledBack("It failed.", hint=f"Run the same command again with `{option}`. Else leave it.")
    shown = run(*SHIP, "--set", "a=b c", "--dry-run").stderr.partition("hint: ")[2]
    assert f"`kubernaut ship app -n demo --set 'a=b c' --dry-run {option}`. Else leave it." in shown


@pytest.mark.parametrize(
    "given", [("--chart", "charts/web:1"), ("--chart=charts/web:1",), ("--chart", "a", "--chart=charts/web:1")]
)
def test_hint_replaces_the_chart_of_the_command(run: Run, stub: StubKubernaut, given: tuple[str, ...]) -> None:
    stub.answers["deploy"] = BadInput("It failed.", hint="Run the same command again with `--chart 'my charts/web'`.")
    shown = run("deploy", "web", *given, "-n", "demo", "--set", "a=b").stderr.partition("hint: ")[2]
    assert shown == "Run `kubernaut deploy web --chart 'my charts/web' -n demo --set a=b`.\n"


def test_hint_does_not_repeat_a_password(run: Run, stub: StubKubernaut) -> None:
    stub.answers["deploy"] = BadInput("It failed.", hint="Run the same command again with `--chart oci://r/web`.")
    line = ("deploy", "web", "-n", "demo", "--chart", "oci://ada:hunter2@r/web")
    assert "`kubernaut deploy web -n demo --chart oci://r/web`" in run(*line).stderr
    assert "hunter2" not in run(*line, "--set", "password=hunter2").stderr


@pytest.mark.parametrize("release", [("hello-world", "-n", "demo"), ("demo.hello-world.v3",)])
@pytest.mark.parametrize("kind", list(error_classes()), ids=lambda kind: kind.__name__)
def test_hints_name_the_release_of_the_command(
    run: Run, stub: StubKubernaut, kind: type[KubernautError], release: tuple[str, ...]
) -> None:
    stub.answers["show"] = kind("It did not work.")
    hint = run("show", *release).stderr.partition("hint: ")[2]
    assert hint
    assert not re.search(r"\bNAME\b|\bNAMESPACE\b|\bID\b(?=`)", hint)
    assert kind.hint.count(" NAME -n NAMESPACE") == hint.count(" hello-world -n demo")


@pytest.mark.parametrize("text", ["a\\1", "\\g<0>", "a b", "$(x)", "-x", "A"])
@pytest.mark.parametrize("kind", [NameInvalid, ReleaseNotFound, ReleaseLocked])
def test_hints_do_not_repeat_an_invalid_name(run: Run, stub: StubKubernaut, kind: type[KubernautError], text: str) -> None:
    stub.answers["show"] = kind("It did not work.")
    for line in (("show", "--namespace=demo", "--", text), ("show", f"--namespace={text}", "web")):
        result = run(*line)
        assert result.exit_code == kind.exit_status
        hint = result.stderr.partition("hint: ")[2]
        assert hint
        assert f" {text} " not in f" {hint} "


def hook_failed() -> KubernautError:
    return DeployKept("The hook failed.", hint=NO_HOOKS_HINT, http_hint=NO_HOOKS_HTTP_HINT)


@pytest.mark.parametrize(
    "line",
    [
        ("delete", "hello-world", "-n", "demo", "--yes"),
        ("deploy", "hello-world@1.4.2", "-n", "demo", "--set", "greeting=good morning", "-o", "json"),
        ("restore", "demo.hello-world.v3"),
        ("rollback", "hello-world", "-n", "demo", "--revision", "2"),
        SHIP,
    ],
    ids=lambda line: line[0],
)
def test_hint_repeats_the_command_with_the_option(run: Run, stub: StubKubernaut, line: tuple[str, ...]) -> None:
    stub.answers[line[0]] = hook_failed()
    hint = run(*line).stderr.partition("hint: ")[2]
    found = re.search(r"`(kubernaut .+?)`", hint)
    assert found is not None, hint
    assert shlex.split(found[1]) == ["kubernaut", *line, "--no-hooks"]


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        (("deploy", "hello-world", "-n", "demo", "--set", "db.password=hunter2-canary"), "hunter2"),
        (("deploy", "hello-world", "-n", "demo", "--note", "`x`"), "`x`"),
        (("delete", "-n", "demo", "--yes", "--", "hello-world"), "kubernaut delete"),
        (("watch", "hello-world", "-n", "demo"), "kubernaut watch"),
    ],
)
def test_hint_repeats_no_command_with_a_secret_or_without_the_option(
    run: Run, stub: StubKubernaut, line: tuple[str, ...], hidden: str
) -> None:
    stub.answers[line[0]] = hook_failed()
    hint = run(*line).stderr.partition("hint: ")[2]
    assert "`--no-hooks`" in hint
    assert hidden not in hint


def test_an_error_of_a_command_with_several_namespaces_keeps_its_status(run: Run) -> None:
    result = run("serve", "--namespace", "demo", "--namespace", "staging", "--host", "0.0.0.0")  # noqa: S104 - refused without TLS
    assert result.exit_code == SettingInvalid.exit_status
    assert "--allow-host NAME" in result.stderr


def test_hints_name_the_application_without_a_namespace(run: Run, stub: StubKubernaut) -> None:
    stub.answers["versions"] = VersionNotFound("It did not work.")
    assert "`kubernaut versions hello-world`" in run("versions", "hello-world").stderr


def test_every_exit_status_is_documented() -> None:
    assert {kind.exit_status for kind in error_classes()} <= set(EXIT_STATUSES)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("ship", "-n", "demo"), ("APP_DIR",)),
        (("ship", "app", "-n", "demo", "--vresion", "1"), ("--vresion",)),
        (("ship", "app", "-n", "demo", "--on-failure", "cry"), ("'cry'", "keep", "rollback")),
        (("shipp",), ("'shipp'", "'ship'")),
        (("xyzzy",), ("'xyzzy'",)),
        (("--xyzzy",), ("--xyzzy",)),
        (("show", "a", "--revision", "0"), ("--revision", "0", "1")),
    ],
)
def test_an_invalid_command_line_has_status_2(run: Run, problem: Problem, line: tuple[str, ...], words: tuple[str, ...]) -> None:
    result = run(*line)
    assert result.exit_code == 2
    assert re.search(facts(*words), result.stderr)
    assert "--help" in result.stderr
    assert result.stdout == ""
    content = problem(run(*line, "-o", "json"))
    assert content["code"] == Usage.code
    assert re.search(facts(*words), content["detail"])


def test_an_invalid_setting_is_bad_input(run: Run) -> None:
    result = run(*SHIP, "--timeout", "soon")
    assert result.exit_code == 3
    assert re.search(facts("--timeout", "'soon'"), result.stderr)


def test_a_defect_is_reported_without_a_traceback(run: Run, stub: StubKubernaut, problem: Problem) -> None:
    stub.answers["ship"] = ZeroDivisionError("division by zero")
    result = run(*SHIP)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert re.search(facts("ZeroDivisionError", "division by zero", KubernautError.hint), result.stderr)
    assert "Traceback" not in result.stderr
    assert problem(run(*SHIP, "-o", "json"))["code"] == "internal"


@pytest.mark.parametrize("line", [("-v", *SHIP), (*SHIP, "--verbose")])
def test_verbose_adds_the_traceback_of_a_defect(run: Run, stub: StubKubernaut, line: tuple[str, ...]) -> None:
    stub.answers["ship"] = ZeroDivisionError("division by zero")
    assert "Traceback" in run(*line).stderr


def test_verbose_adds_the_cause_of_an_error(run: Run, stub: StubKubernaut) -> None:
    def fail(_stub: StubKubernaut) -> None:
        try:
            raise OSError("connection refused")
        except OSError as error:
            raise BuildFailed("The engine went away.") from error

    stub.answers["ship"] = fail
    assert "connection refused" not in run(*SHIP).stderr
    assert "connection refused" in run("-v", *SHIP).stderr


def test_a_failure_contains_no_secret(run: Run, stub: StubKubernaut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernaut.cli.output._secrets", lambda: ("c4nary-value",))
    text = "pull https://ada:hunter22@r.example.com failed; Authorization: Bearer hunter22abc; c4nary-value"
    for error in (DeployRolledBack(text, details=[text], hint=text), ZeroDivisionError(text)):
        stub.answers["ship"] = error
        for line in (SHIP, (*SHIP, "-o", "json"), ("-v", *SHIP)):
            result = run(*line)
            assert "hunter22" not in result.output
            assert "c4nary" not in result.output
            assert "***" in result.output


def test_an_interrupt_is_not_a_defect(run: Run, stub: StubKubernaut) -> None:
    stub.answers["ship"] = KeyboardInterrupt()
    result = run(*SHIP)
    assert result.exit_code == 130
    assert "Ctrl-C" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["-o", "json"], True),
        (["-ojson"], True),
        (["--output", "json"], True),
        (["--output=json"], True),
        (["-o", "text"], False),
        (["--note", "-o json"], False),
        (["--", "-o", "json"], False),
        ([], False),
    ],
)
def test_json_output_is_detected_before_parsing(line: list[str], expected: bool) -> None:
    assert wants_json(line) is expected


@pytest.mark.parametrize(("details", "repeated"), [(("one", "\x1b[91mtwo\x1b[0m"), False), (("two", "three"), True)])
def test_an_error_does_not_repeat_the_lines_of_its_step(
    run: Run, stub: StubKubernaut, details: tuple[str, ...], repeated: bool
) -> None:
    def fail(stub: StubKubernaut) -> None:
        assert stub.listener is not None
        with Progress(stub.listener).step("build", "app") as step:
            for line in ("one", "", "\x1b[91mtwo\x1b[0m"):
                step.log(line)
            raise BuildFailed("A step failed.", details=details)

    stub.answers["ship"] = fail
    text = run(*SHIP).stderr
    assert text.count("two") == (2 if repeated else 1)
    assert ("three" in text) is repeated
    assert re.search(
        r"build +started +app\nbuild +\| one\nbuild +\| two\nbuild +failed +\d\.\ds +A step failed\.\nerror: A step", text
    )


def test_an_error_does_not_repeat_what_helm_said_below_its_step(run: Run, stub: StubKubernaut) -> None:
    def fail(stub: StubKubernaut) -> None:
        assert stub.listener is not None
        with Progress(stub.listener).step("deploy", "web") as step:
            for line in ("* field a is wrong", "* field b is wrong"):
                step.log(line)
            details = ["pod web-1: crashing", "Helm: 2 errors occurred:\n* field a is wrong\n* field b is wrong"]
            raise DeployRolledBack("It failed.", details=details)

    stub.answers["ship"] = fail
    text = run(*SHIP).stderr
    assert [text.count(words) for words in ("pod web-1: crashing", "2 errors occurred", "field a", "field b")] == [1, 1, 1, 1]
