"""What the bench of the server measured, and its targets. Pure: data in, lines out."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from measure import Verdict
from serve_load import Load

SLOWER_THAN_CONSTANT = 3.0
TAIL = 5.0
READY_BESIDE_BARE = 2.0
MOST_MEGABYTES = 200.0
MOST_GROWTH = 1.1
SHOWS_WITHIN = 1.0


@dataclass(frozen=True)
class Figures:
    """What was measured; seconds and megabytes.

    Attributes:
        bare: One bare metadata list plus one decode of the current records, each time.
        ready: From the server's start until it is ready, each time.
        helm: `helm list` of the same.
        warm: Answers with a list of 100 releases, one after the other.
        constant: Answers with a constant body of that size, in turn with them.
        most: As many lists as it can answer.
        half: Lists at half of that rate.
        shown: From a record's write, past the server, until the server shows it, each time.
        before: The server's memory, before the churn.
        after: And after it.
    """

    bare: Sequence[float]
    ready: Sequence[float]
    helm: float
    warm: Load
    constant: Load
    most: Load
    half: Load
    shown: Sequence[float]
    before: float
    after: float


def times(figures: Figures) -> Mapping[str, Sequence[float]]:
    """Return what is told in seconds."""
    return {"bare list + decode": figures.bare, "ready": figures.ready, "helm list": [figures.helm], "shows": figures.shown}


def lines(figures: Figures) -> Iterator[str]:
    """Yield what is told in other units."""
    for name, load in (("list", figures.warm), ("constant", figures.constant), ("half rate", figures.half)):
        percentiles = "  ".join(f"p{percent} {load.percentile(percent) * 1000:.1f} ms" for percent in (50, 90, 99))
        yield f"{name:<10}{percentiles}"
    yield f"{'most':<10}{figures.most.rate:.0f} lists/s; memory {figures.before:.0f} MB, after the churn {figures.after:.0f} MB"


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Hold the figures to the targets."""
    ratio = figures.warm.percentile(50) / figures.constant.percentile(50)
    yield Verdict(
        f"a list takes {ratio:.1f} times as long as a constant body (target: {SLOWER_THAN_CONSTANT})", ratio <= SLOWER_THAN_CONSTANT
    )
    tail = figures.half.percentile(99) / figures.half.percentile(50)
    yield Verdict(f"at half of the most p99 is {tail:.1f} times p50 (target: {TAIL})", tail <= TAIL)
    errors = figures.warm.errors + figures.most.errors + figures.half.errors
    yield Verdict(f"{errors} errors (target: none)", errors == 0)
    ready = statistics.median(figures.ready) / statistics.median(figures.bare)
    yield Verdict(f"ready after {ready:.1f} times the bare list (target: {READY_BESIDE_BARE})", ready <= READY_BESIDE_BARE)
    slowest = max(figures.shown)
    yield Verdict(f"what others write shows after at most {slowest:.2f} s (target: {SHOWS_WITHIN:.0f})", slowest <= SHOWS_WITHIN)
    yield Verdict(f"memory {figures.after:.0f} MB (target: {MOST_MEGABYTES:.0f})", figures.after < MOST_MEGABYTES)
    growth = figures.after / figures.before
    yield Verdict(f"memory after the churn is {growth:.2f} times that before (target: {MOST_GROWTH})", growth <= MOST_GROWTH)
