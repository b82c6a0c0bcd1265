"""What the benchmarks share: programs that are timed, runs that are summed up, targets. Measures nothing itself."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Run = Callable[[Sequence[str], Path, Mapping[str, str]], float]
"""Runs a program in a folder with an environment, and returns the seconds it took."""


class Failed(Exception):
    """What is measured failed: there is nothing to compare."""


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """Run a program and time it.

    Raises:
        Failed: It could not be started or exited with another status than 0; with what it said.
    """
    started = time.perf_counter()
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    seconds = time.perf_counter() - started
    if result.returncode:
        raise Failed(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}")
    return seconds


def kubernaut() -> str:
    """Return the command beside this Python."""
    return str(Path(sys.executable).with_name("kubernaut"))


def platform(name: str) -> dict[str, str]:
    """Bring up the local platform; return the environment in which programs find it."""
    from kubernaut.cli.progress import show_progress
    from kubernaut_local import Platform

    platform = Platform(name)
    with show_progress() as listener:
        platform.up(listener=listener)
    return {**os.environ, **platform.environment()}


@dataclass(frozen=True)
class Summary:
    """Some runs of the same thing, in seconds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Summary:
        """Sum up at least one run."""
        return cls(statistics.median(seconds), min(seconds), max(seconds))


def report(times: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield the table's lines."""
    width = max(18, *(len(side) + 2 for side in times))
    yield f"{'seconds':<{width}}{'median':>8}{'min':>8}{'max':>8}{'runs':>6}"
    for side, seconds in times.items():
        summary = Summary.of(seconds)
        yield f"{side:<{width}}{summary.median:>8.2f}{summary.low:>8.2f}{summary.high:>8.2f}{len(seconds):>6}"


@dataclass(frozen=True)
class Verdict:
    """One target, and whether it was met."""

    text: str
    met: bool


def judge(verdicts: Sequence[Verdict]) -> int:
    """Print the verdicts; return the exit status."""
    for verdict in verdicts:
        print(f"{'met' if verdict.met else 'MISSED':<8}{verdict.text}")
    return 0 if all(verdict.met for verdict in verdicts) else 1


def tell(times: Mapping[str, Sequence[float]], verdicts: Sequence[Verdict], more: Iterable[str] = ()) -> int:
    """Print the table, the lines that follow it and the verdicts; return the exit status."""
    print()
    for line in (*report(times), *more):
        print(line)
    print()
    return judge(verdicts)
