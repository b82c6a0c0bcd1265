"""What a version is called. Decided from git's answers and the source digest; a name that is given by hand wins.

==========================================  =========================================
HEAD, as far as the application goes        version
==========================================  =========================================
at tag ``v1.4.2``, nothing changed          ``1.4.2``
5 commits after ``v1.4.2``                  ``1.4.3-dev.5.gabc1234``
5 commits after ``v1.5.0-rc.1``             ``1.5.0-rc.1.dev.5.gabc1234``
5 commits, no tag                           ``0.0.1-dev.5.gabc1234``
any of them, and files changed              ``1.4.3-dev.5.gabc1234.dirty.1a2b3c4d``
no git                                      ``0.0.0-dev.src.1a2b3c4d``
==========================================  =========================================

Each is SemVer, sorts after the tag it stands on and before the next one. Commits and changes count only where they touch the
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
    """What git knows of an application.

    Attributes:
        commit: The last commit that touched its inputs.
        time: When that was committed.
        tag: The highest version tag that HEAD reaches, or ``None``.
        commits: How many commits since the tag touched its inputs; ``None`` where the history is cut off before that is known.
        changed: The inputs that are not as they were committed.
        repository: The origin's URL, without credentials.
    """

    commit: str
    time: datetime
    tag: str | None
    commits: int | None
    changed: tuple[Path, ...] = ()
    repository: str | None = None


def check_version(version: str) -> str:
    """Return a version that can be published: SemVer without ``+``, at most 63 characters, fit for a tag and a label.

    Raises:
        VersionInvalid: It cannot.
    """
    if parse(version) is None or len(version) > LENGTH or not _LABEL.fullmatch(version):
        raise VersionInvalid(f"{version!r} cannot be a version.")
    return version


def parse(version: str) -> SemVer | None:
    """Return a version's parts, for comparison; ``None`` where it is no SemVer, or has a ``+``."""
    if "+" in version or not version.isascii() or version != version.strip():
        return None
    try:
        return SemVer.parse(version)
    except ValueError:
        return None


def highest_tag(tags: Iterable[str], prefix: str) -> str | None:
    """Return the tag with the highest version; tags that are no version do not count."""
    found = [(version, tag) for tag in tags if tag.startswith(prefix) and (version := parse(tag.removeprefix(prefix))) is not None]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def read_git(git: Git, source: Source) -> GitState:
    """Ask git what it knows of the application's inputs."""
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
    """Decide what the source is called.

    Raises:
        VersionInvalid: The override is no version.
        ShallowClone: The commits would have to be counted, and the history is cut off.
    """
    if override is not None:
        return check_version(override)
    suffix = _short(source_digest)
    if state is None:
        return check_version(f"0.0.0-dev.src.{suffix}")
    if state.commits is None:
        raise ShallowClone("The git history is cut off (a shallow clone), so the commits since the last version cannot be counted.")
    dirty = f".dirty.{suffix}" if state.changed else ""
    if state.tag is not None and state.commits == 0 and not dirty:
        return check_version(state.tag.removeprefix(prefix))
    return check_version(f"{_next(state.tag, prefix)}dev.{state.commits}.g{state.commit[:_SHA]}{dirty}")


def _next(tag: str | None, prefix: str) -> str:
    base = parse("0.0.0" if tag is None else tag.removeprefix(prefix))
    if base is None:
        raise VersionInvalid(f"The tag {tag!r} is no version.")
    return f"{base}." if base.prerelease else f"{base.bump_patch()}-"


def _short(digest: str) -> str:
    # An identifier of digits alone would sort as a number, and must not begin with 0.
    text = digest.removeprefix("sha256:")[:8]
    return f"s{text}" if text.isdigit() else text
