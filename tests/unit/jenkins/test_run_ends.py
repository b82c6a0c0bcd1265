"""A build that is followed: how it ends, how often the server is asked, what a signal does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from support.running import STARTING, Runs, after
from support.stand_in import JOB, URL, Item, Run

from kubernaut.errors import BuildAborted, BuildUnsuccessful, DeadlineExceeded, JenkinsUnreachable, JobNotFound
from kubernaut.events import LogLine

GOES_ON = r"The build may go on|it goes on"


# how it ends


@pytest.mark.parametrize("result", ["FAILURE", "UNSTABLE", "NOT_BUILT"])
def test_a_build_without_success_is_a_failure_with_its_last_lines(either: Runs, result: str) -> None:
    after(either, result=result)
    with pytest.raises(BuildUnsuccessful, match=rf"{JOB} #1 ended as {result}: {URL}/job/{JOB}/1/") as failed:
        either(follow=True)
    assert failed.value.details == ("Started by user ci", "release 1.4.2", f"Finished: {result}")
    assert failed.value.members["result"] == result
    assert failed.value.members["number"] == 1
    assert failed.value.exit_status == 10


def test_a_build_that_somebody_aborts_is_told_so(either: Runs) -> None:
    after(either, result="ABORTED")
    with pytest.raises(BuildAborted, match="#1 was aborted"):
        either(follow=True)


def test_a_build_that_never_gets_a_result_has_none(run: Runs) -> None:
    after(run, result=None)
    with pytest.raises(BuildUnsuccessful, match="without a result"):
        run(follow=True)
    assert run.time.now() < 60


@pytest.mark.parametrize("moment", [0.2, 2.2])
def test_a_job_that_is_deleted_meanwhile_is_told_so(either: Runs, moment: float) -> None:
    after(either, start=1, end=100)
    either.time.at(moment, lambda: setattr(either.stand_in, "there", False))
    if moment < 1:
        either.stand_in.on_item = lambda item: either.time.at(moment, lambda: either.stand_in.items.clear())
    with pytest.raises(JobNotFound):
        either(follow=True)


def test_a_build_that_is_deleted_meanwhile_is_told_so(run: Runs) -> None:
    after(run, end=100)
    run.time.at(3.2, run.stand_in.runs.clear)
    with pytest.raises(JobNotFound, match=r"#1 of shop-deploy is not there any more"):
        run(follow=True)


def test_following_has_an_end(either: Runs) -> None:
    after(either, end=100)
    with pytest.raises(DeadlineExceeded, match=GOES_ON) as late:
        either(follow=True, longest=10.0, op_id="push-1")
    assert either.time.now() <= 11
    assert "--op-id push-1 --follow" in late.value.hint
    assert either.stand_in.runs[1].building


# a server that is away


def test_a_server_that_starts_again_is_waited_for_and_that_is_said_once(either: Runs) -> None:
    after(either, end=30)
    either.time.at(5, lambda: either.stand_in.upset("", STARTING, times=9))
    either.time.at(16, lambda: either.stand_in.upset("", requests.ConnectionError(), times=3))
    assert either(follow=True).result == "SUCCESS"
    assert len([one for one in either.notices if "Asked again" in one]) == 2
    assert either.notices.count("Jenkins answers again") == 2
    assert either.lines == ["Started by user ci", "release 1.4.2", "Finished: SUCCESS"]


def test_one_that_waited_while_it_started_is_found_again(either: Runs) -> None:
    after(either, start=20)
    either.time.at(3, lambda: either.stand_in.upset("", STARTING, times=10))
    assert either(follow=True).result == "SUCCESS"
    assert len(either.stand_in.triggers) == 1


def test_a_build_that_the_server_forgot_all_of_but_its_number_has_failed(either: Runs) -> None:
    after(either, end=100)

    def restart() -> None:
        made = either.stand_in.runs[1]
        made.given = {}
        made.log = b"Started by user ci\njava.io.IOException\n"
        made.end("FAILURE")

    either.time.at(4, restart)
    with pytest.raises(BuildUnsuccessful):
        either(follow=True)


def test_a_server_that_does_not_come_back_is_given_up(either: Runs) -> None:
    after(either, end=1000)
    either.time.at(5, lambda: either.stand_in.upset("", STARTING, times=10_000))
    with pytest.raises(JenkinsUnreachable, match=GOES_ON) as away:
        either(follow=True)
    assert 300 <= either.time.now() < 320
    assert "--follow" in away.value.hint
    assert away.value.members["number"] == 1


def test_a_log_that_begins_anew_is_told_so(run: Runs) -> None:
    after(run, end=10)
    run.time.at(4, lambda: setattr(run.stand_in.runs[1], "log", b"anew\n"))
    run(follow=True)
    assert run.lines == ["Started by user ci", "release 1.4.2", "anew", "Finished: SUCCESS"]
    assert any("anew" in notice for notice in run.notices)


# how often it asks


@pytest.mark.parametrize("start", [0.01, 0.5, 1.5, 7.3, 25.0])
def test_never_two_requests_within_a_second(either: Runs, start: float) -> None:
    after(either, start=start, end=20)
    either(follow=True)
    assert min(either.gaps()) >= 1


@pytest.mark.parametrize("start", [0.01, 0.5, 0.99])
def test_a_line_is_shown_two_seconds_after_it_is_there(either: Runs, start: float) -> None:
    said: dict[str, float] = {}

    def begin(item: Item) -> None:
        made: Run = either.stand_in.start(item)
        for number in range(40):
            either.time.at(either.time.now() + number * 0.37, lambda number=number: say(made, number))  # type: ignore[misc]
        either.time.at(either.time.now() + 16, made.end)

    def say(made: Run, number: int) -> None:
        said[f"line {number}"] = either.time.now()
        made.say(f"line {number}\n")

    either.stand_in.on_item = lambda item: either.time.at(start, lambda: begin(item))
    either(follow=True)
    late = {event.text: at - said[event.text] for at, event in either.heard if isinstance(event, LogLine)}
    assert len(late) == 40
    assert max(late.values()) <= 2
    assert max(seconds for line, seconds in late.items() if int(line.split()[1]) > 5) <= 1.01


def test_what_it_waits_for_is_told_when_it_changes(either: Runs) -> None:
    def waits(item: Item) -> None:
        for second in range(15):
            either.time.at(second, lambda second=second: setattr(item, "why", f"In the quiet period. Expires in {15 - second} sec"))  # type: ignore[misc]
        either.time.at(15, lambda: setattr(item, "why", "Waiting for next available executor"))
        either.time.at(30, lambda: either.stand_in.start(item).end())

    either.stand_in.on_item = waits
    either(follow=True)
    told = [notice for notice in either.notices if notice.startswith("waits")]
    assert len(told) == 2
    assert told[1] == "waits: Waiting for next available executor"


# a signal


def interrupt(run: Runs, moment: float) -> None:
    def stop() -> None:
        raise KeyboardInterrupt("Stopped by Ctrl-C.")

    run.time.at(moment, stop)


def test_a_signal_leaves_the_build_running_and_says_so(either: Runs) -> None:
    after(either, end=100)
    interrupt(either, 6)
    with pytest.raises(KeyboardInterrupt) as stopped:
        either(follow=True, op_id="push-1")
    assert either.stand_in.runs[1].building
    assert either.notices[-1] == f"the build goes on: #1 runs: {URL}/job/{JOB}/1/"
    assert stopped.value.__notes__ == [
        f"`kubernaut jenkins run {JOB} --op-id push-1 --follow` takes it up again. Its page stops it: {URL}/job/{JOB}/1/"
    ]


def test_a_signal_stops_the_build_where_that_is_wanted(either: Runs) -> None:
    after(either, end=100)
    interrupt(either, 6)
    with pytest.raises(KeyboardInterrupt):
        either(follow=True, abort_on_interrupt=True)
    assert either.stand_in.runs[1].result == "ABORTED"
    assert either.notices[-1] == "#1 is stopped"
    assert either.time.now() < 10


def test_a_signal_takes_it_out_of_the_queue_where_that_is_wanted(either: Runs) -> None:
    interrupt(either, 6)
    with pytest.raises(KeyboardInterrupt):
        either(follow=True, abort_on_interrupt=True)
    assert either.stand_in.items[100].cancelled
    assert either.notices[-1] == "taken out of the queue"


def test_one_that_begins_just_then_is_stopped(either: Runs) -> None:
    usual: Callable[..., Any] = either.stand_in._cancel

    def begin_first(*asked: Any) -> Any:
        either.stand_in.start(either.stand_in.items[100])
        return usual(*asked)

    either.stand_in._cancel = begin_first  # type: ignore[method-assign]
    interrupt(either, 6)
    with pytest.raises(KeyboardInterrupt):
        either(follow=True, abort_on_interrupt=True)
    assert either.stand_in.runs[1].result == "ABORTED"


@pytest.mark.parametrize("trouble", ["never stops", "away"])
def test_a_build_that_cannot_be_stopped_is_told_so_in_time(either: Runs, trouble: str) -> None:
    after(either, end=1000)
    either.stand_in.on_stop = lambda run: None
    if trouble == "away":
        either.time.at(5.9, lambda: either.stand_in.upset("", STARTING, times=10_000))
    interrupt(either, 6)
    with pytest.raises(KeyboardInterrupt) as stopped:
        either(follow=True, abort_on_interrupt=True)
    assert "has not ended yet" in either.notices[-1] or "could not be stopped" in either.notices[-1]
    assert f"{URL}/job/{JOB}/1/" in either.notices[-1]
    assert either.time.now() < 30
    assert stopped.value.__notes__


def test_a_signal_before_anything_was_asked_for_says_nothing(run: Runs) -> None:

    def stop(*_asked: Any) -> Any:
        raise KeyboardInterrupt

    run.stand_in._queue = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(op_id="push-1")
    assert not hasattr(stopped.value, "__notes__")
    assert run.notices == []
