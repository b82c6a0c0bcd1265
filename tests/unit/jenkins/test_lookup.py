"""What a job is given, and which build came of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.responses import Build, Job, QueueItem
from kubernaut.jenkins.tracking import OP_ID, Lookup, check_op_id, check_request, choose_op_id, new_op_id

PATH = JobPath(("team", "shop-deploy"))


def job(*parameters: str, buildable: bool = True) -> Job:
    return Job(PATH, "https://ci.example.com/job/team/job/shop-deploy/", parameters, buildable)


def build(number: int, op_id: str | None = None, queue_id: int | None = None) -> Build:
    return Build(number, "", True, None, {} if op_id is None else {OP_ID: op_id}, queue_id)


def item(id: int, op_id: str, *, cancelled: bool = False) -> QueueItem:
    return QueueItem(id, "shop-deploy", None, cancelled, None, {OP_ID: op_id})


def test_the_build_is_found_by_the_name_of_the_request() -> None:
    builds = (build(9, "other"), build(8, "mine"), build(7))
    assert Lookup("mine").build(builds) == builds[1]
    assert Lookup("nobody's").build(builds) is None


def test_the_queue_item_says_more_than_the_name() -> None:
    builds = (build(9, "mine", 100), build(8, "mine", 99))
    assert Lookup("mine", 100).build(builds) == builds[0]
    assert Lookup("mine", 55).build(builds) == builds[1]


def test_of_a_request_that_was_run_again_by_hand_the_first_build_counts() -> None:
    assert Lookup("mine").build((build(9, "mine"), build(8, "mine"))) == build(8, "mine")


def test_a_build_that_lost_its_parameters_is_nobodys() -> None:
    assert Lookup(None).build((build(7),)) is None


def test_an_item_that_was_cancelled_does_not_wait() -> None:
    items = (item(3, "mine", cancelled=True), item(5, "mine"), item(4, "other"))
    assert Lookup("mine").item(items) == items[1]
    assert Lookup("mine", 4).item(items) == items[2]
    assert Lookup("mine").item(items[:1]) is None


@pytest.mark.parametrize(
    ("parameters", "said", "hint"),
    [
        ({"VERSON": "1"}, "no parameter 'VERSON'; did you mean 'VERSION'?", "Its parameters: VERSION, OP_ID."),
        ({"version": "1"}, "did you mean 'VERSION'?", "VERSION, OP_ID"),
        ({"XYZZY": "1"}, "no parameter 'XYZZY'.", "VERSION, OP_ID"),
        ({"OP_ID": "1"}, "OP_ID is not given as a parameter.", "--op-id"),
        ({"VERSION": "hunter22\0"}, "has a character that is no text", "control characters"),
        ({"VERSION": "hunter22\udcff"}, "has a character that is no text", "UTF-8"),
    ],
)
def test_what_the_server_would_drop_is_refused(parameters: dict[str, str], said: str, hint: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        check_request(job("VERSION", "OP_ID"), parameters)
    assert said in refused.value.message
    assert hint in refused.value.hint
    assert "hunter22" not in refused.value.message


def test_a_job_that_takes_no_builds_is_refused() -> None:
    with pytest.raises(JobInvalid, match="team/shop-deploy cannot be run"):
        check_request(job("VERSION", buildable=False), {})


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r\x85")))
def test_every_text_is_a_value(value: str) -> None:
    check_request(job("NOTE"), {"NOTE": value})


@pytest.mark.parametrize("op_id", ["", " a", "a ", "a\nb", "x" * 256, "a\0"])
def test_a_name_that_would_come_back_changed_is_refused(op_id: str) -> None:
    with pytest.raises(JobInvalid):
        check_op_id(op_id)


def test_a_request_has_a_name_of_its_own_or_the_one_that_is_said() -> None:
    first, second = (choose_op_id(job(OP_ID), None, lambda: False) for _ in range(2))
    assert first is not None
    assert first != second
    assert choose_op_id(job(OP_ID), "jenkins-my shop-7", lambda: False) == "jenkins-my shop-7"
    check_op_id(new_op_id())


def test_without_a_name_only_a_queue_item_tells() -> None:
    assert choose_op_id(job(), None, lambda: True) is None
    for op_id, tells in ((None, False), ("push-1", True)):
        with pytest.raises(JobInvalid, match="has no parameter OP_ID") as refused:
            choose_op_id(job("VERSION"), op_id, lambda tells=tells: tells)  # type: ignore[misc]
        assert "string parameter OP_ID" in refused.value.hint
