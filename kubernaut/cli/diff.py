"""``kubernaut diff``: show the difference between two releases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.command import READ_STATUSES, Command, cluster_options, output_options, release_options, revision_option
from kubernaut.cli.output import print_data, print_json, print_message

if TYPE_CHECKING:
    from kubernaut.history.detail import Difference
    from kubernaut.history.releases import ReleaseChart

_NAMES = ("--- ", "+++ ")
_COLOURS = {"@": "cyan", "-": "red", "+": "green"}


@click.command(
    cls=Command,
    examples=[
        ("kubernaut diff hello-world -n demo", "show what the current release changed"),
        ("kubernaut diff hello-world -n demo --to 2", "show what a rollback to revision 2 would change"),
        ("kubernaut diff staging.hello-world.current --to production.hello-world.current", "compare two namespaces"),
    ],
    statuses=(*READ_STATUSES[:-2], 5, *READ_STATUSES[-2:]),
)
@release_options
@click.option("--to", metavar="ID", help="ID of the other release, or a revision of the same name (default: the previous one).")
@revision_option
@cluster_options
@output_options
def diff(release: str, output: str, **options: Any) -> None:
    """Show what a release changed.

    Compares chart, images, values and manifest with the previous release; with --to, shows the changes from the release to that
    one. Secret values are masked; only whether they differ is shown.
    """
    difference = session.open_backend(options).diff(release, **options)
    if output == "json":
        print_json(difference)
    elif difference.empty:
        print_message(f"{difference.from_} and {difference.to} do not differ.")
    else:
        print_data(f"--- {difference.from_}")
        print_data(f"+++ {difference.to}")
        for line in _lines(difference):
            print_data(line, colour="" if line.startswith(_NAMES) else _COLOURS.get(line[:1], ""))


def _lines(difference: Difference) -> Iterator[str]:
    """Yield the lines of a unified diff."""
    chart, version, images = difference.chart, difference.app_version, difference.images
    if chart:
        yield from _part("chart", [_chart(chart.from_)], [_chart(chart.to)])
    if version:
        yield from _part("app version", filter(None, [version.from_]), filter(None, [version.to]))
    if images:
        yield from _part("images", (image.ref for image in images.from_), (image.ref for image in images.to))
    if difference.values:
        yield "@@ values @@"
    for value in difference.values:
        if value.change != "added":
            yield f"-{value.path}: {json.dumps(value.from_, ensure_ascii=False)}"
        if value.change != "removed":
            yield f"+{value.path}: {_marked(json.dumps(value.to, ensure_ascii=False))}"
    yield from difference.manifest.splitlines()


def _part(title: str, before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
    yield f"@@ {title} @@"
    yield from (f"-{line}" for line in before)
    yield from (f"+{line}" for line in after)


def _chart(chart: ReleaseChart) -> str:
    named = "-".join(part for part in (chart.name, chart.version) if part)
    return " ".join(part for part in (named, chart.digest) if part)


def _marked(text: str) -> str:
    """Return a value with a changed secret marked as in the manifest."""
    from kubernaut.history.detail import CHANGED, CHANGED_LINE
    from kubernaut.redact import MASK

    return text.replace(CHANGED, MASK) + CHANGED_LINE if CHANGED in text else text
