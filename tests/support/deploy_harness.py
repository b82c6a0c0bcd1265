"""A cluster, a Helm and a chart in memory, for the tests of the verbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernaut.deploy.accepting import BEGINS_WITHIN, accept, new_operation
from kubernaut.deploy.execute import Result, execute, execute_accepted
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.requests import DeployRequest, OperationRequest
from kubernaut.errors import DeadlineExceeded
from kubernaut.events import Event, Progress
from kubernaut.history.operation_codec import operation_secret
from kubernaut.history.operations import Operation
from kubernaut.history.records import OPERATION_LABEL, REVISION_LABEL, Status
from kubernaut.history.store import HistoryStore, ReleaseHistory
from kubernaut.settings import load_settings
from kubernaut.testing.cluster import FakeCluster
from kubernaut.testing.helm import FakeHelm
from support.charts import CONFIG_MAP, write_chart
from support.kube_objects import IMAGE, crashed, deployment, owned_pod, replica_set

CANARY = "canary-8f3a-secret"
LATE = DeadlineExceeded("timed out waiting for the condition")
WORKLOAD = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "@IMAGE@"}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{name: http, port: 80}]}
""".replace("@IMAGE@", IMAGE)
CRASHING = "web-7f1-1"
"""The pod of :func:`put_crashing`."""


@dataclass
class DeployHarness:
    """A cluster, a Helm, and a chart that is pushed anew for every version."""

    folder: Path
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster("demo"))
    events: list[Event] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: {"KUBERNAUT_ACTOR": "ada", "BUILD_URL": "http://ci/7"})
    time: float = 0.0
    stopped: bool = False
    version: str = "3.17.3"

    def __post_init__(self) -> None:
        self.helm = FakeHelm(self.cluster, self.version)

    @property
    def context(self) -> DeployContext:
        return DeployContext(
            helm=lambda: self.helm,  # type: ignore[arg-type, return-value]
            cluster=lambda: self.cluster,  # type: ignore[arg-type, return-value]
            store=HistoryStore(self.cluster),  # type: ignore[arg-type]
            settings=load_settings(environment=self.environment, directory=self.folder),
            progress=Progress(self.events.append),
            stopped=lambda: self.stopped,
        )

    @property
    def history(self) -> ReleaseHistory:
        return HistoryStore(self.cluster).get("demo", "hello")  # type: ignore[arg-type]

    @property
    def statuses(self) -> list[str]:
        return [record.status for record in reversed(self.history.records)]

    @property
    def operation(self) -> Operation:
        """The newest operation."""
        return self.history.operations[0]

    def request(self, version: str = "1.0.0", *, template: str = CONFIG_MAP, annotations: str = "", **more: Any) -> DeployRequest:
        chart = write_chart(self.folder, "hello", version=version, template=template)
        if annotations:
            (chart / "Chart.yaml").write_text(f"{(chart / 'Chart.yaml').read_text()}annotations: {annotations}\n")
        digest = self.helm.push(self.helm.package(chart, self.folder / "out"), "r/charts")
        return DeployRequest("demo", "hello", version, f"oci://r/charts/hello@{digest}", digest, **more)

    def deploy(self, version: str = "1.0.0", *, dry_run: bool = False, **more: Any) -> Result:
        request = self.request(version, **more)
        self.helm.starts.clear()
        self.cluster.requests.clear()
        return execute(request, context=self.context, dry_run=dry_run)

    def accept(
        self,
        verb: str = "deploy",
        *,
        namespace: str = "demo",
        name: str = "hello",
        key: str | None = None,
        fingerprint: str | None = None,
        patience: float = 0.0,
        create_namespace: bool = False,
    ) -> tuple[Operation, bool]:
        """Accept an operation; return it, and whether it is new."""
        how = {"note": "please", "timeout": 9.0}
        operation = new_operation(verb, namespace, name, self.context.settings, fingerprint, key, how)
        within = BEGINS_WITHIN + patience
        return accept(operation, self.cluster, begins_within=within, create_namespace=create_namespace)  # type: ignore[arg-type]

    def serve(self, operation: Operation, request: OperationRequest | Callable[[], OperationRequest] | None = None) -> Result:
        """Carry out what was accepted; a deploy by default."""
        prepared = request or self.request()
        return execute_accepted(operation, prepared if callable(prepared) else lambda: prepared, context=self.context)

    def leave_a_deploy(self, version: str = "1.1.0", **more: Any) -> str:
        """Leave things after the first deploy as the second does that is killed while Helm runs; return its operation's id."""
        accepted, _ = self.accept()
        running = accepted.model_copy(update={"waits_until": None, "after": 1})
        self.cluster.delete_secret("demo", accepted.secret)
        self.cluster.create_secret("demo", operation_secret(running))
        self.helm.end_with(Status.PENDING_UPGRADE)
        labels = {OPERATION_LABEL: running.id, REVISION_LABEL: "2"}
        how: dict[str, Any] = {"values": {}, "labels": labels, "description": "", "timeout": 9.0, "history_max": 50}
        self.helm.upgrade("hello", self.request(version, **more).chart_ref, namespace="demo", install=False, log=print, **how)
        return running.id

    def find(self, operation: Operation) -> Operation:
        """Return an operation as it is kept now."""
        return HistoryStore(self.cluster).operation(operation.id)  # type: ignore[arg-type]


def put_crashing(cluster: FakeCluster, restarts: int = 2) -> None:
    """Put the Deployment of ``WORKLOAD`` anew, with a ReplicaSet and a pod whose container crashes."""
    web = deployment("web", ready=0)
    replicas = replica_set(web)
    for item in (web, replicas, owned_pod(replicas, "1", crashed(restarts))):
        cluster.put(item | {"metadata": {**item["metadata"], "creationTimestamp": cluster.server_time.isoformat()}})


def crash(harness: DeployHarness, restarts: int = 2) -> None:
    """Let the next Helm time out while its pods crash."""
    harness.helm.end_with(Status.FAILED, LATE, during=lambda check: put_crashing(harness.cluster, restarts))


def after_helm(harness: DeployHarness, method: str, action: Callable[[], object]) -> None:
    """Let something happen right after the next Helm command of a kind has ended."""
    original = getattr(harness.helm, method)

    def longer(*arguments: Any, **named: Any) -> None:
        setattr(harness.helm, method, original)
        original(*arguments, **named)
        action()

    setattr(harness.helm, method, longer)


def verbs(harness: DeployHarness) -> list[str]:
    return [verb for verb, _ in harness.helm.starts]


# deploy
