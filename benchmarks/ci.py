"""What a CI server adds to the commands that its jobs call. A part of `make bench`.

On the local platform and a real CI server of the Jenkins family, without a quiet period: builds of the Deploy job beside `kubernaut
deploy` by hand, a push beside `kubernaut ship`, both until the application says the new greeting, in turns; and how far behind the
console `kubernaut jenkins run --follow` is, and how often it asks. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ci_figures import Figures, times, verdicts
from measure import Failed, platform, tell

from kubernaut.errors import KubernautError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=5, help="rounds that count; %(default)s by default")
    parser.add_argument("--name", default="default", help="the local platform's name; %(default)s by default")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    try:
        figures = _measure(options.name, options.pairs)
    except (Failed, KubernautError) as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 7
    return tell(times(figures), list(verdicts(figures)))


def _measure(name: str, pairs: int) -> Figures:
    import ci_runs as runs

    with (
        tempfile.TemporaryDirectory(prefix="kubernaut-bench-") as folder,
        runs.prepared(platform(name), Path(folder)) as place,
    ):
        print(f"{pairs} pushes, and as many by hand …", flush=True)
        push = runs.pushes(place, pairs)
        print(f"{pairs} deploys on each side …", flush=True)
        deploy = runs.deploys(place, pairs)
        print("a build that is followed …", flush=True)
        return Figures(deploy, push, runs.followed(place))


if __name__ == "__main__":
    sys.exit(main())
