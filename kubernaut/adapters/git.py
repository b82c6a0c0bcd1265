"""The git program, read-only, with argument lists and never a shell.

A missing git or repository is not an error (``None``): an application need not come from git. ``publish/version.py`` derives the
version.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from kubernaut.adapters.process import await_stop, is_stop
from kubernaut.errors import DeadlineExceeded, GitFailed
from kubernaut.redact import without_credentials

PROGRAM = "git"
TIMEOUT = 60.0


@dataclass(frozen=True)
class Commit:
    """A commit: its full SHA and its commit time in UTC."""

    sha: str
    time: datetime


def find_work_tree(directory: Path) -> Path | None:
    """Return the top of the git work tree around ``directory``, without running git; ``None`` outside of one."""
    resolved = directory.resolve()
    for folder in (resolved, *resolved.parents):
        if (folder / ".git").exists():
            return folder
    return None


class Git:
    """The work tree around a folder; open one with :func:`open_git`."""

    def __init__(self, root: Path, *, head: str, shallow: bool, environment: Mapping[str, str]) -> None:
        self.root = root
        self.head = head
        self.shallow = shallow
        self._environment = environment

    def last_commit(self, paths: Sequence[Path]) -> Commit:
        """Return the last commit that changed one of the paths; HEAD if none did."""
        format = "--format=%H %ct"
        text = self._run("log", "-1", format, "HEAD", "--", *self._specs(paths)) or self._run("log", "-1", format, "HEAD")
        sha, seconds = text.split()
        return Commit(sha, datetime.fromtimestamp(int(seconds), UTC))

    def tags(self, prefix: str, *, at_head: bool = False) -> list[str]:
        """Return the tags with this prefix that are reachable from HEAD, or only those at HEAD."""
        which = "--points-at=HEAD" if at_head else "--merged=HEAD"
        text = self._run("for-each-ref", which, "--format=%(refname)", "refs/tags/")
        names = [line.removeprefix("refs/tags/") for line in text.splitlines()]
        return [name for name in names if name.startswith(prefix)]

    def count(self, since: str | None, paths: Sequence[Path]) -> int:
        """Return the number of commits since a tag, or of all commits, that changed one of the paths."""
        span = "HEAD" if since is None else f"refs/tags/{since}..HEAD"
        return int(self._run("rev-list", "--count", span, "--", *self._specs(paths)))

    def tracked(self, paths: Sequence[Path]) -> set[Path]:
        """Return the absolute paths of the tracked files below the paths."""
        return self._files(
            self._run("ls-files", "-z", "--cached", "--recurse-submodules", "--full-name", "--", *self._specs(paths))
        )

    def modified(self, paths: Sequence[Path]) -> set[Path]:
        """Return the absolute paths of the tracked files below the paths that differ from HEAD, deleted ones too."""
        text = self._run("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames", "--", *self._specs(paths))
        return self._files("\0".join(entry[3:] for entry in text.split("\0")))

    def origin(self) -> str | None:
        """Return the origin's URL without credentials; ``None`` if there is no origin."""
        url = self._origin_url()
        return without_credentials(url) if url else None

    def clone_url(self) -> str | None:
        """Return the URL from which another machine can clone: without credentials, but with the user of an SSH URL."""
        url = self._origin_url()
        if not url:
            return None
        parts = urlsplit(url)
        if parts.scheme != "ssh" or not parts.username:
            return without_credentials(url)
        return without_credentials(url).replace("://", f"://{parts.username}@", 1)

    def _origin_url(self) -> str:
        return self._run("config", "--default", "", "--get", "remote.origin.url").strip()

    def _specs(self, paths: Iterable[Path]) -> list[str]:
        inside = [path.relative_to(self.root).as_posix() for path in paths if path.is_relative_to(self.root)]
        return [":(top,literal)" + ("" if path == "." else path) for path in inside]

    def _files(self, text: str) -> set[Path]:
        return {self.root / name for name in text.split("\0") if name}

    def _run(self, *arguments: str) -> str:
        return run(self.root, arguments, self._environment)


def open_git(directory: Path, environment: Mapping[str, str]) -> Git | None:
    """Return the work tree around ``directory``; ``None`` without git, repository or commit.

    Raises:
        GitFailed: git refuses the work tree because another user owns it.
    """
    if find_work_tree(directory) is None:
        return None
    try:
        text = run(directory, ("rev-parse", "--show-toplevel", "--is-shallow-repository", "HEAD"), environment)
    except FileNotFoundError:
        return None
    except GitFailed as error:
        if any(sign in error.message for sign in ("not a git repository", "unknown revision", "must be run in a work tree")):
            return None
        raise
    root, shallow, head = text.splitlines()[:3]
    return Git(Path(root), head=head, shallow=shallow == "true", environment=environment)


def run(directory: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run git in a folder and return its output.

    Raises:
        FileNotFoundError: git is not installed.
        GitFailed: git failed; the message has its first line, the hint the remedy if another user owns the work tree.
        DeadlineExceeded: git took longer than a minute.
    """
    passed = {name: value for name, value in environment.items() if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")}
    passed |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "0"}
    try:
        done = subprocess.run(
            [PROGRAM, "-c", "core.quotePath=false", *arguments],
            cwd=directory,
            env=passed,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"git {arguments[0]} in {directory} took longer than {TIMEOUT:.0f} s.") from error
    output = os.fsdecode(done.stdout)
    if done.returncode == 0:
        return output
    if is_stop(done.returncode):
        await_stop()
    if done.returncode < 0:
        raise GitFailed(f"git {arguments[0]} in {directory} was ended by signal {-done.returncode}.")
    message = os.fsdecode(done.stderr).strip()
    if "dubious ownership" in message:
        raise GitFailed(
            f"git refuses {directory}, because another user owns the work tree.",
            hint=f"If you trust its owner: git config --global --add safe.directory {find_work_tree(directory) or directory}",
        )
    first = message.splitlines()[0] if message else f"exit status {done.returncode}"
    raise GitFailed(f"git {arguments[0]} failed in {directory}: {first}")
