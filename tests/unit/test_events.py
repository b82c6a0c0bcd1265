from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Thread

import pytest

from kubernaut.events import Event, Journal, LogLine, Progress, StepFinished, StepOutcome, StepStarted


def progress(events: list[Event]) -> Progress:
    ticks = count()
    return Progress(events.append, clock=lambda: float(next(ticks)))


def test_step_reports_start_lines_and_end() -> None:
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


def test_step_may_be_unchanged() -> None:
    events: list[Event] = []
    with progress(events).step("publish", "shop") as step:
        step.unchanged("published before")
    assert events[-1] == StepFinished("publish", StepOutcome.UNCHANGED, "published before", 1.0)


def test_step_of_a_dry_run_is_planned() -> None:
    events: list[Event] = []
    with progress(events).step("deploy", "demo/shop") as step:
        step.planned("dry run: helm-upgrade demo/shop")
    assert events[-1] == StepFinished("deploy", StepOutcome.PLANNED, "dry run: helm-upgrade demo/shop", 1.0)


@pytest.mark.parametrize("failure", [ValueError("first line\nsecond"), KeyboardInterrupt("first line")])
def test_failing_step_ends_as_failed_and_raises(failure: BaseException) -> None:
    events: list[Event] = []

    def work() -> None:
        with progress(events).step("build", "shop") as step:
            step.done("almost")
            raise failure

    with pytest.raises(type(failure)):
        work()
    assert events[-1] == StepFinished("build", StepOutcome.FAILED, "first line", 1.0)


def test_listener_is_optional() -> None:
    with Progress().step("build", "shop") as step:
        step.log("x")


def test_event_kinds_are_those_of_the_api() -> None:
    assert {event.kind for event in (StepStarted, LogLine, StepFinished)} == {"stepStarted", "logLine", "stepFinished"}


def test_journal_records_events_and_passes_them_on() -> None:
    events: list[Event] = []
    moments = iter(datetime(2026, 11, 22, 12, 0, second, tzinfo=UTC) for second in range(60))
    journal = Journal(events.append, clock=lambda: next(moments))
    with Progress(Journal(journal)).step("build", "shop") as step:
        step.log("one")
    assert [one.event for one in journal.events] == events
    assert [event.kind for event in events] == ["stepStarted", "logLine", "stepFinished"]
    assert [one.at.second for one in journal.events] == [0, 1, 2]
    assert journal.left_out == 0
    assert Progress(journal).listener is journal


@pytest.mark.parametrize(("count", "left_out"), [(0, 0), (50, 0), (550, 0), (551, 1), (2000, 1450)])
def test_journal_keeps_first_and_last_events_and_counts_the_rest(count: int, left_out: int) -> None:
    journal = Journal()
    for number in range(count):
        journal(LogLine("build", str(number)))
    kept = [int(one.event.text) for one in journal.events if isinstance(one.event, LogLine)]
    assert journal.left_out == left_out == count - len(kept)
    assert kept == [*range(min(count, 50)), *range(max(50, count - 500), count)]


def test_journal_times_are_utc() -> None:
    journal = Journal()
    journal(LogLine("build", "x"))
    assert journal.events[0].at.utcoffset() == timedelta()


def test_journal_records_an_event_whose_listener_fails() -> None:
    def broken(event: Event) -> None:
        raise KeyboardInterrupt

    journal = Journal(broken)
    with pytest.raises(KeyboardInterrupt):
        journal(LogLine("build", "x"))
    assert len(journal.events) == 1


def test_journal_may_be_used_by_several_threads() -> None:
    journal = Journal()
    threads = [Thread(target=lambda: [journal(LogLine("build", "x")) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.events) + journal.left_out == 4000
    assert len(journal.events) == 550
