from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import click
import pytest

import kubernaut
import kubernaut.errors
from kubernaut.cli.main import main
from kubernaut.errors import DeployFailed, DeployKept, KubernautError, NotFound, ReleaseLocked, error_classes, from_problem
from kubernaut.redact import redact

PACKAGE = Path(kubernaut.__file__).parent
CLASSES = [kind for kind in error_classes() if kind.__module__.startswith("kubernaut.errors.")]
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z]")


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_a_code_an_exit_status_an_http_status_and_hints(error: type[KubernautError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", error.code)
    assert error.exit_status in {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130}
    HTTPStatus(error.http_status) if error.http_status != 499 else None
    for hint in (error.hint, error.http_hint):
        assert hint
        assert hint[0].isupper() or hint.startswith("`")
        assert hint.endswith(".")
        assert redact(hint) == hint
    assert (error.__doc__ or "").strip()


def test_codes_are_unique() -> None:
    codes = [error.code for error in CLASSES if error is not DeployKept]  # DeployKept refines DeployFailed
    assert len(codes) == len(set(codes))
    assert DeployKept.code == DeployFailed.code


def test_every_error_is_public_in_the_package() -> None:
    assert {error.__name__ for error in CLASSES} <= set(kubernaut.errors.__all__)
    assert all(getattr(kubernaut.errors, error.__name__) is error for error in CLASSES)


@pytest.mark.parametrize("error", CLASSES)
def test_a_problem_is_converted_back_into_its_error(error: type[KubernautError]) -> None:
    failure = error("It failed.", http_hint="Do this.", details=["one", "two"], members={"current": "demo.shop.v2"})
    again = from_problem(failure.problem())
    assert again.code == failure.code
    assert isinstance(again, error)
    assert again.problem() == failure.problem()


def test_the_status_decides_where_the_code_of_a_problem_is_unknown() -> None:
    assert type(from_problem({"status": 409, "code": "of_a_newer_server", "detail": "Taken."})) is kubernaut.errors.Conflict
    assert type(from_problem({"status": 418})) is KubernautError


def test_branches_share_exit_and_http_status() -> None:
    for branch, exit_status, http_status in [
        ("BadInput", 3, 422),
        ("NotFound", 4, 404),
        ("Conflict", 5, 409),
        ("Forbidden", 9, 403),
    ]:
        for error in error_classes(getattr(kubernaut.errors, branch)):
            assert error.exit_status == exit_status
            assert error.http_status == http_status or error.__module__ == "kubernaut.errors.http"


def test_a_problem_is_rfc_9457() -> None:
    error = kubernaut.errors.VersionConflict("shop 1.0.0 exists.", hint="Do that.", details=["a", "b"])
    assert error.problem() == {
        "type": "urn:kubernaut:problem:version_conflict",
        "title": "version conflict",
        "status": 409,
        "detail": "shop 1.0.0 exists.",
        "code": "version_conflict",
        "hint": "Do that.",
        "details": ["a", "b"],
    }
    assert str(error) == "shop 1.0.0 exists."
    assert "details" not in KubernautError("x").problem()


# hints of the command line, hints of HTTP answers


def test_a_hint_of_one_error_does_not_change_its_class() -> None:
    kubernaut.errors.VersionConflict("x", hint="Mine.", http_hint="Mine too.")
    assert kubernaut.errors.VersionConflict("x").hint != "Mine."
    assert kubernaut.errors.VersionConflict("x").http_hint != "Mine too."


@pytest.mark.parametrize(
    "hint",
    [
        "Wait: --lock-timeout 5m.",
        "Name the namespace with -n.",
        "`kubernaut list --all` lists them.",
        "Run the same command again.",
        'Run `eval "$(kubernaut local env)"`.',
    ],
)
def test_a_problem_never_has_a_hint_for_the_command_line(hint: str) -> None:
    assert NotFound("x", hint=hint).problem()["hint"] == NotFound.http_hint
    assert NotFound("x", hint=hint, http_hint="Do this.").problem()["hint"] == "Do this."
    assert NotFound("x", hint=hint).hint == hint


def test_a_problem_has_the_hint_that_fits_both_interfaces() -> None:
    assert NotFound("x", hint="Take the pre-release 1.0.0-rc.1.").problem()["hint"] == "Take the pre-release 1.0.0-rc.1."


def test_an_error_of_a_server_has_the_command_lines_hint() -> None:
    error = from_problem({"code": "release_locked", "detail": "Locked.", "hint": "Send `lockTimeout`."})
    assert error.hint == ReleaseLocked.hint
    assert error.http_hint == "Send `lockTimeout`."


def test_an_unknown_error_of_a_server_keeps_the_servers_hint() -> None:
    assert from_problem({"code": "of_a_newer_server", "status": 409, "hint": "Do that."}).hint == "Do that."


# each hint that the code words


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the strings of an expression, f-strings with their expressions in braces."""
    match node:
        case ast.JoinedStr():
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else ast.unparse(part) for part in node.values)
        case ast.Constant(value=str() as text) if " " in text:
            yield text
        case _:
            for child in ast.iter_child_nodes(node):
                yield from texts(child)


def hints() -> Iterator[tuple[str, str, str]]:
    """Yield each hint in the package: its file, ``hint`` or ``http_hint``, and its text."""
    sources = {file: file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)) if "hint" in source.lower() else ():
            named: list[tuple[str, ast.AST]] = []
            match node:
                case ast.keyword(arg=("hint" | "http_hint") as name, value=value):
                    named = [(name, value)]
                case ast.Assign(targets=targets, value=value):
                    names = [ast.unparse(target).rpartition(".")[2].lower() for target in targets]
                    named = [
                        ("http_hint" if name.endswith("http_hint") else "hint", value) for name in names if name.endswith("hint")
                    ]
                case ast.AnnAssign(target=ast.Name(id=("hint" | "http_hint") as name), value=ast.expr() as value):
                    named = [(name, value)]
            yield from ((file.relative_to(PACKAGE).as_posix(), name, text) for name, value in named for text in texts(value))


HINTS = sorted(set(hints()))


def commands(group: click.Group, path: str = "kubernaut") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands(main))
VERB = re.compile(r"kubernaut (?=([a-z]+)(?: ([a-z]+))?)([^`]*)")


def commands_in(hint: str) -> Iterator[tuple[str, str]]:
    """Yield the kubernaut commands that a hint names, each with the words after it."""
    for found in VERB.finditer(hint):
        one, two = f"kubernaut {found[1]}", f"kubernaut {found[1]} {found[2]}"
        if two in COMMANDS:
            yield two, found[3].removeprefix(two.removeprefix("kubernaut "))
        elif one in COMMANDS:
            yield one, found[3].removeprefix(found[1])
        else:
            assert hint[found.start() - 1] not in "`(", f"{one!r} is not a command"


def needs_namespace(command: click.Command) -> bool:
    return any("ID" in (parameter.metavar or "") for parameter in command.params if isinstance(parameter, click.Argument))


@pytest.mark.parametrize(("file", "name", "hint"), HINTS)
def test_no_hint_looks_like_a_secret(file: str, name: str, hint: str) -> None:
    text = re.sub(r"\{[^{}]*\}", "value", hint)
    assert redact(text) == text


@pytest.mark.parametrize(("file", "hint"), [(file, hint) for file, name, hint in HINTS if name == "http_hint"])
def test_a_hint_for_http_names_no_command_and_no_option(file: str, hint: str) -> None:
    assert not list(commands_in(hint))
    assert not OPTION.search(hint)
    assert "same command" not in hint


@pytest.mark.parametrize("error", CLASSES)
def test_an_errors_own_hint_for_http_names_no_command_and_no_option(error: type[KubernautError]) -> None:
    test_a_hint_for_http_names_no_command_and_no_option("", error.http_hint)
    assert error("x").problem()["hint"] == error.http_hint


@pytest.mark.parametrize(("file", "hint"), [(file, hint) for file, name, hint in HINTS if name == "hint"])
def test_a_command_in_a_hint_is_complete(file: str, hint: str) -> None:
    for command, words in commands_in(hint):
        if needs_namespace(COMMANDS[command]):
            named = re.search(r"(?<!\S)(-n|ID|\{(?!.*name\}).*\})", words)
            assert named, f"{command}{words}: no namespace"
