"""Prints published versions, as text or as the JSON of the REST API."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernaut.cli.command import target_arguments
from kubernaut.cli.output import is_terminal, print_json, print_message
from kubernaut.cli.render import NONE, format_time, print_next, print_table, short_commit

if TYPE_CHECKING:
    from kubernaut.publish.version import PublishedVersions

_SHORT_DIGEST = len("sha256:") + 12
_MAX_FOREIGN = 5


def show_versions(name: str, versions: PublishedVersions, output: str) -> None:
    """Print the published versions of an application, newest first, and name the charts that kubernaut did not publish."""
    if output == "json":
        foreign = {"foreign": versions.foreign} if versions.foreign else {}
        print_json({"items": versions, "count": len(versions), **foreign})
        return
    if not versions:
        print_message(f"No version of {name} is published.")
        if not versions.foreign:
            print_next(f"publish APP_DIR{target_arguments('registry')}")
    rows = [
        (
            version.version,
            format_time(version.created_at),
            short_commit(version.source.commit),
            version.image.digest[:_SHORT_DIGEST] if is_terminal(sys.stdout) else version.image.digest,
            ", ".join(version.environments) or NONE,
        )
        for version in versions
    ]
    if rows:
        print_table(("VERSION", "CREATED", "COMMIT", "IMAGE", "ENVIRONMENTS"), rows, optional=("COMMIT",))
    if versions.foreign:
        _show_foreign(name, versions.foreign)


def _show_foreign(name: str, charts: Sequence[str]) -> None:
    more = f" and {len(charts) - _MAX_FOREIGN} more" if len(charts) > _MAX_FOREIGN else ""
    print_message(f"Not published by kubernaut: {', '.join(charts[:_MAX_FOREIGN])}{more}.")
    print_next(f"deploy {name} --chart {charts[0]} -n NAMESPACE{target_arguments('server')}")
