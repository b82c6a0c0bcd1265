"""The checkout of an end-to-end test: its own git work tree, namespace and registry prefix."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernaut import Kubernaut, load_settings
from kubernaut.events import Listener, ignore_event

REPOSITORY = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("kubernaut")


@dataclass
class Checkout:
    """A git work tree, and the environment of the processes in it."""

    tree: Path
    namespace: str
    environment: Mapping[str, str]

    @property
    def app(self) -> Path:
        """The application's folder."""
        return self.tree / "examples" / "hello-world"

    @property
    def chart(self) -> Path:
        """The chart's folder."""
        return self.tree / "charts" / "hello-world"

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the kubernaut command in the work tree, and hold it to its exit status and to leaving the tree alone."""
        before = self.git("status", "--porcelain")
        done = subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.tree,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert self.git("status", "--porcelain") == before, arguments
        return done

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Run the kubernaut command with -o json; return the parsed output."""
        return json.loads(self.run(*arguments, "-o", "json", status=status).stdout)

    def helm(self, *arguments: str) -> str:
        """Run plain Helm."""
        done = subprocess.run(
            ["helm", *arguments],
            cwd=self.tree,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def git(self, *arguments: str) -> str:
        """Run git in the work tree."""
        return subprocess.run(
            ["git", *arguments], cwd=self.tree, env=dict(self.environment), capture_output=True, text=True, check=True
        ).stdout

    def commit(self, message: str = "change") -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def greet(self, greeting: str) -> None:
        """Change index.js, so that the image's content is another."""
        source = self.app / "index.js"
        source.write_text(f"// {greeting}\n" + source.read_text())

    def library(self, listener: Listener = ignore_event) -> Kubernaut:
        """The library, with the checkout's settings."""
        return Kubernaut(load_settings(environment=self.environment, directory=self.tree), listener=listener)


def make_checkout(platform: Mapping[str, str], tree: Path) -> Checkout:
    """Copy the example and its chart into a new git work tree."""
    for part in ("examples/hello-world", "charts/hello-world"):
        shutil.copytree(REPOSITORY / part, tree / part)
    key = uuid.uuid4().hex[:8]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KUBERNAUT_")},
        **platform,
        "KUBERNAUT_REGISTRY": f"{platform['KUBERNAUT_REGISTRY']}/{key}",
        "HOME": str(tree.parent),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }
    made = Checkout(tree, f"e2e-{key}", environment)
    made.greet(key)  # a new source in every checkout: no image is built yet
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("hello")
    made.git("tag", "v1.0.0")
    return made
