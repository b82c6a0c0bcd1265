"""The results of rollout.py and their comparison with the targets. Pure; rollout_runs.py measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from measure import Verdict

MAX_UNTIL_SHOWN = 3.0
"""Target: seconds from when the API server has the cause of a failure until it is on the screen."""
MAX_UNTIL_DONE = 0.5
"""Target: seconds from when the last pod is ready until a deploy is reported done."""


@dataclass(frozen=True)
class Failure:
    """A deploy of a release that fails, in seconds since its start.

    Attributes:
        known: When the API server had the cause.
        shown: When the first line with the cause was on the screen.
        ended: When kubernaut had given up, and ended.
        helm: When `helm upgrade --wait` of the same chart ended.
        helm_status: Its exit status; 0 for a release that it calls deployed.
    """

    known: float
    shown: float
    ended: float
    helm: float = 0.0
    helm_status: int = 1


@dataclass(frozen=True)
class Figures:
    """The failing deploys by what fails, and for good deploys the seconds from the last ready pod to their end.

    Attributes:
        answered: Whether the Service answered with the new version at the end of each good deploy.
    """

    failures: Mapping[str, Sequence[Failure]]
    done: Sequence[float]
    answered: Sequence[bool]


def table(figures: Figures) -> Iterator[str]:
    """Yield the lines of the table: the medians of each failure."""
    width = max(len(name) for name in figures.failures) + 2
    yield f"{'median of seconds':<{width}}{'known':>8}{'shown':>8}{'after':>8}{'ended':>8}{'helm':>8}{'runs':>6}"
    for name, runs in figures.failures.items():
        middle = [statistics.median(getattr(run, part) for run in runs) for part in ("known", "shown")]
        ends = [statistics.median(getattr(run, part) for run in runs) for part in ("ended", "helm")]
        cells = "".join(f"{seconds:>8.1f}" for seconds in (*middle, until_shown(runs), *ends))
        called = "  Helm exits with 0" if not runs[0].helm_status else ""
        yield f"{name:<{width}}{cells}{len(runs):>6}{called}"


def until_shown(runs: Sequence[Failure]) -> float:
    """Return the median of the seconds between the API server's knowledge and the screen."""
    return statistics.median(run.shown - run.known for run in runs)


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Yield the results beside their targets."""
    slowest = max(figures.failures, key=lambda name: until_shown(figures.failures[name]))
    seconds = until_shown(figures.failures[slowest])
    yield Verdict(
        f"the cause is on the screen {seconds:.1f} s after the API server has it, in the slowest case ({slowest}); "
        f"target: at most {MAX_UNTIL_SHOWN} s",
        seconds <= MAX_UNTIL_SHOWN,
    )
    done = statistics.median(figures.done)
    yield Verdict(
        f"a good deploy is done {done:.2f} s after its last pod is ready; target: at most {MAX_UNTIL_DONE} s",
        done <= MAX_UNTIL_DONE,
    )
    answered = sum(figures.answered)
    yield Verdict(
        f"the Service answers with the new version when the deploy is done, in {answered} of {len(figures.answered)} deploys",
        answered == len(figures.answered),
    )
