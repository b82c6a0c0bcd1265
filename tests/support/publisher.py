"""Versions and charts in a registry, published without an engine or a Helm program, for tests that deploy them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from kubernaut.publish.registry import CHART_LAYER, ENVIRONMENTS, IMAGE, REVISION, SOURCE_DIGEST
from kubernaut.testing.chart import load_chart, pack_chart
from kubernaut.testing.helm import FakeHelm
from kubernaut.testing.registry import FakeRegistry
from support.charts import CONFIG_MAP, write_chart

_IMAGE = f"r.example/hello@sha256:{'1' * 64}"
_SOURCE = f"sha256:{'2' * 64}"


@dataclass
class Publisher:
    """A registry with charts, each of which the Helms in memory know too.

    Attributes:
        helms: The Helms that install from it.
    """

    folder: Path
    registry: FakeRegistry
    helms: list[FakeHelm] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """The registry setting."""
        return f"{self.registry.address}/shop"

    def publish(
        self, version: str = "1.0.0", name: str = "hello", *, template: str = CONFIG_MAP, environment: str = "", **files: str
    ) -> str:
        """Publish a version; return its chart's digest.

        Args:
            version: The version's name.
            name: The application's.
            template: The chart's only template.
            environment: The values of the environment ``production``, if there is one.
            files: Further files of the chart, as :func:`write_chart` takes them.
        """
        folder = self.folder / f"{name}-{version}"
        if environment:
            files = {**files, "environments__production_yaml": environment}
        chart = load_chart(write_chart(folder, name, version=version, template=template, **files))
        (folder / "out").mkdir(exist_ok=True)
        package = pack_chart(chart, folder / "out")
        annotations = {IMAGE: _IMAGE, SOURCE_DIGEST: _SOURCE, REVISION: "31fba06c0ffee"}
        if environment:
            annotations[ENVIRONMENTS] = "production"
        digest = self._push(name, version, package.read_bytes(), annotations)
        for helm in self.helms:
            helm.pushed[f"oci://{self.prefix}/charts/{name}@{digest}"] = chart
        return digest

    def _push(self, name: str, version: str, package: bytes, annotations: dict[str, str]) -> str:
        repository = f"shop/charts/{name}"
        layer = {"mediaType": CHART_LAYER, "digest": self.registry.put_blob(repository, package), "size": len(package)}
        metadata = json.dumps({"apiVersion": "v2", "name": name, "version": version}).encode()
        config = {
            "mediaType": "application/vnd.cncf.helm.config.v1+json",
            "digest": self.registry.put_blob(repository, metadata),
            "size": len(metadata),
        }
        manifest = {"schemaVersion": 2, "config": config, "layers": [layer], "annotations": annotations}
        return self.registry.put_manifest(repository, version, json.dumps(manifest).encode())
