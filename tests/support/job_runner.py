"""Runs the job of a fake Jenkins on a fake clock."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from kubernaut.events import Event, LogLine, Notice, Progress
from kubernaut.jenkins.jobs import JobPath
from kubernaut.jenkins.run import BuildRun, run_job
from kubernaut.jenkins.server import JenkinsServer
from kubernaut.jenkins.tracking import PollTiming
from support.fake_jenkins import JOB, URL, FakeClock, FakeJenkins, Item

CANARY = "canary-5f3a-" + "x" * 32
STARTING = (503, {"X-Jenkins": "2.500"}, b"Please wait while Jenkins is getting ready to work")


class JobRunner:
    """Runs the job of a fake Jenkins, and keeps the events with their times."""

    def __init__(self, clock: FakeClock, jenkins: FakeJenkins) -> None:
        self.clock = clock
        self.jenkins = jenkins
        self.events: list[tuple[float, Event]] = []
        self.server = JenkinsServer(URL, user="ci", token=lambda: CANARY)

    def __call__(self, parameters: dict[str, str] | None = None, **how: Any) -> BuildRun:
        progress = Progress(lambda event: self.events.append((self.clock.now(), event)), clock=self.clock.now)
        timing = PollTiming(now=self.clock.now, wait=self.clock.wait)
        return run_job(self.server, JobPath((JOB,)), parameters or {}, timing=timing, progress=progress, **how)

    @property
    def lines(self) -> list[str]:
        return [event.text for _, event in self.events if isinstance(event, LogLine)]

    @property
    def notices(self) -> list[str]:
        return [event.text for _, event in self.events if isinstance(event, Notice)]

    def gaps(self) -> list[float]:
        """The seconds between requests, from the one that triggered the build."""
        asked = self.jenkins.received
        since = asked[asked.index(self.jenkins.triggers[0]) + 1 :]
        return [later.at - earlier.at for earlier, later in pairwise(since)]


def after(run: JobRunner, *, start: float = 0.5, end: float = 3.5, result: str | None = "SUCCESS") -> None:
    """Let each queue item become a build after a while, print two lines, and end."""

    def begin(item: Item) -> None:
        made = run.jenkins.start(item)
        made.say("Started by user ci\nrelea")
        run.clock.at(run.clock.now() + 1, lambda: made.say("se 1.4.2\n"))
        run.clock.at(run.clock.now() + end, lambda: (made.say(f"Finished: {result}"), made.end(result)))

    run.jenkins.on_item = lambda item: run.clock.at(run.clock.now() + start, lambda: begin(item))
