"""charts/hello-world: its rendered objects and its schema. Set KUBERNAUT_HELM to test with another Helm."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.programs import program

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "hello-world"
PRODUCTION = ROOT / "examples" / "hello-world" / "values" / "production.yaml"
DIGEST = "sha256:" + "0123456789abcdef" * 4
Render = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    path = os.environ.get("KUBERNAUT_HELM") or program("helm")
    environment = {"HOME": str(tmp_path_factory.mktemp("home")), "KUBECONFIG": os.devnull}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([path, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Render the chart; returns the objects by kind, the test pod as `Pod`."""

    def render(*arguments: object, release: str = "hello-world", chart: Path = CHART) -> dict[str, dict[str, Any]]:
        result = helm("template", release, chart, *arguments)
        assert result.returncode == 0, result.stderr
        return {document["kind"]: document for document in yaml.safe_load_all(result.stdout) if document}

    return render


def _pod(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return spec


def _container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (container,) = _pod(objects)["containers"]
    assert isinstance(container, dict)
    return container


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


@pytest.mark.parametrize("values", [[], ["--values", PRODUCTION]], ids=["default", "production"])
def test_lint_strict(helm: Callable[..., subprocess.CompletedProcess[str]], values: list[object]) -> None:
    result = helm("lint", "--strict", CHART, *values)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stdout


def test_a_digest_pins_the_image(render: Render) -> None:
    objects = render("--set", f"image.repository=registry:5000/team/hello-world,image.tag=1.4.2,image.digest={DIGEST}")
    pinned = f"registry:5000/team/hello-world@{DIGEST}"
    assert _container(objects)["image"] == pinned
    assert objects["Pod"]["spec"]["containers"][0]["image"] == pinned
    assert _environment(_container(objects))["VERSION"] == "1.4.2"


def test_without_a_digest_the_tag_selects_the_image(render: Render) -> None:
    assert _container(render())["image"] == "hello-world:0.1.0"
    assert _container(render("--set", "image.tag=2.0.0"))["image"] == "hello-world:2.0.0"


def test_the_commit_comes_from_the_charts_annotation(render: Render, tmp_path: Path) -> None:
    assert "COMMIT" not in _environment(_container(render()))
    published = shutil.copytree(CHART, tmp_path / "hello-world")
    with (published / "Chart.yaml").open("a") as file:
        file.write("annotations:\n  org.opencontainers.image.revision: 31fba06\n")
    assert _environment(_container(render(chart=published)))["COMMIT"] == "31fba06"


@pytest.mark.parametrize("values", [[], ["--values", PRODUCTION]], ids=["default", "production"])
def test_pods_have_restricted_security_contexts(render: Render, values: list[object]) -> None:
    objects = render(*values)
    for pod in (_pod(objects), objects["Pod"]["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
    assert _container(objects)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_a_rollout_keeps_pods_available_and_drains_them(render: Render) -> None:
    objects = render()
    assert objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert _container(objects)["readinessProbe"]["periodSeconds"] == 1
    drain = _container(objects)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < drain + 3 < _pod(objects)["terminationGracePeriodSeconds"]
    assert "lifecycle" not in _container(render("--set", "drainSeconds=0"))


def test_the_service_selects_the_pods_and_not_the_test(render: Render) -> None:
    objects = render()
    selector = objects["Service"]["spec"]["selector"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == selector
    assert selector.items() <= objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert not selector.items() <= objects["Pod"]["metadata"]["labels"].items()
    assert objects["Service"]["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]


def test_node_port(render: Render) -> None:
    service = render("--set", "service.type=NodePort,service.nodePort=30080")["Service"]["spec"]
    assert (service["type"], service["ports"][0]["nodePort"]) == ("NodePort", 30080)
    assert "nodePort" not in render("--set", "service.type=NodePort")["Service"]["spec"]["ports"][0]


def test_budget_and_service_account_are_optional(render: Render) -> None:
    assert set(render()) == {"Deployment", "Service", "Pod"}
    assert _pod(render())["serviceAccountName"] == "default"
    budget = render("--values", PRODUCTION)["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    objects = render("--set", "serviceAccount.create=true")
    assert objects["ServiceAccount"]["metadata"]["name"] == _pod(objects)["serviceAccountName"] == "hello-world"


def test_pull_secrets(render: Render) -> None:
    objects = render("--set", "imagePullSecrets[0].name=mine")
    assert _pod(objects)["imagePullSecrets"] == objects["Pod"]["spec"]["imagePullSecrets"] == [{"name": "mine"}]


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("hello-world", "hello-world"),
        ("a.b", "a-b-hello-world"),
        ("x" * 53, "x" * 53 + "-hello-wor"),
        ("hello-world-" + "x" * 41, "hello-world-" + "x" * 41),
    ],
)
def test_names_and_labels_fit_kubernetes(render: Render, release: str, name: str) -> None:
    objects = render("--set", "image.tag=1.4.3-dev.12.g31fba06." + "a" * 30 + ".a", release=release)
    assert objects["Deployment"]["metadata"]["name"] == objects["Service"]["metadata"]["name"] == name
    for thing in objects.values():
        assert len(thing["metadata"]["name"]) <= 63
        for value in thing["metadata"]["labels"].values():
            assert 0 < len(value) <= 63
            assert value[-1].isalnum()


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("replicaCount=two", "replicaCount"),
        ("replicas=2", "replicas"),
        ("image.digest=latest", "digest"),
        (f"image.repository=hello-world@{DIGEST}", "repository"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("service.type=LoadBalancer", "type"),
        ("service.port=0", "port"),
        ("service.nodePort=30080", "nodePort"),
        ("service.type=NodePort,service.nodePort=many", "nodePort"),
        ("imagePullSecrets[0]=mine", "imagePullSecrets"),
        ("readinessProbe.path=/", "path"),
        ("podDisruptionBudget.maxUnavailable=some", "maxUnavailable"),
        ("greeting=", "greeting"),
    ],
)
def test_the_schema_refuses(helm: Callable[..., subprocess.CompletedProcess[str]], value: str, key: str) -> None:
    result = helm("template", "hello-world", CHART, "--set", value)
    assert result.returncode != 0
    assert "schema" in result.stderr
    assert key in result.stderr


@pytest.mark.parametrize(
    "value",
    [
        "global.team=web",
        "podDisruptionBudget.maxUnavailable=25%",
        "service.type=NodePort,service.nodePort=null",
        "replicaCount=0",
    ],
)
def test_the_schema_allows(render: Render, value: str) -> None:
    assert render("--set", value)


@pytest.fixture
def service() -> Iterator[int]:
    """The port of a Service of hello-world 1.4.2."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"greeting": "Hello, world!", "version": "1.4.2"}).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("version", "status"), [("1.4.2", 0), ("1.4.1", 1)])
def test_helm_test_finds_the_service_without_cluster_dns(render: Render, service: int, version: str, status: int) -> None:
    pod = render("--set", f"image.tag={version}", release="mine")["Pod"]["spec"]
    assert pod["enableServiceLinks"] is True
    (container,) = pod["containers"]
    variables = {"MINE_HELLO_WORLD_SERVICE_HOST": "127.0.0.1", "MINE_HELLO_WORLD_SERVICE_PORT": str(service)}
    name, *arguments = container["command"]
    result = subprocess.run(
        [program(name), *arguments], env={**variables, **_environment(container)}, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == status, result.stderr
    assert result.stdout == f"http://127.0.0.1:{service}/ answers 200: Hello, world! (1.4.2)\n"
