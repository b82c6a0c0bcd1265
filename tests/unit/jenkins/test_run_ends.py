"""Following a build: its end, the pace of the requests, and signals."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
from support.fake_jenkins import JOB, URL, Item, Run
from support.job_runner import STARTING, JobRunner, after
from support.messages import facts

from kubernaut.errors import BuildAborted, BuildUnsuccessful, DeadlineExceeded, JenkinsUnreachable, JobNotFound
from kubernaut.events import LogLine

# results


@pytest.mark.parametrize("result", ["FAILURE", "UNSTABLE", "NOT_BUILT"])
def test_build_without_success_fails_with_its_last_lines(runner: JobRunner, result: str) -> None:
    after(runner, result=result)
    with pytest.raises(BuildUnsuccessful, match=facts(JOB, "#1", result, f"{URL}/job/{JOB}/1/")) as failed:
        runner(follow=True)
    assert failed.value.details == ("Started by user ci", "release 1.4.2", f"Finished: {result}")
    assert failed.value.members["result"] == result
    assert failed.value.members["number"] == 1
    assert failed.value.exit_status == 10


def test_aborted_build(runner: JobRunner) -> None:
    after(runner, result="ABORTED")
    with pytest.raises(BuildAborted, match=facts(JOB, "#1")):
        runner(follow=True)


def test_build_without_a_result(run: JobRunner) -> None:
    after(run, result=None)
    with pytest.raises(BuildUnsuccessful, match=facts(JOB, "#1")):
        run(follow=True)
    assert run.clock.now() < 60


@pytest.mark.parametrize("moment", [0.2, 2.2])
def test_job_deleted_meanwhile(runner: JobRunner, moment: float) -> None:
    after(runner, start=1, end=100)
    runner.clock.at(moment, lambda: setattr(runner.jenkins, "there", False))
    if moment < 1:
        runner.jenkins.on_item = lambda item: runner.clock.at(moment, lambda: runner.jenkins.items.clear())
    with pytest.raises(JobNotFound):
        runner(follow=True)


def test_build_deleted_meanwhile(run: JobRunner) -> None:
    after(run, end=100)
    run.clock.at(3.2, run.jenkins.runs.clear)
    with pytest.raises(JobNotFound, match=facts(JOB, "#1")):
        run(follow=True)


def test_following_has_a_deadline(runner: JobRunner) -> None:
    after(runner, end=100)
    with pytest.raises(DeadlineExceeded, match=facts("#1")) as late:
        runner(follow=True, longest=10.0, op_id="push-1")
    assert runner.clock.now() <= 11
    assert "--op-id push-1 --follow" in late.value.hint
    assert runner.jenkins.runs[1].building


# outages


def test_restart_is_waited_for_with_one_notice(runner: JobRunner) -> None:
    after(runner, end=30)
    runner.clock.at(5, lambda: runner.jenkins.inject("", STARTING, times=9))
    runner.clock.at(16, lambda: runner.jenkins.inject("", requests.ConnectionError(), times=3))
    assert runner(follow=True).result == "SUCCESS"
    outages = [notice for notice in runner.notices if re.search(rf"{URL}.*\b5 minutes\b|\bJenkins\b.* \d+ s$", notice)]
    assert ["5 minutes" in notice for notice in outages] == [True, False, True, False]  # its beginning, its end, and the next
    assert runner.lines == ["Started by user ci", "release 1.4.2", "Finished: SUCCESS"]


def test_queued_build_is_found_after_a_restart(runner: JobRunner) -> None:
    after(runner, start=20)
    runner.clock.at(3, lambda: runner.jenkins.inject("", STARTING, times=10))
    assert runner(follow=True).result == "SUCCESS"
    assert len(runner.jenkins.triggers) == 1


def test_build_lost_in_a_restart_has_failed(runner: JobRunner) -> None:
    after(runner, end=100)

    def restart() -> None:
        made = runner.jenkins.runs[1]
        made.given = {}
        made.log = b"Started by user ci\njava.io.IOException\n"
        made.end("FAILURE")

    runner.clock.at(4, restart)
    with pytest.raises(BuildUnsuccessful):
        runner(follow=True)


def test_long_outage_is_an_error(runner: JobRunner) -> None:
    after(runner, end=1000)
    runner.clock.at(5, lambda: runner.jenkins.inject("", STARTING, times=10_000))
    with pytest.raises(JenkinsUnreachable, match=URL) as away:
        runner(follow=True)
    assert 300 <= runner.clock.now() < 320
    assert "--follow" in away.value.hint
    assert away.value.members["number"] == 1


def test_replaced_console_is_a_notice(run: JobRunner) -> None:
    after(run, end=10)
    run.clock.at(4, lambda: setattr(run.jenkins.runs[1], "log", b"anew\n"))
    run(follow=True)
    assert run.lines == ["Started by user ci", "release 1.4.2", "anew", "Finished: SUCCESS"]
    assert any("console" in notice for notice in run.notices)


# pace


@pytest.mark.parametrize("start", [0.01, 0.5, 1.5, 7.3, 25.0])
def test_requests_are_a_second_apart(runner: JobRunner, start: float) -> None:
    after(runner, start=start, end=20)
    runner(follow=True)
    assert min(runner.gaps()) >= 1


@pytest.mark.parametrize("start", [0.01, 0.5, 0.99])
def test_line_is_shown_within_two_seconds(runner: JobRunner, start: float) -> None:
    printed_at: dict[str, float] = {}

    def begin(item: Item) -> None:
        made: Run = runner.jenkins.start(item)
        for number in range(40):
            runner.clock.at(runner.clock.now() + number * 0.37, lambda number=number: say(made, number))  # type: ignore[misc]
        runner.clock.at(runner.clock.now() + 16, made.end)

    def say(made: Run, number: int) -> None:
        printed_at[f"line {number}"] = runner.clock.now()
        made.say(f"line {number}\n")

    runner.jenkins.on_item = lambda item: runner.clock.at(start, lambda: begin(item))
    runner(follow=True)
    late = {event.text: at - printed_at[event.text] for at, event in runner.events if isinstance(event, LogLine)}
    assert len(late) == 40
    assert max(late.values()) <= 2
    assert max(seconds for line, seconds in late.items() if int(line.split()[1]) > 5) <= 1.01


def test_new_reason_to_wait_is_a_notice(runner: JobRunner) -> None:
    def waits(item: Item) -> None:
        for second in range(15):
            runner.clock.at(
                second, lambda second=second: setattr(item, "why", f"In the quiet period. Expires in {15 - second} sec")
            )  # type: ignore[misc]
        runner.clock.at(15, lambda: setattr(item, "why", "Waiting for next available executor"))
        runner.clock.at(30, lambda: runner.jenkins.start(item).end())

    runner.jenkins.on_item = waits
    runner(follow=True)
    queued = [notice for notice in runner.notices if "quiet period" in notice or "executor" in notice]  # Jenkins' words
    assert len(queued) == 2
    assert "Waiting for next available executor" in queued[1]


# signals


def interrupt(run: JobRunner, moment: float) -> None:
    def stop() -> None:
        raise KeyboardInterrupt("Stopped by Ctrl-C.")

    run.clock.at(moment, stop)


def test_signal_leaves_the_build_running(runner: JobRunner) -> None:
    after(runner, end=100)
    interrupt(runner, 6)
    with pytest.raises(KeyboardInterrupt) as stopped:
        runner(follow=True, op_id="push-1")
    assert runner.jenkins.runs[1].building
    assert re.search(facts("#1", f"{URL}/job/{JOB}/1/"), runner.notices[-1])
    (note,) = stopped.value.__notes__
    assert f"`kubernaut jenkins run {JOB} --op-id push-1 --follow`" in note
    assert f"{URL}/job/{JOB}/1/" in note


def test_signal_stops_the_build_on_request(runner: JobRunner) -> None:
    after(runner, end=100)
    interrupt(runner, 6)
    with pytest.raises(KeyboardInterrupt):
        runner(follow=True, abort_on_interrupt=True)
    assert runner.jenkins.runs[1].result == "ABORTED"
    assert runner.notices[-1].startswith("#1 ")
    assert runner.clock.now() < 10


def test_signal_removes_the_queue_item_on_request(runner: JobRunner) -> None:
    interrupt(runner, 6)
    with pytest.raises(KeyboardInterrupt):
        runner(follow=True, abort_on_interrupt=True)
    assert runner.jenkins.items[100].cancelled
    assert not any(f"{URL}/job/{JOB}/1/" in notice for notice in runner.notices)


def test_build_that_begins_during_the_cancel_is_stopped(runner: JobRunner) -> None:
    usual: Callable[..., Any] = runner.jenkins._cancel

    def begin_first(*asked: Any) -> Any:
        runner.jenkins.start(runner.jenkins.items[100])
        return usual(*asked)

    runner.jenkins._cancel = begin_first  # type: ignore[method-assign]
    interrupt(runner, 6)
    with pytest.raises(KeyboardInterrupt):
        runner(follow=True, abort_on_interrupt=True)
    assert runner.jenkins.runs[1].result == "ABORTED"


@pytest.mark.parametrize("trouble", ["never stops", "away"])
def test_build_that_cannot_be_stopped_is_a_notice(runner: JobRunner, trouble: str) -> None:
    after(runner, end=1000)
    runner.jenkins.on_stop = lambda run: None
    if trouble == "away":
        runner.clock.at(5.9, lambda: runner.jenkins.inject("", STARTING, times=10_000))
    interrupt(runner, 6)
    with pytest.raises(KeyboardInterrupt) as stopped:
        runner(follow=True, abort_on_interrupt=True)
    assert f"{URL}/job/{JOB}/1/" in runner.notices[-1]
    assert runner.clock.now() < 30
    assert stopped.value.__notes__


def test_signal_before_the_request_adds_no_note(run: JobRunner) -> None:

    def stop(*_asked: Any) -> Any:
        raise KeyboardInterrupt

    run.jenkins._queue = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(op_id="push-1")
    assert not hasattr(stopped.value, "__notes__")
    assert run.notices == []
