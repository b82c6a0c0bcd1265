"""Helpers of the benchmarks: running and timing programs, the table of results, and the targets."""

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
"""Runs a program in a folder with an environment, and returns its duration in seconds."""


class MeasurementFailed(Exception):
    """A measured program failed: the measurement has no result."""


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """Run a program; return its duration in seconds.

    Raises:
        MeasurementFailed: The program could not be started, or its exit status is not 0; the message contains its output.
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
        raise MeasurementFailed(f"{command[0]}: {error.strerror}") from error
    seconds = time.perf_counter() - started
    if result.returncode:
        raise MeasurementFailed(f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}")
    return seconds


def kubernaut() -> str:
    """Return the path of `kubernaut` beside this Python."""
    return str(Path(sys.executable).with_name("kubernaut"))


def platform(name: str) -> dict[str, str]:
    """Start the local platform; return the environment with which programs use it."""
    from kubernaut.cli.progress import show_progress
    from kubernaut_local import Platform

    platform = Platform(name)
    with show_progress() as listener:
        platform.up(listener=listener)
    return {**os.environ, **platform.environment()}


@dataclass(frozen=True)
class Summary:
    """The summary of several runs, in seconds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Summary:
        """Return the summary of at least one run."""
        return cls(statistics.median(seconds), min(seconds), max(seconds))


def format_table(times: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Yield the lines of the table, one row per name."""
    width = max(18, *(len(name) + 2 for name in times))
    yield f"{'seconds':<{width}}{'median':>8}{'min':>8}{'max':>8}{'runs':>6}"
    for name, seconds in times.items():
        summary = Summary.of(seconds)
        yield f"{name:<{width}}{summary.median:>8.2f}{summary.low:>8.2f}{summary.high:>8.2f}{len(seconds):>6}"


@dataclass(frozen=True)
class Verdict:
    """A result beside its target, and whether the target was met."""

    text: str
    met: bool


def print_results(times: Mapping[str, Sequence[float]], verdicts: Sequence[Verdict], more: Iterable[str] = ()) -> int:
    """Print the table, more lines and the verdicts; return the exit status: 1 if a target was missed."""
    print()
    for line in (*format_table(times), *more):
        print(line)
    print()
    for verdict in verdicts:
        print(f"{'met' if verdict.met else 'MISSED':<8}{verdict.text}")
    return 0 if all(verdict.met for verdict in verdicts) else 1
