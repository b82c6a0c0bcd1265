"""The results of ci.py and their comparison with the targets. Pure; ci_runs.py measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from measure import Verdict

MAX_DEPLOY_OVERHEAD = 1.5
"""Target: seconds by which a Deploy build may exceed `kubernaut deploy`."""
MAX_PUSH_OVERHEAD = 5.0
"""Target: seconds by which the time from a push to the new greeting may exceed that of `kubernaut ship`."""
MAX_CONSOLE_DELAY = 2.0
"""Target: seconds until a line of the build's console is shown."""
MAX_REQUEST_RATE = 1.0
"""Target: requests per second while a build is followed."""


@dataclass(frozen=True)
class Pairs:
    """The seconds of the same task by the CI server and by a command, measured alternately."""

    ci: Sequence[float]
    command: Sequence[float]

    @property
    def overhead(self) -> float:
        """The overhead of the CI server in seconds: the median of the pairs' differences."""
        return statistics.median(ci - command for ci, command in zip(self.ci, self.command, strict=True))


@dataclass(frozen=True)
class Following:
    """A build with timestamps in its console, followed by the command.

    Attributes:
        delays: Seconds from the output of each line until it was shown.
        requests: The number of requests about the build that the server received meanwhile.
        seconds: The duration of the command.
    """

    delays: Sequence[float]
    requests: int
    seconds: float


@dataclass(frozen=True)
class Figures:
    """All results."""

    deploy: Pairs
    push: Pairs
    following: Following


def times(figures: Figures) -> dict[str, Sequence[float]]:
    """Return the seconds of each row of the table."""
    return {
        "deploy, a build": figures.deploy.ci,
        "kubernaut deploy": figures.deploy.command,
        "push to greeting": figures.push.ci,
        "ship to greeting": figures.push.command,
        "console delay": figures.following.delays,
    }


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Yield the results compared with the targets."""
    overhead = figures.deploy.overhead
    yield Verdict(
        f"a Deploy build: {overhead:+.2f} s compared with `deploy`; target: at most +{MAX_DEPLOY_OVERHEAD}",
        overhead <= MAX_DEPLOY_OVERHEAD,
    )
    overhead = figures.push.overhead
    yield Verdict(
        f"push to greeting: {overhead:+.2f} s compared with `ship`; target: at most +{MAX_PUSH_OVERHEAD}",
        overhead <= MAX_PUSH_OVERHEAD,
    )
    delay = max(figures.following.delays)
    yield Verdict(
        f"a line of the console: shown after {delay:.2f} s at most; target: {MAX_CONSOLE_DELAY}", delay <= MAX_CONSOLE_DELAY
    )
    rate = figures.following.requests / figures.following.seconds
    yield Verdict(
        f"following: {figures.following.requests} requests in {figures.following.seconds:.1f} s, {rate:.2f} per second; "
        f"target: at most {MAX_REQUEST_RATE:g}",
        rate <= MAX_REQUEST_RATE,
    )
