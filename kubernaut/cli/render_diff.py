"""Prints the difference between two releases, or between the current one and a planned one, as a unified diff."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kubernaut.cli.output import print_data

if TYPE_CHECKING:
    from kubernaut.history.detail import Difference
    from kubernaut.history.releases import ReleaseChart

_HEADERS = ("--- ", "+++ ")
_COLOURS = {"@": "cyan", "-": "red", "+": "green"}
_NO_RELEASE = ".v0"


def show_difference(difference: Difference) -> None:
    """Print a difference; a first release is compared with nothing."""
    print_data(f"--- {'/dev/null' if difference.from_.endswith(_NO_RELEASE) else difference.from_}")
    print_data(f"+++ {difference.to}")
    for line in _diff_lines(difference):
        print_data(line, colour="" if line.startswith(_HEADERS) else _COLOURS.get(line[:1], ""))


def _diff_lines(difference: Difference) -> Iterator[str]:
    """Yield the lines of a unified diff."""
    chart, version, images = difference.chart, difference.app_version, difference.images
    if chart:
        yield from _diff_part("chart", filter(None, [_chart(chart.from_)]), [_chart(chart.to)])
    if version:
        yield from _diff_part("app version", filter(None, [version.from_]), filter(None, [version.to]))
    if images:
        yield from _diff_part("images", (image.ref for image in images.from_), (image.ref for image in images.to))
    if difference.values:
        yield "@@ values @@"
    for value in difference.values:
        if value.change != "added":
            yield f"-{value.path}: {json.dumps(value.from_, ensure_ascii=False)}"
        if value.change != "removed":
            yield f"+{value.path}: {_marked(json.dumps(value.to, ensure_ascii=False))}"
    yield from difference.manifest.splitlines()


def _diff_part(title: str, before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
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
