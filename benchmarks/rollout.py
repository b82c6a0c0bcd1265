"""How soon a failure's cause is on the screen, and a good deploy is reported done. A part of `make bench`.

Deploys the failing charts of the tests to the local platform, some at the same time, and beside them the same charts with
`helm upgrade --wait`; then good versions of three pods each, one after the other. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import MeasurementFailed, platform, print_results
from rollout_figures import Figures, table, verdicts

from kubernaut.errors import KubernautError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=1, help="the number of deploys of each failing chart; %(default)s by default")
    parser.add_argument("--good", type=int, default=5, help="the number of good deploys; %(default)s by default")
    parser.add_argument("--at-once", type=int, default=3, help="failing deploys at the same time; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if min(options.runs, options.good, options.at_once) < 1:
        parser.error("--runs, --good and --at-once must be at least 1")
    try:
        figures = _measure(platform(options.name), options.runs, options.good, options.at_once)
    except (MeasurementFailed, KubernautError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    return print_results({"last pod ready to done": figures.done}, list(verdicts(figures)), ["", *table(figures)])


def _measure(environment: Mapping[str, str], runs: int, good: int, at_once: int) -> Figures:
    import rollout_runs

    with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
        print(f"{good} good deploys …", flush=True)
        done, answered = rollout_runs.succeed(environment, Path(folder), good)
        print(f"{len(rollout_runs.SHOWN)} failing charts …", flush=True)
        with ThreadPoolExecutor(at_once) as pool:
            measured = pool.map(lambda case: rollout_runs.fail(environment, Path(folder), case, runs), rollout_runs.SHOWN)
            failures = dict(zip(rollout_runs.SHOWN, measured, strict=True))
        return Figures(failures, done, answered)


if __name__ == "__main__":
    sys.exit(main())
