"""Questions to a server while somebody waits: not more often than it should be asked, and again when it was away."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_none

from kubernaut.errors import JenkinsUnreachable, KubernautError

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Timing:
    """How long things may take, in seconds.

    Attributes:
        pace: Between two requests, whatever they ask.
        first: Before a build is looked for that was asked for just now: one that begins at once is there then.
        unsure: For which a request is looked for that may or may not have been heard.
        away: For which the server may give no answer, because it starts again.
        stopping: For which a build is given to stop.
    """

    pace: float = 1.0
    first: float = 0.5
    unsure: float = 30.0
    away: float = 300.0
    stopping: float = 20.0


@dataclass(frozen=True)
class Clock:
    """The time, and how it passes."""

    now: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep


class Asking:
    """Asks one question after the other, never two within the pace.

    Args:
        timing: How fast, and for how long again.
        clock: The time.
        say: Tells a person that the server is away, and that it is back.
        after: Seconds before the first question.
        until: When there is no more time for questions.
        late: Makes the failure that is raised then.
    """

    def __init__(
        self,
        timing: Timing,
        clock: Clock,
        say: Callable[[str], None],
        *,
        after: float = 0.0,
        until: float = float("inf"),
        late: Callable[[], KubernautError] = lambda: KubernautError("There is no time left."),
    ) -> None:
        self._timing = timing
        self._clock = clock
        self._say = say
        self._until = until
        self._late = late
        self._next = clock.now() + after
        self._away = False

    def __call__(self, question: Callable[[], Answer]) -> Answer:
        """Ask, and ask again while the server is away.

        Raises:
            JenkinsUnreachable: It does not come back.
            KubernautError: There is no time left.
        """
        began = self._clock.now()
        retrying = Retrying(
            retry=retry_if_exception_type(JenkinsUnreachable),
            stop=lambda _state: self._clock.now() - began >= self._timing.away,
            wait=wait_none(),  # the pace is kept for each attempt
            sleep=lambda _seconds: None,
            before_sleep=self._missed,
            reraise=True,
        )
        answer: Answer = retrying(self._once, question)
        if self._away:
            self._away = False
            self._say("Jenkins answers again")
        return answer

    def _once(self, question: Callable[[], Answer]) -> Answer:
        pause = self._next - self._clock.now()
        if self._clock.now() + max(pause, 0) > self._until:
            raise self._late()
        if pause > 0:
            self._clock.wait(pause)
        self._next = self._clock.now() + self._timing.pace
        return question()

    def _missed(self, state: RetryCallState) -> None:
        failure = state.outcome.exception() if state.outcome else None
        if not self._away:
            self._away = True
            self._say(f"{failure} Asked again for up to {self._timing.away / 60:.0f} minutes")
