"""The chart of the fault tests: a ConfigMap that deploys in a second; values make it more, see ``support.faults``."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kubernaut.adapters.helm import Helm
from support.charts import write_chart

NAME = "app"
_DIGEST = "sha256:" + "5" * 64
_TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {text: {{ .Values.text | quote }}}
{{- if .Values.slow }}
---
apiVersion: v1
kind: Pod
metadata:
  name: slow
  annotations: {helm.sh/hook: "pre-install,pre-upgrade,pre-rollback,pre-delete", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: slow, image: {{ .Values.hookImage }}, command: [node, -e, "setTimeout(() => {}, {{ .Values.slow }}000)"]}]
{{- end }}
{{- if .Values.hook }}
---
apiVersion: v1
kind: Pod
metadata:
  name: step
  annotations: {helm.sh/hook: {{ .Values.hook | quote }}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: step, image: {{ .Values.hookImage }}, command: [node, -e, "console.log('no queue'); process.exit(1)"]}]
{{- end }}
{{- if .Values.migration }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: {{ .Values.migration | quote }}}
spec:
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
        - name: migrate
          image: {{ .Values.hookImage }}
          command: [node, -e, "console.log('migrating'); setInterval(() => {}, 1000)"]
{{- end }}
{{- with .Values.extra }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: extra}
data: {text: {{ . | quote }}}
{{- end }}
{{- with .Values.widget }}
---
apiVersion: {{ . }}/v1
kind: Widget
metadata: {name: one}
{{- end }}
{{- if .Values.image }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  {{- with .Values.replicas }}
  replicas: {{ . }}
  {{- end }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: {{ .Values.image }}, command: [node, -e, "setInterval(() => {}, 1000)"]}]
{{- end }}
"""


@dataclass(frozen=True)
class Published:
    """The application of the fault tests in the registry: where, and its chart's digest."""

    registry: str
    version: str
    digest: str


def publish(platform: Mapping[str, str], folder: Path) -> Published:
    """Push the chart as ``kubernaut publish`` would, without an image, which only a pod would need."""
    registry = f"{platform['KUBERNAUT_REGISTRY']}/f-{uuid.uuid4().hex[:8]}"
    image = f"{platform['KUBERNAUT_REGISTRY']}/library/node:22"
    chart = write_chart(folder, NAME, version="1.0.0", template=_TEMPLATE, values=f"text: hello\nhookImage: {image}\n")
    annotations = {"kubernaut/image": f"{registry}/{NAME}@{_DIGEST}", "kubernaut/source-digest": _DIGEST}
    (chart / "Chart.yaml").write_text(f"{(chart / 'Chart.yaml').read_text()}annotations: {json.dumps(annotations)}\n")
    helm = Helm("helm", environment={**os.environ, **platform}, plain_http=lambda _: True)
    return Published(registry, "1.0.0", helm.push(helm.package(chart, folder), f"{registry}/charts"))
