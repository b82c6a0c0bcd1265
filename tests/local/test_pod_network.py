"""The pods' network on a real platform: the paths to and from a pod, and addresses that are used again."""

from __future__ import annotations

import http.server
import ipaddress
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest

from kubernaut_local import Platform, network
from kubernaut_local.clients import KubernetesApi

pytestmark = pytest.mark.platform

Until = Callable[[Callable[[], object], str, float], None]

PODS, SERVICES = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/services"
PORT = 8080
# Answers with its pod's name and the caller's address; asked with `?url=…` it passes the question on.
SERVER = f"""
const http = require('http'), os = require('os');
http.createServer(async (request, response) => {{
  const url = new URL(request.url, 'http://pod').searchParams.get('url');
  if (!url) return response.end(os.hostname() + ' ' + request.socket.remoteAddress);
  try {{
    const answer = await fetch(url, {{signal: AbortSignal.timeout(2000)}});
    response.end(await answer.text());
  }} catch (error) {{
    response.end(String(error.cause || error));
  }}
}}).listen({PORT}, '0.0.0.0');
"""
POD_RANGE = ipaddress.IPv4Network(network.NODE_POD_CIDR)
# Without the gateway's, the network's and the broadcast address.
POD_ADDRESSES = {str(address) for address in POD_RANGE.hosts()} - {str(POD_RANGE[1])}
SHORT_PODS, BATCH = 300, 50


@pytest.fixture(scope="module")
def platform(make_platform: Callable[[str], Platform]) -> Platform:
    platform = make_platform("net")
    platform.up()
    return platform


@pytest.fixture(scope="module")
def api(platform: Platform, connect: Callable[[Platform], KubernetesApi]) -> KubernetesApi:
    return connect(platform)


@pytest.fixture(scope="module")
def registry(platform: Platform) -> str:
    return platform.environment()["KUBERNAUT_REGISTRY"]


def pod(name: str, container: Mapping[str, Any], **labels: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "main", **container}], "terminationGracePeriodSeconds": 0, "enableServiceLinks": False}
    return {"metadata": {"name": name, "labels": labels}, "spec": {**spec, "automountServiceAccountToken": False}}


def create(api: KubernetesApi, path: str, bodies: Iterable[Mapping[str, Any]]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for status, answer in pool.map(lambda body: api.request("POST", path, body), bodies):
            assert status == 201, answer


def get_pods(api: KubernetesApi, selector: str) -> list[dict[str, Any]]:
    status, answer = api.request("GET", f"{PODS}?labelSelector={quote(selector)}")
    assert status == 200, answer
    items: list[dict[str, Any]] = answer["items"]
    return items


def delete_pods(api: KubernetesApi, selector: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for status, answer in pool.map(
            lambda each: api.request("DELETE", f"{PODS}/{each['metadata']['name']}"), get_pods(api, selector)
        ):
            assert status in (200, 404), answer


def is_ready(pod: Mapping[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


class Reach:
    """Two pods, `one` and `two`, that answer and ask; each has a Service and a host port."""

    def __init__(self, api: KubernetesApi, registry: str, node_port: int, until: Until) -> None:
        self._api = api
        for host_port, name in enumerate(("one", "two"), start=8081):
            container = {
                "image": f"{registry}/library/node:22",
                "command": ["node", "-e", SERVER],
                "env": [{"name": "NODE_TLS_REJECT_UNAUTHORIZED", "value": "0"}],
                "ports": [{"containerPort": PORT, "hostPort": host_port}],
                "readinessProbe": {"httpGet": {"port": PORT}, "periodSeconds": 1},
            }
            create(api, PODS, [pod(name, container, reach=name)])
            port = {"port": 80, "targetPort": PORT} | ({"nodePort": node_port} if name == "two" else {})
            spec = {"selector": {"reach": name}, "ports": [port], "type": "NodePort"}
            create(api, SERVICES, [{"metadata": {"name": name}, "spec": spec}])
        until(lambda: sum(map(is_ready, get_pods(api, "reach"))) == 2, "both pods are ready", 60)
        self.addresses = {each["metadata"]["name"]: str(each["status"]["podIP"]) for each in get_pods(api, "reach")}
        self.services = {name: str(api.request("GET", f"{SERVICES}/{name}")[1]["spec"]["clusterIP"]) for name in ("one", "two")}

    def from_one(self, url: str) -> str:
        """Return what the pod `one` gets from a URL, or its failure."""
        return str(self._api.request("GET", f"{PODS}/one:{PORT}/proxy/?url={quote(url, safe='')}")[1])


@pytest.fixture(scope="module")
def reach(platform: Platform, api: KubernetesApi, registry: str, until: Until) -> Reach:
    return Reach(api, registry, int(platform.environment()["KUBERNAUT_NODE_PORT"]), until)


def test_pod_reaches_another_pod_with_its_own_address(reach: Reach, until: Until) -> None:
    one, two, service = reach.addresses["one"], reach.addresses["two"], reach.services["two"]
    assert reach.from_one(f"http://{two}:{PORT}") == f"two {one}"
    until(lambda: reach.from_one(f"http://{service}") == f"two {one}", "the Service leads to the other pod", 10)


def test_unknown_service_address_is_refused(reach: Reach) -> None:
    unknown = ipaddress.IPv4Network(network.SERVICE_CIDR)[-2]
    assert str(unknown) not in reach.services.values()
    assert "ECONNREFUSED" in reach.from_one(f"http://{unknown}")


def test_pod_reaches_itself_through_its_service(reach: Reach, until: Until) -> None:
    url = f"http://{reach.services['one']}"
    until(lambda: reach.from_one(url).startswith("one "), "the Service leads back to the pod", 10)


def test_pod_reaches_ports_of_the_node(platform: Platform, reach: Reach, registry: str, until: Until) -> None:
    node, node_port = network.NODE_ADDRESS, platform.environment()["KUBERNAUT_NODE_PORT"]
    until(lambda: reach.from_one(f"http://{node}:{node_port}").startswith("two "), "the node port leads to the pod", 10)
    assert reach.from_one(f"http://{node}:8082").startswith("two ")
    assert reach.from_one(f"http://{node}:8081").startswith("one ")
    assert reach.from_one(f"http://{node}:{registry.rpartition(':')[2]}/v2/") == "{}"


def test_pod_reaches_the_api(reach: Reach) -> None:
    address = ipaddress.IPv4Network(network.SERVICE_CIDR)[1]
    assert reach.from_one(f"https://{address}/readyz") == "ok"


class _Outside(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from outside")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def outside() -> Iterator[str]:
    """The URL of a server on an address of the host that is not its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("needs a route of the host")
        address = probe.getsockname()[0]
    with http.server.ThreadingHTTPServer((address, 0), _Outside) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_pod_reaches_addresses_outside(reach: Reach, outside: str) -> None:
    assert reach.from_one(outside) == "from outside"


def pid_of_kubelet(platform: Platform) -> int:
    return next(process.pid for process in platform.status().processes if process.name == "kubelet" and process.pid)


def neighbours(platform: Platform) -> set[str]:
    """Return the pod addresses of which the node has a neighbour entry."""
    argv = ["nsenter", f"--net=/proc/{pid_of_kubelet(platform)}/ns/net", "cat", "/proc/net/arp"]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    return {line.split()[0] for line in lines} & POD_ADDRESSES


def reserved(platform: Platform) -> set[str]:
    """Return the pod addresses in use, by the files of the CNI plugin."""
    return {file.name for file in (platform.folder / "cni" / "networks" / "kubernaut").iterdir()} & POD_ADDRESSES


def run_short_pods(platform: Platform, api: KubernetesApi, until: Until) -> set[str]:
    """Let the node meet many short pods, and return their addresses."""
    used: set[str] = set()
    # The image does not exist: such a pod has an address, and costs less than one that runs.
    container = {"image": "missing.invalid/app:1", "imagePullPolicy": "Never"}
    for start in range(0, SHORT_PODS, BATCH):
        create(api, PODS, (pod(f"short-{start + number}", container, short="yes") for number in range(BATCH)))

        def addresses() -> dict[str, str]:
            found = {each["metadata"]["name"]: each["status"].get("podIP") for each in get_pods(api, "short")}
            return {name: address for name, address in found.items() if address}

        until(lambda: len(addresses()) == BATCH, f"{BATCH} pods have an address", 120)
        met = addresses()
        with ThreadPoolExecutor(8) as pool:
            # Nothing listens, but the connection of the API server makes the node look for the pod.
            for status, _ in pool.map(lambda name: api.request("GET", f"{PODS}/{name}:{PORT}/proxy/"), met):
                assert status == 503
        assert set(met.values()) <= neighbours(platform)
        used |= set(met.values())
        delete_pods(api, "short")
    return used


def seconds_to_ready(api: KubernetesApi, registry: str, until: Until, prefix: str) -> dict[str, float]:
    """Start three pods that answer at once, and delete them.

    Returns:
        The seconds from the start of each container until its pod was ready, by the pod's address.
    """
    probe = {"httpGet": {"port": PORT, "path": "/hostname"}, "periodSeconds": 1, "timeoutSeconds": 1}
    command = ["busybox", "httpd", "-f", "-p", str(PORT), "-h", "/etc"]
    container = {"image": f"{registry}/library/node:22", "command": command, "readinessProbe": probe}
    create(api, PODS, (pod(f"{prefix}-{number}", container, web="yes") for number in range(3)))
    until(lambda: sum(map(is_ready, get_pods(api, "web"))) == 3, "the pods are ready", 60)
    seconds = {}
    for each in get_pods(api, "web"):
        started = each["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        ready = next(found["lastTransitionTime"] for found in each["status"]["conditions"] if found["type"] == "Ready")
        seconds[str(each["status"]["podIP"])] = (datetime.fromisoformat(ready) - datetime.fromisoformat(started)).total_seconds()
    delete_pods(api, "web")
    return seconds


def test_pod_with_a_used_address_is_ready_at_once(
    platform: Platform, api: KubernetesApi, registry: str, reach: Reach, until: Until
) -> None:
    living = set(reach.addresses.values())
    fresh = seconds_to_ready(api, registry, until, "fresh")
    used = run_short_pods(platform, api, until) | set(fresh)
    assert used | living == POD_ADDRESSES
    until(lambda: reserved(platform) == living, "the addresses of deleted pods are free", 60)
    # The kernel removes a link a moment later. On a bridge the entries would stay.
    until(lambda: neighbours(platform) <= living, "the node has forgotten the deleted pods", 30)
    again = seconds_to_ready(api, registry, until, "again")
    assert set(again) <= used
    # The API has whole seconds. With a neighbour entry of the pod before, it takes 8 s or more.
    assert max(again.values()) <= max(fresh.values()) + 2, (fresh, again)
