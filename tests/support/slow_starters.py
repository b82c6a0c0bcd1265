"""Charts that start slowly and are healthy, on a real cluster: they must never be given up."""

from __future__ import annotations

from dataclasses import dataclass

from support.cluster_state import DEVICE, Change, add_device, add_image, add_volume, free_quota, no_pods
from support.rollout_cases import NODE, READY, deployment, job, service, shell


@dataclass(frozen=True)
class Slow:
    """A chart that is healthy in the end.

    Attributes:
        template: Its template.
        before: Changes the cluster before the deploy.
        later: Changes it during the deploy, ``seconds`` after its start.
        update: A template that is deployed afterwards, as an upgrade.
    """

    template: str
    before: Change | None = None
    later: Change | None = None
    seconds: float = 0.0
    update: str = ""


_COUNTING = "n=$(cat /d/n 2>/dev/null || echo 0); echo $((n+1)) > /d/n; [ $n -ge 2 ]"
_LATE = '{{ .Values.image | splitList ":" | initial | join ":" }}:{{ .Release.Namespace }}'
_UNAVAILABLE = "strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}"
_SLOW = shell("sleep 6; touch /tmp/up; sleep 1000")[:-1]
_ORDERED = f"""apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {_SLOW}, readinessProbe: {{exec: {{command: [cat, /tmp/up]}}, periodSeconds: 1}}}}
"""
_CLAIM = """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1Gi}}}
---
"""
_AUTOSCALER = """apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
---
"""

HEALTHY: dict[str, Slow] = {
    "ready at once": Slow(deployment() + service()),
    "without a probe": Slow(deployment(NODE) + service()),
    "crashes twice, then runs": Slow(
        deployment(
            f"command: [sh, -c, '{_COUNTING} || exit 1; exec sleep 1000']\nvolumeMounts: [{{name: d, mountPath: /d}}]",
            pod="volumes: [{name: d, emptyDir: {}}]",
        )
    ),
    "ready after 40 s": Slow(
        deployment('command: [node, -e, {{ printf "setTimeout(() => {%s}, 40000)" .Values.script | quote }}]\n' + READY)
    ),
    "Job with two failed tries": Slow(f"""apiVersion: batch/v1
kind: Job
metadata: {{name: tries}}
spec:
  backoffLimit: 3
  template:
    spec:
      restartPolicy: OnFailure
      volumes: [{{name: d, emptyDir: {{}}}}]
      containers:
        - name: app
          image: {{{{ .Values.image }}}}
          command: [sh, -c, '{_COUNTING}']
          volumeMounts: [{{name: d, mountPath: /d}}]
"""),
    "Job removed once it is done": Slow(
        deployment() + job("sleep 3").replace("spec: {backoffLimit", "spec: {ttlSecondsAfterFinished: 0, backoffLimit")
    ),
    "long hook": Slow(deployment() + job("sleep 15", hook="pre-install", name="migrate")),
    "no replicas": Slow(deployment(replicas=0) + service()),
    "slow sidecar": Slow(
        deployment(
            beside=f"- {shell('sleep 12; touch /tmp/up; sleep 1000', name='side')[:-1]}, "
            "readinessProbe: {exec: {command: [cat, /tmp/up]}, periodSeconds: 1}}"
        )
    ),
    "image appears": Slow(
        deployment(beside=f"- {{name: side, image: '{_LATE}', command: [sleep, '1000']}}"),
        later=add_image,
        seconds=7.0,
    ),
    "node gets a device": Slow(
        deployment(f"{NODE}\n{READY}\nresources: {{limits: {{{DEVICE.format(namespace='{{ .Release.Namespace }}')}: 1}}}}"),
        later=add_device,
        seconds=20.0,
    ),
    "slow volume": Slow(
        _CLAIM
        + deployment(
            f"{NODE}\n{READY}\nvolumeMounts: [{{name: d, mountPath: /d}}]",
            pod="volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]",
        ),
        later=add_volume,
        seconds=15.0,
    ),
    "quota is freed": Slow(deployment(), before=no_pods, later=free_quota, seconds=20.0),
    "autoscaler": Slow(deployment() + service() + _AUTOSCALER),
    "rolling update without unavailable pods": Slow(
        deployment(replicas=2, spec=_UNAVAILABLE),
        update=deployment(f"{NODE}\n{READY}\nenv: [{{name: A, value: b}}]", replicas=2, spec=_UNAVAILABLE),
    ),
    "pods one after the other": Slow(_ORDERED),
}
