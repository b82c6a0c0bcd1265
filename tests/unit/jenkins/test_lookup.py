"""The name and the parameters of a request, and the lookup of its build."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.messages import facts

from kubernaut.errors import JobInvalid
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.responses import Build, Job, QueueItem
from kubernaut.jenkins.tracking import OP_ID, Lookup, check_op_id, check_request, choose_op_id

PATH = JobPath(("team", "shop-deploy"))


def job(*parameters: str, buildable: bool = True) -> Job:
    return Job(PATH, "https://ci.example.com/job/team/job/shop-deploy/", parameters, buildable)


def build(number: int, op_id: str | None = None, queue_id: int | None = None) -> Build:
    return Build(number, "", True, None, {} if op_id is None else {OP_ID: op_id}, queue_id)


def item(id: int, op_id: str, *, cancelled: bool = False) -> QueueItem:
    return QueueItem(id, "shop-deploy", None, cancelled, None, {OP_ID: op_id})


def test_build_is_found_by_the_op_id() -> None:
    builds = (build(9, "other"), build(8, "mine"), build(7))
    assert Lookup("mine").build(builds) == builds[1]
    assert Lookup("unknown").build(builds) is None


def test_queue_id_takes_precedence_over_the_op_id() -> None:
    builds = (build(9, "mine", 100), build(8, "mine", 99))
    assert Lookup("mine", 100).build(builds) == builds[0]
    assert Lookup("mine", 55).build(builds) == builds[1]


def test_first_of_repeated_builds_is_found() -> None:
    assert Lookup("mine").build((build(9, "mine"), build(8, "mine"))) == build(8, "mine")


def test_build_without_parameters_is_not_found() -> None:
    assert Lookup(None).build((build(7),)) is None


def test_cancelled_item_is_ignored() -> None:
    items = (item(3, "mine", cancelled=True), item(5, "mine"), item(4, "other"))
    assert Lookup("mine").item(items) == items[1]
    assert Lookup("mine", 4).item(items) == items[2]
    assert Lookup("mine").item(items[:1]) is None


@pytest.mark.parametrize(
    ("parameters", "words", "hint"),
    [
        ({"VERSON": "1"}, ("'VERSON'", "'VERSION'"), "VERSION, OP_ID"),
        ({"version": "1"}, ("'version'", "'VERSION'"), "VERSION, OP_ID"),
        ({"XYZZY": "1"}, ("'XYZZY'",), "VERSION, OP_ID"),
        ({"OP_ID": "1"}, ("OP_ID",), "--op-id"),
        ({"VERSION": "hunter22\0"}, ("'VERSION'",), "UTF-8"),
        ({"VERSION": "hunter22\udcff"}, ("'VERSION'",), "UTF-8"),
    ],
)
def test_unknown_and_invalid_parameters_are_refused(parameters: dict[str, str], words: tuple[str, ...], hint: str) -> None:
    with pytest.raises(JobInvalid) as refused:
        check_request(job("VERSION", "OP_ID"), parameters)
    assert re.search(facts(*words), refused.value.message)
    assert hint in refused.value.hint
    assert "hunter22" not in refused.value.message


def test_job_that_is_not_buildable_is_refused() -> None:
    with pytest.raises(JobInvalid, match="team/shop-deploy"):
        check_request(job("VERSION", buildable=False), {})


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r\x85")))
def test_every_text_is_a_valid_value(value: str) -> None:
    check_request(job("NOTE"), {"NOTE": value})


@pytest.mark.parametrize("op_id", ["", " a", "a ", "a\nb", "x" * 256, "a\0"])
def test_invalid_op_id_is_refused(op_id: str) -> None:
    with pytest.raises(JobInvalid):
        check_op_id(op_id)


def test_op_id_is_unique_unless_given() -> None:
    first, second = (choose_op_id(job(OP_ID), None, lambda: False) for _ in range(2))
    assert first is not None
    assert first != second
    assert choose_op_id(job(OP_ID), "jenkins-my shop-7", lambda: False) == "jenkins-my shop-7"
    check_op_id(first)


def test_job_without_op_id_needs_a_queue_id() -> None:
    assert choose_op_id(job(), None, lambda: True) is None
    for op_id, with_queue_ids in ((None, False), ("push-1", True)):
        with pytest.raises(JobInvalid, match="OP_ID") as refused:
            choose_op_id(job("VERSION"), op_id, lambda with_queue_ids=with_queue_ids: with_queue_ids)  # type: ignore[misc]
        assert "OP_ID" in refused.value.hint
