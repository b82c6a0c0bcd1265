from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

import kubernaut
import kubernaut.errors
from kubernaut.errors import DeployFailed, DeployKept, KubernautError, error_classes, from_problem
from kubernaut.redact import redact

CLASSES = list(error_classes())


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_has_a_code_an_exit_status_an_http_status_and_a_hint(error: type[KubernautError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", error.code)
    assert error.exit_status in {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130}
    HTTPStatus(error.http_status) if error.http_status != 499 else None
    assert error.hint
    assert error.hint[0].isupper() or error.hint.startswith("`")
    assert error.hint.endswith(".")
    assert redact(error.hint) == error.hint
    assert (error.__doc__ or "").strip()


def test_codes_are_unique() -> None:
    codes = [error.code for error in CLASSES if error is not DeployKept]  # a kept failure *is* the failure of a deploy
    assert len(codes) == len(set(codes))
    assert DeployKept.code == DeployFailed.code


def test_all_errors_stand_in_one_place_and_are_public_there() -> None:
    assert {error.__module__.rpartition(".")[0] for error in CLASSES} == {kubernaut.errors.__name__}
    assert {error.__name__ for error in CLASSES} <= set(kubernaut.errors.__all__)


@pytest.mark.parametrize("error", CLASSES)
def test_a_problem_is_turned_back_into_the_error_that_it_tells_of(error: type[KubernautError]) -> None:
    failure = error("It failed.", hint="Do this.", details=["one", "two"], members={"current": "demo.shop.v2"})
    again = from_problem(failure.problem())
    assert again.code == failure.code
    assert isinstance(again, error)
    assert again.problem() == failure.problem()


def test_of_a_problem_with_an_unknown_code_its_status_tells() -> None:
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


def test_a_hint_of_ones_own_stays_ones_own() -> None:
    kubernaut.errors.VersionConflict("x", hint="Mine.")
    assert kubernaut.errors.VersionConflict("x").hint != "Mine."


def hints() -> Iterator[str]:
    """Find what the code says as hints, with a word for each value that it puts in."""
    for file in sorted(Path(kubernaut.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            said = node.value if isinstance(node, ast.keyword) and node.arg == "hint" else None
            if isinstance(node, ast.Assign) and any(
                isinstance(name, ast.Name) and name.id.endswith("HINT") for name in node.targets
            ):
                said = node.value
            for text in [] if said is None else ast.walk(said):
                if isinstance(text, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else "value" for part in text.values)
                elif isinstance(text, ast.Constant) and isinstance(text.value, str) and " " in text.value:
                    yield text.value


@pytest.mark.parametrize("hint", sorted(set(hints())))
def test_no_hint_looks_like_a_secret_and_is_shown_without_its_words(hint: str) -> None:
    assert redact(hint) == hint
