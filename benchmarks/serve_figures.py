"""The results of serve.py and their comparison with the targets. Pure; serve_runs.py measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from measure import Verdict
from serve_load import Load

MAX_LIST_RATIO = 3.0
"""Target: the median duration of a list, in units of that of a constant body."""
MAX_TAIL_RATIO = 5.0
"""Target: p99 of the lists at half of the maximum rate, in units of p50."""
MAX_READY_RATIO = 2.0
"""Target: the time until the server is ready, in units of a metadata list and a decode of the current records."""
MAX_MEGABYTES = 200.0
"""Target: the server's resident memory."""
MAX_GROWTH = 1.1
"""Target: the memory after the churn, in units of that before."""
MAX_DELAY = 1.0
"""Target: seconds until the server shows a release that Helm has written."""


@dataclass(frozen=True)
class Figures:
    """All results, in seconds and megabytes.

    Attributes:
        baseline: A metadata list and a decode of the current records, without a server.
        ready: The start of the server until it is ready.
        helm: `helm list` of the same releases.
        lists: Lists of 100 releases, one after the other.
        constants: A constant body of that size, alternating with the lists.
        maximum: Lists at the maximum rate.
        half: Lists at half of that rate.
        delays: The write of a record, as Helm does it, until the server shows it.
        before: The server's memory before the churn.
        after: The server's memory after the churn.
    """

    baseline: Sequence[float]
    ready: Sequence[float]
    helm: float
    lists: Load
    constants: Load
    maximum: Load
    half: Load
    delays: Sequence[float]
    before: float
    after: float


def times(figures: Figures) -> Mapping[str, Sequence[float]]:
    """Return the seconds of each row of the table."""
    return {"list + decode": figures.baseline, "ready": figures.ready, "helm list": [figures.helm], "shown": figures.delays}


def lines(figures: Figures) -> Iterator[str]:
    """Yield the results in other units."""
    for name, load in (("list", figures.lists), ("constant", figures.constants), ("half rate", figures.half)):
        percentiles = "  ".join(f"p{percent} {load.percentile(percent) * 1000:.1f} ms" for percent in (50, 90, 99))
        yield f"{name:<10}{percentiles}"
    memory = f"{figures.before:.0f} MB, after the churn {figures.after:.0f} MB"
    yield f"{'maximum':<10}{figures.maximum.rate:.0f} lists/s; memory {memory}"


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Yield the results compared with the targets."""
    ratio = figures.lists.percentile(50) / figures.constants.percentile(50)
    yield Verdict(f"a list takes {ratio:.1f} times as long as a constant body (target: {MAX_LIST_RATIO})", ratio <= MAX_LIST_RATIO)
    tail = figures.half.percentile(99) / figures.half.percentile(50)
    yield Verdict(f"at half of the maximum rate p99 is {tail:.1f} times p50 (target: {MAX_TAIL_RATIO})", tail <= MAX_TAIL_RATIO)
    errors = figures.lists.errors + figures.maximum.errors + figures.half.errors
    yield Verdict(f"{errors} errors (target: none)", errors == 0)
    ready = statistics.median(figures.ready) / statistics.median(figures.baseline)
    yield Verdict(f"ready after {ready:.1f} times list + decode (target: {MAX_READY_RATIO})", ready <= MAX_READY_RATIO)
    slowest = max(figures.delays)
    yield Verdict(f"a release by Helm is shown after at most {slowest:.2f} s (target: {MAX_DELAY:.0f})", slowest <= MAX_DELAY)
    yield Verdict(f"memory {figures.after:.0f} MB (target: {MAX_MEGABYTES:.0f})", figures.after < MAX_MEGABYTES)
    growth = figures.after / figures.before
    yield Verdict(f"memory after the churn is {growth:.2f} times that before (target: {MAX_GROWTH})", growth <= MAX_GROWTH)
