"""What the server costs: how soon it is ready, how fast a list is, how much memory it needs. A part of `make bench`.

On the local platform, with 1,000 releases of 10 revisions in namespaces of their own, which are taken away again. The list of 100
releases is measured beside the same server program answering a constant body of that size; being ready beside one bare metadata
list plus one decode of the current records; `helm list` is there for the reader. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import Failed, platform, tell
from serve_figures import Figures, lines, times, verdicts
from serve_fill import Filling, filled

from kubernaut.adapters.kube import Cluster
from kubernaut.errors import KubernautError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--releases", type=int, default=1000, help="how many releases; %(default)s by default")
    parser.add_argument("--revisions", type=int, default=10, help="how many revisions of each; %(default)s by default")
    parser.add_argument("--churn", type=float, default=30, help="seconds of churn while memory is watched; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if options.releases < 100 or options.revisions < 2:
        parser.error("--releases must be at least 100, and --revisions at least 2")
    try:
        figures = _measure(platform(options.name), Filling(options.releases, options.revisions, 10), options.churn)
    except (Failed, KubernautError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    return tell(times(figures), list(verdicts(figures)), ("", *lines(figures)))


def _measure(environment: Mapping[str, str], filling: Filling, churn: float) -> Figures:
    import serve_runs as runs

    cluster = Cluster(environment["KUBECONFIG"])
    print(f"{filling.names} releases of {filling.revisions} revisions …", flush=True)
    with filled(cluster, filling), tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder:
        print("bare lists, and servers until they are ready …", flush=True)
        bare = [runs.bare(environment) for _ in range(3)]
        starts = [runs.ready(environment, Path(folder)) for _ in range(3)]
        helm = runs.helm_list(environment)
        print("lists beside a constant body …", flush=True)
        with runs.serving(environment, Path(folder)) as (server, constant):
            sides = runs.lists(server, constant)
            print("as fast as it can, and at half of that …", flush=True)
            most, half = runs.saturation(server)
            print("what others write …", flush=True)
            shown = runs.shown(server, cluster)
            print(f"{churn:.0f} s of churn …", flush=True)
            before, after = runs.churn(server, cluster, churn)
        return Figures(bare, starts, helm, *sides, most, half, shown, before, after)


if __name__ == "__main__":
    sys.exit(main())
