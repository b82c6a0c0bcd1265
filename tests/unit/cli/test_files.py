"""`--to FILE` and `--from FILE`: the file that passes a version from one build to the next."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from unit.cli.stub import DIGEST, PLAN, StubKubernaut, release, version

from kubernaut import Deployed, Published
from kubernaut.errors import DeployRolledBack

Run = Callable[..., Result]
LINES = {
    "publish": ("publish", "app"),
    "deploy": ("deploy", "hello-world", "-n", "demo"),
    "ship": ("ship", "app", "-n", "demo"),
    "rollback": ("rollback", "hello-world", "-n", "demo"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "release.json"


@pytest.mark.parametrize("verb", LINES)
def test_the_file_equals_the_json_output(run: Run, file: Path, verb: str) -> None:
    printed = run(*LINES[verb], "-o", "json", "--to", str(file))
    assert (printed.exit_code, file.read_text(encoding="utf-8")) == (0, printed.stdout)
    assert json.loads(printed.stdout)["name"] == "hello-world"
    assert names(file.parent) == [file.name]
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_file_does_not_change_the_text_output(run: Run, file: Path) -> None:
    assert run(*LINES["publish"], "--to", str(file)).stdout == run(*LINES["publish"]).stdout
    assert json.loads(file.read_text())["version"] == "1.4.2"


def test_an_unchanged_result_is_written_too(run: Run, stub: StubKubernaut, file: Path) -> None:
    stub.answers["deploy"] = Deployed(PLAN, False, release())
    assert run(*LINES["deploy"], "--to", str(file)).exit_code == 0
    assert json.loads(file.read_text())["id"] == "demo.hello-world.v3"


@pytest.mark.parametrize("verb", LINES)
def test_a_failure_leaves_no_file_not_even_an_older_one(run: Run, stub: StubKubernaut, file: Path, verb: str) -> None:
    file.write_text("of the last build")

    def fail(*_: object, **__: object) -> None:
        assert not file.exists(), "removed before the work begins"
        raise DeployRolledBack("It does not get ready.")

    stub.answers[verb] = fail
    assert run(*LINES[verb], "--to", str(file)).exit_code == DeployRolledBack.exit_status
    assert names(file.parent) == []


def test_a_dry_run_writes_nothing_and_removes_nothing(run: Run, stub: StubKubernaut, file: Path) -> None:
    stub.answers["publish"] = Published(PLAN, False, None)
    for line in (LINES["publish"], LINES["deploy"]):
        assert run(*line, "--to", str(file), "--dry-run").exit_code == 0
        assert not file.exists()
    file.write_text("of the last build")
    assert run(*LINES["deploy"], "--to", str(file), "--dry-run").exit_code == 0
    assert file.read_text() == "of the last build"


@pytest.mark.parametrize("where", ["missing/release.json", ".", "", "pipe", "file/release.json", "x" * 300])
def test_an_unwritable_file_is_refused_before_the_work(run: Run, stub: StubKubernaut, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    result = run(*LINES["publish"], "--to", f"{tmp_path}/{where}")
    assert result.exit_code == 3, result.stderr
    assert str(tmp_path) in result.stderr
    assert stub.calls == []
    assert names(tmp_path) == ["file", "pipe"]


def test_a_dash_is_not_a_file(run: Run, stub: StubKubernaut) -> None:
    result = run(*LINES["publish"], "--to", "-")
    assert (result.exit_code, stub.calls) == (2, [])
    assert "-o json" in result.stderr


def test_a_file_that_becomes_unwritable_is_reported_after_the_work(run: Run, stub: StubKubernaut, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    folder.mkdir()

    def wipe(*_: object, **__: object) -> Published:
        folder.rmdir()
        return Published(PLAN, True, version())

    stub.answers["publish"] = wipe
    result = run(*LINES["publish"], "--to", str(folder / "release.json"))
    assert result.exit_code == 3
    assert str(folder / "release.json") in result.stderr
    assert "nothing" not in result.stderr


def test_a_symbolic_link_is_replaced_and_its_target_kept(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "release.json").symlink_to(target)
    assert run(*LINES["publish"], "--to", str(tmp_path / "release.json")).exit_code == 0
    assert target.read_text() == "precious"
    assert not (tmp_path / "release.json").is_symlink()


def test_deploy_from_a_file_uses_its_version_and_digest(run: Run, stub: StubKubernaut, file: Path) -> None:
    run(*LINES["publish"], "--to", str(file))
    result = run("deploy", "--from", str(file), "-n", "demo")
    assert result.exit_code == 0, result.stderr
    verb, arguments, options = stub.calls[-1]
    assert (verb, arguments) == ("deploy", ("hello-world",))
    assert (options["version"], options["digest"], options["namespace"]) == ("1.4.2", DIGEST, "demo")


@pytest.mark.parametrize("more", [("hello-world",), ("hello-world@1.4.2",), ("--pre",)])
def test_from_excludes_other_versions(run: Run, stub: StubKubernaut, file: Path, more: tuple[str, ...]) -> None:
    result = run("deploy", *more, "--from", str(file), "-n", "demo")
    assert (result.exit_code, stub.calls) == (2, [])
    assert more[0] in result.stderr


def test_deploy_requires_a_name_or_a_file(run: Run, stub: StubKubernaut) -> None:
    result = run("deploy", "-n", "demo")
    assert (result.exit_code, stub.calls) == (2, [])
    assert "--from" in result.stderr


def test_a_file_that_is_not_a_version_is_not_deployed(run: Run, stub: StubKubernaut, file: Path) -> None:
    run(*LINES["deploy"], "--to", str(file))
    stub.calls.clear()
    result = run("deploy", "--from", str(file), "-n", "demo")
    assert (result.exit_code, stub.calls) == (3, [])
    assert "'demo.hello-world.v3'" in result.stderr
