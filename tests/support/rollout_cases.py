"""Charts that fail on a real cluster, each with its cause, and charts that start slowly and are healthy."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

_READY = "readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}"
_NODE = "command: [node, -e, {{ .Values.script | quote }}]"


@dataclass(frozen=True)
class Failing:
    """A chart that fails.

    Attributes:
        template: Its template.
        cause: The cause that kubernaut names.
        facts: Words that the sentence has.
        by_rule: Whether it is given up by rule, and not at the deadline.
        annotations: Those of the chart.
    """

    template: str
    cause: str
    facts: tuple[str, ...] = ()
    by_rule: bool = True
    annotations: str = ""


def deployment(container: str = "", *, pod: str = "", beside: str = "", name: str = "web", replicas: int = 1) -> str:
    """Return a Deployment of the server, with further fields of its container and its pod, and a container beside it."""
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
{textwrap.indent(pod, " " * 6)}
      containers:
        - name: app
          image: {{{{ .Values.image }}}}
{textwrap.indent(container or f"{_NODE}{chr(10)}{_READY}", " " * 10)}
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
        deployment(f"{_NODE}\nlivenessProbe: {{httpGet: {{path: /, port: 9999}}, periodSeconds: 1, failureThreshold: 1}}"),
        "liveness_probe_failed",
        ("9999",),
        annotations="{kubernaut/unprobed-time: 20s}",  # it is killed some seconds after it has started
    ),
    "readiness probe fails": Failing(
        deployment(f"{_NODE}\nreadinessProbe: {{httpGet: {{path: /, port: 9999}}, periodSeconds: 1}}"),
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
}

HEALTHY: dict[str, str] = {
    "ready at once": deployment() + service(),
    "without a probe": deployment(_NODE) + service(),
    "crashes twice, then runs": deployment(
        "command: [sh, -c, 'n=$(cat /d/n 2>/dev/null || echo 0); echo $((n+1)) > /d/n; [ $n -ge 2 ] || exit 1; exec sleep 1000']\n"
        "volumeMounts: [{name: d, mountPath: /d}]",
        pod="volumes: [{name: d, emptyDir: {}}]",
    ),
    "ready after 20 s": deployment(
        'command: [node, -e, {{ printf "setTimeout(() => {%s}, 20000)" .Values.script | quote }}]\n' + _READY
    ),
    "Job with two failed tries": """apiVersion: batch/v1
kind: Job
metadata: {name: tries}
spec:
  backoffLimit: 3
  template:
    spec:
      restartPolicy: OnFailure
      volumes: [{name: d, emptyDir: {}}]
      containers:
        - name: app
          image: {{ .Values.image }}
          command: [sh, -c, 'n=$(cat /d/n 2>/dev/null || echo 0); echo $((n+1)) > /d/n; [ $n -ge 2 ]']
          volumeMounts: [{name: d, mountPath: /d}]
""",
    "long hook": deployment() + job("sleep 15", hook="pre-install", name="migrate"),
    "no replicas": deployment(replicas=0) + service(),
    "slow sidecar": deployment(
        beside=f"- {shell('sleep 12; touch /tmp/up; sleep 1000', name='side')[:-1]}, "
        "readinessProbe: {exec: {command: [cat, /tmp/up]}, periodSeconds: 1}}"
    ),
}
