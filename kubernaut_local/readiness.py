"""The readiness checks of the platform's components, and waiting until they pass.

supervisord's RUNNING only means that a process exists; a readiness check asks the component itself. Checks change nothing, so
`status` and `up` run the same ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import tenacity

from kubernaut.errors import DeadlineExceeded, PlatformFailed
from kubernaut_local import clients, network
from kubernaut_local.commands import tail
from kubernaut_local.layout import Layout
from kubernaut_local.models import Ports, ProcessStatus, ReadinessCheck
from kubernaut_local.processes import LINK

_POLL_SECONDS = 0.1
_GRANT_SECONDS = 30.0
_CLUSTER_CHECKS = (
    "kube-apiserver",
    "etcd",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "node",
    "service account",
)
CHECKS = (LINK, "registry", "dockerd", *_CLUSTER_CHECKS)
_RBAC = "rbac.authorization.k8s.io"
_BINDINGS = (
    ("kubeadm:cluster-admins", "cluster-admin", ("Group", "kubeadm:cluster-admins")),
    ("kubeadm:apiserver-kubelet-client", "system:kubelet-api-admin", ("User", "kube-apiserver-kubelet-client")),
)
# These are not reachable from the host; the API server reports their health.
_COMPONENT_STATUSES = {"etcd-0": "etcd", "controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}


@dataclass(frozen=True)
class Target:
    """The platform to check.

    Attributes:
        layout: The state folder.
        ports: The ports.
    """

    layout: Layout
    ports: Ports

    def api(self) -> clients.KubernetesApi:
        """Return the Kubernetes API, with the super-administrator's certificate."""
        layout = self.layout
        return clients.KubernetesApi(self.ports.api, layout.pki / "ca.crt", layout.admin_certificate, layout.admin_key)


def run_checks(target: Target, names: Container[str] = CHECKS) -> list[ReadinessCheck]:
    """Run the named checks once, in the order of CHECKS."""
    layout, ports = target.layout, target.ports
    checks = [
        _run(name, find_problem)
        for name, find_problem in (
            (LINK, lambda: _link_problem(layout, ports)),
            ("registry", lambda: _status_problem(clients.http(ports.registry, "GET", "/v2/")[0])),
            ("dockerd", lambda: _status_problem(clients.unix_status(layout.docker_socket, "/_ping"))),
        )
        if name in names
    ]
    return checks + _run_cluster_checks(target, [name for name in _CLUSTER_CHECKS if name in names])


def _run_cluster_checks(target: Target, names: list[str]) -> list[ReadinessCheck]:
    """Run the named checks that need the Kubernetes API; if it does not answer, all of them fail."""
    if not names:
        return []
    api = target.api()
    api_check = _run("kube-apiserver", lambda: _status_problem(api.request("GET", "/readyz")[0]))
    if not api_check.ready:
        failed = {name: ReadinessCheck(name=name, ready=False, detail="the API does not answer") for name in names}
        return [api_check if name == api_check.name else failed[name] for name in names]
    checks = {api_check.name: api_check}
    if any(name in names for name in _COMPONENT_STATUSES.values()):
        checks |= {check.name: check for check in _run_component_checks(api)}
    proxy, node = f"/api/v1/nodes/http:{network.NODE_NAME}:10256/proxy/healthz", f"/api/v1/nodes/{network.NODE_NAME}"
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    for name, find_problem in (
        # The node stays Ready for 40 s after its kubelet has died.
        ("kubelet", lambda: _status_problem(api.request("GET", f"{node}/proxy/healthz")[0])),
        ("kube-proxy", lambda: _status_problem(api.request("GET", proxy)[0])),
        ("node", lambda: node_problem(*api.request("GET", node))),
        ("service account", lambda: _status_problem(api.request("GET", account)[0])),
    ):
        if name in names:
            checks[name] = _run(name, find_problem)
    return [checks[name] for name in names]


def _run(name: str, find_problem: Callable[[], str]) -> ReadinessCheck:
    """Run a check, given a function that returns the problem, or an empty string."""
    try:
        problem = find_problem()
    except clients.NO_ANSWER as failure:
        problem = f"no answer: {failure}"
    return ReadinessCheck(name=name, ready=not problem, detail=problem)


def _status_problem(status: int) -> str:
    return "" if status == 200 else f"HTTP status {status}"


def _link_problem(layout: Layout, ports: Ports) -> str:
    missing = set(ports.all()) - set(clients.list_forwarded_ports(layout.link_socket))
    return f"not forwarded: {', '.join(map(str, sorted(missing)))}" if missing else ""


def _run_component_checks(api: clients.KubernetesApi) -> list[ReadinessCheck]:
    try:
        status, answer = api.request("GET", "/api/v1/componentstatuses")
    except clients.NO_ANSWER as failure:
        return [ReadinessCheck(name=name, ready=False, detail=f"no answer: {failure}") for name in _COMPONENT_STATUSES.values()]
    return component_checks(status, answer)


def component_checks(status: int, answer: Any) -> list[ReadinessCheck]:
    """Return the checks of etcd, the controller-manager and the scheduler.

    Args:
        status: The HTTP status of the API's answer.
        answer: A ComponentStatusList, if the status is 200.
    """
    if status != 200:
        return [ReadinessCheck(name=name, ready=False, detail=f"the API answers {status}") for name in _COMPONENT_STATUSES.values()]
    by_component = {item["metadata"]["name"]: item.get("conditions", []) for item in answer["items"]}
    checks = []
    for component, name in _COMPONENT_STATUSES.items():
        conditions = [each for each in by_component.get(component, []) if each["type"] == "Healthy"]
        ready = any(each["status"] == "True" for each in conditions)
        detail = next((each.get("error") or each.get("message") or "" for each in conditions), "the API does not report it")
        checks.append(ReadinessCheck(name=name, ready=ready, detail="" if ready else detail or "not healthy"))
    return checks


def node_problem(status: int, node: Any) -> str:
    """Return why the node is not ready, or an empty string if it is.

    Args:
        status: The HTTP status of the API's answer.
        node: The Node object, if the status is 200.
    """
    if status != 200:
        return "not registered" if status == 404 else f"the API answers {status}"
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            return "" if condition["status"] == "True" else condition.get("message") or "not ready"
    return "no Ready condition yet"


def grant_rights(target: Target) -> None:
    """Grant the rights that `kubeadm init` grants: to the user's kubeconfig, and to the API server as a client of the kubelet.

    Raises:
        PlatformFailed: The API refuses, or does not answer for 30 s.
    """
    for name, role, subject in _BINDINGS:
        _bind(target, name, role, subject)


def _bind(target: Target, name: str, role: str, subject: tuple[str, str]) -> None:
    kind, who = subject
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": kind, "name": who}],
    }
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(_GRANT_SECONDS),
        wait=tenacity.wait_fixed(_POLL_SECONDS),
        retry=tenacity.retry_if_exception_type(clients.NO_ANSWER),
        reraise=True,
    )
    try:
        status, answer = retrying(target.api().request, "POST", f"/apis/{_RBAC}/v1/clusterrolebindings", binding)
    except clients.NO_ANSWER as failure:
        raise PlatformFailed(f"Granting {role} failed: the API does not answer: {failure}.") from failure
    if status not in (201, 409):
        raise PlatformFailed(f"Granting {role} failed: the API answers {status}.", details=[str(answer)])


class Waiter:
    """Waits for readiness checks, with one deadline for all, and fails at once when a process cannot be started.

    Args:
        target: The platform to check.
        timeout: Seconds until the deadline.
        list_processes: Returns the processes, or None if supervisord does not answer.
        is_alive: Returns whether PID 1 runs.
    """

    def __init__(
        self,
        target: Target,
        timeout: float,
        list_processes: Callable[[], list[ProcessStatus] | None],
        is_alive: Callable[[], bool],
    ) -> None:
        self._target = target
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._list_processes = list_processes
        self._is_alive = is_alive
        self._passed: set[str] = set()

    def wait(self, on_pass: Callable[[str], None], names: Container[str] = CHECKS) -> None:
        """Wait until the named checks have passed.

        Args:
            on_pass: Called once with the name of each check when it passes.
            names: The names of the checks.

        Raises:
            PlatformFailed: A process cannot be started, or PID 1 ended.
            DeadlineExceeded: A check did not pass in time.
        """
        pending = [ReadinessCheck(name=name, ready=False) for name in CHECKS if name in names and name not in self._passed]

        def poll() -> bool:
            nonlocal pending
            self._check_processes()
            checks = run_checks(self._target, [check.name for check in pending])
            pending = [check for check in checks if not check.ready]
            for check in checks:
                if check.ready:
                    self._passed.add(check.name)
                    on_pass(check.name)
            return not pending

        if not self._poll_until(poll):
            raise self._timed_out(pending)

    def wait_running(self) -> None:
        """Wait until supervisord reports every process as running: a restarting one may have passed its check before.

        Raises:
            PlatformFailed: A process cannot be started, or PID 1 ended.
            DeadlineExceeded: A process does not run in time.
        """
        pending = [ReadinessCheck(name="supervisord", ready=False, detail="does not answer")]

        def poll() -> bool:
            nonlocal pending
            if processes := self._check_processes():
                pending = [
                    ReadinessCheck(name=each.name, ready=False, detail=each.state) for each in processes if each.state != "running"
                ]
            return not pending

        if not self._poll_until(poll):
            raise self._timed_out(pending)

    def _poll_until(self, condition: Callable[[], bool]) -> bool:
        """Return whether the condition became true before the deadline."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(max(0.0, self._deadline - time.monotonic())),
            wait=tenacity.wait_fixed(_POLL_SECONDS),
            retry=tenacity.retry_if_result(lambda done: not done),
            retry_error_callback=lambda _: False,
        )
        return bool(retrying(condition))

    def _check_processes(self) -> list[ProcessStatus]:
        if not self._is_alive():
            layout = self._target.layout
            details = [*tail(layout.log("init")), *tail(layout.log("supervisord"))]
            raise PlatformFailed("PID 1 of the platform ended during the start.", details=details)
        processes = self._list_processes() or []
        for process in processes:
            if process.state == "fatal":
                raise PlatformFailed(
                    f"{process.name} cannot be started: {process.error or 'it ends at once'}.", details=tail(process.log)
                )
        return processes

    def _timed_out(self, pending: list[ReadinessCheck]) -> DeadlineExceeded:
        layout = self._target.layout
        details = [f"{check.name}: {check.detail}" for check in pending]
        if pending:
            process = _process_of(pending[0].name)
            details.extend(f"{process}.log: {line}" for line in tail(layout.log(process)))
        names = ", ".join(check.name for check in pending)
        return DeadlineExceeded(
            f"The platform is not ready after {self._timeout:.0f} s; not ready: {names}.",
            hint=f"See the processes and their log files with `kubernaut local status --name {layout.name}`, "
            f"and continue with `kubernaut local up --name {layout.name}`.",
            details=details,
        )


def _process_of(check: str) -> str:
    """Return the process whose log explains a failed check."""
    return {"node": "kubelet", "service account": "kube-controller-manager"}.get(check, check)
