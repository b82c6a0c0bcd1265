"""Chart references: the texts that name a chart to deploy. Pure.

============================================  ======================================================
reference                                     chart
============================================  ======================================================
``oci://HOST[:PORT]/PATH[:VERSION]``          of an OCI registry, without a version the newest stable
``oci://…[:VERSION]@sha256:DIGEST``           the same by digest; a version's tag must have it
``https://HOST[:PORT]/PATH/CHART[@VERSION]``  CHART of the chart repository ``https://HOST[:PORT]/PATH``
any other text                                the path of a folder with Chart.yaml, or of a ``.tgz``
============================================  ======================================================

A tag cannot contain the ``+`` of a version's build metadata: as in Helm, the tag has ``_`` instead. An error repeats nothing of a
URL, which may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from semver import Version as SemVer

from kubernaut.errors import BadInput

_MAX_REFERENCE = 512
_PORT = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
_HOST = rf"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*{_PORT}"
_PATH = r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_OCI = re.compile(rf"oci://(?P<repository>{_HOST}{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_HTTP = re.compile(
    rf"(?P<repository>https?://{_HOST}(?:/(?!\.\.?/)[A-Za-z0-9._~%+-]+)*)/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:@(?P<version>{_TAG}))?"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_LOOSE = re.compile(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?")

_OCI_HINT = (
    "Use oci://HOST[:PORT]/PATH, with :VERSION, @sha256:DIGEST or both after it, without a user name, host and path in lower case."
)
_HTTP_HINT = (
    "Use https://HOST[:PORT]/PATH/CHART@VERSION for the chart CHART of the repository https://HOST[:PORT]/PATH, as in "
    "`helm repo add`, without a user name."
)
_ARCHIVE_HINT = "Name the chart in its repository, https://HOST/PATH/CHART@VERSION, or download the package and name the file."


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
        match = _OCI.fullmatch(text) if len(text) <= _MAX_REFERENCE else None
        if match is None or int(match["port"] or 1) > 65_535:
            raise BadInput("The chart reference is not valid.", hint=_OCI_HINT)
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
        match = _HTTP.fullmatch(text) if len(text) <= _MAX_REFERENCE else None
        if match is None or int(match["port"] or 1) > 65_535:
            raise BadInput("The chart reference is not valid.", hint=_HTTP_HINT)
        if match["name"].endswith((".tgz", ".tar.gz", ".yaml")):
            raise BadInput(f"The chart reference names the file {match['name']}, not a chart.", hint=_ARCHIVE_HINT)
        return cls(match["repository"], match["name"], match["version"])


AnyChart: TypeAlias = ChartReference | RepositoryChart | Path


def parse_chart(chart: str | Path) -> AnyChart:
    """Return the chart that a text or a path names; see the table above. Raises: BadInput."""
    if isinstance(chart, Path):
        return chart
    if chart.startswith("oci:"):
        return ChartReference.parse(chart)
    if chart.startswith(("http:", "https:")):
        return RepositoryChart.parse(chart)
    if not chart or "\0" in chart or _SCHEME.match(chart):
        raise BadInput(
            "The chart reference is not valid.",
            hint="Use oci://HOST/PATH:VERSION, https://HOST/PATH/CHART@VERSION, a folder with Chart.yaml, or a .tgz file.",
        )
    return Path(chart)


# versions


def version_tag(version: str) -> str:
    """Return the OCI tag of a version: ``_`` for the ``+`` of build metadata, which a tag cannot contain."""
    return version.replace("+", "_")


def tag_version(tag: str) -> str:
    """Return the version of an OCI tag, as Helm reads it: ``+`` for ``_``."""
    return tag.replace("_", "+")


def parse_loose(version: str) -> SemVer | None:
    """Return a chart's version for comparison: SemVer, also with a ``v`` before it or without its last parts; else ``None``."""
    match = _LOOSE.fullmatch(version) if version.isascii() else None
    try:
        return None if match is None else SemVer.parse(f"{match[1]}.{match[2] or 0}.{match[3] or 0}{match[4] or ''}")
    except ValueError:
        return None


def newest_stable(versions: Iterable[str], *, strict: bool = False) -> str | None:
    """Return the newest version that is not a pre-release; ``None`` without one. Texts that are not versions are ignored.

    Args:
        versions: The versions.
        strict: Whether a version must be SemVer to the letter, as Helm reads the tags of a registry.
    """
    known = [(parsed, version) for version in versions if (parsed := parse_loose(version)) is not None and not parsed.prerelease]
    found = [(parsed, version) for parsed, version in known if not strict or str(parsed) == version]
    return max(found)[1] if found else None
