"""What ci.py found out, as data, and what it makes of it. Pure: what is run is in ci_runs.py."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from measure import Verdict

MOST_IN_STEP = 1.5
"""Seconds that a Deploy build may take more than its command by hand."""
MOST_FROM_PUSH = 5.0
"""Seconds that it may take more from the push to the new greeting than from the commit to it by hand."""
MOST_BEHIND = 2.0
"""Seconds until a line that the server has is shown."""
MOST_REQUESTS = 1.0
"""Requests a second while a build is followed."""


@dataclass(frozen=True)
class Turns:
    """The same thing by the CI server and by hand, in turns, in seconds."""

    ci: Sequence[float]
    hand: Sequence[float]

    @property
    def more(self) -> float:
        """What the CI server adds: the median of the pairs' differences."""
        return statistics.median(ci - hand for ci, hand in zip(self.ci, self.hand, strict=True))


@dataclass(frozen=True)
class Followed:
    """A build that says when it says something, followed by the command.

    Attributes:
        behind: Seconds from each line's being said to its being shown.
        requests: How many the server got about the build meanwhile.
        seconds: How long the command ran.
    """

    behind: Sequence[float]
    requests: int
    seconds: float


@dataclass(frozen=True)
class Figures:
    """All of it."""

    deploy: Turns
    push: Turns
    followed: Followed


def times(figures: Figures) -> dict[str, Sequence[float]]:
    """Return the rows of the table."""
    return {
        "deploy, a build": figures.deploy.ci,
        "deploy, by hand": figures.deploy.hand,
        "push to greeting": figures.push.ci,
        "ship to greeting": figures.push.hand,
        "a line, shown": figures.followed.behind,
    }


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Compare with the targets."""
    more = figures.deploy.more
    yield Verdict(
        f"a Deploy build: {more:+.2f} s beside the command by hand; target: at most +{MOST_IN_STEP}", more <= MOST_IN_STEP
    )
    more = figures.push.more
    yield Verdict(
        f"push to greeting: {more:+.2f} s beside `ship` by hand; target: at most +{MOST_FROM_PUSH}", more <= MOST_FROM_PUSH
    )
    behind = max(figures.followed.behind)
    yield Verdict(f"a line of the console: shown after {behind:.2f} s at most; target: {MOST_BEHIND}", behind <= MOST_BEHIND)
    rate = figures.followed.requests / figures.followed.seconds
    yield Verdict(
        f"following: {figures.followed.requests} requests in {figures.followed.seconds:.1f} s, {rate:.2f} a second; "
        f"target: at most {MOST_REQUESTS:g}",
        rate <= MOST_REQUESTS,
    )
