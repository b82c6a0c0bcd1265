"""``kubernaut jenkins run``: output, exit statuses and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.checkout import PROGRAM
from support.fake_jenkins import JOB, FakeJenkins, Item, listening
from support.messages import facts
from support.waiting import until
from unit.cli.stub import version

from kubernaut.cli.main import main

CANARY = "canary-5f3a-" + "x" * 32
ENDLESS = "Started by user ci\nrelease 1.4.2 is being deployed\n"


class RunHarness:
    """A stand-in that listens, and the command in front of it."""

    def __init__(self, url: str, jenkins: FakeJenkins, folder: Path) -> None:
        self.url = url
        self.jenkins = jenkins
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "JENKINS_URL": self.url,
            "JENKINS_USER": "ci",
            "KUBERNAUT_JENKINS_TOKEN": CANARY,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command in its own process."""
        return subprocess.Popen(
            [PROGRAM, "jenkins", "run", *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(self.folder), "PYTHONIOENCODING": "utf-8", **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], status: int) -> tuple[str, str]:
        out, err = process.communicate(timeout=60)
        assert process.returncode == status, f"{out}\n{err}"
        assert CANARY not in out + err
        assert "Traceback" not in err
        return out, err

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """Run the command in this process."""
        done = CliRunner().invoke(main, ["jenkins", "run", *arguments], env=self.environment)
        assert done.exit_code == status, done.output
        assert CANARY not in done.output
        return done.stdout, done.stderr


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunHarness]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("KUBERNAUT_", "JENKINS_", "HUDSON_"))]:
        monkeypatch.delenv(name)
    jenkins = FakeJenkins(time.monotonic)
    with listening(jenkins) as url:
        yield RunHarness(url, jenkins, tmp_path)


def says(harness: RunHarness, text: str, result: str | None) -> None:
    """Let each request become a build at once that prints a text; without a result it goes on."""

    def begin(item: Item) -> None:
        made = harness.jenkins.start(item)
        made.say(text)
        if result is not None:
            made.end(result)

    harness.jenkins.on_item = begin


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("--param", "VERSION"), "KEY=VALUE"),
        (("--param", "=1"), "KEY=VALUE"),
        (("--param", "A=1", "--param", "A=2"), "A is set twice"),
        (("--timeout", "soon"), "'soon'"),
        (("--from", "release.json", "--param", "VERSION=1"), "--param VERSION"),
    ],
)
def test_invalid_options_are_usage_errors(harness: RunHarness, arguments: tuple[str, ...], fact: str) -> None:
    _, err = harness.run(JOB, *arguments, status=2)
    assert fact in err
    assert harness.jenkins.received == []


@pytest.mark.parametrize("job", ["..", "a//b", "a/../b", "", "a?b"])
def test_invalid_job_name_sends_no_request(harness: RunHarness, job: str) -> None:
    harness.run(job, status=3)
    assert harness.jenkins.received == []


def test_without_follow_the_build_is_named(harness: RunHarness) -> None:
    out, _ = harness.run(JOB, "--param", "VERSION=1.4.2", "--param", "NAMESPACE=")
    assert re.search(facts(JOB, "queue", f"{harness.url}/job/{JOB}/"), out)
    (asked,) = harness.jenkins.triggers
    assert {**asked.form, "OP_ID": ""} == {"VERSION": "1.4.2", "NAMESPACE": "", "OP_ID": ""}
    says(harness, "", "SUCCESS")
    out, _ = harness.run(JOB, "--op-id", "push-1", "-o", "json")
    content = json.loads(out)
    assert (content["number"], content["url"], content["opId"]) == (1, f"{harness.url}/job/{JOB}/1/", "push-1")


def test_version_from_the_file_of_publish(harness: RunHarness) -> None:
    published = version("2.0.0").model_dump(mode="json", by_alias=True)
    (harness.folder / "release.json").write_text(json.dumps(published))
    harness.run(JOB, "--from", "release.json")
    assert harness.jenkins.triggers[0].form["VERSION"] == "2.0.0"
    (harness.folder / "release.json").write_text("{}")
    harness.run(JOB, "--from", "release.json", status=3)
    harness.run(JOB, "--from", "nowhere.json", status=3)
    assert len(harness.jenkins.triggers) == 1


def test_console_is_on_stdout_and_steps_are_on_stderr(harness: RunHarness) -> None:
    says(harness, f"Started\n\n  it is {CANARY} \x1b[31mred\x1b[0m password=hunter22\nFinished: SUCCESS\n", "SUCCESS")
    out, err = harness.end(harness.start(JOB, "--follow"), 0)
    assert out == "Started\n\n  it is *** red password=***\nFinished: SUCCESS\n"
    assert "hunter22" not in err
    assert re.search(facts("#1", f"{harness.url}/job/{JOB}/1/"), err)


def test_failed_build_exits_with_10_and_shows_lines_once(harness: RunHarness) -> None:
    says(harness, "Started\nno such image\nFinished: FAILURE\n", "FAILURE")
    out, err = harness.run(JOB, "--follow", status=10)
    assert out.splitlines()[-1] == "Finished: FAILURE"
    assert "no such image" not in err
    assert f"error: {JOB} #1 ended as FAILURE" in err


def test_json_output_has_the_console_on_stderr(harness: RunHarness) -> None:
    says(harness, "Started\nFinished: FAILURE\n", "FAILURE")
    out, err = harness.run(JOB, "--follow", "-o", "json", status=10)
    problem: dict[str, Any] = json.loads(out)
    assert (problem["code"], problem["result"], problem["number"]) == ("build_unsuccessful", "FAILURE", 1)
    assert problem["details"] == ["Started", "Finished: FAILURE"]
    assert err.count("Finished: FAILURE") == 1


def test_invalid_url_names_the_setting(harness: RunHarness) -> None:
    _, err = harness.run(JOB, "--url", "ftp://x", status=3)
    assert "jenkins_url" in err


def test_unreachable_server_fails_at_once(harness: RunHarness) -> None:
    begun = time.monotonic()
    harness.run(JOB, "--url", "http://127.0.0.1:1", status=8)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)])
def test_signal_leaves_the_build_running(harness: RunHarness, number: signal.Signals, status: int) -> None:
    says(harness, ENDLESS, None)
    process = harness.start(JOB, "--follow", "--op-id", "push-1")
    assert process.stdout is not None
    assert process.stdout.readline() == "Started by user ci\n"
    process.send_signal(number)
    _, err = harness.end(process, status)
    assert harness.jenkins.runs[1].building
    assert re.search(facts("#1", f"{harness.url}/job/{JOB}/1/"), err)
    assert f"hint: `kubernaut jenkins run {JOB} --op-id push-1 --follow`" in err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)])
def test_signal_stops_the_build_on_request(harness: RunHarness, number: signal.Signals, status: int) -> None:
    says(harness, ENDLESS, None)
    process = harness.start(JOB, "--follow", "--abort-on-interrupt")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    _, err = harness.end(process, status)
    assert harness.jenkins.runs[1].result == "ABORTED"
    assert re.search(facts("#1"), err)


@pytest.mark.slow
def test_further_signals_have_no_effect(harness: RunHarness) -> None:
    says(harness, ENDLESS, None)
    stopped: list[float] = []
    harness.jenkins.on_stop = lambda run: stopped.append(time.monotonic())
    process = harness.start(JOB, "--follow", "--abort-on-interrupt")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    until(lambda: stopped, "the build is asked to stop")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    harness.jenkins.runs[1].end("ABORTED")
    _, err = harness.end(process, 143)
    assert re.search(facts("#1"), err)
    assert len(stopped) == 1


@pytest.mark.slow
def test_signal_removes_the_queue_item(harness: RunHarness) -> None:
    process = harness.start(JOB, "--follow", "--abort-on-interrupt")
    assert process.stderr is not None
    while "waiting: " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = harness.end(process, 143)
    assert "removed from the queue" in err
    assert harness.jenkins.items[100].cancelled


@pytest.mark.slow
def test_closed_stdout_leaves_the_build_running(harness: RunHarness) -> None:
    says(harness, ENDLESS, None)
    process = harness.start(JOB, "--follow")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    harness.jenkins.runs[1].say("more\n")
    assert process.stderr is not None
    process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    assert harness.jenkins.runs[1].building


@pytest.mark.slow
def test_concurrent_runs_with_one_op_id_run_once(harness: RunHarness) -> None:
    says(harness, "Finished: SUCCESS\n", "SUCCESS")
    processes = [harness.start(JOB, "--op-id", "push-1", "-o", "json") for _ in range(3)]
    results = [json.loads(harness.end(process, 0)[0]) for process in processes]
    assert len(harness.jenkins.triggers) == 1
    assert [one["number"] for one in results] == [1, 1, 1]
    assert [one["triggered"] for one in results].count(True) == 1
