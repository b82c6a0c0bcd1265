"""All verbs in this process: a checkout, an engine, a registry, a cluster, and a Helm that publishes and deploys in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernaut import Kubernaut
from kubernaut.adapters.helm import Helm
from kubernaut.events import Event, Listener, Notice
from kubernaut.publish.registry import CHART_LAYER
from kubernaut.settings import Settings, load_settings
from kubernaut.testing.chart import load_chart
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm
from kubernaut.testing.registry import FakeRegistry
from support.source_tree import HELM, make_source_tree

CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"


class ShippingHelm(FakeHelm):
    """Packages, renders and pushes as the real one does, and deploys in memory."""

    def __init__(self, cluster: FakeCluster, settings: Settings) -> None:
        super().__init__(cluster)
        self._real = Helm(HELM, environment=settings.environment, plain_http=settings.uses_plain_http)

    def package(self, chart: Path, destination: Path) -> Path:
        return self._real.package(chart, destination)

    def template(self, chart: Path, **how: Any) -> str:
        return self._real.template(chart, **how)

    def push(self, package: Path, registry: str) -> str:
        digest = self._real.push(package, registry)
        chart = load_chart(package)
        self.pushed[f"oci://{registry}/{chart.name}@{digest}"] = chart
        return digest


class PublishingHelm(FakeHelm):
    """Pushes into a registry as the real one does; starts no program.

    Args:
        cluster: Where it deploys.
        registry: Where it pushes.
    """

    def __init__(self, cluster: FakeCluster, registry: FakeRegistry) -> None:
        super().__init__(cluster)
        self._registry = registry

    def push(self, package: Path, registry: str) -> str:
        chart = load_chart(package)
        repository = f"{registry.partition('/')[2]}/{chart.name}"
        config, content = json.dumps(chart.metadata).encode(), package.read_bytes()
        manifest = {
            "schemaVersion": 2,
            "config": {"mediaType": CHART_CONFIG, "digest": self._registry.put_blob(repository, config), "size": len(config)},
            "layers": [{"mediaType": CHART_LAYER, "digest": self._registry.put_blob(repository, content), "size": len(content)}],
            "annotations": chart.metadata["annotations"],
        }
        digest = self._registry.put_manifest(repository, chart.metadata["version"], json.dumps(manifest).encode())
        self.pushed[f"oci://{registry}/{chart.name}@{digest}"] = chart
        return digest


@dataclass
class ShipHarness:
    """A checkout of ``shop``, and all that it takes to ship it.

    Args:
        folder: An empty folder.
        registry: Where it is published.
        variables: Of the environment, beside those of the checkout.
    """

    folder: Path
    registry: FakeRegistry
    variables: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster("demo", "production"))

    def __post_init__(self) -> None:
        self.tree = make_source_tree(self.folder / "tree")
        self.helm = PublishingHelm(self.cluster, self.registry)

    @property
    def settings(self) -> Settings:
        """The settings, as the variables are now."""
        given = {"registry": self.registry.address, "helm": HELM, "actor": "ada"}
        return load_settings(given, environment={**self.tree.environment, **self.variables}, directory=self.tree.root)

    @property
    def commit(self) -> str:
        """The checkout's commit."""
        return self.tree.git("rev-parse", "HEAD").strip()

    @property
    def notices(self) -> list[str]:
        """The notices about GitHub."""
        return [event.text for event in self.events if isinstance(event, Notice) and event.step == "github"]

    def open(self, listener: Listener | None = None) -> Kubernaut:
        """Return the verbs."""
        service = Kubernaut(self.settings, listener=listener or self.events.append)
        clients = service.context.clients
        clients.engine, clients.helm, clients.cluster = self.tree.engine, self.helm, self.cluster
        return service

    def release(self, version: str) -> str:
        """Commit a change and give it a version's tag; return the commit."""
        commit = self.tree.commit("apps/shop/index.js")
        self.tree.git("tag", f"v{version}")
        return commit
