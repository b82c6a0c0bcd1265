"""The Jenkinsfiles: run by an evaluator of declarative pipelines (tests/jenkinsfiles), then their shell scripts for real.

The evaluator's own tests say what each pipeline does and in which order; these look at what they leave: parameters that must be
those of `kubernaut jenkins setup`, and commands, which a stub called kubernaut writes down word by word.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import click
import pytest
from support.programs import program

from kubernaut.cli.main import main
from kubernaut.jenkins.jobs import JobSettings, Parameter, define_jobs, deploy_parameters, release_parameters

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PROJECT = ROOT / "tests" / "jenkinsfiles"
HOSTILE = 'it\'s "new"\n$(touch pwned) `touch pwned` ${HOME} ; touch pwned ]]> \N{GRINNING FACE} \\ *'
STUB = """#!/bin/bash
for word in "$@"; do printf '%s\\0' "$word"; done >> "$CALLS"
printf 'DOCKER_CONFIG=%s\\0\\0' "$DOCKER_CONFIG" >> "$CALLS"
exit "${STATUS:-0}"
"""


def evaluated(out: Path) -> Path:
    """Run the evaluator's tests; without the network when it has been run here before."""
    command = [program("mvn"), "--batch-mode", "--quiet", f"-Dout={out}", f"-Droot={ROOT}", "test"]
    environment = os.environ | {"MAVEN_OPTS": "-Xmx512m -XX:TieredStopAtLevel=1"}
    done = subprocess.run(
        [*command, "--offline"], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode and re.search(r"offline mode|could not be resolved", done.stdout):
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def evaluator_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the evaluator's tests, made once for all processes of this test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    out = shared / "jenkinsfiles"
    with (shared / "jenkinsfiles.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "done").exists():
            evaluated(out)
            (out / "done").touch()
    return out


def pipeline(evaluator_output: Path, name: str) -> Any:
    return json.loads((evaluator_output / f"{name}.json").read_text(encoding="utf-8"))


def script_of(evaluator_output: Path, name: str, number: int = 0) -> str:
    return str(pipeline(evaluator_output, name)["sh"][number]["script"])


def run(script: str, folder: Path, *, status: int = 0, **environment: str) -> list[list[str]]:
    """Run a script with a stub of kubernaut; return the arguments of each call."""
    (folder / "bin").mkdir(exist_ok=True)
    stub = folder / "bin" / "kubernaut"
    stub.write_text(STUB)
    stub.chmod(0o755)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    file = folder / "script.sh"
    file.write_text(script, encoding="utf-8")
    file.chmod(0o755)
    subprocess.run(["bash", "-n", file], check=True)
    record = folder / "calls"
    record.unlink(missing_ok=True)
    given = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(record),
        "WORKSPACE": str(work),
        "DOCKER_CONFIG_JSON": "/secret files/1/config.json",
        **environment,
    }
    done = subprocess.run([file], cwd=work, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert not (work / "pwned").exists()
    assert "secret" not in done.stdout + done.stderr, "the shell echoes what it runs"
    return [call.split("\0") for call in record.read_text(encoding="utf-8").split("\0\0")[:-1]]


def test_all_tests_of_the_evaluator_ran(evaluator_output: Path) -> None:
    suites = [
        ET.parse(file).getroot()  # noqa: S314 - surefire wrote it
        for file in sorted(evaluator_output.glob("surefire-reports/TEST-*.xml"))
    ]
    assert {suite.get("name") for suite in suites} == {"DeployTest", "EvaluatorTest", "ExamplesTest", "JobsTest", "ReleaseTest"}
    assert sum(int(suite.get("tests", "0")) for suite in suites) >= 35
    assert all(suite.get(of) == "0" for suite in suites for of in ("errors", "failures", "skipped"))


def declared(evaluator_output: Path, name: str) -> list[Parameter]:
    parameters = pipeline(evaluator_output, name)["parameters"]
    assert {parameter["type"] for parameter in parameters} == {"string"}
    return [Parameter(parameter["name"], parameter["description"], parameter["defaultValue"]) for parameter in parameters]


def test_parameters_match_those_of_the_jobs(evaluator_output: Path) -> None:
    assert declared(evaluator_output, "deploy") == list(deploy_parameters())
    # Release's others have each application's own defaults, which a Jenkinsfile would take away.
    assert declared(evaluator_output, "release") == [release_parameters("pipeline")[-1]]


def found(entries: list[dict[str, Any]], *path: str) -> list[list[str]]:
    """Return the arguments of every call at a path of a recorded Job DSL script."""
    if len(path) == 1:
        return [entry["args"] for entry in entries if entry["name"] == path[0]]
    return [args for entry in entries if entry["name"] == path[0] for args in found(entry["calls"], *path[1:])]


def test_job_dsl_creates_the_same_jobs_as_setup(evaluator_output: Path) -> None:
    jobs = json.loads((evaluator_output / "jobs.json").read_text(encoding="utf-8"))
    repository = "https://github.com/example/hello-world.git"
    settings = JobSettings("hello-world", repository, "main", ".", "pipeline", namespace="staging")
    for job, expected in zip(jobs, define_jobs(settings, "jenkins"), strict=True):
        assert job["args"] == [str(expected.path)]
        assert [Parameter(name, text, default) for name, default, text in found(job["calls"], "parameters", "stringParam")] == list(
            expected.parameters
        )
        scm = ("definition", "cpsScm")
        assert found(job["calls"], *scm, "scm", "git", "remote", "url") == [[repository]]
        assert found(job["calls"], *scm, "scm", "git", "branch") == [["main"]]
        assert found(job["calls"], *scm, "scriptPath") == [[expected.steps.script_path]]  # type: ignore[union-attr]
        assert found(job["calls"], "properties", "disableConcurrentBuilds") == [[]]


def test_deploy_passes_its_parameters_on_exactly(evaluator_output: Path, tmp_path: Path) -> None:
    given = {"NAME": "shop", "VERSION": "1.4.2", "NAMESPACE": "staging", "ENVIRONMENT": "", "NOTE": ""}
    script = script_of(evaluator_output, "deploy")
    docker = "DOCKER_CONFIG=/secret files/1"
    rest = ["--lock-timeout", "10m", "--to", "deployed.json", docker]
    assert run(script, tmp_path, **given) == [["deploy", "shop@1.4.2", "-n", "staging", *rest]]
    assert run(script, tmp_path, **given | {"ENVIRONMENT": "production", "NOTE": HOSTILE}) == [
        ["deploy", "shop@1.4.2", "-n", "staging", "--environment=production", f"--note={HOSTILE}", *rest]
    ]
    assert run(script, tmp_path, **given | {"VERSION": HOSTILE}) == [["deploy", f"shop@{HOSTILE}", "-n", "staging", *rest]]


def test_deploy_exits_with_the_status_of_kubernaut_and_removes_the_old_file(evaluator_output: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "deployed.json").write_text("{}")
    given = {"NAME": "shop", "VERSION": "1.4.2", "NAMESPACE": "staging", "STATUS": "6"}
    run(script_of(evaluator_output, "deploy"), tmp_path, status=6, **given)
    assert not (tmp_path / "work" / "deployed.json").exists()


def test_report_of_a_failed_deploy_never_fails(evaluator_output: Path, tmp_path: Path) -> None:
    script = script_of(evaluator_output, "deploy-failed", 1)
    calls = run(script, tmp_path, NAME="shop", NAMESPACE="staging", STATUS="8")
    assert [call[:-1] for call in calls] == [["show", "shop", "-n", "staging"], ["history", "shop", "-n", "staging"]]


def test_release_publishes_the_application_folder(evaluator_output: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "release.json").write_text("{}")
    script = script_of(evaluator_output, "release")
    for folder in ("apps/shop", HOSTILE):
        [call] = run(script, tmp_path, APP_DIR=folder)
        assert call == ["publish", folder, "--to", str(tmp_path / "work" / "release.json"), "DOCKER_CONFIG=/secret files/1"]
    assert not (tmp_path / "work" / "release.json").exists()
    run(script, tmp_path, status=3, APP_DIR=".", STATUS="3")


def test_example_of_the_command_line(evaluator_output: Path, tmp_path: Path) -> None:
    [call] = run(script_of(evaluator_output, "example-cli"), tmp_path, BUILD_NUMBER="7")
    assert call[:-1] == ["ship", "examples/hello-world", "-n", "staging", "--note", "build 7", "--lock-timeout", "10m"]


@pytest.mark.parametrize("name", ["deploy", "release", "example-cli"])
def test_command_line_accepts_the_arguments_of_the_jenkinsfiles(name: str, evaluator_output: Path, tmp_path: Path) -> None:
    given = {"NAME": "shop", "VERSION": "1.4.2", "NAMESPACE": "staging", "ENVIRONMENT": "production", "NOTE": HOSTILE}
    [call] = run(script_of(evaluator_output, name), tmp_path, **given, APP_DIR=".", BUILD_NUMBER="7")
    command = main.get_command(click.Context(main), call[0])
    assert command is not None
    assert command.make_context(call[0], call[1:-1]).params


def test_no_script_contains_groovy_interpolation(evaluator_output: Path) -> None:
    for name in ("deploy", "deploy-failed", "release", "example-cli", "example-library", "example-rest"):
        for step in pipeline(evaluator_output, name)["sh"]:
            assert step["script"].startswith("#!/bin/bash\n")
            assert "S3CRET" not in step["script"]
            assert not re.search(r"\bset\b.*-\w*x", step["script"])
