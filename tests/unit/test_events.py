from __future__ import annotations

from itertools import count

import pytest

from kubernaut.events import Event, LogLine, Progress, StepFinished, StepOutcome, StepStarted


def progress(events: list[Event]) -> Progress:
    ticks = count()
    return Progress(events.append, clock=lambda: float(next(ticks)))


def test_a_step_is_told_from_its_beginning_to_its_end() -> None:
    events: list[Event] = []
    with progress(events).step("build", "shop:1.0.0") as step:
        step.log("one\r\n")
        step.log("  two  ")
        step.done("sha256:1")
    assert events == [
        StepStarted("build", "shop:1.0.0"),
        LogLine("build", "one"),
        LogLine("build", "  two  "),
        StepFinished("build", StepOutcome.DONE, "sha256:1", 1.0),
    ]


def test_a_step_may_have_nothing_to_do() -> None:
    events: list[Event] = []
    with progress(events).step("publish", "shop") as step:
        step.unchanged("published before")
    assert events[-1] == StepFinished("publish", StepOutcome.UNCHANGED, "published before", 1.0)


@pytest.mark.parametrize("failure", [ValueError("first line\nsecond"), KeyboardInterrupt("first line")])
def test_a_failing_step_ends_as_failed_and_the_failure_goes_on(failure: BaseException) -> None:
    events: list[Event] = []

    def work() -> None:
        with progress(events).step("build", "shop") as step:
            step.done("almost")
            raise failure

    with pytest.raises(type(failure)):
        work()
    assert events[-1] == StepFinished("build", StepOutcome.FAILED, "first line", 1.0)


def test_nobody_needs_to_listen() -> None:
    with Progress().step("build", "shop") as step:
        step.log("x")


def test_kinds_are_the_names_of_the_api() -> None:
    assert {event.kind for event in (StepStarted, LogLine, StepFinished)} == {"stepStarted", "logLine", "stepFinished"}
