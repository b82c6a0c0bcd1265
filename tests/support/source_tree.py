"""A source tree for tests of `publish`: an application and a chart in a git work tree, with an engine in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.registry import RegistryClient
from kubernaut.events import Event, Progress
from kubernaut.publish.pipeline import PublishContext
from kubernaut.publish.registry import Registry
from kubernaut.settings import Settings, load_settings
from kubernaut.testing.chart import load_chart, pack_chart
from kubernaut.testing.engine import FakeEngine

HELM = shutil.which("helm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "helm"

APPLICATION = """\
name: shop
chart: ../../charts/web
environments:
  production: values/production.yaml
"""
DOCKERFILE = "FROM node:22-slim\nCOPY index.js ./\nRUN echo hello\nUSER 1000\n"
CHART = "apiVersion: v2\nname: web\nversion: 0.0.0\n"
VALUES = """\
# how many
replicas: 1
image:
  repository: nowhere   # pinned
  tag: ""
  digest: ""
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  template:
    spec:
      containers:
        - name: web
          image: "{{ .Values.image.repository }}@{{ .Values.image.digest }}"
"""
SCHEMA = '{"type": "object", "properties": {"replicas": {"type": "integer"}}}'


class PushingHelm(Helm):
    """The real Helm for pushes; it renders and packages in this process, for tests of other steps."""

    def package(self, chart: Path, destination: Path) -> Path:
        return pack_chart(load_chart(chart), destination)

    def template(self, chart: Path, *, name: str, namespace: str, values: Mapping[str, Any]) -> str:
        return load_chart(chart).render(name, namespace, values)


@dataclass
class SourceTree:
    """A team's checkout.

    Attributes:
        helm: The Helm that publishes it.
    """

    root: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    events: list[Event] = field(default_factory=list)
    helm: type[Helm] = Helm
    helm_starts: int = 0
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def app(self) -> Path:
        """The application's folder."""
        return self.root / "apps" / "shop"

    @property
    def chart(self) -> Path:
        """The chart's folder."""
        return self.root / "charts" / "web"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process in this tree."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root.parent),
            "TMPDIR": str(self.temporary),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            **self.variables,
        }

    @property
    def temporary(self) -> Path:
        """Where temporary files go."""
        path = self.root.parent / "temporary"
        path.mkdir(exist_ok=True)
        return path

    def git(self, *arguments: str) -> str:
        """Run git in the work tree."""
        named = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        return subprocess.run(
            ["git", *named, *arguments], cwd=self.root, env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def commit(self, *paths: str, message: str = "change") -> str:
        """Commit everything (or change some files first); return the commit."""
        for path in paths:
            (self.root / path).write_text(os.urandom(4).hex())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def settings(self, registry: str, **others: str) -> Settings:
        """The settings with a registry."""
        arguments = {"registry": registry or None, "helm": HELM, **others}
        return load_settings(arguments, environment=self.environment, directory=self.root)

    def context(self, registry: str, **others: str) -> PublishContext:
        """The context for building and publishing; Helm is real unless the tree has another."""
        settings = self.settings(registry, **others)

        def helm() -> Helm:
            self.helm_starts += 1
            return self.helm(HELM, environment=settings.environment, plain_http=settings.uses_plain_http)

        web = RegistryClient(plain_http=settings.uses_plain_http)
        return PublishContext(lambda: self.engine, helm, Registry(web, settings), settings, Progress(self.events.append))


def write(path: Path, text: str) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_source_tree(root: Path) -> SourceTree:
    """Make the checkout, all of it committed and tagged v1.0.0."""
    for path, content in _committed_files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return SourceTree(root)


@cache
def _committed_files() -> dict[Path, bytes]:
    """Return the files of the checkout, with those of its repository: git runs only for the first checkout."""
    with TemporaryDirectory() as folder:
        tree = SourceTree(Path(folder) / "tree")
        write(tree.app / "kubernaut.yaml", APPLICATION)
        write(tree.app / "Dockerfile", DOCKERFILE)
        write(tree.app / "index.js", "// hello\n")
        write(tree.app / "values" / "production.yaml", "replicas: 3\n")
        write(tree.chart / "Chart.yaml", CHART)
        write(tree.chart / "values.yaml", VALUES)
        write(tree.chart / "values.schema.json", SCHEMA)
        write(tree.chart / "templates" / "deployment.yaml", DEPLOYMENT)
        tree.git("init", "--quiet", "--initial-branch=main", "--template=")
        tree.commit(message="hello")
        tree.git("tag", "v1.0.0")
        return {path.relative_to(tree.root): path.read_bytes() for path in tree.root.rglob("*") if path.is_file()}
