"""The results of race.py and their comparison with the targets. Pure; race_runs.py measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from measure import Verdict

MAX_OVERHEAD = 0.150
"""Target: seconds that the lock and the operation may add to a deploy."""
MAX_UNTIL_FAILED = 5.0
"""Target: seconds until the release of a killed deploy changes from pending to failed."""
MAX_UNTIL_TAKEN = 30.0 + 5.0
"""Target: seconds until another deploy gets the lock of a suspended one: the lease's duration, and some for polling."""
MAX_UNTIL_REFUSED = 2.0
"""Target: seconds until a deploy fails because another one holds the lock."""
LOCK_LOST = 5
"""The exit status of a deploy that lost its lock."""


@dataclass(frozen=True)
class Cost:
    """The seconds of deploys of a changed value, alternately with lock and operation, without, and by Helm."""

    locked: Sequence[float]
    unlocked: Sequence[float]
    helm: Sequence[float]

    @property
    def overhead(self) -> float:
        """The seconds that lock and operation add: the median of the pairs' differences."""
        return statistics.median(locked - unlocked for locked, unlocked in zip(self.locked, self.unlocked, strict=True))


@dataclass(frozen=True)
class Killed:
    """A deploy, and a Helm, that were killed while a hook ran.

    Attributes:
        until_failed: Seconds until the release of the killed deploy was failed.
        again: Seconds of the same command afterwards.
        undisturbed: Seconds of the same command without a kill.
        helm: The status of the killed Helm's release after MAX_UNTIL_FAILED seconds.
        helm_again: The exit status of the same ``helm upgrade`` afterwards.
    """

    until_failed: float
    again: float
    undisturbed: float
    helm: str
    helm_again: int


@dataclass(frozen=True)
class Suspended:
    """A deploy that was suspended, as if cut off from the cluster, and another one that waited for its lock.

    Attributes:
        until_taken: Seconds from the suspension until the other deploy had the lock.
        status: The exit status of the suspended deploy after it was resumed.
        code: The error code of the suspended deploy.
        until_ended: Seconds from its resumption to its end.
        deployed: The number of records with the status ``deployed`` at the end.
    """

    until_taken: float
    status: int
    code: str
    until_ended: float
    deployed: int


@dataclass(frozen=True)
class Race:
    """Deploys of the same name at the same time.

    Attributes:
        won: The number of successful deploys.
        refused: The seconds of each deploy that failed with the name of the lock's holder.
        other_errors: The messages of deploys that failed otherwise.
        refused_alone: The seconds of a single deploy that failed with the name of the lock's holder after the race.
    """

    won: int
    refused: Sequence[float]
    other_errors: Sequence[str]
    refused_alone: float


@dataclass(frozen=True)
class Figures:
    """All results."""

    cost: Cost
    killed: Killed
    suspended: Suspended
    race: Race


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Yield the results compared with the targets."""
    overhead = figures.cost.overhead
    yield Verdict(
        f"lock and operation: {overhead * 1000:+.0f} ms per deploy; target: at most {MAX_OVERHEAD * 1000:.0f} ms",
        overhead <= MAX_OVERHEAD,
    )
    yield from _killed(figures.killed)
    yield from _suspended(figures.suspended)
    yield from _race(figures.race)


def _killed(killed: Killed) -> Iterator[Verdict]:
    yield Verdict(
        f"kill -9: failed after {killed.until_failed:.2f} s; target: at most {MAX_UNTIL_FAILED:.0f} s "
        f"(Helm: {killed.helm} then, the same command again exits with {killed.helm_again})",
        killed.until_failed <= MAX_UNTIL_FAILED,
    )


def _suspended(suspended: Suspended) -> Iterator[Verdict]:
    yield Verdict(
        f"suspended deploy: lock taken after {suspended.until_taken:.1f} s; target: at most {MAX_UNTIL_TAKEN:.0f} s",
        suspended.until_taken <= MAX_UNTIL_TAKEN,
    )
    yield Verdict(
        f"suspended deploy: exits with {suspended.status} ({suspended.code}) {suspended.until_ended:.1f} s after it is resumed, "
        f"{suspended.deployed} deployed; target: {LOCK_LOST} (lock_lost), 1 deployed",
        (suspended.status, suspended.code, suspended.deployed) == (LOCK_LOST, "lock_lost", 1),
    )


def _race(race: Race) -> Iterator[Verdict]:
    total = race.won + len(race.refused) + len(race.other_errors)
    others = f" (other errors: {'; '.join(race.other_errors)})" if race.other_errors else ""
    yield Verdict(
        f"race: {race.won} of {total} succeeded, {len(race.refused)} named the lock's holder{others}; target: 1, all others",
        race.won == 1 and bool(race.refused) and not race.other_errors,
    )
    slowest = max(race.refused, default=float("inf"))
    yield Verdict(
        f"race: the slowest failed after {slowest:.2f} s (a single one: {race.refused_alone:.2f} s); "
        f"target: at most {MAX_UNTIL_REFUSED:.0f} s",
        slowest <= MAX_UNTIL_REFUSED,
    )


def times(figures: Figures) -> dict[str, Sequence[float]]:
    """Return the seconds of each row of the table."""
    cost, killed = figures.cost, figures.killed
    return {
        "deploy": cost.locked,
        "deploy, no lock": cost.unlocked,
        "helm upgrade": cost.helm,
        "slow deploy": [killed.undisturbed],
        "again after kill": [killed.again],
        **({"refused in race": figures.race.refused} if figures.race.refused else {}),
        "refused alone": [figures.race.refused_alone],
    }
