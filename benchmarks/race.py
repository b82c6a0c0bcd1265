"""The cost of the lock and the operation, and how long a dead or suspended deploy blocks others. A part of `make bench`.

On the local platform, each in a temporary namespace: a deploy with lock and operation, one without, and `helm upgrade`; a killed
`kubernaut deploy`, and a killed Helm; a suspended deploy while another one waits for its lock; and many deploys of the same name
at the same time. Takes two to three minutes. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from measure import MeasurementFailed, platform, print_results
from race_figures import Figures, times, verdicts

from kubernaut.errors import KubernautError

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=7, help="the number of deploys on each side; %(default)s by default")
    parser.add_argument("--deployers", type=int, default=20, help="the number of concurrent deploys; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if options.pairs < 1 or options.deployers < 2:
        parser.error("--pairs must be at least 1, and --deployers at least 2")
    try:
        figures = _measure(platform(options.name), options.pairs, options.deployers)
    except (MeasurementFailed, KubernautError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    return print_results(times(figures), list(verdicts(figures)))


def _measure(environment: Mapping[str, str], pairs: int, deployers: int) -> Figures:
    import race_runs as runs

    with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
        base = runs.Sandbox.prepare(environment, Path(folder))

        def measured(title: str, measure: Callable[[runs.Sandbox], T]) -> T:
            print(f"{title} …", flush=True)
            with base.in_namespace() as sandbox:
                return measure(sandbox)

        return Figures(
            measured(f"{pairs} deploys on each side", lambda sandbox: runs.cost(sandbox, pairs)),
            measured("a killed deploy", runs.kill),
            measured("a suspended deploy", runs.suspend),
            measured(f"{deployers} concurrent deploys", lambda sandbox: runs.race(sandbox, deployers)),
        )


if __name__ == "__main__":
    sys.exit(main())
