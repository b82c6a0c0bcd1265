"""The overhead of a CI server over the commands that its jobs run. A part of `make bench`.

With a CI server of the Jenkins family, without a quiet period, on the local platform: builds of the Deploy job compared with
`kubernaut deploy`, and a push compared with `kubernaut ship`, each until the application answers with the new greeting; and the
delay and the request rate of `kubernaut jenkins run --follow`. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ci_figures import Figures, times, verdicts
from measure import MeasurementFailed, platform, print_results

from kubernaut.errors import KubernautError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=5, help="the number of rounds; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    try:
        figures = _measure(options.name, options.pairs)
    except (MeasurementFailed, KubernautError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    return print_results(times(figures), list(verdicts(figures)))


def _measure(name: str, pairs: int) -> Figures:
    import ci_runs as runs

    with (
        tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder,
        runs.prepared(platform(name), Path(folder)) as setup,
    ):
        print(f"{pairs} pushes, and as many `ship` …", flush=True)
        push = runs.pushes(setup, pairs)
        print(f"{pairs} deploys on each side …", flush=True)
        deploy = runs.deploys(setup, pairs)
        print("following a build …", flush=True)
        return Figures(deploy, push, runs.follow(setup))


if __name__ == "__main__":
    sys.exit(main())
