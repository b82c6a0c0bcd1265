"""Charts that fail on a real cluster, each with its cause."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from support.cluster_state import (
    Change,
    config_map_of_another_owner,
    namespace,
    no_pods,
    replicas_of_another_manager,
)

READY = "readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}"
NODE = "command: [node, -e, {{ .Values.script | quote }}]"


@dataclass(frozen=True)
class Failing:
    """A chart that fails.

    Attributes:
        template: Its template.
        cause: The cause that kubernaut names.
        facts: Words that the sentence has.
        by_rule: Whether it is given up by rule, and not at the deadline.
        annotations: Those of the chart.
        before: Changes the cluster before the deploy.
        first: A template that is deployed before, and ``between`` changes the cluster after it.
        helms: The Helms with which it fails.
        status: The exit status: other than 7 where Helm refuses before it writes a record.
    """

    template: str
    cause: str
    facts: tuple[str, ...] = ()
    by_rule: bool = True
    annotations: str = ""
    before: Change | None = None
    first: str = ""
    between: Change | None = None
    helms: tuple[str, ...] = ("helm3", "helm4")
    status: int = 7


def deployment(
    container: str = "",
    *,
    pod: str = "",
    beside: str = "",
    name: str = "web",
    replicas: int = 1,
    spec: str = "",
    metadata: str = "",
    label: str = "",
) -> str:
    """Return a Deployment of the server, with further fields of its container, its pod and itself, and a container beside it."""
    label = label or name
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}{metadata}}}
spec:
  replicas: {replicas}
{textwrap.indent(spec, " " * 2)}
  selector: {{matchLabels: {{app: {label}}}}}
  template:
    metadata: {{labels: {{app: {label}}}}}
    spec:
      terminationGracePeriodSeconds: 0
{textwrap.indent(pod, " " * 6)}
      containers:
        - name: app
          image: {{{{ .Values.image }}}}
{textwrap.indent(container or f"{NODE}{chr(10)}{READY}", " " * 10)}
{textwrap.indent(beside, " " * 8)}
---
"""


def service(selector: str = "web") -> str:
    """Return a Service of the server."""
    return f"""apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: {selector}}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
"""


def shell(script: str, *, name: str = "app") -> str:
    """Return a container that runs a shell script."""
    return f'{{name: {name}, image: {{{{ .Values.image }}}}, command: [sh, -c, "{script}"]}}'


def job(script: str, *, hook: str = "", name: str = "once", tries: int = 0) -> str:
    """Return a Job, as a hook if an event is given."""
    annotations = f", annotations: {{helm.sh/hook: {hook}}}" if hook else ""
    return f"""apiVersion: batch/v1
kind: Job
metadata: {{name: {name}{annotations}}}
spec: {{backoffLimit: {tries}, template: {{spec: {{restartPolicy: Never, containers: [{shell(script)}]}}}}}}
---
"""


_MISSING = "{{ .Values.image }}-missing"
_STATEFUL = f"""apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{shell("case $HOSTNAME in *-1) exit 5;; esac; sleep 1000")}]}}
---
"""

FAILING: dict[str, Failing] = {
    "image missing": Failing(
        deployment(beside=f"- {{name: side, image: {_MISSING}}}"), "image_not_found", ("side", "Deployment web")
    ),
    "image name invalid": Failing(
        deployment(beside="- {name: side, image: 'UPPER/x:y:z'}"), "image_name_invalid", ("UPPER/x:y:z",)
    ),
    "second container crashes": Failing(
        deployment(beside=f"- {shell('echo bye; sleep 1; exit 4', name='side')}") + service(), "container_crashed", ("side", "4")
    ),
    "command missing": Failing(deployment("command: [/nope/run]"), "container_command_invalid", ("/nope/run",)),
    "ConfigMap missing": Failing(deployment("envFrom: [{configMapRef: {name: absent}}]"), "container_config_invalid", ("absent",)),
    "Secret of a variable missing": Failing(
        deployment("env: [{name: A, valueFrom: {secretKeyRef: {name: absent, key: k}}}]"), "container_config_invalid", ("absent",)
    ),
    "Secret of a volume missing": Failing(
        deployment("volumeMounts: [{name: v, mountPath: /v}]", pod="volumes: [{name: v, secret: {secretName: absent}}]"),
        "container_config_invalid",
        ("absent",),
    ),
    "liveness probe fails": Failing(
        deployment(f"{NODE}\nlivenessProbe: {{httpGet: {{path: /, port: 9999}}, periodSeconds: 1, failureThreshold: 1}}"),
        "liveness_probe_failed",
        ("9999",),
        annotations="{kubernaut/unprobed-time: 20s}",  # it is killed some seconds after it has started
    ),
    "readiness probe fails": Failing(
        deployment(f"{NODE}\nreadinessProbe: {{httpGet: {{path: /, port: 9999}}, periodSeconds: 1}}"),
        "readiness_probe_failed",
        ("9999",),
        by_rule=False,
    ),
    "out of memory": Failing(
        deployment("command: [sh, -c, 'x=a; while true; do x=$x$x; done']\nresources: {limits: {memory: 32Mi}}"),
        "container_out_of_memory",
        ("32Mi",),
    ),
    "no node fits": Failing(deployment(pod="nodeSelector: {nope: '1'}"), "pod_unschedulable", ("web",), by_rule=False),
    "Service selects nothing": Failing(deployment() + service("wbe"), "service_without_endpoints", ("app=wbe",)),
    "Job fails": Failing(deployment() + job("echo no table; exit 2"), "job_failed", ("once", "no table")),
    "bare pod without image": Failing(
        deployment()
        + f"apiVersion: v1\nkind: Pod\nmetadata: {{name: solo}}\nspec: {{containers: [{{name: solo, image: {_MISSING}}}]}}\n",
        "image_not_found",
        ("solo",),
    ),
    "second pod of a StatefulSet crashes": Failing(deployment() + _STATEFUL, "container_crashed", ("StatefulSet db", "5")),
    "claim without a storage class": Failing(
        deployment()
        + "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n"
        + "spec: {accessModes: [ReadWriteOnce], storageClassName: fast, resources: {requests: {storage: 1Gi}}}\n",
        "claim_not_bound",
        ("data", "fast"),
        by_rule=False,
    ),
    "load balancer without an address": Failing(
        deployment() + "apiVersion: v1\nkind: Service\nmetadata: {name: lb}\nspec: {type: LoadBalancer, ports: [{port: 80}]}\n",
        "load_balancer_pending",
        ("lb",),
        by_rule=False,
    ),
    "hook fails": Failing(
        deployment() + job("echo cannot migrate; exit 3", hook="pre-install", name="migrate"),
        "hook_failed",
        ("migrate", "cannot migrate"),
    ),
    "hook hangs": Failing(
        deployment() + job("echo waiting for a lock; sleep 1000", hook="pre-install", name="migrate"),
        "hook_failed",
        ("migrate", "waiting for a lock"),
        by_rule=False,
    ),
    "key of a ConfigMap missing": Failing(
        deployment("env: [{name: A, valueFrom: {configMapKeyRef: {name: config, key: b}}}]")
        + "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata: {a: '1'}\n",
        "container_config_invalid",
        ("config", "b"),
    ),
    "init container crashes": Failing(
        deployment(pod=f"initContainers: [{shell('echo no schema; exit 6', name='prepare')}]"),
        "container_crashed",
        ("prepare", "6", "no schema"),
    ),
    "startup probe fails": Failing(
        deployment(f"{NODE}\nstartupProbe: {{httpGet: {{path: /, port: 9999}}, periodSeconds: 1, failureThreshold: 2}}"),
        "startup_probe_failed",
        ("9999",),
    ),
    "over quota": Failing(
        deployment(), "quota_exceeded", ("pods",), before=no_pods, annotations="{kubernaut/pending-timeout: 15s}"
    ),
    "pod security refuses": Failing(
        deployment(),
        "admission_denied",
        ("restricted",),
        before=namespace({"pod-security.kubernetes.io/enforce": "restricted"}),
        annotations="{kubernaut/pending-timeout: 15s}",
    ),
    "node port taken": Failing(
        "".join(
            f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
            f"spec: {{type: NodePort, ports: [{{port: 80, nodePort: 32766}}]}}\n---\n"
            for name in ("one", "two")
        ),
        "node_port_taken",
        ("32766",),
        by_rule=False,
    ),
    "object exists already": Failing(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n",
        "owned_by_another_release",
        ("ConfigMap", "web"),
        by_rule=False,
        before=config_map_of_another_owner,
        status=5,
    ),
    "selector changed": Failing(deployment(label="other"), "field_immutable", ("selector",), by_rule=False, first=deployment()),
    "replicas of another manager": Failing(
        deployment(replicas=3),
        "apply_conflict",
        ("autoscaler", "replicas"),
        by_rule=False,
        first=deployment(),
        between=replicas_of_another_manager,
        helms=("helm4",),
    ),
    "API version gone": Failing(
        "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 1}\n",
        "api_version_missing",
        ("policy/v1beta1", "PodDisruptionBudget"),
        by_rule=False,
        status=3,
    ),
    "object invalid": Failing(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 99999}]}\n",
        "object_invalid",
        ("99999",),
        by_rule=False,
    ),
    "pod of a hook without image": Failing(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: migrate, annotations: {helm.sh/hook: pre-install}}\n"
        + f"spec: {{containers: [{{name: migrate, image: {_MISSING}}}]}}\n---\n"
        + deployment(),
        "image_not_found",
        ("migrate",),
    ),
    "hook fails in an upgrade": Failing(
        deployment() + job("echo cannot migrate; exit 3", hook="pre-upgrade", name="migrate"),
        "hook_failed",
        ("migrate", "cannot migrate"),
        first=deployment(),
    ),
    "crash in another namespace": Failing(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: '{{ .Release.Namespace }}-other'}\n---\n"
        + deployment("command: [sh, -c, 'echo far away; exit 8']", metadata=", namespace: '{{ .Release.Namespace }}-other'"),
        "container_crashed",
        ("far away", "8"),
    ),
}
