"""Jobs are run, followed and stopped on a real CI server."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from support.checkout import PROGRAM
from support.ci_jobs import Jobs
from support.messages import facts
from support.waiting import until

from kubernaut.adapters.secret_files import token_from_file
from kubernaut.errors import BuildAborted, BuildUnsuccessful, JobInvalid, JobNotFound
from kubernaut.events import Event, LogLine, Notice, Progress, ignore_event
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.run import BuildRun, run_job
from kubernaut.jenkins.server import JenkinsServer

if TYPE_CHECKING:
    from support.hudson import Hudson

pytestmark = pytest.mark.platform

HOSTILE = "a\"b'c $(touch /tmp/pwned) `x` ]]> <b> é 😀\n\ttab &amp; %41 a=b&c=d \\ " + "x" * 20_000
FOR_EVER = "echo running; sleep 600"
QUEUED = "is already in progress"
"""Why a build waits, in Hudson's words."""


@dataclass
class RunHarness:
    """A job on the server, and the command in front of it."""

    ci: Hudson
    server: JenkinsServer
    path: JobPath
    folder: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, listener: Callable[[Event], None] = ignore_event, **how: object) -> BuildRun:
        """Run the job in this process."""
        parameters = {"NOTE": str(how.pop("note"))} if "note" in how else {}
        return run_job(self.server, self.path, parameters, progress=Progress(listener), **how)  # type: ignore[arg-type]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run it by a process."""
        process = subprocess.Popen(
            [PROGRAM, "jenkins", "run", str(self.path), "--url", self.ci.url, "--user", self.ci.user, *arguments],
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "KUBERNAUT_JENKINS_TOKEN_FILE": str(self.ci.token_file)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def says(self, number: int, text: str) -> None:
        """Wait until a build's console contains a text."""
        until(lambda: (console := self.server.console(self.path, number, 0)) is not None and text in console.text, text)

    def result(self, number: int) -> str | None:
        build = self.server.build(self.path, number)
        return build.result if build is not None else "DELETED"

    def over(self, number: int) -> None:
        """Wait until the server has finished with a build: a job cannot be deleted while a build of it is being saved."""
        until(lambda: (console := self.server.console(self.path, number, 0)) is None or not console.more, f"the end of #{number}")

    def delete(self) -> None:
        """Delete the job, if it is there, and its builds."""
        with suppress(JobNotFound):
            for build in self.server.builds(self.path):
                self.server.stop(self.path, build.number)
                self.over(build.number)
        self.post("doDelete")

    def post(self, what: str) -> None:
        """Send a POST about the job, which may be gone, as a button on its page does."""
        jobs = Jobs(self.ci.url, self.ci.user, self.ci.token_file)
        jobs.ask("POST", f"{jobs.path(str(self.path))}/{what}", status=None)


@pytest.fixture
def make(ci_server: Hudson, tmp_path: Path) -> Iterator[Callable[[str], RunHarness]]:
    """A function that creates a job with a bash script; processes that it leaves are ended afterwards."""
    made: list[RunHarness] = []

    def make(script: str) -> RunHarness:
        server = JenkinsServer(ci_server.url, user=ci_server.user, token=token_from_file(ci_server.token_file))
        harness = RunHarness(ci_server, server, JobPath((f"run-{uuid.uuid4().hex[:8]}",)), tmp_path)
        server.create(harness.path, job("#!/bin/bash\n" + script))
        made.append(harness)
        return harness

    yield make
    for harness in made:
        for process in harness.processes:
            process.kill()
            process.communicate()
        harness.delete()
        harness.server.close()
    ci_server.end_builds()


def job(script: str) -> str:
    root = ElementTree.Element("project")
    properties = ElementTree.SubElement(ElementTree.SubElement(root, "properties"), "hudson.model.ParametersDefinitionProperty")
    definitions = ElementTree.SubElement(properties, "parameterDefinitions")
    for name in ("NOTE", "OP_ID"):
        definition = ElementTree.SubElement(definitions, "hudson.model.StringParameterDefinition")
        ElementTree.SubElement(definition, "name").text = name
        ElementTree.SubElement(definition, "defaultValue").text = ""
    ElementTree.SubElement(root, "scm", {"class": "hudson.scm.NullSCM"})
    ElementTree.SubElement(root, "concurrentBuild").text = "false"
    shell = ElementTree.SubElement(ElementTree.SubElement(root, "builders"), "hudson.tasks.Shell")
    ElementTree.SubElement(shell, "command").text = script
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + ElementTree.tostring(root, encoding="unicode")


def test_build_runs_with_its_parameters_and_is_followed(make: Callable[[str], RunHarness]) -> None:
    harness = make('printf %s "$NOTE" | sha256sum; echo "for $OP_ID"')
    received: list[str] = []
    build = harness.run(
        lambda event: received.append(event.text) if isinstance(event, LogLine) else None, follow=True, note=HOSTILE
    )
    assert (build.number, build.result, build.url) == (1, "SUCCESS", f"{harness.ci.url}/job/{harness.path}/1/")
    assert f"{hashlib.sha256(HOSTILE.encode()).hexdigest()}  -" in received
    assert f"for {build.op_id}" in received
    assert received[-1] == "Finished: SUCCESS"
    assert harness.server.builds(harness.path)[0].parameters["NOTE"] == HOSTILE


def test_failed_build_shows_its_last_lines(make: Callable[[str], RunHarness]) -> None:
    harness = make("echo no such image; exit 7")
    with pytest.raises(BuildUnsuccessful, match=facts("#1", "FAILURE")) as failed:
        harness.run(follow=True)
    assert "no such image" in failed.value.details
    assert failed.value.details[-1] == "Finished: FAILURE"


def test_unknown_parameters_and_missing_jobs_are_refused(make: Callable[[str], RunHarness]) -> None:
    harness = make("exit 0")
    with pytest.raises(JobInvalid, match=facts("'NOTES'", "'NOTE'")):
        run_job(harness.server, harness.path, {"NOTES": "x"})
    harness.post("disable")
    with pytest.raises(JobInvalid, match=str(harness.path)):
        harness.run()
    with pytest.raises(JobNotFound):
        run_job(harness.server, JobPath.parse("missing"), {})
    assert harness.server.builds(harness.path) == ()


def test_build_aborted_elsewhere(make: Callable[[str], RunHarness]) -> None:
    harness = make(FOR_EVER)
    process = harness.start("--follow")
    until(lambda: harness.server.builds(harness.path), "a build")
    harness.says(1, "running")
    harness.server.stop(harness.path, 1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == BuildAborted.exit_status, err
    assert f"{harness.path} #1 " in err


@pytest.mark.parametrize(("option", "result"), [((), None), (("--abort-on-interrupt",), "ABORTED")])
def test_signal_leaves_or_stops_the_build(make: Callable[[str], RunHarness], option: tuple[str, ...], result: str | None) -> None:
    harness = make(FOR_EVER)
    process = harness.start("--follow", *option)
    assert process.stdout is not None
    while process.stdout.readline() != "running\n":
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "#1" in err
    assert harness.result(1) == result
    harness.server.stop(harness.path, 1)


def test_queue_item_removed_here_or_elsewhere(make: Callable[[str], RunHarness]) -> None:
    harness = make(FOR_EVER)
    harness.run()
    until(lambda: harness.server.builds(harness.path), "a build")
    process = harness.start("--follow", "--abort-on-interrupt")
    assert process.stderr is not None
    while QUEUED not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert harness.server.queue(harness.path) == ()

    def cancel(event: Event) -> None:
        if isinstance(event, Notice) and QUEUED in event.text:
            harness.server.cancel(harness.server.queue(harness.path)[0])

    with pytest.raises(BuildAborted, match=str(harness.path)):
        harness.run(cancel, follow=True)
    harness.server.stop(harness.path, 1)


def test_concurrent_runs_with_one_op_id_are_one_build(make: Callable[[str], RunHarness]) -> None:
    harness = make("exit 0")
    processes = [harness.start("--op-id", "push-1", "--follow") for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "Finished: SUCCESS" in out
    assert [build.number for build in harness.server.builds(harness.path)] == [1]
    assert not harness.run(op_id="push-1").triggered


def test_runs_without_op_id_are_separate_builds(make: Callable[[str], RunHarness]) -> None:
    harness = make("sleep 1")
    names = {harness.run().op_id for _ in range(3)}
    # A build is listed before it has its parameters.
    until(lambda: sum("OP_ID" in build.parameters for build in harness.server.builds(harness.path)) == 3, "three builds")
    assert {build.parameters["OP_ID"] for build in harness.server.builds(harness.path)} == names
    until(lambda: not any(build.building for build in harness.server.builds(harness.path)), "their end")


def test_restart_is_waited_for(make: Callable[[str], RunHarness]) -> None:
    harness = make('[ "$NOTE" = short ] || { echo running; sleep 600; }')
    runs = harness.start("--follow")
    until(lambda: harness.server.builds(harness.path), "a build")
    harness.says(1, "running")
    second_run = ("--follow", "--param", "NOTE=short", "--op-id", "second")
    waits = harness.start(*second_run)
    until(lambda: harness.server.queue(harness.path), "an item in the queue")
    # Otherwise the server starts the queued build while it shuts down, and loses it.
    Jobs(harness.ci.url, harness.ci.user, harness.ci.token_file).ask("POST", "/quietDown", status=302)
    harness.ci.restart()
    _, err = runs.communicate(timeout=120)
    # The server calls a build that ran when it stopped failed, or aborted, as it comes.
    assert runs.returncode in (BuildUnsuccessful.exit_status, BuildAborted.exit_status), err
    began = [line for line in err.splitlines() if re.search(rf"{re.escape(harness.ci.url)}.*\b5 minutes\b", line)]
    ended = re.findall(r"\bJenkins\b.* \d+ s$", err, re.MULTILINE)
    assert len(began) == len(ended) >= 1, err
    out, err = waits.communicate(timeout=120)
    if waits.returncode == BuildAborted.exit_status:  # a server that stops before it saves its queue loses what waits: ask again
        assert "--op-id second" in err
        waits = harness.start(*second_run)
        out, err = waits.communicate(timeout=120)
    assert waits.returncode == 0, err
    assert "Finished: SUCCESS" in out
    second, first = harness.server.builds(harness.path)  # whose parameters may be lost
    assert (second.parameters["OP_ID"], second.number, first.number) == ("second", 2, 1)


def test_job_deleted_while_followed(make: Callable[[str], RunHarness]) -> None:
    harness = make(FOR_EVER)

    def delete(event: Event) -> None:
        if isinstance(event, LogLine) and event.text == "running":
            other = JenkinsServer(harness.ci.url, user=harness.ci.user, token=token_from_file(harness.ci.token_file))
            replace(harness, server=other).delete()
            other.close()

    with pytest.raises(JobNotFound, match=str(harness.path)):
        harness.run(delete, follow=True)


def test_lines_are_shown_at_once_with_a_request_a_second(make: Callable[[str], RunHarness]) -> None:
    """`make bench` measures the delay; the unit tests check its bound with a fake clock."""
    harness = make('for i in {1..25}; do date "+at %s.%N"; sleep 0.23; done')
    printed, received = list[float](), list[float]()

    def hear(event: Event) -> None:
        if isinstance(event, LogLine) and event.text.startswith("at "):
            received.append(time.time())
            printed.append(float(event.text[3:]))

    before, begun = asked(harness), time.monotonic()
    harness.run(hear, follow=True)
    seconds, requests = time.monotonic() - begun, asked(harness) - before
    assert len(printed) == 25
    assert received[0] < printed[-1], "the first line is shown before the last one is printed"
    assert requests <= seconds + 5, f"{requests} in {seconds:.1f} s"  # a job to read, a crumb to get, a build to ask for


def asked(harness: RunHarness) -> int:
    """Return how many requests about the job the server has logged."""
    text = harness.ci.home.log.read_text(errors="replace")
    return sum(f"/job/{harness.path}" in line or "/queue/" in line for line in text.splitlines())
