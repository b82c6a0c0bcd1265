"""``kubernaut diff``: what differs between two releases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from kubernaut.cli import session
from kubernaut.cli.options import (
    cluster_options,
    namespace_option,
    output_option,
    release_argument,
    revision_option,
    verbose_option,
)
from kubernaut.cli.output import print_json, put, say
from kubernaut.cli.verb import READS, Verb

if TYPE_CHECKING:
    from kubernaut.history.diff import Difference
    from kubernaut.history.releases import ReleaseChart

_NAMES = ("--- ", "+++ ")
_COLOURS = {"@": "cyan", "-": "red", "+": "green"}


@click.command(
    cls=Verb,
    examples=[
        ("kubernaut diff hello-world -n demo", "what the current release changed"),
        ("kubernaut diff hello-world -n demo --to 2", "what going back to revision 2 would change"),
        ("kubernaut diff staging.hello-world.current --to production.hello-world.current", "how two places differ"),
    ],
    statuses=(*READS[:-2], 5, *READS[-2:]),
)
@release_argument
@click.option("--to", metavar="ID", help="The other release's id, or its revision of the same name; the one before it by default.")
@namespace_option
@revision_option
@cluster_options
@output_option
@verbose_option
def diff(release: str, output: str, **options: Any) -> None:
    """Show what a release changed.

    That is its chart, images, values and manifest, compared with the release before it. With --to: what going from the release to
    that one would change. What is secret is masked on both sides; where it differs, that is all that is said.
    """
    difference = session.open_backend(options).diff(release, **options)
    if output == "json":
        print_json(difference)
    elif difference.empty:
        say(f"{difference.from_} and {difference.to} do not differ")
    else:
        put(f"--- {difference.from_}")
        put(f"+++ {difference.to}")
        for line in _lines(difference):
            put(line, colour="" if line.startswith(_NAMES) else _COLOURS.get(line[:1], ""))


def _lines(difference: Difference) -> Iterator[str]:
    """Yield all that differs in the form of a unified diff."""
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
    """Say that a secret has changed in the way that the manifest's lines say it."""
    from kubernaut.history.diff import CHANGED, CHANGED_LINE
    from kubernaut.redact import MASK

    return text.replace(CHANGED, MASK) + CHANGED_LINE if CHANGED in text else text
