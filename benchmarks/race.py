"""What it costs to be safe to race, and how long a dead or silent deploy keeps others out. A part of `make bench`.

On the local platform, each in a namespace of its own that is taken away again: a deploy with lock and operation beside one without
them and beside plain `helm upgrade`; a `kubernaut deploy` that is killed in the middle, beside a plain Helm; one that is silent, as
if it were cut off from the cluster, while another waits for its lock; and many that want the same name at the same time. Takes two
to three minutes. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from measure import Failed, platform, tell
from race_figures import Figures, times, verdicts

from kubernaut.errors import KubernautError

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=7, help="deploys on each side that count; %(default)s by default")
    parser.add_argument("--deployers", type=int, default=20, help="how many race for a name; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if options.pairs < 1 or options.deployers < 2:
        parser.error("--pairs must be at least 1, and --deployers at least 2")
    try:
        figures = _measure(platform(options.name), options.pairs, options.deployers)
    except (Failed, KubernautError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    return tell(times(figures), list(verdicts(figures)))


def _measure(environment: Mapping[str, str], pairs: int, deployers: int) -> Figures:
    import race_runs as runs

    with tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
        base = runs.Place.prepare(environment, Path(folder))

        def measured(what: str, measure: Callable[[runs.Place], T]) -> T:
            print(f"{what} …", flush=True)
            with base.namespaced() as place:
                return measure(place)

        return Figures(
            measured(f"{pairs} deploys on each side", lambda place: runs.cost(place, pairs)),
            measured("a kubernaut that is killed", runs.killed),
            measured("a holder that is silent", runs.silent),
            measured(f"{deployers} that race", lambda place: runs.race(place, deployers)),
        )


if __name__ == "__main__":
    sys.exit(main())
