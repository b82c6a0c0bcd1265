"""A git repository that runs a job when it is pushed to: it stands for GitHub and its webhook.

A bare repository with a post-receive hook, and a work tree beside it that a person commits in.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from kubernaut.errors import GitFailed

BRANCH = "main"
_SECONDS = 120.0
_IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
_HOOK = """\
#!/bin/bash
# A push runs the release job for exactly the commit that was pushed. Heard twice, it runs the job once.
while read -r _ commit reference; do
  [ "$reference" = {reference} ] || continue
  env -i {environment} kubernaut jenkins run {job} {parameter}--op-id "push-$commit"
  echo "the hook ended with $?"
done
"""


def make_repository(folder: Path, job: str, environment: Mapping[str, str], *, parameter: bool = True) -> Path:
    """Make a bare repository in which a push runs a job.

    Args:
        folder: Where; it is made.
        job: The job.
        environment: What the hook finds in its environment, and nothing else: PATH, where the server is, who asks, and the file
            with the token; never a secret itself.
        parameter: Whether the job is told which commit; a Pipeline fetches its branch's newest.

    Returns:
        The folder.

    Raises:
        GitFailed: git could not make it.
    """
    _git(folder.parent, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(folder))
    hook = folder / "hooks" / "post-receive"
    script = _HOOK.format(
        reference=f"refs/heads/{BRANCH}",
        environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items()),
        job=shlex.quote(job),
        parameter='--param GIT_COMMIT="$commit" ' if parameter else "",
    )
    hook.write_text(script, encoding="utf-8")
    hook.chmod(0o755)
    return folder


class Origin:
    """Such a repository, and somebody's work tree of it.

    Args:
        folder: Where both are made; it need not exist.
        job: The job that a push runs.
        environment: What the hook finds in its environment, see :func:`make_repository`.
    """

    def __init__(self, folder: Path, job: str, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.repository = make_repository(folder / "origin.git", job, environment)
        self.tree = folder / "tree"
        _git(folder, "clone", "--quiet", str(self.repository), str(self.tree))
        _git(self.tree, "checkout", "--quiet", "-B", BRANCH)

    def commit(self, message: str) -> str:
        """Commit everything in the work tree; return the commit."""
        _git(self.tree, "add", "--all")
        _git(self.tree, "commit", "--quiet", "--message", message)
        return _git(self.tree, "rev-parse", "HEAD").strip()

    def push(self) -> str:
        """Push what is committed; return what the hook said.

        Raises:
            GitFailed: git refused, or the hook did not end in time.
        """
        return _git(self.tree, "push", "--quiet", "origin", BRANCH)


def _git(where: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *_IDENTITY, *arguments],
            cwd=where,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitFailed(f"git {arguments[0]} in {where} did not run: {error}.") from error
    if done.returncode:
        raise GitFailed(f"git {arguments[0]} in {where} failed: {done.stdout.strip()}")
    return done.stdout
