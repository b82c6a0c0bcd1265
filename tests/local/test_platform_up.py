"""A real platform: its services, and its recovery."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.images import Image

from kubernaut.errors import PortTaken, SettingInvalid
from kubernaut_local import Platform, PlatformState, PlatformStatus, PortOptions, Ports
from kubernaut_local.clients import KubernetesApi

pytestmark = pytest.mark.platform

Until = Callable[[Callable[[], object], str, float], None]

DOCKERFILE = """\
FROM node:22-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json ./
RUN node --version && npm --version && npm install --omit=dev --offline --no-audit --no-fund
COPY --chown=node:node . .
RUN mkdir -p data && chown node:node data && date > data/built
USER node
EXPOSE 3000
CMD ["node", "index.js"]
"""
SERVER = """\
const http = require('http');
http.createServer((request, response) => {
  console.log('asked for ' + request.url);
  response.end('hello from ' + require('os').userInfo().username + ' ' + process.getuid());
}).listen(3000, () => console.log('listening'));
process.on('SIGTERM', () => process.exit(0));
"""


@pytest.fixture(scope="module")
def platform(make_platform: Callable[[str], Platform]) -> Platform:
    platform = make_platform("up")
    # From a hostile shell, on which the started processes must not depend.
    before = os.umask(0o077)
    try:
        assert platform.up().changed
    finally:
        os.umask(before)
    return platform


@pytest.fixture(scope="module")
def api(platform: Platform, connect: Callable[[Platform], KubernetesApi]) -> KubernetesApi:
    """The cluster as the user's kubeconfig leads to it."""
    return connect(platform)


def get(api: KubernetesApi, path: str) -> Any:
    status, answer = api.request("GET", path)
    assert status == 200, answer
    return answer


@pytest.fixture(scope="module")
def image(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An application's image, built from an ordinary Dockerfile and pushed."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "index.js").write_text(SERVER)
    (folder / "package.json").write_text('{"name": "app", "version": "1.0.0"}')
    environment = platform.environment()
    engine = docker.DockerClient(base_url=environment["DOCKER_HOST"], timeout=120)
    try:
        name = f"{environment['KUBERNAUT_REGISTRY']}/app:1"
        built: Image = engine.images.build(path=str(folder), tag=name, rm=True)[0]
        assert built.attrs["Config"]["User"] == "node"
        pushed = [json.loads(line) for line in engine.images.push(name).splitlines()]
        assert not [line for line in pushed if "error" in line]
        return name
    finally:
        engine.close()


@pytest.fixture(scope="module")
def pod(api: KubernetesApi, image: str, platform: Platform, until: Until) -> str:
    """A running pod behind a Service with the forwarded node port."""
    container = {"name": "app", "image": image, "ports": [{"containerPort": 3000}]}
    body = {
        "metadata": {"name": "app", "labels": {"app": "app"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    assert api.request("POST", "/api/v1/namespaces/default/pods", body)[0] == 201
    node_port = int(platform.environment()["KUBERNAUT_NODE_PORT"])
    ports = [{"port": 80, "targetPort": 3000, "nodePort": node_port}]
    service = {"metadata": {"name": "app"}, "spec": {"type": "NodePort", "selector": {"app": "app"}, "ports": ports}}
    assert api.request("POST", "/api/v1/namespaces/default/services", service)[0] == 201
    until(lambda: get(api, "/api/v1/namespaces/default/pods/app")["status"]["phase"] == "Running", "the pod runs", 60)
    return "app"


def answer_of(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/over-the-node-port")
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def test_everything_is_ready(platform: Platform) -> None:
    found = platform.status()
    assert found.state is PlatformState.READY
    assert [check for check in found.checks if not check.ready] == []
    for process in found.processes:
        assert process.state == "running"
        assert process.pid is not None
        assert Path(f"/proc/{process.pid}").is_dir()
        assert process.uptime_seconds is not None
        assert process.uptime_seconds < 300
        assert process.log.is_file()
        # Else pods that are not root could not read their /etc/hosts and /etc/resolv.conf.
        assert "Umask:\t0022\n" in Path(f"/proc/{process.pid}/status").read_text()


def test_second_up_changes_nothing(platform: Platform) -> None:
    before = platform.status()
    again = platform.up()
    assert not again.changed
    assert again.seconds < 5
    assert [process.pid for process in platform.status().processes] == [process.pid for process in before.processes]


def test_environment_configures_other_programs(platform: Platform) -> None:
    environment = platform.environment()
    ran = subprocess.run(
        ["helm", "list", "--all-namespaces", "--output", "json"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == []
    version = subprocess.run(
        ["helm", "version", "--short"], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("v4.")


def test_helm_of_a_running_platform_needs_no_cache(platform: Platform, tmp_path: Path) -> None:
    elsewhere = Platform(platform.name, state_home=platform.folder.parents[2], cache_home=tmp_path / "cache")
    assert elsewhere.helm() == platform.helm()
    assert not (tmp_path / "cache").exists()


def test_application_answers_at_its_node_port(platform: Platform, pod: str, until: Until) -> None:
    port = int(platform.environment()["KUBERNAUT_NODE_PORT"])
    until(lambda: answer_of(port) == "hello from node 1000", "the application answers", 30)


def test_logs_events_and_service_proxy(api: KubernetesApi, pod: str, until: Until) -> None:
    until(lambda: api.request("GET", "/api/v1/namespaces/default/services/app/proxy/by-proxy")[0] == 200, "the proxy answers", 30)
    assert get(api, "/api/v1/namespaces/default/services/app/proxy/by-proxy") == "hello from node 1000"
    log = "/api/v1/namespaces/default/pods/app/log"
    until(lambda: "asked for /by-proxy" in get(api, log), "the log has the question", 30)
    assert "listening" in get(api, log)
    events = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=app"
    reasons = {"Scheduled", "Pulled", "Created", "Started"}
    until(lambda: reasons <= {event["reason"] for event in get(api, events)["items"]}, f"there are events of {reasons}", 30)


@pytest.mark.parametrize(
    "name",
    [
        "link",
        "etcd",
        "registry",
        "containerd",
        "dockerd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
    ],
)
def test_killed_process_is_restarted(platform: Platform, pod: str, name: str, until: Until) -> None:
    def pid_of(found: PlatformStatus) -> int | None:
        return next((process.pid for process in found.processes if process.name == name), None)

    before = pid_of(platform.status())
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: pid_of(platform.status()) not in (None, before), f"{name} has a new process", 60)
    until(lambda: platform.status().ready, f"everything is ready after {name} was killed", 60)
    port = int(platform.environment()["KUBERNAUT_NODE_PORT"])
    until(lambda: answer_of(port) == "hello from node 1000", "the application answers", 30)


def test_suspended_process_is_not_ready(platform: Platform, until: Until) -> None:
    pid = next(process.pid for process in platform.status().processes if process.name == "registry")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        found = platform.status()
        assert found.state is PlatformState.NOT_READY
        assert [check.name for check in found.checks if not check.ready] == ["registry"]
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: platform.status().ready, "everything is ready again", 30)


def test_other_ports_are_refused_while_up(platform: Platform) -> None:
    with pytest.raises(SettingInvalid, match=re.escape(platform.name)):
        platform.up(ports=PortOptions(node_ports=(31999,)))
    assert platform.status().ready


def test_up_after_a_crash_keeps_the_data(platform: Platform, api: KubernetesApi, pod: str, until: Until) -> None:
    environment = platform.environment()
    body = {"metadata": {"name": "kept"}, "data": {"key": "value"}}
    assert api.request("POST", "/api/v1/namespaces/default/configmaps", body)[0] == 201
    os.kill(pid_one(platform), signal.SIGKILL)
    until(lambda: platform.status().state is PlatformState.DOWN, "it is seen to be down", 20)
    # At once, while the kernel may still be ending what ran inside.
    assert platform.up().changed
    assert platform.environment() == environment
    assert get(api, "/api/v1/namespaces/default/configmaps/kept")["data"] == {"key": "value"}
    until(lambda: answer_of(int(environment["KUBERNAUT_NODE_PORT"])) == "hello from node 1000", "the application answers", 60)
    engine = docker.DockerClient(base_url=environment["DOCKER_HOST"])
    try:
        assert f"{environment['KUBERNAUT_REGISTRY']}/app:1" in [tag for image in engine.images.list() for tag in image.tags]
    finally:
        engine.close()


def pid_one(platform: Platform) -> int:
    """Return the host's pid of supervisord: the parent of any supervised process."""
    pid = next(process.pid for process in platform.status().processes if process.pid)
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


def test_port_of_a_running_platform_is_taken(platform: Platform, make_platform: Callable[[str], Platform]) -> None:
    ports = platform.ports_for()
    other = make_platform("taken")
    with pytest.raises(PortTaken, match=rf"\b{ports.registry}\b.*slirp4netns"):
        other.up(ports=PortOptions(registry=ports.registry))
    assert not other.folder.exists()
    assert Ports.model_validate(ports) == platform.status().ports
