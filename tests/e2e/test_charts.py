"""Any chart under any name, by the command line, on the real cluster and with the real registry; by Helm 3 and Helm 4."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.chart_repository import ChartRepository, serve_charts
from support.charts import CONFIG_MAP, write_chart
from support.checkout import Checkout

from kubernaut.adapters.kube import Cluster

pytestmark = pytest.mark.platform

PROGRAM = Path(sys.executable).with_name("kubernaut")


@dataclass
class Shell:
    """A folder with a chart, a namespace, and the programs of a user."""

    folder: Path
    namespace: str
    environment: Mapping[str, str]
    repository: ChartRepository

    @property
    def registry(self) -> str:
        return f"{self.environment['KUBERNAUT_REGISTRY']}/charts"

    def chart(self, text: str, version: str) -> Path:
        return write_chart(self.folder, "web", version=version, values=f"text: {text}\n")

    def package(self, text: str, version: str) -> Path:
        self.helm("package", str(self.chart(text, version)), "--destination", str(self.folder))
        return self.folder / f"web-{version}.tgz"

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = self._start(str(PROGRAM), *arguments)
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def deploy(self, name: str, chart: str, *more: str, **how: Any) -> Any:
        """Deploy a chart; return the release as JSON."""
        return json.loads(self.run("deploy", name, "-n", self.namespace, "--chart", chart, "-o", "json", *more, **how).stdout)

    def helm(self, *arguments: str) -> str:
        done = self._start(self.environment["KUBERNAUT_HELM"], *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, text: str, version: str) -> str:
        """Push a chart with plain Helm; return its reference."""
        self.helm("push", str(self.package(text, version)), f"oci://{self.registry}", "--plain-http")
        return f"oci://{self.registry}/web:{version}"

    def _start(self, *argv: str) -> subprocess.CompletedProcess[str]:
        how: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300, "check": False}
        return subprocess.run(argv, cwd=self.folder, env=dict(self.environment), stdin=subprocess.DEVNULL, **how)


@pytest.fixture(params=["helm3", "helm4"])
def program(request: pytest.FixtureRequest, helms: Mapping[str, str]) -> str:
    return helms[request.param]


@pytest.fixture
def shell(platform: Mapping[str, str], program: str, tmp_path: Path) -> Iterator[Shell]:
    id = uuid.uuid4().hex[:8]
    environment = {
        **os.environ,
        **platform,
        "KUBERNAUT_HELM": program,
        "KUBERNAUT_REGISTRY": f"{platform['KUBERNAUT_REGISTRY']}/{id}",
        "KUBERNAUT_ACTOR": "ada",
    }
    cluster = Cluster(platform["KUBECONFIG"])
    cluster.create_namespace(f"charts-{id}")
    with serve_charts() as repository:
        yield Shell(tmp_path, f"charts-{id}", environment, repository)


def folder(shell: Shell, text: str, version: str) -> str:
    return str(shell.chart(text, version).relative_to(shell.folder))


def package(shell: Shell, text: str, version: str) -> str:
    return str(shell.package(text, version))


def registry(shell: Shell, text: str, version: str) -> str:
    return shell.push(text, version)


def registry_newest(shell: Shell, text: str, version: str) -> str:
    return shell.push(text, version).rpartition(":")[0]


def chart_repository(shell: Shell, text: str, version: str) -> str:
    return shell.repository.add(shell.package(text, version), "web", version)


@pytest.mark.parametrize("source", [folder, package, registry, registry_newest, chart_repository])
def test_each_form_is_deployed_unchanged_and_upgraded(shell: Shell, source: Callable[[Shell, str, str], str]) -> None:
    chart = source(shell, "hello", "0.1.0+build.5")
    first = shell.deploy("shop", chart)
    assert (first["id"], first["chart"]["name"], first["chart"]["version"]) == (
        f"{shell.namespace}.shop.v1",
        "web",
        "0.1.0+build.5",
    )
    assert first["managedBy"] == "kubernaut"
    again = chart if source in (registry, registry_newest) else source(shell, "hello", "0.1.0+build.5")  # packaged again
    assert shell.deploy("shop", again)["id"] == first["id"]
    changed = shell.deploy("shop", source(shell, "good morning", "0.2.0"))
    assert (changed["id"], changed["chart"]["version"]) == (f"{shell.namespace}.shop.v2", "0.2.0")
    assert changed["chart"]["digest"] != first["chart"]["digest"]
    back = json.loads(shell.run("rollback", "shop", "-n", shell.namespace, "-o", "json").stdout)
    assert (back["id"], back["chart"]["digest"]) == (f"{shell.namespace}.shop.v3", first["chart"]["digest"])


def test_the_same_chart_has_one_digest_in_all_forms_and_for_both_helms(shell: Shell, helms: Mapping[str, str]) -> None:
    write_chart(shell.chart("hello", "0.1.0") / "charts", "sub", template=CONFIG_MAP.replace("Name }}", "Name }}-sub"))
    chart = shell.folder / "web"
    (chart / "Chart.yaml").write_text(
        "version: 0.1.0\nname: web\napiVersion: v2\ndeprecated: false\nannotations: {b: '1', a: x}\n"
        "dependencies: [{name: sub, version: 0.1.0, repository: ''}]\n"
    )
    first = shell.deploy("shop", "web")
    for path in helms.values():
        shell.environment = {**shell.environment, "KUBERNAUT_HELM": path}
        assert shell.deploy("shop", "./web")["id"] == first["id"]
        shell.helm("package", "web")
        assert shell.deploy("shop", "web-0.1.0.tgz")["id"] == first["id"]


def test_an_application_is_shipped_twice_into_a_namespace(checkout: Checkout) -> None:
    where = ("-n", checkout.namespace)
    checkout.run("ship", "examples/hello-world", *where, "--create-namespace")
    canary = checkout.json("ship", "examples/hello-world", *where, "--name", "canary", "--set", "greeting=Ahoj")
    assert (canary["id"], canary["chart"]["name"]) == (f"{checkout.namespace}.canary.v1", "hello-world")
    assert checkout.json("deploy", "hello-world@1.0.0", *where, "--name", "canary", "--set", "greeting=Ahoj")["revision"] == 1
    checkout.run("deploy", "hello-world@1.0.0", *where, "--name", "canary", "--set", "greeting=Servus")
    assert "Servus" in checkout.run("diff", "canary", *where).stdout
    assert checkout.json("rollback", "canary", *where)["revision"] == 3
    listed = {one["name"]: one["revision"] for one in checkout.json("list", *where)["items"]}
    assert listed == {"hello-world": 1, "canary": 3}
    checkout.run("delete", "canary", *where, "--yes")
    assert checkout.json("show", "hello-world", *where)["health"]["status"] == "healthy"


def test_missing_dependencies_name_the_command(shell: Shell) -> None:
    chart = shell.chart("hello", "0.1.0")
    with (chart / "Chart.yaml").open("a") as file:
        file.write("dependencies: [{name: common, version: 1.0.0, repository: 'https://charts.example.com'}]\n")
    done = shell.run("deploy", "shop", "-n", shell.namespace, "--chart", "./web", status=3)
    assert "helm dependency build web" in done.stderr
    assert "common" in done.stderr


def test_a_chart_that_plain_helm_pushed_is_named(shell: Shell) -> None:
    reference = shell.push("hello", "0.1.0+build.5")
    for line, status in ((("deploy", "web"), 4), (("deploy", "web@0.1.0+build.5"), 5)):
        done = shell.run(*line, "-n", shell.namespace, status=status)
        assert f"kubernaut deploy web --chart {reference} -n {shell.namespace}" in done.stderr
    assert reference in shell.run("versions", "web").stderr
    assert shell.deploy("web", reference)["chart"]["version"] == "0.1.0+build.5"


def test_a_dotted_release_of_plain_helm_is_upgraded(shell: Shell) -> None:
    shell.helm("install", "web.blue", str(shell.chart("hello", "0.1.0")), "-n", shell.namespace)
    id = f"{shell.namespace}.web.blue"
    assert shell.deploy("web.blue", "web", "--set", "text=bye")["id"] == f"{id}.v2"
    assert f"{id}.v2" in shell.run("show", "web.blue", "-n", shell.namespace).stdout
    shell.run("rollback", f"{id}.v1")
    shell.run("delete", "web.blue", "-n", shell.namespace, "--yes")
    assert "web.blue" in shell.helm("list", "-n", shell.namespace, "--uninstalled")
    shell.run("restore", f"{id}.current")
    shell.run("deploy", "new.name", "-n", shell.namespace, "--chart", "web", status=3)
