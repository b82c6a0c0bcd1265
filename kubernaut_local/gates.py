"""The readiness gates: what must answer before the platform is ready, and waiting for it.

supervisord's RUNNING says that a process exists; these ask each part whether it works. A gate is a question with no effect, so
`status` asks the same ones as `up`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import tenacity

from kubernaut.errors import DeadlineExceeded, PlatformFailed
from kubernaut_local import certificates, network, probe
from kubernaut_local.commands import tail
from kubernaut_local.layout import Layout
from kubernaut_local.model import Gate, Ports, ProcessStatus
from kubernaut_local.processes import LINK

_POLL_SECONDS = 0.1
_GRANT_SECONDS = 30.0
_CLUSTER_GATES = (
    "kube-apiserver",
    "etcd",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "node",
    "service account",
)
GATES = (LINK, "registry", "dockerd", *_CLUSTER_GATES)
# etcd, the controller-manager and the scheduler listen inside only; the API server asks them for us.
_COMPONENTS = {"etcd-0": "etcd", "controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}


@dataclass(frozen=True)
class Target:
    """What the gates ask."""

    layout: Layout
    ports: Ports

    def api(self) -> probe.Api:
        """Return the Kubernetes API, asked as super-administrator."""
        layout = self.layout
        return probe.Api(self.ports.api, layout.pki / "ca.crt", certificates.certificate(layout), certificates.key(layout))


def check(target: Target, wanted: Container[str] = GATES) -> list[Gate]:
    """Ask the wanted gates once, in the order in which they open."""
    layout, ports = target.layout, target.ports
    gates = [
        _gate(name, question)
        for name, question in (
            (LINK, lambda: _link(layout, ports)),
            ("registry", lambda: _expect(probe.http_status(ports.registry, "/v2/"))),
            ("dockerd", lambda: _expect(probe.unix_status(layout.docker_socket, "/_ping"))),
        )
        if name in wanted
    ]
    return gates + _check_cluster(target, wanted)


def _check_cluster(target: Target, wanted: Container[str]) -> list[Gate]:
    """Ask the wanted gates that only the API can answer for; none of them if the API itself does not answer."""
    names = [name for name in _CLUSTER_GATES if name in wanted]
    if not names:
        return []
    api = target.api()
    ready = _gate("kube-apiserver", lambda: _expect(api.ask("GET", "/readyz")[0]))
    if not ready.ready:
        said = "the API does not answer"
        return [ready if name == ready.name else Gate(name=name, ready=False, detail=said) for name in names]
    gates = {ready.name: ready}
    if any(name in wanted for name in _COMPONENTS.values()):
        gates |= {gate.name: gate for gate in _components(api)}
    proxy, node = f"/api/v1/nodes/http:{network.NODE_NAME}:10256/proxy/healthz", f"/api/v1/nodes/{network.NODE_NAME}"
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    for name, question in (
        # The node stays Ready for 40 s after its kubelet has died.
        ("kubelet", lambda: _expect(api.ask("GET", f"{node}/proxy/healthz")[0])),
        ("kube-proxy", lambda: _expect(api.ask("GET", proxy)[0])),
        ("node", lambda: node_detail(*api.ask("GET", node))),
        ("service account", lambda: _expect(api.ask("GET", account)[0])),
    ):
        if name in wanted:
            gates[name] = _gate(name, question)
    return [gates[name] for name in names]


def _gate(name: str, question: Callable[[], str]) -> Gate:
    """Ask a question whose answer is what is wrong, and empty if nothing is."""
    try:
        wrong = question()
    except probe.NO_ANSWER as failure:
        wrong = f"no answer: {failure}"
    return Gate(name=name, ready=not wrong, detail=wrong)


def _expect(status: int) -> str:
    return "" if status == 200 else f"answers {status}"


def _link(layout: Layout, ports: Ports) -> str:
    missing = set(ports.all()) - set(probe.forwarded_ports(layout.link_socket))
    return f"not forwarded: {', '.join(map(str, sorted(missing)))}" if missing else ""


def _components(api: probe.Api) -> list[Gate]:
    try:
        status, answer = api.ask("GET", "/api/v1/componentstatuses")
    except probe.NO_ANSWER as failure:
        return [Gate(name=name, ready=False, detail=f"no answer: {failure}") for name in _COMPONENTS.values()]
    return component_gates(status, answer)


def component_gates(status: int, answer: Any) -> list[Gate]:
    """Read the API server's word on etcd, the controller-manager and the scheduler."""
    if status != 200:
        return [Gate(name=name, ready=False, detail=f"the API answers {status}") for name in _COMPONENTS.values()]
    said = {item["metadata"]["name"]: item.get("conditions", []) for item in answer["items"]}
    gates = []
    for component, name in _COMPONENTS.items():
        conditions = [each for each in said.get(component, []) if each["type"] == "Healthy"]
        ready = any(each["status"] == "True" for each in conditions)
        words = next((each.get("error") or each.get("message") or "" for each in conditions), "the API does not know of it")
        gates.append(Gate(name=name, ready=ready, detail="" if ready else words or "not healthy"))
    return gates


def node_detail(status: int, node: Any) -> str:
    """Return why the node is not ready, or nothing if it is."""
    if status != 200:
        return "not registered" if status == 404 else f"the API answers {status}"
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            return "" if condition["status"] == "True" else condition.get("message") or "not ready"
    return "says nothing of itself yet"


def grant_admin(target: Target) -> None:
    """Grant the kubeconfig's group what `kubeadm init` would have; without it the kubeconfig is of no use."""
    name = "kubeadm:cluster-admins"
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}],
    }
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(_GRANT_SECONDS),
        wait=tenacity.wait_fixed(_POLL_SECONDS),
        retry=tenacity.retry_if_exception_type(probe.NO_ANSWER),
        reraise=True,
    )
    try:
        status, answer = retrying(target.api().ask, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    except probe.NO_ANSWER as failure:
        raise PlatformFailed(f"The administrator could not be granted access: no answer: {failure}.") from failure
    if status not in (201, 409):
        raise PlatformFailed(f"The administrator could not be granted access: the API answers {status}.", details=[str(answer)])


class Waiter:
    """Waits for gates, with one deadline for all of them, and fails at once when a process has given up."""

    def __init__(
        self, target: Target, seconds: float, processes: Callable[[], list[ProcessStatus] | None], alive: Callable[[], bool]
    ) -> None:
        self._target = target
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._processes = processes
        self._alive = alive
        self._opened: set[str] = set()

    def wait(self, opened: Callable[[str], None], names: Container[str] = GATES) -> None:
        """Wait until the named gates are open.

        Args:
            opened: Is told of each gate when it opens, once.
            names: The gates' names.
        """
        closed = [Gate(name=name, ready=False) for name in GATES if name in names and name not in self._opened]

        def ask() -> bool:
            nonlocal closed
            self._check_processes()
            asked = check(self._target, [gate.name for gate in closed])
            closed = [gate for gate in asked if not gate.ready]
            for gate in asked:
                if gate.ready:
                    self._opened.add(gate.name)
                    opened(gate.name)
            return not closed

        if not self._becomes(ask):
            raise self._late(closed)

    def wait_running(self) -> None:
        """Wait until every process runs: one that ended meanwhile, and is started anew, may open its gate before it stays."""
        late = [Gate(name="supervisord", ready=False, detail="says nothing of its processes")]

        def ask() -> bool:
            nonlocal late
            if processes := self._check_processes():
                late = [Gate(name=each.name, ready=False, detail=each.state) for each in processes if each.state != "running"]
            return not late

        if not self._becomes(ask):
            raise self._late(late)

    def _becomes(self, condition: Callable[[], bool]) -> bool:
        """Ask again and again; return whether it was so before the deadline."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(max(0.0, self._deadline - time.monotonic())),
            wait=tenacity.wait_fixed(_POLL_SECONDS),
            retry=tenacity.retry_if_result(lambda done: not done),
            retry_error_callback=lambda _: False,
        )
        return bool(retrying(condition))

    def _check_processes(self) -> list[ProcessStatus]:
        if not self._alive():
            layout = self._target.layout
            details = [*tail(layout.log("init")), *tail(layout.log("supervisord"))]
            raise PlatformFailed("The platform's PID 1 ended while it was coming up.", details=details)
        processes = self._processes() or []
        for process in processes:
            if process.state == "fatal":
                raise PlatformFailed(
                    f"{process.name} does not start: {process.error or 'it ends at once'}.", details=tail(process.log)
                )
        return processes

    def _late(self, closed: list[Gate]) -> DeadlineExceeded:
        details = [f"{gate.name}: {gate.detail}" for gate in closed]
        if closed:
            process = _process(closed[0].name)
            details.extend(f"{process}.log: {line}" for line in tail(self._target.layout.log(process)))
        names = ", ".join(gate.name for gate in closed)
        return DeadlineExceeded(
            f"The platform is not ready after {self._seconds:.0f} s; still not there: {names}.",
            hint="`kubernaut local status` shows each process and its log file; `kubernaut local up` goes on from here.",
            details=details,
        )


def _process(gate: str) -> str:
    """Return the process behind a gate, whose log says why it is closed."""
    return {"node": "kubelet", "service account": "kube-controller-manager"}.get(gate, gate)
