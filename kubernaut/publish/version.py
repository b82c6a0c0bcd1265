"""The name of a version, from git and the source digest; an explicit version wins.

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
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from semver import Version as SemVer

from kubernaut.adapters.git import Git
from kubernaut.errors import ShallowClone, VersionInvalid
from kubernaut.publish.source import Source

LENGTH = 63
_SHA = 7
_LABEL = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")


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
