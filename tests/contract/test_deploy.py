"""Deploys on the real cluster, with Helm 3 and Helm 4: failing pods, crashes, missing rights."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from support.api_calls import call_api
from support.cluster_harness import ClusterHarness, cluster_harness
from support.messages import facts
from support.waiting import until

from kubernaut.adapters.helm import Helm
from kubernaut.adapters.kube import Cluster
from kubernaut.deploy.execute import execute
from kubernaut.deploy.requests import DeployRequest, UninstallRequest
from kubernaut.deploy.values.layers import read_values
from kubernaut.errors import ClusterDenied, DeployKept, DeployRolledBack, KubernautError, ReleaseLocked
from kubernaut.history.store import HistoryStore

pytestmark = pytest.mark.platform

CANARY = "canary-8f3a-secret"
WORKLOAD = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: {{ .Values.image }}
          command: [node, -e, {{ .Values.script | quote }}]
          resources: {requests: {cpu: {{ .Values.cpu }}}}
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
PROBE = '{kubernaut/probe: \'{"path":"/","port":80}\'}'
CRD = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: matchers.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {kind: Matcher, plural: matchers, singular: matcher}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            matchType: {type: string, enum: [=, "!=", "=~", "!~"]}
---
"""
# A hook that takes as long as a test wants: Helm is in the middle of it.
SLOW = """apiVersion: v1
kind: Pod
metadata: {name: slow, annotations: {helm.sh/hook: "pre-upgrade,pre-rollback", helm.sh/hook-delete-policy: before-hook-creation}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: slow, image: {{ .Values.image }}, command: [node, -e, "setTimeout(() => {}, 60000)"]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {text: {{ .Values.text | quote }}}
"""


@pytest.fixture(params=["helm3", "helm4"])
def harness(
    request: pytest.FixtureRequest, platform: Mapping[str, str], helms: Mapping[str, str], tmp_path: Path
) -> Iterator[ClusterHarness]:
    with cluster_harness(platform, helms[request.param], tmp_path) as made:
        yield made


def test_failing_workloads_are_explained_and_rolled_back(harness: ClusterHarness) -> None:
    assert harness.deploy(WORKLOAD, annotations=PROBE)[1]
    assert not harness.deploy(WORKLOAD, annotations=PROBE)[1]
    broken = "const fs = require('fs'); throw new Error('no database')"
    with pytest.raises(DeployRolledBack, match=facts("web", "v1", "v3")) as caught:
        harness.deploy(WORKLOAD, f"script={broken}", annotations=PROBE, timeout=25.0)  # within its second back-off
    assert caught.value.members["cause"] == "container_crashed"
    assert any("no database" in line for line in caught.value.details)
    with pytest.raises(DeployRolledBack, match=facts("nope:1", "web")) as missing:
        harness.deploy(WORKLOAD, f"image={harness.settings.require_registry()}/nope:1", annotations=PROBE, timeout=25.0)
    assert missing.value.members["cause"] == "image_not_found"
    with pytest.raises(DeployKept, match="Insufficient cpu") as unscheduled:
        harness.deploy(WORKLOAD, "cpu=99", annotations=PROBE, timeout=10.0, on_failure="keep")
    assert unscheduled.value.members["cause"] == "pod_unschedulable"
    assert harness.statuses == ["superseded", "failed", "superseded", "failed", "deployed", "failed"]
    assert harness.deploy(WORKLOAD, annotations=PROBE)[1]
    assert harness.cluster.get_through_service(harness.namespace, "web", 80, "/", timeout=10) == (200, "hi")


def test_service_beside_a_crd_with_an_equals_sign_is_found(harness: ClusterHarness) -> None:
    """The Prometheus operator's CRDs have ``enum: [=, '!=']``, which is text to Kubernetes and an error to PyYAML."""
    group = f"{harness.namespace}.example.com"  # an object of the cluster, which is removed with the release
    try:
        _, changed, release = harness.deploy(CRD.replace("GROUP", group) + WORKLOAD, annotations=PROBE)
        assert changed
        assert release is not None
        assert (release.status, release.unread) == ("deployed", None)
        assert [image.ref for image in release.images] == [harness.image]
        assert any("GET /" in str(event) for event in harness.events)  # the probe was sent
    finally:
        with suppress(KubernautError):  # it was not deployed
            execute(UninstallRequest(harness.namespace, "web", timeout=60.0), context=harness.context)


def test_null_values_are_compared_as_helm_does(harness: ClusterHarness) -> None:
    sets = ("a=null", "b.c=null", "list[1]=x", "text=null", "big=12345678901")
    assert harness.deploy('{{ .Values | toJson | printf "# %s" }}\n', *sets)[1]
    assert not harness.deploy('{{ .Values | toJson | printf "# %s" }}\n', *sets)[1]


def test_deploy_after_ten_revisions_and_a_delete(harness: ClusterHarness) -> None:
    template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {text: {{ .Values.text | quote }}}\n"
    for number in range(10):
        harness.deploy(template, f"text={number}x")
    execute(UninstallRequest(harness.namespace, "web"), context=harness.context)
    _, _, release = harness.deploy(template, "text=again")
    assert release is not None
    assert (release.revision, release.status, release.created_by) == (11, "deployed", "ada")
    assert len(harness.history.records) == 11
    assert len(harness.history.operations) == 12


def test_operations_are_pruned_with_their_records(harness: ClusterHarness) -> None:
    template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {text: {{ .Values.text | quote }}}\n"
    for number in range(4):
        harness.deploy(template, f"text={number}x", history_max=2)
    until(lambda: len(harness.history.operations) == 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_helm_killed_midway_is_a_failed_deploy(harness: ClusterHarness, number: signal.Signals) -> None:
    harness.deploy(SLOW)
    request = harness.request(SLOW, "text=b", on_failure="keep")
    killed: list[int] = []

    def kill_in_the_hook() -> None:
        until(lambda: harness.cluster.list_pods(harness.namespace, {}), seconds=50)  # the hook is the only one
        (helm,) = helms(request)
        os.kill(int(helm.name), number)
        killed.append(int(helm.name))

    killer = threading.Thread(target=kill_in_the_hook)
    killer.start()
    with pytest.raises(DeployKept):
        execute(request, context=harness.context)
    killer.join()
    assert len(killed) == 1
    assert harness.statuses == ["deployed", "failed"]
    assert harness.history.records[0].labelled_status == harness.history.records[0].status


def helms(request: DeployRequest) -> list[Path]:
    """Return the folders in /proc of the Helms that deploy this."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            words = path.read_bytes().split(b"\0")
            if request.chart_digest.encode() in b"".join(words[:8]) and b"upgrade" in words[:3]:
                found.append(path.parent)
    return found


# A program that deploys, as a CI job would run it.
PROGRAM = """
import pathlib, pickle, sys
from kubernaut.adapters.kube import Cluster
from kubernaut.adapters.helm import Helm
from kubernaut.deploy.execution import DeployContext
from kubernaut.deploy.execute import execute
from kubernaut.events import Progress
from kubernaut.history.store import HistoryStore
from kubernaut.settings import load_settings
settings = load_settings()
cluster = Cluster(settings.kubeconfig)
known = {"kubeconfig": settings.kubeconfig, "environment": settings.environment, "plain_http": settings.uses_plain_http}
context = DeployContext(lambda: Helm(settings.helm, **known), lambda: cluster, HistoryStore(cluster), settings, Progress())
execute(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()), context=context)
"""


def start(harness: ClusterHarness, request: DeployRequest) -> subprocess.Popen[bytes]:
    environment = {**harness.settings.environment, "SOME_TOKEN": CANARY}
    root = Path(__file__).parents[2]
    file = harness.folder / "request"
    file.write_bytes(pickle.dumps(request))
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(file)], cwd=root, env=environment, stderr=subprocess.PIPE)
    until(lambda: any(record.status.startswith("pending") for record in harness.history.records))
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_helm_ends_when_kubernaut_dies(harness: ClusterHarness, number: signal.Signals) -> None:
    """The parent-death signal stops Helm, which writes ``failed`` itself: nothing is locked."""
    harness.deploy(SLOW)
    process = start(harness, harness.request(SLOW, "text=b"))
    process.send_signal(number)
    process.communicate(timeout=30)
    until(lambda: harness.statuses == ["deployed", "failed"])
    assert harness.history.operations[0].outcome is None


def test_ctrl_c_in_a_program_interrupts_the_operation(harness: ClusterHarness) -> None:
    harness.deploy(SLOW)
    process = start(harness, harness.request(SLOW, "text=b"))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in stderr
    assert harness.statuses == ["deployed", "failed"]
    outcome = harness.history.operations[0].outcome
    assert outcome is not None
    assert outcome.reason == "interrupted"


def test_secrets_are_not_in_arguments_environments_or_records(harness: ClusterHarness) -> None:
    """Look for a canary of the values and the environment in /proc while Helm runs, and in the stored operations."""
    harness.deploy(SLOW)
    request = harness.request(SLOW, "text=b")
    request = DeployRequest(**{**vars(request), "values": read_values({"db": {"password": CANARY}}, sets=["text=b"])})
    process = start(harness, request)
    (helm,) = helms(request)
    assert CANARY.encode() not in (helm / "cmdline").read_bytes()
    assert CANARY.encode() not in (helm / "environ").read_bytes()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    until(lambda: harness.statuses == ["deployed", "failed"])
    written = list(harness.cluster.list_secrets(harness.namespace, {"owner": "kubernaut"}))
    assert CANARY not in json.dumps([operation.model_dump(mode="json") for operation in harness.history.operations])
    assert CANARY not in json.dumps([secret["metadata"] for secret in written])


def test_second_deploy_is_locked_out(harness: ClusterHarness) -> None:
    harness.deploy(SLOW)
    process = start(harness, harness.request(SLOW, "text=b"))
    with pytest.raises(ReleaseLocked, match=facts("web", "ada", "deploy")) as caught:
        harness.deploy(SLOW, "text=c")
    assert caught.value.problem()["holder"]["actor"] == "ada"
    assert "kubernaut unlock" in caught.value.hint
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    until(lambda: harness.statuses == ["deployed", "failed"])


def test_denied_user_gets_cluster_denied_without_token(harness: ClusterHarness, tmp_path: Path) -> None:
    harness.cluster.create_namespace(harness.namespace)
    accounts = f"/api/v1/namespaces/{harness.namespace}/serviceaccounts"
    call_api(harness.cluster, "POST", accounts, body={"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "weak"}})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = call_api(harness.cluster, "POST", f"{accounts}/weak/token", body=request)["status"]["token"]
    for name, secret, read, proxied in (
        ("weak", token, "secrets is forbidden", facts("web", "services/proxy")),
        ("wrong", "nonsense-token", None, "Unauthorized"),
    ):
        config = yaml.safe_load(Path(harness.settings.kubeconfig or "").read_text())
        config["users"][0]["user"] = {"token": secret}
        file = tmp_path / name
        file.write_text(yaml.safe_dump(config))
        weak = Cluster(str(file))
        with pytest.raises(ClusterDenied, match=read) as caught:
            HistoryStore(weak).get(harness.namespace, "web")
        assert config["current-context"] in str(caught.value)
        helm = Helm(
            harness.settings.helm, kubeconfig=str(file), environment=harness.settings.environment, plain_http=lambda _: True
        )
        with pytest.raises(ClusterDenied) as denied:
            helm.rollback("web", 1, namespace=harness.namespace, timeout=10, history_max=5, log=print)
        assert secret not in str(caught.value) + str(denied.value)
        with pytest.raises(ClusterDenied, match=proxied):
            weak.get_through_service(harness.namespace, "web", 80, "/", timeout=5)


def test_existing_foreign_object_is_a_conflict(harness: ClusterHarness) -> None:
    harness.cluster.create_namespace(harness.namespace)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}}
    call_api(harness.cluster, "POST", f"/api/v1/namespaces/{harness.namespace}/configmaps", body=body)
    with pytest.raises(KubernautError, match="exists already") as caught:
        harness.deploy("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n")
    assert caught.value.exit_status == 5
    assert harness.statuses == []
