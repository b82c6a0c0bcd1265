"""Publish from a source tree, and look at the result."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from kubernaut.events import StepFinished
from kubernaut.publish.pipeline import publish
from kubernaut.publish.version import PublishedVersion
from kubernaut.testing.registry import FakeRegistry
from support.source_tree import SourceTree


def go(
    tree: SourceTree, registry: FakeRegistry, *, version: str | None = None, image: str | None = None, **settings: str
) -> PublishedVersion:
    _, _, published = publish(
        tree.app, version=version, image=image, dry_run=False, context=tree.context(registry.address, **settings)
    )
    assert published is not None
    return published


def outcomes(tree: SourceTree) -> list[tuple[str, str]]:
    return [(event.step, event.outcome.value) for event in tree.events if isinstance(event, StepFinished)]


def chart_in(registry: FakeRegistry, folder: Path, version: str = "1.0.0", name: str = "charts/shop") -> Path:
    """Unpack a published chart."""
    manifest = json.loads(registry.manifest(name, version) or b"")
    found = registry.find("blobs", name, manifest["layers"][0]["digest"])
    assert found is not None
    folder.mkdir()
    (folder / "chart.tgz").write_bytes(found[1])
    with tarfile.open(folder / "chart.tgz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "shop"
