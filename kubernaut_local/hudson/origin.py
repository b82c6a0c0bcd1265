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
unset GIT_DIR
{exports}
while read -r _ commit reference; do
  [ "$reference" = {reference} ] || continue
  kubernaut jenkins run {job} --param GIT_COMMIT="$commit" --op-id "push-$commit"
done
"""


class Origin:
    """The repository, and somebody's work tree of it.

    Args:
        folder: Where both are made; it need not exist.
        job: The job that a push runs.
        environment: What the hook finds in its environment besides that of whoever pushes: where the server is, who asks, and the
            file with the token; never a secret itself.
    """

    def __init__(self, folder: Path, job: str, environment: Mapping[str, str]) -> None:
        self.repository = folder / "origin.git"
        self.tree = folder / "tree"
        folder.mkdir(parents=True, exist_ok=True)
        self._git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(self.repository), where=folder)
        self._git("clone", "--quiet", str(self.repository), str(self.tree), where=folder)
        self._git("checkout", "--quiet", "-B", BRANCH)
        exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
        hook = self.repository / "hooks" / "post-receive"
        hook.write_text(_HOOK.format(exports=exports, reference=f"refs/heads/{BRANCH}", job=shlex.quote(job)), encoding="utf-8")
        hook.chmod(0o755)

    def commit(self, message: str) -> str:
        """Commit everything in the work tree; return the commit."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def push(self) -> str:
        """Push what is committed, tags too; return what the hook said.

        Raises:
            GitFailed: git refused, or the hook did not end in time.
        """
        return self._git("push", "--quiet", "--follow-tags", "origin", BRANCH)

    def tag(self, name: str) -> None:
        """Tag the newest commit."""
        self._git("tag", "--annotate", "--message", name, name)

    def _git(self, *arguments: str, where: Path | None = None) -> str:
        command = ["git", *_IDENTITY, *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=where or self.tree,
                env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GitFailed(f"git {arguments[0]} in {where or self.tree} did not run: {error}.") from error
        if done.returncode:
            raise GitFailed(f"git {arguments[0]} in {where or self.tree} failed: {done.stdout.strip()}")
        return done.stdout
