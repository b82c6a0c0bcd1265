"""Running a job: the request is sent once, and its build is found although the server forgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from support.fake_jenkins import JOB, URL, Item
from support.job_runner import STARTING, JobRunner, after

from kubernaut.errors import BuildAborted, JenkinsDenied, JenkinsUnreachable, JobInvalid, JobNotFound

HOSTILE = "a\"b'c $(id) `x` ]]> <b> é 😀\n\ttab &amp; %41 a=b&c=d " + "x" * 20_000


# requests


def test_request_is_sent_once_with_its_parameters(runner: JobRunner) -> None:
    build = runner({"VERSION": HOSTILE})
    (asked,) = runner.jenkins.triggers
    assert asked.form == {"VERSION": HOSTILE, "OP_ID": build.op_id}  # NAMESPACE keeps the job's default
    assert (build.job, build.number, build.triggered, build.url) == (JOB, None, True, f"{URL}/job/{JOB}/")
    assert build.why == "In the quiet period. Expires in 4.9 sec"


def test_build_that_begins_at_once_is_returned(runner: JobRunner) -> None:
    runner.jenkins.on_item = runner.jenkins.start
    build = runner()
    assert (build.number, build.url, build.result) == (1, f"{URL}/job/{JOB}/1/", None)


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"there": False}, JobNotFound),
        ({"buildable": False}, JobInvalid),
        ({"parameters": ("NAMESPACE", "OP_ID")}, JobInvalid),
        ({"parameters": ("VERSION",), "hudson": True}, JobInvalid),
    ],
)
def test_invalid_request_is_not_sent(run: JobRunner, change: dict[str, Any], failure: type[Exception]) -> None:
    for name, value in change.items():
        setattr(run.jenkins, name, value)
    with pytest.raises(failure):
        run({"VERSION": "1.4.2"})
    assert run.jenkins.triggers == []


def test_build_without_op_id_is_found_by_its_queue_item(run: JobRunner) -> None:
    run.jenkins.parameters = ("VERSION",)
    after(run)
    build = run({"VERSION": "1"}, follow=True)
    assert (build.op_id, build.queue_id, build.result) == (None, 100, "SUCCESS")


def test_rejected_crumb_is_renewed_and_one_build_is_requested(run: JobRunner) -> None:
    run.jenkins.inject("POST .*build", (403, {"X-Jenkins": "2.500"}, b"No valid crumb was included in the request"))
    assert run().queue_id == 100
    assert len(run.jenkins.items) == 1


def test_missing_permission_is_denied(run: JobRunner) -> None:
    run.jenkins.inject("POST .*build", (403, {"X-Jenkins": "2.500"}, b"ci is missing the Job/Build permission"))
    with pytest.raises(JenkinsDenied):
        run()
    assert run.jenkins.items == {}


# lookup


def test_build_is_followed_to_its_end(runner: JobRunner) -> None:
    after(runner)
    build = runner(follow=True)
    assert (build.number, build.result, build.url) == (1, "SUCCESS", f"{URL}/job/{JOB}/1/")
    assert runner.lines == ["Started by user ci", "release 1.4.2", "Finished: SUCCESS"]
    assert any(f"{URL}/job/{JOB}/1/" in notice for notice in runner.notices)


def test_forgotten_queue_item_is_found_among_the_builds(run: JobRunner) -> None:
    def begin_and_forget(item: Item) -> None:
        run.jenkins.start(item).end()
        run.jenkins.forget(item)

    run.jenkins.on_item = lambda item: run.clock.at(1.0, lambda: begin_and_forget(item))
    assert run(follow=True).number == 1
    assert [one.path for one in run.jenkins.received].count("/queue/item/100/api/json") == 2


def test_cancelled_queue_item_is_aborted(run: JobRunner) -> None:
    run.jenkins.on_item = lambda item: run.clock.at(2.5, lambda: setattr(item, "cancelled", True))
    with pytest.raises(BuildAborted, match=JOB) as aborted:
        run(follow=True)
    assert aborted.value.members["queueId"] == 100


@pytest.mark.parametrize("moment", [0.0, 0.5, 5.5])
def test_queue_item_lost_on_hudson_is_aborted(run: JobRunner, moment: float) -> None:
    run.jenkins.hudson = True
    run.jenkins.on_item = lambda item: run.clock.at(moment, lambda: setattr(item, "cancelled", True))
    with pytest.raises(BuildAborted, match=JOB) as vanished:
        run(follow=True)
    assert f"--op-id {vanished.value.members['opId']}`" in vanished.value.hint
    assert run.clock.now() < 40


def test_requests_are_never_identical(runner: JobRunner) -> None:
    names = {runner({"VERSION": "1"}).op_id for _ in range(2)}
    assert len(names) == len(runner.jenkins.items) == 2


def test_merged_requests_without_op_id_share_the_build(run: JobRunner) -> None:
    run.jenkins.parameters = ("VERSION",)
    assert [run({"VERSION": "1"}).queue_id for _ in range(2)] == [100, 100]


def test_build_without_a_location_is_found_by_its_op_id(run: JobRunner) -> None:
    run.jenkins.location = False
    after(run)
    assert run(follow=True).result == "SUCCESS"


@pytest.mark.parametrize("where", ["queue", "builds", "ended"])
def test_existing_build_with_the_op_id_is_used(runner: JobRunner, where: str) -> None:
    item = runner.jenkins.put({"OP_ID": "push-1"})
    if where != "queue":
        made = runner.jenkins.start(item)
        made.end("SUCCESS" if where == "ended" else None)
    build = runner(op_id="push-1")
    assert runner.jenkins.triggers == []
    assert not build.triggered
    assert (build.number, build.result) == {"queue": (None, None), "builds": (1, None), "ended": (1, "SUCCESS")}[where]


def test_repeated_request_follows_the_build_from_its_beginning(runner: JobRunner) -> None:
    after(runner)
    first = runner(op_id="push-1", follow=True)
    runner.events.clear()
    again = runner(op_id="push-1", follow=True)
    assert (again.number, again.result, again.triggered) == (first.number, "SUCCESS", False)
    assert len(runner.jenkins.triggers) == 1
    assert runner.lines[-1] == "Finished: SUCCESS"


def test_item_that_becomes_a_build_meanwhile_is_found(runner: JobRunner) -> None:
    item = runner.jenkins.put({"OP_ID": "push-1"})
    usual: Callable[..., Any] = runner.jenkins._queue

    def begin_first(*asked: Any) -> Any:
        if item.number is None:
            runner.jenkins.start(item)
        return usual(*asked)

    runner.jenkins._queue = begin_first  # type: ignore[method-assign]
    assert runner(op_id="push-1").number == 1
    assert runner.jenkins.triggers == []


def test_new_build_without_parameters_yet_is_found(runner: JobRunner) -> None:
    runner.jenkins.start(runner.jenkins.put({"OP_ID": "push-0"}))
    runner.jenkins.start(runner.jenkins.put({"OP_ID": "push-1"})).listed_without_parameters = 1
    assert runner(op_id="push-1").number == 2
    assert runner.jenkins.triggers == []


# unconfirmed requests


@pytest.mark.parametrize(
    "effect",
    [requests.ReadTimeout(), requests.ConnectionError("Connection aborted."), (500, {}, b"oops"), (502, {}, b"<html>proxy</html>")],
)
def test_received_request_without_an_answer_is_found(runner: JobRunner, effect: Any) -> None:
    after(runner)
    runner.jenkins.inject("POST .*build", effect, received=True)
    assert runner(follow=True).result == "SUCCESS"
    assert len(runner.jenkins.triggers) == 1
    assert JOB in runner.notices[0]


@pytest.mark.parametrize("effect", [requests.ReadTimeout(), (500, {}, b"oops")])
def test_lost_request_is_not_sent_again(runner: JobRunner, effect: Any) -> None:
    runner.jenkins.inject("POST .*build", effect)
    with pytest.raises(JenkinsUnreachable) as unknown:
        runner(op_id="push 1")
    assert len(runner.jenkins.triggers) == 1
    assert unknown.value.hint.startswith(f"`kubernaut jenkins run {JOB} --op-id 'push 1'` ")
    assert 30 <= runner.clock.now() < 40
    assert min(runner.gaps()) >= 1


def test_late_request_is_found(runner: JobRunner) -> None:
    runner.jenkins.inject("POST .*build", requests.ReadTimeout())
    runner.clock.at(20, lambda: runner.jenkins.start(runner.jenkins.put({"OP_ID": "push-1"})).end())
    assert runner(op_id="push-1").number == 1
    assert len(runner.jenkins.triggers) == 1


def test_search_continues_after_a_restart(run: JobRunner) -> None:
    run.jenkins.inject("POST .*build", requests.ReadTimeout(), received=True)
    run.jenkins.on_item = lambda item: run.jenkins.inject("GET", STARTING, times=60)
    assert run().why is not None
    assert len(run.jenkins.triggers) == 1


def test_unconfirmed_request_without_op_id_is_an_error(run: JobRunner) -> None:
    run.jenkins.parameters = ("VERSION",)
    run.jenkins.inject("POST .*build", requests.ReadTimeout(), received=True)
    with pytest.raises(JenkinsUnreachable) as unknown:
        run({"VERSION": "1"})
    assert f"{URL}/job/{JOB}/" in unknown.value.hint


def test_unsent_request_fails_at_once(run: JobRunner) -> None:
    run.jenkins.inject("POST .*build", STARTING)
    with pytest.raises(JenkinsUnreachable):
        run()
    assert run.clock.now() == 0
    assert run.notices == []
