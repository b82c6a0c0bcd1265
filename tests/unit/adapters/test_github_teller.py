"""Telling beside the work: in order, the newest only, again where it helps, never beyond the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from support.faults import until

from kubernaut.adapters import github_teller
from kubernaut.adapters.github import CommitStatus, NotTold, State
from kubernaut.adapters.github_teller import StatusClient


def status(state: State, context: str = "c") -> CommitStatus:
    return CommitStatus("team/shop", "a" * 40, context, state, f"{context} {state}")


class Line:
    """What statuses are sent over: it fails as it is told, then takes all."""

    def __init__(self, *failures: NotTold | Exception) -> None:
        self.failures = list(failures)
        self.asked: list[tuple[str, float]] = []
        self.taken: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, told: CommitStatus, seconds: float) -> None:
        self.asked.append((told.description, time.monotonic()))
        assert 0 < seconds <= github_teller.REQUEST_SECONDS
        assert self.gate.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(told.description)


def passing(reason: str = "busy", wait: float | None = None) -> NotTold:
    return NotTold(reason, passing=True, wait=wait)


def reasons(teller: StatusClient, seconds: float = 5.0) -> list[tuple[str, str]]:
    return [(untold.status.description, untold.reason) for untold in teller.finish(seconds)]


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_nothing_to_tell_costs_nothing() -> None:
    teller = StatusClient(Line())
    assert not teller.began
    before = threading.active_count()
    assert timed(lambda: teller.finish(5)) < 0.5
    assert threading.active_count() == before


def test_all_is_told_in_order_and_nobody_waits_longer_than_that() -> None:
    line = Line()
    teller = StatusClient(line)
    teller.tell(status("pending"))
    until(lambda: line.taken, "the first was told")
    teller.tell(status("success"))
    teller.tell(status("pending", "d"))
    assert timed(lambda: teller.finish(5)) < 1
    assert line.taken == ["c pending", "c success", "d pending"]
    assert reasons(teller) == []


def test_a_newer_one_takes_the_place_of_one_that_was_not_sent() -> None:
    line = Line()
    line.gate.clear()
    teller = StatusClient(line)
    teller.tell(status("pending", "first"))
    until(lambda: line.asked, "the first is being sent")
    teller.tell(status("pending"))
    teller.tell(status("pending", "d"))
    teller.tell(status("failure"))
    line.gate.set()
    assert reasons(teller) == []
    assert line.taken == ["first pending", "d pending", "c failure"]


def test_a_newer_one_ends_the_attempts_of_the_older() -> None:
    line = Line(passing(wait=None), *(passing() for _ in range(3)))
    teller = StatusClient(line)
    teller.tell(status("pending"))
    until(lambda: line.asked, "the first attempt was made")
    teller.tell(status("success"))
    assert reasons(teller, 30) == []
    assert line.taken == ["c success"]
    pending = [asked for asked, _ in line.asked if asked == "c pending"]
    assert len(pending) < 4


def test_what_may_pass_is_tried_again() -> None:
    line = Line(passing(), passing())
    teller = StatusClient(line)
    teller.tell(status("success"))
    assert reasons(teller) == []
    assert len(line.asked) == 3


def test_what_will_not_pass_is_not() -> None:
    line = Line(NotTold("no such repository"))
    teller = StatusClient(line)
    teller.tell(status("success"))
    assert reasons(teller) == [("c success", "no such repository")]
    assert len(line.asked) == 1


def test_a_newer_one_that_is_told_makes_good_for_an_older_one() -> None:
    line = Line(NotTold("no such commit yet"))
    teller = StatusClient(line)
    teller.tell(status("pending"))
    until(lambda: line.asked, "it was sent")
    teller.tell(status("success"))
    assert reasons(teller) == []


def test_nobody_comes_before_the_limit_is_over() -> None:
    line = Line(passing("limited", wait=0.6))
    teller = StatusClient(line)
    teller.tell(status("success"))
    until(lambda: line.asked, "it was sent")
    teller.tell(status("success", "d"))
    assert reasons(teller) == []
    (_, first), *others = line.asked
    assert len(others) == 2
    assert all(at - first >= 0.6 for _, at in others)


def test_a_limit_beyond_the_time_is_not_waited_for() -> None:
    line = Line(passing("limited", wait=3600))
    teller = StatusClient(line)
    teller.tell(status("pending"))
    until(lambda: line.asked, "it was sent")
    teller.tell(status("success"))
    assert timed(lambda: teller.finish(8)) < 2
    assert reasons(teller) == [("c success", "limited")]
    assert len(line.asked) == 1


def test_the_time_is_not_exceeded_by_what_never_answers() -> None:
    line = Line()
    line.gate.clear()
    teller = StatusClient(line)
    teller.tell(status("pending"))
    until(lambda: line.asked, "it was sent")
    teller.tell(status("success"))
    assert 0.2 <= timed(lambda: teller.finish(0.3)) < 1.5
    assert reasons(teller) == [("c success", "no answer in time")]
    line.gate.set()
    until(lambda: not any(thread.name == "kubernaut-github" for thread in threading.enumerate()), "the thread ended")
    assert line.taken == ["c pending"], "what was given up is not sent afterwards"


def test_what_was_wrong_before_the_time_was_over_is_the_reason() -> None:
    line = Line(*(passing("HTTP 503") for _ in range(50)))
    teller = StatusClient(line)
    teller.tell(status("success"))
    until(lambda: line.asked, "it was sent")
    assert timed(lambda: teller.finish(1.2)) < 3
    assert reasons(teller) == [("c success", "HTTP 503")]


def test_a_defect_is_a_reason_too() -> None:
    teller = StatusClient(Line(RuntimeError("canary")))
    teller.tell(status("success"))
    assert reasons(teller) == [("c success", "a defect in kubernaut (RuntimeError)")]


def test_a_machine_without_a_thread_for_it_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    line = Line()
    teller = StatusClient(line)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        teller.tell(status("pending"))
        teller.tell(status("failure"))
        assert teller.began
        assert reasons(teller) == [("c failure", "can't start new thread")]
    assert line.asked == []


def test_a_thread_that_comes_late_makes_good_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line()
    teller = StatusClient(line)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no thread")))
        teller.tell(status("pending"))
    teller.tell(status("success"))
    assert reasons(teller) == []
    assert line.taken == ["c success"]


@pytest.mark.parametrize("count", [200])
def test_many_at_once(count: int) -> None:
    line = Line()
    teller = StatusClient(line)

    def tell(number: int) -> None:
        teller.tell(status("pending", f"c{number}"))
        teller.tell(status("success", f"c{number}"))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reasons(teller, 20) == []
    last = {line.split()[0]: line.split()[1] for line in line.taken}
    assert last == {f"c{number}": "success" for number in range(count)}
