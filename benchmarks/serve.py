"""The server's performance: the time until it is ready, the duration of a list, and its memory. A part of `make bench`.

On the local platform, with 1,000 releases of 10 revisions in temporary namespaces. A list of 100 releases is compared with the same
server answering a constant body of that size, and the time until it is ready with a metadata list and a decode of the current
records; `helm list` is shown for information. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import MeasurementFailed, platform, print_results
from serve_figures import Figures, lines, times, verdicts
from serve_fill import Dataset, populated

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import KubernautError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--releases", type=int, default=1000, help="the number of releases; %(default)s by default")
    parser.add_argument("--revisions", type=int, default=10, help="the number of revisions of each release; %(default)s by default")
    parser.add_argument("--churn", type=float, default=30, help="seconds of created and deleted releases; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if options.releases < 100 or options.revisions < 2:
        parser.error("--releases must be at least 100, and --revisions at least 2")
    try:
        figures = _measure(platform(options.name), Dataset(options.releases, options.revisions, 10), options.churn)
    except (MeasurementFailed, KubernautError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    return print_results(times(figures), list(verdicts(figures)), ("", *lines(figures)))


def _measure(environment: Mapping[str, str], dataset: Dataset, churn: float) -> Figures:
    import serve_runs as runs

    cluster = Cluster(environment["KUBECONFIG"])
    print(f"{dataset.releases} releases of {dataset.revisions} revisions …", flush=True)
    with populated(cluster, dataset), tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
        print("lists without a server, and servers until they are ready …", flush=True)
        baseline = [runs.list_and_decode(environment) for _ in range(3)]
        ready = [runs.time_to_ready(environment, Path(folder)) for _ in range(3)]
        helm = runs.helm_list(environment)
        print("lists, and a constant body …", flush=True)
        with runs.serving(environment, Path(folder)) as (server, constant):
            lists, constants = runs.lists(server, constant)
            print("the maximum rate, and half of it …", flush=True)
            maximum, half = runs.saturate(server)
            print("releases written by others …", flush=True)
            delays = runs.visibility_delays(server, cluster)
            print(f"{churn:.0f} s of created and deleted releases …", flush=True)
            before, after = runs.churn(server, cluster, churn)
        return Figures(baseline, ready, helm, lists, constants, maximum, half, delays, before, after)


if __name__ == "__main__":
    sys.exit(main())
