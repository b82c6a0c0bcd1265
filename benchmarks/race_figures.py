"""What race.py found out, as data, and what it makes of it. Pure: what is run is in race_runs.py."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from measure import Verdict

SAFE, BARE, HELM = "deploy", "deploy, no lock", "helm upgrade"
MOST_COST = 0.150
"""Seconds that the lock and the operation may add to a deploy."""
MOST_UNTIL_FAILED = 5.0
"""Seconds until the release of a killed kubernaut is failed, and no more pending."""
MOST_UNTIL_TAKEN = 30.0 + 5.0
"""Seconds until the lock of a silent holder is another's: the lease, and a little for looking at it."""
MOST_UNTIL_TOLD = 2.0
"""Seconds until a deploy that comes too late is told who is at work."""
LOST = 5
"""The exit status of a deploy that lost its lock."""


@dataclass(frozen=True)
class Cost:
    """Deploys of a changed value in turns: with lock and operation, without, and by plain Helm."""

    safe: Sequence[float]
    bare: Sequence[float]
    helm: Sequence[float]

    @property
    def more(self) -> float:
        """What lock and operation add: the median of the pairs' differences."""
        return statistics.median(safe - bare for safe, bare in zip(self.safe, self.bare, strict=True))


@dataclass(frozen=True)
class Killed:
    """A kubernaut that is killed in the middle of a hook, and a plain Helm.

    Attributes:
        until_failed: Seconds until kubernaut's release was failed.
        again: Seconds that the same command took afterwards.
        undisturbed: Seconds that it takes when nobody is killed.
        helm: The status of plain Helm's release as many seconds after its death as kubernaut's may take.
        helm_again: The exit status of the same ``helm upgrade`` afterwards.
    """

    until_failed: float
    again: float
    undisturbed: float
    helm: str
    helm_again: int


@dataclass(frozen=True)
class Silent:
    """A holder that stands still, as if it were cut off, and one that waits for its lock.

    Attributes:
        until_taken: Seconds from its last sign of life until the lock was the other's.
        status: The exit status of the silent one, once it went on.
        code: What it said that was wrong.
        until_ended: Seconds that it took to notice.
        deployed: How many records are ``deployed`` in the end.
    """

    until_taken: float
    status: int
    code: str
    until_ended: float
    deployed: int


@dataclass(frozen=True)
class Race:
    """Many that want the same name at the same time.

    Attributes:
        won: How many deployed.
        told: Seconds of each attempt that was told who holds the lock.
        else_said: What the others said.
        alone: Seconds until one was told that came alone, after the race.
    """

    won: int
    told: Sequence[float]
    else_said: Sequence[str]
    alone: float


@dataclass(frozen=True)
class Figures:
    """All that was measured."""

    cost: Cost
    killed: Killed
    silent: Silent
    race: Race


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Compare the figures with the targets."""
    more = figures.cost.more
    yield Verdict(
        f"lock and operation: {more * 1000:+.0f} ms a deploy; target: at most {MOST_COST * 1000:.0f} ms",
        more <= MOST_COST,
    )
    yield from _killed(figures.killed)
    yield from _silent(figures.silent)
    yield from _race(figures.race)


def _killed(killed: Killed) -> Iterator[Verdict]:
    yield Verdict(
        f"kill -9: failed after {killed.until_failed:.2f} s; target: at most {MOST_UNTIL_FAILED:.0f} s "
        f"(plain Helm: still {killed.helm} then, the same command again ends with {killed.helm_again})",
        killed.until_failed <= MOST_UNTIL_FAILED,
    )


def _silent(silent: Silent) -> Iterator[Verdict]:
    yield Verdict(
        f"silent holder: its lock taken after {silent.until_taken:.1f} s; target: at most {MOST_UNTIL_TAKEN:.0f} s",
        silent.until_taken <= MOST_UNTIL_TAKEN,
    )
    yield Verdict(
        f"silent holder: ends with {silent.status} ({silent.code}) {silent.until_ended:.1f} s after it goes on, "
        f"{silent.deployed} deployed; target: {LOST} (lock_lost), 1 deployed",
        (silent.status, silent.code, silent.deployed) == (LOST, "lock_lost", 1),
    )


def _race(race: Race) -> Iterator[Verdict]:
    others = len(race.told) + len(race.else_said)
    said = f" (else said: {'; '.join(race.else_said)})" if race.else_said else ""
    yield Verdict(
        f"race: {race.won} of {race.won + others} won, {len(race.told)} told who holds the lock{said}; target: 1, all others",
        race.won == 1 and bool(race.told) and not race.else_said,
    )
    slowest = max(race.told, default=float("inf"))
    yield Verdict(
        f"race: the slowest was told after {slowest:.2f} s (one that comes alone: {race.alone:.2f} s); "
        f"target: at most {MOST_UNTIL_TOLD:.0f} s",
        slowest <= MOST_UNTIL_TOLD,
    )


def times(figures: Figures) -> dict[str, Sequence[float]]:
    """Return the seconds that the table shows."""
    cost, killed = figures.cost, figures.killed
    return {
        SAFE: cost.safe,
        BARE: cost.bare,
        HELM: cost.helm,
        "slow deploy": [killed.undisturbed],
        "again after kill": [killed.again],
        **({"told in the race": figures.race.told} if figures.race.told else {}),
        "told alone": [figures.race.alone],
    }
