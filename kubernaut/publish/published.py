"""A published version as data: its image, its chart, where it came from; and the two texts that name one.

A chart reference is ``oci://HOST[:PORT]/PATH`` with a tag or a digest. Helm accepts paths, URLs and repository names as well; those
are refused here. A version file, such as ``release.json``, is what ``kubernaut publish --to FILE`` writes; it has the chart digest.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from kubernaut.ci import CiBuild
from kubernaut.errors import BadInput, NameInvalid
from kubernaut.models import Model
from kubernaut.names import check_name
from kubernaut.publish.version import parse

MAX_FILE_SIZE = 1 << 20
_MAX_REFERENCE = 512
_HOST = r"[a-z0-9]+(?:(?:\.|-+)[a-z0-9]+)*(?::(?P<port>[1-9][0-9]{0,4}))?"
_PATH = r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(rf"oci://(?P<repository>{_HOST}{_PATH})(?::(?P<tag>{_TAG})|@(?P<digest>{_DIGEST}))")
_HINT = "Name a file that `kubernaut publish --to FILE` wrote."


class Artefact(Model):
    """An image or a chart in a registry: its reference and its digest."""

    ref: str
    digest: str


class SourceOfVersion(Model):
    """The git origin of a version; ``None`` where git did not know. A commit ends with ``-dirty`` if files differed from it."""

    commit: str | None = None
    repository: str | None = None


class PublishedVersion(Model):
    """A published version: one image and one chart under an immutable name and number.

    Attributes:
        build: The CI build that published it, if any.
        layer: The digest of the chart archive, if known; not part of the JSON.
    """

    name: str
    version: str
    chart: Artefact
    image: Artefact
    source_digest: str
    source: SourceOfVersion
    created_at: datetime | None
    build: CiBuild | None
    environments: tuple[str, ...] = ()
    layer: str = Field(default="", exclude=True)

    @property
    def repository(self) -> str:
        """The chart's repository, without ``oci://``."""
        return self.chart.ref.rpartition(":")[0]


@dataclass(frozen=True)
class ChartVersion:
    """A chart that was named by reference and may come from another publisher; its annotations fill in what they hold."""

    repository: str
    name: str
    version: str
    chart: Artefact
    source: SourceOfVersion
    environments: tuple[str, ...] = ()
    layer: str = ""


@dataclass(frozen=True)
class ChartReference:
    """A chart in a registry: a repository with a tag or a digest."""

    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.digest is None else f"{self.repository}@{self.digest}"

    @property
    def name(self) -> str:
        """The chart's name: the last part of the repository, as ``helm push`` sets it."""
        return self.repository.rpartition("/")[2]

    @property
    def tag_or_digest(self) -> str:
        """The digest if there is one, otherwise the tag."""
        return self.digest or self.tag or ""

    @classmethod
    def parse(cls, text: str) -> ChartReference:
        """Parse ``oci://HOST[:PORT]/PATH:VERSION`` or ``…@sha256:DIGEST``; an error repeats nothing of it, it may hold a secret.

        Raises:
            BadInput: The text has another form.
        """
        match = _REFERENCE.fullmatch(text) if len(text) <= _MAX_REFERENCE else None
        if match is None or int(match["port"] or 1) > 65_535:
            raise BadInput(
                "The chart reference is not valid.",
                hint="Use oci://HOST[:PORT]/PATH:VERSION or oci://HOST[:PORT]/PATH@sha256:DIGEST, without a user name, "
                "host and path in lower case.",
            )
        return cls(match["repository"], match["tag"], match["digest"])


def read_version_file(path: Path) -> PublishedVersion:
    """Return the published version in a version file; fields that a newer kubernaut added are ignored.

    Raises:
        BadInput: The file cannot be read or does not hold a version.
    """
    content = _read_object(path)
    try:
        version = _validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        raise _invalid(path, f"{_describe(content)} ({field}: {first['msg']})") from error
    try:
        check_name(version.name)
    except NameInvalid as error:
        raise _invalid(path, f"the version's name {version.name!r} is not a valid application name") from error
    if parse(version.version) is None:
        raise _invalid(path, f"version {version.version!r} is not SemVer")
    if not re.fullmatch(_DIGEST, version.chart.digest):
        raise _invalid(path, f"the chart digest {version.chart.digest!r} is not a SHA-256 digest")
    return version


def _read_object(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():  # reading a pipe may block, a device may be endless
        raise BadInput(f"{path} is not a regular file.", hint=_HINT)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error
    if len(data) > MAX_FILE_SIZE:
        raise _invalid(path, f"it is larger than {MAX_FILE_SIZE >> 20} MiB")
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _invalid(path, "it is not JSON" if data.strip() else "it is empty") from error
    if not isinstance(content, dict):
        raise _invalid(path, "the JSON is not a version")
    return content


def _validate(content: dict[str, Any]) -> PublishedVersion:
    """Validate a version without its unknown fields. Raises: ValidationError."""
    try:
        return PublishedVersion.model_validate(content)
    except ValidationError as error:
        unknown = [found["loc"] for found in error.errors() if found["type"] == "extra_forbidden"]
    known = copy.deepcopy(content)
    for where in unknown:
        inside: Any = known
        for step in where[:-1]:
            inside = inside[step]
        del inside[where[-1]]
    return PublishedVersion.model_validate(known)


def _describe(content: dict[str, Any]) -> str:
    """Describe what the JSON is instead of a version."""
    if {"namespace", "revision", "status"} <= content.keys():
        return f"it holds release {str(content.get('id'))[:200]!r}, not a version"
    if {"code", "status"} <= content.keys():
        return f"it holds the error {str(content['code'])[:200]!r}, not a version"
    if "actions" in content:
        return "it holds the plan of a dry run, not a version"
    if "items" in content:
        return "it holds a list, not a version"
    return "the JSON is not a version"


def _invalid(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path} is not a version file: {reason}.", hint=_HINT)
