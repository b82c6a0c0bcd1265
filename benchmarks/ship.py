"""The duration of `kubernaut ship` compared with a hand-written pipeline (pipeline.sh). A part of `make bench`.

Each round runs the shell pipeline after an edit of index.js, `ship` after such an edit, and `ship` without a change, alternately,
on the local platform and in copies of examples/ and charts/. Whole processes are timed. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from measure import MeasurementFailed, Run, Summary, Verdict, format_table, kubernaut, platform, print_results, run

ROOT = Path(__file__).parents[1]
NAME = "hello-world"
SHELL, CHANGED, UNCHANGED = "shell pipeline", "ship, changed", "ship, unchanged"
MAX_EXTRA_SECONDS = 1.0
"""Target: the seconds by which a `ship` of a change may exceed the shell pipeline."""
MAX_UNCHANGED_RATIO = 0.25
"""Target: the duration of a `ship` without a change, as a part of the shell pipeline's."""


def verdicts(summaries: Mapping[str, Summary]) -> list[Verdict]:
    """Return the medians compared with the targets."""
    shell, changed, unchanged = (summaries[side].median for side in (SHELL, CHANGED, UNCHANGED))
    return [
        Verdict(
            f"{CHANGED}: {changed / shell:.2f} of the shell pipeline ({changed - shell:+.2f} s); "
            f"target: at most +{MAX_EXTRA_SECONDS} s",
            changed <= shell + MAX_EXTRA_SECONDS,
        ),
        Verdict(
            f"{UNCHANGED}: {unchanged / shell:.2f} of the shell pipeline; target: at most {MAX_UNCHANGED_RATIO}",
            unchanged <= MAX_UNCHANGED_RATIO * shell,
        ),
    ]


@dataclass
class Bench:
    """The two sides, the shell pipeline and kubernaut, each with its own copy, namespace and repositories.

    Args:
        folder: The folder for the copies.
        environment: The environment with which `docker`, `helm` and `kubernaut` use the platform.
        run: Runs and times a program.
        label: Makes each edit differ from those of earlier runs, whose layers the Docker engine may have cached.
    """

    folder: Path
    environment: Mapping[str, str]
    run: Run = run
    label: str = field(default_factory=lambda: str(int(time.time())))
    _edits: int = 0

    def prepare(self) -> None:
        """Remove the releases of an earlier run and make the copies, each a git repository, from which the version is derived."""
        self.remove()
        for side in ("shell", "kubernaut"):
            copy = self.folder / side
            for part in ("examples", "charts"):
                shutil.copytree(ROOT / part / NAME, copy / part / NAME)
            identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]
            for arguments in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "--message", "hello-world"]):
                self.run(["git", *arguments], copy, self.environment)

    def measure(self, pairs: int, log: Callable[[str], None]) -> dict[str, list[float]]:
        """Return the seconds of each round by side, after a warm-up that creates the namespaces and fills the caches."""
        times: dict[str, list[float]] = {SHELL: [], CHANGED: [], UNCHANGED: []}
        for number in range(pairs + 1):
            # The sides alternate in running first.
            sides = [self._ship, self._shell] if number % 2 else [self._shell, self._ship]
            seconds = {name: taken for side in sides for name, taken in side().items()}
            log(f"{f'round {number}' if number else 'warm-up':<10}" + "  ".join(f"{name} {seconds[name]:.2f}" for name in times))
            if number:
                for name, taken in seconds.items():
                    times[name].append(taken)
        return times

    def remove(self) -> None:
        """Uninstall both releases, as far as possible."""
        for side in ("shell", "kubernaut"):
            command = ["helm", "uninstall", NAME, "--namespace", f"bench-{side}", "--ignore-not-found"]
            with suppress(MeasurementFailed):
                self.run(command, self.folder, self.environment)

    def _shell(self) -> dict[str, float]:
        number = self._edit("shell")
        variables = {
            "REGISTRY": f"{self.environment['KUBERNAUT_REGISTRY']}/bench-shell",
            "NAMESPACE": "bench-shell",
            "VERSION": f"0.1.{number}-bench.{self.label}",
            "PLAIN_HTTP": "1",
        }
        command = [str(ROOT / "benchmarks" / "pipeline.sh")]
        return {SHELL: self.run(command, self.folder / "shell", {**self.environment, **variables})}

    def _ship(self) -> dict[str, float]:
        self._edit("kubernaut")
        command = [kubernaut(), "ship", f"examples/{NAME}", "--namespace", "bench-kubernaut", "--create-namespace"]
        environment = {**self.environment, "KUBERNAUT_REGISTRY": f"{self.environment['KUBERNAUT_REGISTRY']}/bench-kubernaut"}
        return {name: self.run(command, self.folder / "kubernaut", environment) for name in (CHANGED, UNCHANGED)}

    def _edit(self, side: str) -> int:
        self._edits += 1
        with (self.folder / side / "examples" / NAME / "index.js").open("a", encoding="utf-8") as file:
            file.write(f"// {side} {self.label} {self._edits}\n")
        return self._edits


def start_times(environment: Mapping[str, str], run: Run = run, runs: int = 5) -> dict[str, list[float]]:
    """Return the seconds that `kubernaut --help` and `helm version` take, for information."""
    commands = {"kubernaut --help": [kubernaut(), "--help"], "helm version": ["helm", "version", "--short"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            times[name].append(run(command, ROOT, environment))
    return times


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=7, help="the number of rounds; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    environment = _platform(options.name)
    missing = [program for program in ("docker", "helm", "git") if shutil.which(program, path=environment["PATH"]) is None]
    if missing:
        print(f"Not on PATH: {', '.join(missing)}.", file=sys.stderr)
        return 8
    try:
        times = _measure(environment, options.pairs)
        programs = start_times(environment)
    except MeasurementFailed as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    compared = verdicts({name: Summary.of(seconds) for name, seconds in times.items()})
    return print_results(times, compared, list(format_table(programs))[1:])


def _measure(environment: Mapping[str, str], pairs: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
        bench = Bench(Path(folder), environment)
        bench.prepare()
        try:
            return bench.measure(pairs, lambda line: print(line, flush=True))
        finally:
            bench.remove()


def _platform(name: str) -> dict[str, str]:
    environment = platform(name)
    if shutil.which("docker", path=environment["PATH"]) is None:
        environment["PATH"] += f"{os.pathsep}{_docker_folder()}"
    return environment


def _docker_folder() -> Path:
    """Return the folder of the Docker client in the platform's packages, for machines without one."""
    from kubernaut_local.cache import Cache
    from kubernaut_local.commands import CommandRunner
    from kubernaut_local.debian import fetch_packages

    with CommandRunner() as commands:
        packages, _ = fetch_packages(Cache.default(), commands, lambda _: None)
    return packages.root / "usr" / "bin"


if __name__ == "__main__":
    sys.exit(main())
