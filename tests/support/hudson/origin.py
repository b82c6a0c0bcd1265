"""A git repository in which a push runs a job, in place of GitHub and its webhook.

It is a bare repository with a post-receive hook, with a work tree beside it.
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
# Run the release job for the pushed commit. The operation ID makes a repeated call start one build only.
while read -r _ commit reference; do
  [ "$reference" = {reference} ] || continue
  env -i {environment} kubernaut jenkins run {job} {parameter}--op-id "push-$commit"
  echo "the hook exited with status $?"
done
"""


def make_repository(folder: Path, job: str, environment: Mapping[str, str], *, parameter: bool = True) -> Path:
    """Create a bare repository in which a push runs a job.

    Args:
        folder: The folder to create.
        job: The name of the job.
        environment: The whole environment of the hook: PATH, the server's URL, the user, and the file with the token.
        parameter: Whether to pass the commit as GIT_COMMIT; a Pipeline fetches the newest commit of its branch.

    Returns:
        The folder.

    Raises:
        GitFailed: git failed.
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
    """A repository in which a push runs a job, with a work tree.

    Args:
        folder: The folder for both; it is created.
        job: The name of the job.
        environment: The environment of the hook; see :func:`make_repository`.
    """

    def __init__(self, folder: Path, job: str, environment: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.repository = make_repository(folder / "origin.git", job, environment)
        self.tree = folder / "tree"
        _git(folder, "clone", "--quiet", str(self.repository), str(self.tree))
        _git(self.tree, "checkout", "--quiet", "-B", BRANCH)

    def commit(self, message: str) -> str:
        """Commit all changes of the work tree; return the commit's SHA."""
        _git(self.tree, "add", "--all")
        _git(self.tree, "commit", "--quiet", "--message", message)
        return _git(self.tree, "rev-parse", "HEAD").strip()

    def push(self) -> str:
        """Push the commits; return the output of the hook.

        Raises:
            GitFailed: git failed, or the hook did not end in time.
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
        raise GitFailed(f"git {arguments[0]} in {where} could not be run: {error}.") from error
    if done.returncode:
        raise GitFailed(f"git {arguments[0]} in {where} failed: {done.stdout.strip()}")
    return done.stdout
