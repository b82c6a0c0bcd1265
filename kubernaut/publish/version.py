"""A version: its name, from git and the source digest (an explicit version wins), and its data once it is published.

==========================================  =========================================
state of the application's files            version
==========================================  =========================================
at tag ``v1.4.2``, nothing changed          ``1.4.2``
5 commits after ``v1.4.2``                  ``1.4.3-dev.5.gabc1234``
5 commits after ``v1.5.0-rc.1``             ``1.5.0-rc.1.dev.5.gabc1234``
5 commits, no tag                           ``0.0.1-dev.5.gabc1234``
any of them, with changed files             ``1.4.3-dev.5.gabc1234.dirty.1a2b3c4d``
no git                                      ``0.0.0-dev.src.1a2b3c4d``
==========================================  =========================================

Each is SemVer and sorts after the tag it is based on and before the next one. Commits and changes count only where they touch the
application's inputs, so a commit elsewhere in the repository makes no new version.

A version file, such as ``release.json``, is what ``kubernaut publish --to FILE`` writes; it has the version's chart digest.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from semver import Version as SemVer

from kubernaut.adapters.git import Git
from kubernaut.ci import CiBuild
from kubernaut.errors import BadInput, NameInvalid, ShallowClone, VersionInvalid
from kubernaut.models import Model, check_name
from kubernaut.publish.source import Source

LENGTH = 63
_SHA = 7
_LABEL = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")

MAX_FILE_SIZE = 1 << 20
_DIGEST = r"sha256:[0-9a-f]{64}"
_HINT = "Name a file that `kubernaut publish --to FILE` wrote."


@dataclass(frozen=True)
class GitState:
    """The state of an application's files in git.

    Attributes:
        commit: The last commit that touched its inputs.
        time: The time of that commit.
        tag: The highest version tag that HEAD reaches, or ``None``.
        commits: The number of commits since the tag that touched its inputs; ``None`` if a shallow clone hides it.
        changed: The inputs that differ from the commit.
        repository: The origin's URL, without credentials.
    """

    commit: str
    time: datetime
    tag: str | None
    commits: int | None
    changed: tuple[Path, ...] = ()
    repository: str | None = None


def check_version(version: str) -> str:
    """Return the version if it can be published: SemVer without ``+``, at most 63 characters, valid as a tag and a label.

    Raises:
        VersionInvalid: It cannot be published.
    """
    if parse(version) is None or len(version) > LENGTH or not _LABEL.fullmatch(version):
        raise VersionInvalid(f"{version!r} is not a valid version.")
    return version


def parse(version: str) -> SemVer | None:
    """Return a version for comparison, or ``None`` if it is not SemVer or has a ``+``."""
    if "+" in version or not version.isascii() or version != version.strip():
        return None
    try:
        return SemVer.parse(version)
    except ValueError:
        return None


def highest_tag(tags: Iterable[str], prefix: str) -> str | None:
    """Return the tag with the highest version; tags that are not versions are ignored."""
    found = [(version, tag) for tag in tags if tag.startswith(prefix) and (version := parse(tag.removeprefix(prefix))) is not None]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def read_git(git: Git, source: Source) -> GitState:
    """Return the state of the application's inputs in git. Raises: GitFailed."""
    prefix = source.application.tag_prefix
    commit = git.last_commit(source.roots)
    tag = highest_tag(git.tags(prefix, at_head=git.shallow), prefix)
    commits: int | None = None
    if not git.shallow:
        commits = git.count(tag, source.roots)
    elif tag is not None:
        commits = 0
    paths = source.paths
    changed = (paths - git.tracked(source.roots)) | {
        path for path in git.modified(source.roots) if path in paths or not path.exists()
    }
    return GitState(commit.sha, commit.time, tag, commits, tuple(sorted(changed)), git.origin())


def decide_version(state: GitState | None, prefix: str, source_digest: str, override: str | None = None) -> str:
    """Return the version of a source.

    Raises:
        VersionInvalid: The override is not a valid version.
        ShallowClone: The commits must be counted, and the history is incomplete.
    """
    if override is not None:
        return check_version(override)
    suffix = _short(source_digest)
    if state is None:
        return check_version(f"0.0.0-dev.src.{suffix}")
    if state.commits is None:
        raise ShallowClone("This is a shallow clone, so the commits since the last version cannot be counted.")
    dirty = f".dirty.{suffix}" if state.changed else ""
    if state.tag is not None and state.commits == 0 and not dirty:
        return check_version(state.tag.removeprefix(prefix))
    return check_version(f"{_next(state.tag, prefix)}dev.{state.commits}.g{state.commit[:_SHA]}{dirty}")


def _next(tag: str | None, prefix: str) -> str:
    base = parse("0.0.0" if tag is None else tag.removeprefix(prefix))
    if base is None:
        raise VersionInvalid(f"The tag {tag!r} is not a version.")
    return f"{base}." if base.prerelease else f"{base.bump_patch()}-"


def _short(digest: str) -> str:
    # SemVer sorts an identifier of digits as a number, and forbids a leading 0.
    text = digest.removeprefix("sha256:")[:8]
    return f"s{text}" if text.isdigit() else text


# its data once it is published


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
        size: The bytes of the chart archive, 0 if not known; not part of the JSON.
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
    size: int = Field(default=0, exclude=True)

    @property
    def repository(self) -> str:
        """The chart's repository, without ``oci://``."""
        return self.chart.ref.rpartition(":")[0]


class PublishedVersions(list[PublishedVersion]):
    """Published versions, newest first.

    Attributes:
        foreign: The references of charts under the same name that kubernaut did not publish, such as
            ``oci://HOST/charts/NAME:1.0.0``, newest first.
    """

    def __init__(self, versions: Iterable[PublishedVersion] = (), *, foreign: Iterable[str] = ()) -> None:
        super().__init__(versions)
        self.foreign = tuple(foreign)


@dataclass(frozen=True)
class ChartVersion:
    """A chart that was named by reference and may come from another publisher; its annotations fill in what they hold.

    Attributes:
        repository: Its OCI repository; empty for a chart that Helm gets as a package.
        package: The package, for a chart that is not in an OCI registry.
    """

    repository: str
    name: str
    version: str
    chart: Artefact
    source: SourceOfVersion
    environments: tuple[str, ...] = ()
    layer: str = ""
    size: int = 0
    package: bytes | None = field(default=None, repr=False)


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
