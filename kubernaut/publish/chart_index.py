"""The ``index.yaml`` of a chart repository. Pure.

An index lists every version of every chart of its repository, and has tens of megabytes for a large one. In the form that Helm
writes, the lines of one chart are found without parsing the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any
from urllib.parse import urljoin

from kubernaut.errors import ChartInvalid, ValuesInvalid, VersionNotFound
from kubernaut.publish.chart_reference import RepositoryChart
from kubernaut.publish.chart_versions import newest_stable, use_chart, version_not_found
from kubernaut.yaml_reader import parse_yaml

_LARGEST = 16 << 20
_MOST_VALUES = 2_000_000
_SHOWN_CHARTS = 5
_ENTRIES = re.compile(r"^entries:[ \t]*\r?\n(?=  [A-Za-z0-9._-]+:[ \t]*\r?\n  - )", re.MULTILINE)
_CHART = re.compile(r"^  ([A-Za-z0-9._-]+):[ \t]*\r?$", re.MULTILINE)
_TOP = re.compile(r"^[^\s#]", re.MULTILINE)
_NEXT = re.compile(r"^(?: {0,2}[^\s#-]|---)", re.MULTILINE)
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+(?:\.[0-9].*)?")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True)
class IndexEntry:
    """One version of a chart: its package's URL, and the SHA-256 of the package in hex where the index has it."""

    version: str
    url: str
    sha256: str | None


def find_entry(index: bytes, chart: RepositoryChart) -> IndexEntry:
    """Return the named version of a chart in its repository's index; without one the newest stable.

    Raises:
        ChartInvalid: The index is not one.
        VersionNotFound: It does not list the version.
    """
    shown = f"{chart.repository}/index.yaml"
    entries = _entries(index, chart, shown)
    known = {str(entry.get("version")): entry for entry in reversed(entries)}
    version = newest_stable(known) if chart.version is None else _same_version(chart.version, known)
    if version is None:
        raise version_not_found(chart.repository, chart.name, chart.version, known, lambda one: str(replace(chart, version=one)))
    urls = known[version].get("urls")
    url = urls[0] if isinstance(urls, list) and urls and isinstance(urls[0], str) else None
    if url is None:
        raise _damaged(chart, version, shown)
    digest = _SHA256.fullmatch(str(known[version].get("digest") or ""))
    try:
        return IndexEntry(version, urljoin(f"{chart.repository}/", url), digest[1] if digest else None)
    except ValueError as error:
        raise _damaged(chart, version, shown) from error


def not_a_repository(chart: RepositoryChart, message: str) -> VersionNotFound:
    """Return the error about a URL without an index.

    Args:
        chart: The chart that was looked for.
        message: The error of the request.
    """
    url, _, name = chart.repository.rpartition("/")
    message = f"{message.rstrip('.')}, so {chart.repository} is not a chart repository."
    if _VERSION.fullmatch(chart.name) and not url.endswith("/"):
        return VersionNotFound(message, **use_chart(str(RepositoryChart(url, name, chart.name)), before="The version follows `@`."))
    host = chart.repository.partition("://")[2]
    oci = f"oci://{host}/{chart.name}" + (f":{chart.version}" if chart.version else "")
    return VersionNotFound(
        message,
        hint="Before the chart's name, use the URL that `helm repo add` takes. "
        f"For an OCI registry, run the same command again with `--chart {oci}`.",
        http_hint="Before the chart's name, use the URL that `helm repo add` takes.",
    )


def _damaged(chart: RepositoryChart, version: str, shown: str) -> ChartInvalid:
    return ChartInvalid(f"{shown} has no valid URL for {chart.name} {version}.", hint="Report it to the repository's owner.")


def _same_version(version: str, known: Mapping[str, Any]) -> str | None:
    bare = version.removeprefix("v")
    return next((one for one in (version, bare, f"v{bare}") if one in known), None)


def _entries(index: bytes, chart: RepositoryChart, shown: str) -> Sequence[Mapping[str, Any]]:
    """Return the entries of a chart, newest first as the index has them."""
    try:
        charts = _charts(index.decode("utf-8-sig"), chart.name, shown)
    except (ValueError, RecursionError) as error:
        raise _invalid(shown) from error
    except ValuesInvalid as error:
        raise _invalid(shown, error.message) from error
    charts = {name: found for name, found in charts.items() if isinstance(name, str)}
    found = charts.get(chart.name)
    if found is None:
        near = get_close_matches(chart.name, charts, n=3)
        listed = f"It has {', '.join(near or [*charts][:_SHOWN_CHARTS]) or 'none'}."
        hints = use_chart(str(replace(chart, name=near[0])), before=listed) if near else {"hint": listed}
        raise VersionNotFound(f"{chart.repository} has no chart {chart.name}.", **hints)
    if not isinstance(found, list):
        raise _invalid(shown)
    return [entry for entry in found if isinstance(entry, dict)]


def _charts(text: str, name: str, shown: str) -> Mapping[str, Any]:
    """Return the entries by chart; those of other charts may be empty."""
    usual = _ENTRIES.search(text)
    if usual is not None:
        return _one_chart(text, usual.end(), name, shown)
    content = _json(text) or parse_yaml(text, shown, largest=_LARGEST, most=_MOST_VALUES)
    charts = content.get("entries") if isinstance(content, dict) else None
    if not isinstance(charts, dict):
        raise _invalid(shown)
    return charts


def _json(text: str) -> Any:
    """Return the content of an index that is written as JSON; ``None`` for any other."""
    try:
        return json.loads(text) if text.lstrip().startswith("{") else None
    except ValueError:
        return None


def _one_chart(text: str, start: int, name: str, shown: str) -> Mapping[str, Any]:
    end = _TOP.search(text, start)
    charts = {found[1]: found for found in _CHART.finditer(text, start, end.start() if end else len(text))}
    if name not in charts:
        return dict.fromkeys(charts)
    following = _NEXT.search(text, charts[name].end())
    block = text[charts[name].start() : following.start() if following else len(text)]
    return parse_yaml(block, f"{shown}, {name}", largest=_LARGEST, most=_MOST_VALUES)


def _invalid(shown: str, *details: str) -> ChartInvalid:
    return ChartInvalid(
        f"{shown} is not the index of a chart repository.",
        hint="Use the URL that `helm repo add` takes, with /CHART@VERSION after it; a chart of an OCI registry begins with oci://.",
        details=details,
    )
