"""The examples of docs/library.md run, one after the other, on an engine, a registry, a cluster and a server in memory."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.backend import Backend, running_backend
from support.clients import listening, token_file
from support.ship_harness import ShippingHelm
from support.source_tree import DEPLOYMENT, HELM, write

from kubernaut import Kubernaut, api, load_settings
from kubernaut.context import Clients
from kubernaut.testing.engine import FakeEngine

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "library.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: hello-world}\nspec: {ports: [{port: 80}]}\n"
CI_VARIABLES = ("KUBERNAUT_", "JENKINS_", "HUDSON_", "BUILD_", "JOB_", "GITHUB_")
SERVER = "https://kubernaut.example.com"


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """Clone the repository's application, and give every Kubernaut the same fakes; version 1.4.2 is published."""
    for folder in ("examples/hello-world", "charts/hello-world"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    templates = tmp_path / "charts/hello-world/templates"
    shutil.rmtree(templates)  # the fake Helm renders simple templates only
    write(templates / "deployment.yaml", DEPLOYMENT.replace(".Values.replicas", ".Values.replicaCount"))
    write(templates / "service.yaml", SERVICE)
    (tmp_path / "production.yaml").write_text("replicaCount: 2\n")
    token_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(CI_VARIABLES)]:
        monkeypatch.delenv(name)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    for command in ("init", "add .", "-c user.name=Ada -c user.email=ada@example.com commit -m hello", "tag v1.4.2"):
        subprocess.run(["git", *command.split()], check=True, capture_output=True)
    with running_backend(tmp_path) as made:
        monkeypatch.setenv("KUBERNAUT_REGISTRY", made.publisher.prefix)
        monkeypatch.setenv("KUBERNAUT_HELM", HELM)
        made.cluster.answers["demo", "hello-world", 80] = (200, "hello")
        engine, helm = FakeEngine(), ShippingHelm(made.cluster, load_settings())
        made.publisher.helms.append(helm)

        def clients(settings: Any) -> Clients:
            opened = Clients(settings)
            opened.engine, opened.helm, opened.cluster = engine, helm, made.cluster  # type: ignore[assignment]
            return opened

        monkeypatch.setattr(api, "Clients", clients)
        Kubernaut().publish("examples/hello-world")
        made.helm.pushed.update(helm.pushed)  # the server's Helm pulls what this one has pushed
        yield made


def test_examples_run_in_order(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(backend.server()) as address:
        for number, block in enumerate(BLOCKS):
            runpy.run_path(str(write(backend.folder / f"example{number}.py", block.replace(SERVER, address))))
    shipped, state, deployed, *steps = capsys.readouterr().out.splitlines()
    assert (shipped, state, deployed) == ("demo.hello-world.v1 deployed changed", "succeeded", "demo.hello-world.v4 changed")
    assert [step.split()[:2] for step in steps] == [["publish", "unchanged"], ["deploy", "unchanged"]]
    releases = Kubernaut().history("hello-world", namespace="demo")
    assert [(release.revision, release.app_version) for release in releases] == [(number, "1.4.2") for number in (5, 4, 3, 2, 1)]
