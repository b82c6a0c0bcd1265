"""Deploys of small charts to the real cluster, through the library's state machine."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.deploy.execute import Result, execute
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.requests import DeployRequest
from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import NotFound
from kubernaut.events import Event, Progress
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.settings import Settings, load_settings
from support.api_calls import call_api
from support.charts import write_chart

SERVER = "require('http').createServer((q,r)=>r.end('hi')).listen(8080)"


@dataclass
class ClusterHarness:
    """A namespace on the real cluster, and charts pushed to the real registry."""

    folder: Path
    settings: Settings
    namespace: str = field(default_factory=lambda: f"d-{uuid.uuid4().hex[:8]}")
    events: list[Event] = field(default_factory=list)
    pushed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.settings.kubeconfig)
        self.helm = Helm(
            self.settings.helm,
            kubeconfig=self.settings.kubeconfig,
            environment=self.settings.environment,
            plain_http=self.settings.uses_plain_http,
        )
        self.context = DeployContext(
            lambda: self.helm, lambda: self.cluster, HistoryStore(self.cluster), self.settings, Progress(self.events.append)
        )
        self.image = f"{self.settings.require_registry()}/library/node:22"

    @property
    def history(self) -> ReleaseHistory:
        return HistoryStore(self.cluster).get(self.namespace, "web")

    @property
    def statuses(self) -> list[str]:
        return [record.status for record in reversed(self.history.records)]

    def request(self, template: str, *sets: str, annotations: str = "", **more: Any) -> DeployRequest:
        values = yaml.safe_dump({"image": self.image, "script": SERVER, "cpu": "10m", "text": "a"})
        chart = write_chart(self.folder, "web", template=template, values=values)
        if annotations:
            (chart / "Chart.yaml").write_text(f"{(chart / 'Chart.yaml').read_text()}annotations: {annotations}\n")
        registry = f"{self.settings.require_registry()}/{self.namespace}"
        key = template + annotations
        if key not in self.pushed:  # a package is another one every time: Helm writes the time into it
            self.pushed[key] = self.helm.push(self.helm.package(chart, self.folder / "out"), registry)
        digest = self.pushed[key]
        arguments: dict[str, Any] = {"values": read_values(sets=sets), "create_namespace": True, "timeout": 60.0, **more}
        return DeployRequest(self.namespace, "web", "0.1.0", f"oci://{registry}/web@{digest}", digest, **arguments)

    def deploy(self, template: str, *sets: str, **more: Any) -> Result:
        return execute(self.request(template, *sets, **more), context=self.context)


@contextmanager
def cluster_harness(platform: Mapping[str, str], helm: str, folder: Path) -> Iterator[ClusterHarness]:
    """A harness with a Helm, whose namespace is deleted at the end."""
    environment = {**os.environ, **platform, "KUBERNAUT_HELM": helm, "KUBERNAUT_ACTOR": "ada"}
    made = ClusterHarness(folder, load_settings(environment=environment, directory=folder))
    try:
        yield made
    finally:
        with suppress(NotFound):  # nothing was deployed
            call_api(made.cluster, "DELETE", f"/api/v1/namespaces/{made.namespace}")
        made.cluster.close()
