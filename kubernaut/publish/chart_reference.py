"""Chart references: the texts that name a chart to deploy. Pure.

============================================  ======================================================
reference                                     chart
============================================  ======================================================
``oci://HOST[:PORT]/PATH[:VERSION]``          of an OCI registry, without a version the newest stable
``oci://…[:VERSION]@sha256:DIGEST``           the same by digest; a version's tag must have it
``https://HOST[:PORT]/PATH/CHART[@VERSION]``  CHART of the chart repository ``https://HOST[:PORT]/PATH``
any other text                                the path of a folder with Chart.yaml, or of a ``.tgz``
============================================  ======================================================

A tag cannot contain the ``+`` of a version's build metadata: as in Helm, the tag has ``_`` instead
(:mod:`kubernaut.publish.chart_versions`). :mod:`kubernaut.publish.chart_mistakes` explains any other form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from kubernaut.errors import BadInput, KubernautError
from kubernaut.models import check_name
from kubernaut.publish.chart_mistakes import MAX_REFERENCE, refuse_file, refuse_reference
from kubernaut.publish.chart_versions import version_tag

_PORT = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
_HOST = rf"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*{_PORT}"
_PATH = r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_OCI = re.compile(rf"oci://(?P<repository>{_HOST}{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_HTTP = re.compile(
    rf"(?P<repository>https?://{_HOST}(?:/(?!\.\.?/)[A-Za-z0-9._~%+-]+)*)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<version>{_TAG}))?"
)
_FILES = (".tgz", ".tar.gz", ".yaml")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(/?)")


@dataclass(frozen=True)
class ChartReference:
    """A chart in an OCI registry: a repository, with a tag, a digest, both or neither."""

    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """The chart's name: the last part of the repository, as ``helm push`` sets it."""
        return self.repository.rpartition("/")[2]

    @property
    def tag_or_digest(self) -> str:
        """The digest if there is one, otherwise the tag; empty without both."""
        return self.digest or self.tag or ""

    @classmethod
    def parse(cls, text: str) -> ChartReference:
        """Parse ``oci://HOST[:PORT]/PATH[:VERSION][@sha256:DIGEST]``; an error repeats nothing of it, it may hold a secret.

        Raises:
            BadInput: The text has another form.
        """
        match = _match(_OCI, text)
        if match is None:
            raise refuse_reference(text, _is_reference)
        return cls(match["repository"], version_tag(match["tag"]) if match["tag"] else None, match["digest"])


@dataclass(frozen=True)
class RepositoryChart:
    """A chart in a chart repository: the repository's URL, the chart's name, and its version if one is named."""

    repository: str
    name: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}/{self.name}" + (f"@{self.version}" if self.version else "")

    @classmethod
    def parse(cls, text: str) -> RepositoryChart:
        """Parse ``https://HOST[:PORT]/PATH/CHART[@VERSION]``; an error repeats nothing of it, it may hold a secret.

        Raises:
            BadInput: The text has another form, or names a package.
        """
        match = _match(_HTTP, text)
        if match is None:
            raise refuse_reference(text, _is_reference)
        if match["name"].endswith(_FILES):
            raise refuse_file(match["repository"], match["name"], _is_reference)
        return cls(match["repository"], match["name"], match["version"])


AnyChart: TypeAlias = ChartReference | RepositoryChart | Path


def parse_chart(chart: str | Path) -> AnyChart:
    """Return the chart that a text or a path names; see the table above. Raises: BadInput."""
    if isinstance(chart, Path):
        return chart
    scheme = _SCHEME.match(chart.strip())
    name = scheme[1].lower() if scheme else ""
    if name in ("http", "https"):
        return RepositoryChart.parse(chart)
    if name == "oci":
        return ChartReference.parse(chart)
    if not chart or "\0" in chart or (scheme and (scheme[2] or name == "file")):
        raise refuse_reference(chart, _is_reference)
    return Path(chart)


def with_version(text: str, version: str) -> str | None:
    """Return a reference with a version, unless that is empty, in place of its own; ``None`` for a path or an invalid text."""
    try:
        found = parse_chart(text)
    except BadInput:
        return None
    if isinstance(found, Path):
        return None
    if isinstance(found, RepositoryChart):
        named = str(replace(found, version=version or found.version))
    else:
        named = f"oci://{replace(found, tag=version_tag(version), digest=None) if version else found}"
    return named if _is_reference(named) else None


def chart_name(text: str) -> str | None:
    """Return the name of the chart that a text names, if it can be that of a release."""
    try:
        found = parse_chart(text)
        name = found.stem if isinstance(found, Path) and found.suffix == ".tgz" else found.name
        return check_name(re.split("[:@]|-[0-9]+[.]", name)[0])
    except KubernautError:
        return None


def _is_reference(text: str) -> bool:
    """Return whether a text names a chart in a registry or in a chart repository."""
    match = _match(_OCI, text) or _match(_HTTP, text)
    return match is not None and not match.groupdict().get("name", "").endswith(_FILES)


def _match(form: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = form.fullmatch(text) if len(text) <= MAX_REFERENCE else None
    return match if match is not None and int(match["port"] or 1) <= 65_535 else None
